"""The pieces of work of a data set: what each is called, and how it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pays.records import Records

from dense_peers.material import Images
from dense_peers.settings import WEIGHTS

Piece = tuple[str, Callable[[], bool]]  # its key, and its work; whether its result is there afterwards
AFTER = ("scratch/", "width/", "resized/")  # pieces that need what a search found
BUDGET_S = 5.0  # of each file in the last measurement


@dataclass(frozen=True)
class Plan:
    """All pieces of one set. `python` runs the peers of other packages; `trial_epochs` stand in for the setting's."""

    images: Images
    records: Records
    trial_epochs: int | None
    seed: int
    threads: int
    python: str

    @property
    def epochs(self) -> int:
        """Of a peer's training."""
        return self.trial_epochs or self.images.setting.epochs

    @property
    def our_epochs(self) -> int:
        """Of the training of a network that we find."""
        return self.trial_epochs or self.images.setting.our_epochs

    def pieces(self) -> Iterator[Piece]:
        """Peers first, then ours; the measurement of all is last."""
        setting = self.images.setting
        limits = sorted(setting.limits_ms, reverse=True)
        for name in setting.yolos:
            yield self._piece(f"peer/{name}", partial(self._yolo, name))
        if setting.task == "segment":
            yield self._piece("peer/lraspp", self._lraspp)
        for limit in limits:
            yield self._piece(f"ours/{limit:g}", partial(self._fit, limit, ""))
        for limit in setting.weights_ms:
            yield self._piece(f"weights/{limit:g}", partial(self._fit, limit, WEIGHTS))
        for limit in limits:
            yield self._piece(f"scratch/{limit:g}", self._scratch)
            yield self._piece(f"width/{limit:g}", partial(self._width, False))
            yield self._piece(f"resized/{limit:g}", partial(self._width, True))
        yield f"{setting.name}/bench", self._bench

    def _piece(self, name: str, work: Callable[[str], dict[str, Any]]) -> Piece:
        trial = f"/epochs{self.trial_epochs}" if self.trial_epochs else ""
        key = f"{self.images.setting.name}/{name}/seed{self.seed}{trial}"

        def do() -> bool:
            if name.startswith("peer/yolo") and not self.python:
                print(f"{key}: skipped, give --peer-python or GHOSTFIT_PEER_PYTHON, see the docstring", flush=True)
                return True
            if name.startswith(AFTER) and self.records.get(_found(key)) is None:
                return False
            if name.startswith("resized/") and not self._is_resized(key):
                return True
            return self.records.do(key, lambda: self._timed(key, work))

        return key, do

    def _timed(self, key: str, work: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What to record, with the CPU seconds of this process and of those that it started; of this time only."""
        began = _cpu_s()
        return {"seed": self.seed, "threads": self.threads, **work(key), "cpu_s": round(_cpu_s() - began, 1)}

    def _folder(self, key: str) -> Path:
        return self.images.work / key.replace("/", "-")

    def _yolo(self, name: str, key: str) -> dict[str, Any]:
        from dense_peers.peers import train_yolo

        told = {"epochs": self.epochs, "seed": self.seed, "threads": self.threads}
        return train_yolo(self.images, name, self._folder(key), self.python, **told)

    def _lraspp(self, key: str) -> dict[str, Any]:
        from dense_peers.lraspp import train_lraspp

        return train_lraspp(self.images, self._folder(key), self.epochs, self.seed)

    def _fit(self, limit_ms: float, weights: str, key: str) -> dict[str, Any]:
        from dense_peers.ours import fit

        # The store of the largest limit serves the smaller ones.
        largest = key.replace(f"/{limit_ms:g}/", f"/{max(self.images.setting.limits_ms):g}/")
        store = None if weights or largest == key or not self.records.get(largest) else self._folder(largest)
        return fit(self.images, self._folder(key), limit_ms, self.our_epochs, self.seed, weights=weights, store=store)

    def _scratch(self, key: str) -> dict[str, Any]:
        from dense_peers.ours import train_found

        return train_found(self.images, self._folder(_found(key)), self._folder(key), self.our_epochs, self.seed)

    def _width(self, resized: bool, key: str) -> dict[str, Any]:
        from dense_peers.ours import train_width

        found, folder = self._folder(_found(key)), self._folder(key)
        return train_width(self.images, found, folder, self.our_epochs, self.seed, resized=resized)

    def _is_resized(self, key: str) -> bool:
        from dense_peers.ours import is_resized

        return is_resized(self._folder(_found(key)))

    def _bench(self) -> bool:
        """Every file of the set in turns; anew when there are other files than at the last time."""
        rows = self.records.all()
        name = self.images.setting.name
        files = {file for key, row in rows.items() if key.startswith(f"{name}/") for file in files_of(row)}
        there = sorted(file for file in files if Path(file).exists())
        if not there:
            return False
        return self.records.do(f"{name}/bench/{len(there)}", lambda: {"latency": measure(there, self.threads)})


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _found(key: str) -> str:
    """The piece that found the network which the piece `key` trains from fresh weights, or is measured against."""
    for word in AFTER:
        key = key.replace(f"/{word}", "/ours/")
    return key


def files_of(row: dict[str, Any]) -> list[str]:
    """The networks' files that a piece left behind."""
    return [*row.get("files", ()), *(file for size in row.get("sizes", ()) for file in size["files"])]


def measure(files: list[str], threads: int) -> dict[str, dict[str, Any]]:
    """Median and p90 of each file, measured in turns."""
    from ghostfit.api import bench

    names = ("median_ms", "p90_ms", "disturbed", "device", "runtime_version")
    rows = bench(tuple(files), threads=threads, budget_s=BUDGET_S).rows
    return {file: {name: getattr(latency, name) for name in names} for file, latency in rows}

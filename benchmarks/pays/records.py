"""Results in one JSON-lines file: a piece of work is done once, whichever process of several comes first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STALE_S = 3600.0  # a claim so old that names no process was left by one that died


@dataclass(frozen=True)
class Records:
    """The finished pieces by key, in ``records.jsonl``; `claims` are the pieces that a process works on."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file of all results."""
        return self.folder / "records.jsonl"

    def all(self) -> dict[str, dict[str, Any]]:
        """Every result, by key."""
        if not self.path.exists():
            return {}
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return {row["key"]: row for row in map(json.loads, lines)}

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of a piece, if it is done."""
        return self.all().get(key)

    def do(self, key: str, work: Callable[[], dict[str, Any]]) -> bool:
        """Do a piece unless it is done or another process is at it; whether its result is there now."""
        if key in self.all():
            return True
        with self._claim(key) as is_mine:
            if not is_mine:
                return False
            print(f"{time.strftime('%H:%M:%S')} {key} ...", flush=True)
            began, cpu = time.perf_counter(), time.process_time()
            row = {"key": key, **work()}
            row.setdefault("cpu_s", round(time.process_time() - cpu, 1))
            row["wall_s"] = round(time.perf_counter() - began, 1)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            short = {name: value for name, value in row.items() if isinstance(value, int | float)}
            print(f"{time.strftime('%H:%M:%S')} {key}: {short}", flush=True)
        return True

    @contextmanager
    def _claim(self, key: str) -> Iterator[bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        claim = self.folder / f"claim-{abs(hash_of(key))}"
        if _is_left(claim):
            claim.unlink(missing_ok=True)
        try:
            with claim.open("x", encoding="utf-8") as stream:
                stream.write(str(os.getpid()))
        except FileExistsError:
            yield False
            return
        try:
            yield True
        finally:
            claim.unlink(missing_ok=True)


def _is_left(claim: Path) -> bool:
    """Whether the process of a claim, one of this machine, is gone."""
    try:
        owner = claim.read_text(encoding="utf-8")
        if not owner:
            return time.time() - claim.stat().st_mtime > STALE_S
        os.kill(int(owner), 0)
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return True
    return False


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    import zlib

    return zlib.crc32(text.encode())

"""Latency and size of an architecture: of the file that would be shipped, remembered in a plain JSON-lines store.

An entry is keyed by architecture, device, runtime with version, threads, form and version of the file: a figure is
reused only where it would be measured again the same way. Weights change neither time nor size, so the exported file of
an architecture with fresh weights stands for all of them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ghostfit.arch import Arch
from ghostfit.data.cache import default_cache_dir
from ghostfit.export.lower import DEFAULT_LOWERING
from ghostfit.run import describe_machine
from ghostfit.runtime.bench import Latency, measure_latency

DISTURBED, MOST_TRIES = 0.5, 3  # share of runs that another program interrupted; then how often to measure
EXPORT_VERSION = 3  # raise when the exported graph changes, so that older figures are measured again


@dataclass(frozen=True)
class Measured:
    """What an exported file costs: its latency, and its bytes."""

    latency: Latency
    size_bytes: int


@dataclass
class LatencyStore:
    """Measured latencies of one device, runtime and thread count, in one JSON-lines file.

    `export` turns an architecture and the name of a form (`ghostfit.export.lower.LOWERINGS`) into the bytes of its
    file; `form` is the one that the found network is shipped in. Several processes may append to one store. `run_path`
    is a second file, of one run: every figure the run has used, those of a busy machine included, and it goes before
    the store, so that a run that was killed and resumed decides by the same figures.
    """

    export: Callable[[Arch, str], bytes]
    path: Path = field(default_factory=lambda: default_cache_dir() / "latency.jsonl")
    runtime: str = "onnxruntime"
    threads: int = 1
    form: str = DEFAULT_LOWERING
    budget_s: float = 0.6
    run_path: Path | None = None
    _known: dict[str, Measured] = field(default_factory=dict, repr=False)
    _used: set[str] = field(default_factory=set, repr=False)
    num_measured: int = 0

    def __post_init__(self) -> None:
        used = _read(self.run_path) if self.run_path else {}
        self._known, self._used = {**_read(self.path), **used}, set(used)

    def measure(self, arch: Arch) -> Latency:
        """Median and p90 latency of `arch` at batch 1; measured once, then remembered."""
        return self._look_up(arch).latency

    def size_bytes(self, arch: Arch) -> int:
        """Size of the file of `arch`, which is larger than its weights: channels that fill blocks, and the graph."""
        return self._look_up(arch).size_bytes

    def _look_up(self, arch: Arch) -> Measured:
        key = self.key(arch)
        if key not in self._known:
            measured = self._known[key] = self._measure_calmly(arch)
            self.num_measured += 1
            if measured.latency.disturbed <= DISTURBED:  # a figure of a busy machine serves this run only
                _append(self.path, key, arch, measured)
        if self.run_path and key not in self._used:
            self._used.add(key)
            _append(self.run_path, key, arch, self._known[key])
        return self._known[key]

    def _measure_calmly(self, arch: Arch) -> Measured:
        """The least disturbed of a few measurements: one in which other programs took the core is made again."""
        model, shape = self.export(arch, self.form), (1, arch.in_channels, *arch.size_hw)
        tries: list[Latency] = []
        while len(tries) < MOST_TRIES and all(latency.disturbed > DISTURBED for latency in tries):
            tries.append(
                measure_latency(model, shape, runtime=self.runtime, threads=self.threads, budget_s=self.budget_s)
            )
        return Measured(min(tries, key=lambda latency: (latency.disturbed, latency.median_ms)), len(model))

    def key(self, arch: Arch) -> str:
        """What a figure depends on, as text."""
        return "|".join([arch.deployed().id, conditions_of(self.runtime, self.threads), self.form])


def conditions_of(runtime: str, threads: int) -> str:
    """Machine, runtime with version, threads and version of the exported files, as text."""
    machine = describe_machine()
    device = f"{machine['processor']} x{machine['cores']} {machine['system']} {platform.node()}"
    return "|".join([device, _runtime_version(runtime), f"t{threads}", f"e{EXPORT_VERSION}"])


def _append(path: Path, key: str, arch: Arch, measured: Measured) -> None:
    """Add an entry to a store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        entry = {"key": key, "arch_id": arch.id, "size_bytes": measured.size_bytes}
        stream.write(json.dumps({**entry, "latency": measured.latency.to_dict()}) + "\n")


def _read(path: Path) -> dict[str, Measured]:
    """Entries of a store by key; a damaged line, or one without a size, is passed over and measured again."""
    if not path.is_file():
        return {}
    known = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            known[str(entry["key"])] = Measured(Latency.from_dict(entry["latency"]), int(entry["size_bytes"]))
        except (ValueError, KeyError, TypeError):
            continue
    return known


def _runtime_version(runtime: str) -> str:
    from importlib import metadata

    return f"{runtime} {metadata.version(runtime)}"

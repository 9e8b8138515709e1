"""Latency of a network's file on this machine: warm-up, many runs, median and p90.

One run is one call from Python with a prepared batch, which is what an application pays besides preparing the image.
Runs come in bursts; with several networks the bursts take turns, so that a machine that slows down strikes all alike.
A run in which the system gave the core to another program tells about that program: such runs are counted, and left
out where enough others remain.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.run import describe_machine
from ghostfit.runtime.backends import Backend, open_backend

if sys.platform != "win32":
    import resource

MIN_RUNS = 10  # below it a p90 is the slowest run
MAX_STRETCH = 4  # times the budget that a slow network may take for them; then three runs must do
WARMUP_SHARE = 0.15  # of the time budget: caches fill, threads start, the clock rises
BURST_S = 0.02  # of one network before the next takes its turn


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of `num_runs` runs, with what they depend on. `device` names the processor.

    `disturbed` is the share (0..1) of all runs in which another program took a core. Times are of the other runs; when
    those are fewer than `MIN_RUNS` they are of all, and a share near 1 says that the machine was too busy to measure.
    """

    median_ms: float
    p90_ms: float
    min_ms: float
    num_runs: int
    runtime: str
    runtime_version: str
    threads: int
    device: str
    input_shape: tuple[int, ...]
    cores: int = 0
    disturbed: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON, as manifests and reports hold it."""
        batch, _, *size_hw = self.input_shape
        return {**asdict(self), "input_shape": list(self.input_shape), "batch": batch, "size_hw": size_hw}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Latency:
        """Inverse of `to_dict`. Raises ValueError when an entry is missing."""
        try:
            entries = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
            return cls(**{**entries, "input_shape": tuple(data["input_shape"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a latency: {error}") from error


def measure_latency(
    model: bytes | str | Path,
    input_shape: Sequence[int],
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    budget_s: float = 0.5,
) -> Latency:
    """Latency of the network in `model` (bytes or a path) for a batch of `input_shape` (N, C, H, W).

    Takes about `budget_s` seconds besides opening the file; up to `MAX_STRETCH` times that where `MIN_RUNS` undisturbed
    runs don't fit, and at least three runs. Raises ValueError when the runtime can't open the network or the network
    can't take the shape.
    """
    models = {"network": model}
    return measure_interleaved(models, input_shape, runtime=runtime, threads=threads, budget_s=budget_s)["network"]


def measure_interleaved(
    models: Mapping[str, bytes | str | Path],
    input_shape: Sequence[int] | Mapping[str, Sequence[int]],
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    budget_s: float = 0.5,
) -> dict[str, Latency]:
    """Latency of each of several networks, measured in turns: the way to compare them.

    `input_shape` is one for all, or one for each name. Takes about `budget_s` seconds for each. Errors as in
    `measure_latency`, with the name of the network.
    """
    if budget_s <= 0:
        raise ValueError(f"budget_s={budget_s}; a measurement takes time above zero")
    series = []
    for name, model in models.items():
        shape = input_shape[name] if isinstance(input_shape, Mapping) else input_shape
        try:
            series.append(_Series(name, open_backend(runtime, model, threads=threads), _noise(shape)))
            series[-1].burst(0, is_warmup=True)  # the first run may allocate and compile
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    _take_turns(series, budget_s)
    return {entry.name: entry.latency() for entry in series}


@dataclass
class _Series:
    """The runs of one network so far."""

    name: str
    backend: Backend
    batch: np.ndarray
    times_ns: list[int] = field(default_factory=list)
    is_disturbed: list[bool] = field(default_factory=list)
    spent_s: float = 0.0

    def burst(self, seconds: float, *, is_warmup: bool = False) -> None:
        """Runs for about `seconds`, at least one."""
        start = time.perf_counter()
        while True:
            taken = _cores_taken()
            start_ns = time.perf_counter_ns()
            self.backend.run(self.batch)
            elapsed_ns = time.perf_counter_ns() - start_ns
            if not is_warmup:
                self.times_ns.append(elapsed_ns)
                self.is_disturbed.append(_cores_taken() != taken)
            if time.perf_counter() >= start + seconds:
                break
        self.spent_s += time.perf_counter() - start

    @property
    def num_clean(self) -> int:
        return len(self.is_disturbed) - sum(self.is_disturbed)

    def latency(self) -> Latency:
        times_ms, is_disturbed = np.array(self.times_ns) / 1e6, np.array(self.is_disturbed)
        if self.num_clean >= MIN_RUNS:
            times_ms = times_ms[~is_disturbed]
        machine = describe_machine()
        return Latency(
            median_ms=round(float(np.median(times_ms)), 5),
            p90_ms=round(float(np.percentile(times_ms, 90)), 5),
            min_ms=round(float(times_ms.min()), 5),
            num_runs=len(times_ms),
            runtime=self.backend.runtime,
            runtime_version=self.backend.version,
            threads=self.backend.threads,
            device=machine["processor"],
            input_shape=self.batch.shape,
            cores=machine["cores"],
            disturbed=round(float(is_disturbed.mean()), 3),
        )


def _take_turns(series: Sequence[_Series], budget_s: float) -> None:
    was_enabled = gc.isenabled()
    gc.disable()  # a collection would fall into somebody's run
    try:
        for entry in series:
            entry.burst(budget_s * WARMUP_SHARE, is_warmup=True)
        waiting = list(series)
        while waiting:
            for entry in waiting:
                if len(waiting) > 1:
                    entry.burst(0, is_warmup=True)  # back into the caches
                entry.burst(min(BURST_S, budget_s))
            waiting = [entry for entry in waiting if not _is_enough(entry, budget_s)]
    finally:
        if was_enabled:
            gc.enable()


def _is_enough(entry: _Series, budget_s: float) -> bool:
    if entry.spent_s < budget_s:
        return False
    return entry.num_clean >= MIN_RUNS or (entry.spent_s >= MAX_STRETCH * budget_s and len(entry.times_ns) >= 3)


def _cores_taken() -> int:
    """How often the system has taken a core from this process; always 0 where it doesn't tell (Windows)."""
    if sys.platform == "win32":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _noise(shape: Sequence[int]) -> np.ndarray:
    """A batch of plausible values: zeros could be faster than images are."""
    return np.random.default_rng(0).standard_normal(tuple(shape), np.float32)

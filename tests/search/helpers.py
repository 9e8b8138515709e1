"""A tiny world for the search's tests: a space, a supernet, and latencies that need no clock."""

from __future__ import annotations

from pathlib import Path

import torch

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.data.loader import KeptBatches
from ghostfit.nn.sharing import Supernet
from ghostfit.runtime.bench import Latency
from ghostfit.search.evaluate import Evaluator
from ghostfit.search.latency import LatencyStore
from ghostfit.search.start import plain_start
from ghostfit.space import Space
from ghostfit.train.tasks.classify import Classify


def small_space() -> Space:
    start = plain_start(4, (32, 32), width=0.25, depth=1)
    return Space.around(start, widths=(0.5, 1.0), expands=(0.5, 1.0), kernels=(3, 5), ratios=(1, 2), sizes=(0.75, 1.0))


class CountedLatencies(LatencyStore):
    """Latency from multiply-adds: 1 ms for each million, the same everywhere; size from parameters."""

    def size_bytes(self, arch: Arch) -> int:
        return 4 * count(arch).params

    def measure(self, arch: Arch) -> Latency:
        self.num_measured += 1
        ms = count(arch).macs / 1e6
        return Latency(
            median_ms=ms,
            p90_ms=1.1 * ms,
            min_ms=ms,
            num_runs=10,
            runtime="counted",
            runtime_version="1",
            threads=1,
            device="none",
            input_shape=(1, 3, *arch.size_hw),
        )


def small_evaluator(folder: Path, space: Space | None = None) -> Evaluator:
    torch.manual_seed(0)
    supernet = Supernet(space or small_space())
    images = [torch.randn(24, 3, 32, 32)]
    latencies = CountedLatencies(lambda arch, form: b"", path=folder / "latency.jsonl")
    judged = KeptBatches([(images[0], torch.arange(24) % 4)])
    return Evaluator(supernet, images, judged, Classify(), latencies)

"""Chooses the lowering of a network by measuring each on this machine, with the runtime and threads that will run it.

>>> from ghostfit.nn.build import build
>>> from ghostfit.presets import preset
>>> network = build(preset("ghostnet_050", num_classes=10, size_hw=(32, 32)), is_fused=True)
>>> choice = choose_lowering(network, budget_s=0.05)
>>> choice.name in LOWERINGS
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ghostfit.export.lower import DEFAULT_LOWERING, LOWERINGS, Lowering
from ghostfit.export.onnx import to_onnx
from ghostfit.nn.build import Network
from ghostfit.nn.fuse import fuse
from ghostfit.runtime.bench import Latency, measure_interleaved

__all__ = ["Choice", "choose_lowering"]

MARGIN = 0.98  # the default is left for a gain of 2 % or more: best times of one file repeat within 1 to 2 %


@dataclass(frozen=True)
class Choice:
    """The chosen lowering and the latency of every one that was measured, by name."""

    name: str
    lowering: Lowering
    latencies: Mapping[str, Latency]


def choose_lowering(
    network: Network,
    *,
    lowerings: Mapping[str, Lowering] = LOWERINGS,
    size_hw: tuple[int, int] | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
    budget_s: float = 0.3,
) -> Choice:
    """The fastest of `lowerings` for `network`, at batch 1; measured in turns, about `budget_s` seconds each.

    Best times are compared: on a machine that does other work as well, they tell most about the files themselves.
    """
    fused = network if network.is_fused else fuse(network)
    models: dict[str, bytes | str] = {
        name: to_onnx(fused, lowering=lowering, size_hw=size_hw) for name, lowering in lowerings.items()
    }
    shape = (1, network.arch.in_channels, *(size_hw or network.arch.size_hw))
    latencies = measure_interleaved(models, shape, runtime=runtime, threads=threads, budget_s=budget_s)
    best = min(latencies, key=lambda name: latencies[name].min_ms)
    default = latencies.get(DEFAULT_LOWERING)
    if default is not None and latencies[best].min_ms > MARGIN * default.min_ms:
        best = DEFAULT_LOWERING
    return Choice(best, lowerings[best], latencies)

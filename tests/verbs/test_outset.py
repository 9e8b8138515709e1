"""Where a search sets out: the space around published weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import build
from ghostfit.nn.pretrained import save_weights
from ghostfit.presets import preset
from ghostfit.search.limits import Costs, Limits
from ghostfit.verbs.outset import INHERITED_SIZES, SIZE_STEP, make_outset


def counted(arch: Arch) -> Costs:
    totals = count(arch)
    return Costs(params=totals.params, macs=totals.macs, size_bytes=0, memory_bytes=0, latency_ms=totals.macs / 1e6)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.9])
def test_the_start_at_the_largest_input_that_keeps_the_limits_is_in_the_space(share: float, tmp_path: Path) -> None:
    start = preset("ghostnet_050", num_classes=3, size_hw=(128, 128)).deployed()
    save_weights(build(start), tmp_path / "weights.safetensors")
    limits = Limits(macs_m=share * count(start).macs / 1e6)
    outset = make_outset(
        start="ghostnet_050",
        weights=str(tmp_path / "weights.safetensors"),
        num_classes=3,
        size_hw=(128, 128),
        in_channels=3,
        limits=limits,
        costs_of=counted,
    )
    sizes = [128 - SIZE_STEP * step for step in range(1, 8)]
    fits = next(size for size in sizes if not limits.violations(counted(start.replace(size_hw=(size, size)))))
    assert fits in outset.space.choices("size") and fits >= INHERITED_SIZES[0] * 128
    assert outset.start == start and start.replace(size_hw=(fits, fits)) in outset.space

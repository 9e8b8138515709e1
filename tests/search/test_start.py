"""Start networks as backbones, and scaling by hand."""

from __future__ import annotations

import pytest

from ghostfit.arch import Dense
from ghostfit.counting import count
from ghostfit.search.start import plain_start, scale_width


@pytest.mark.parametrize("size", [64, 128, 320, 512])
@pytest.mark.parametrize("task", ["detect", "instance", "segment"])
def test_the_plain_start_is_a_backbone_at_any_size(task, size):
    arch = plain_start(3, (size, size)).as_dense(Dense(task))
    assert arch.taps[0] == 8 and max(arch.features) <= 32


def test_scaling_a_width_reaches_the_neck():
    arch = plain_start(3, (320, 320)).as_dense(Dense("detect"))
    half = scale_width(arch, 0.5)
    assert half.dense == Dense("detect", width=48) and half.stages[-1].out == arch.stages[-1].out // 2
    shares = [counts.by_block[-1].params for counts in (count(half), count(arch))]
    assert 3 * shares[0] < shares[1]

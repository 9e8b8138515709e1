"""Choosing a lowering by measuring."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ghostfit.export import choose
from ghostfit.export.choose import choose_lowering
from ghostfit.export.lower import DEFAULT_LOWERING, LOWERINGS
from ghostfit.nn.build import build
from ghostfit.presets import preset


def network():
    return build(preset("ghostnet_050", num_classes=5, size_hw=(32, 32)), is_fused=True)


def test_measures_every_lowering():
    choice = choose_lowering(network(), budget_s=0.01)
    assert set(choice.latencies) == set(LOWERINGS)
    assert choice.lowering == LOWERINGS[choice.name]
    assert all(latency.median_ms > 0 for latency in choice.latencies.values())


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ({DEFAULT_LOWERING: 1.0, "plain": 2.0, "concat8": 0.99}, DEFAULT_LOWERING),  # within what repeats
        ({DEFAULT_LOWERING: 1.0, "plain": 2.0, "concat8": 0.9}, "concat8"),
        ({"plain": 2.0, "concat8": 1.99}, "concat8"),
    ],
)
def test_the_default_is_left_for_a_gain_that_repeats(times, wanted, monkeypatch):
    latencies = {name: SimpleNamespace(min_ms=value) for name, value in times.items()}
    monkeypatch.setattr(choose, "measure_interleaved", lambda *args, **kwargs: latencies)
    assert choose_lowering(network(), lowerings={name: LOWERINGS[name] for name in times}).name == wanted

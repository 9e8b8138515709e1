"""A study begins with what the evidence promises, within what it predicts to cost."""

from __future__ import annotations

import random

import pytest
from helpers import small_space

from ghostfit.counting import count
from ghostfit.search.foresight import LEAST_EVIDENCE, promising
from ghostfit.search.shrink import balanced_sample


def evidence(num: int = 40) -> list[tuple[int, dict[str, int], float, float]]:
    """Networks whose accuracy is higher by 20 points with ratio 1 in one block, and whose cost is their arithmetic."""
    space, rng = small_space(), random.Random(0)
    rows = []
    for arch in balanced_sample(space, num, rng):
        point = space.encode(arch)
        rows.append((0, point, 0.5 + 0.2 * (point["s1.b0.ratio"] == 1) + rng.gauss(0, 0.01), count(arch).macs / 1e6))
    return rows


def test_the_best_predicted_come_first() -> None:
    found = promising(small_space(), evidence(), 8, most_cost=None, seed=0)
    assert len(found) == 8 and len({arch.id for arch in found}) == 8
    assert all(arch in small_space() and arch.stages[1].blocks[0].ratio == 1 for arch in found)


@pytest.mark.parametrize("most", [0.8, 1.5])
def test_what_is_predicted_to_cost_too_much_is_left_out(most: float) -> None:
    found = promising(small_space(), evidence(), 8, most_cost=most, seed=0)
    costs = [count(arch).macs / 1e6 for arch in found]
    assert costs and sorted(costs)[len(costs) // 2] <= 1.15 * most


def test_too_little_evidence_promises_nothing() -> None:
    assert promising(small_space(), evidence(LEAST_EVIDENCE - 1), 8, most_cost=None, seed=0) == []

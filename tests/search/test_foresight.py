"""A study begins with what the evidence promises, within what it predicts to cost."""

from __future__ import annotations

import random
import statistics

import pytest
from helpers import small_space

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.search.foresight import LEAST_EVIDENCE, MOST_MEASURED, promising
from ghostfit.search.shrink import balanced_sample


def evidence(num: int = 40) -> list[tuple[int, dict[str, int], float, float]]:
    """Networks whose accuracy is higher by 20 points with ratio 1 in one block, and whose cost is their arithmetic."""
    space, rng = small_space(), random.Random(0)
    rows = []
    for arch in balanced_sample(space, num, rng):
        point = space.encode(arch)
        rows.append((0, point, 0.5 + 0.2 * (point["s1.b0.ratio"] == 1) + rng.gauss(0, 0.01), count(arch).macs / 1e6))
    return rows


def cost_of(arch: Arch) -> float:
    """Millions of multiply-adds, and a fifth more than the evidence says of small networks."""
    cost = count(arch).macs / 1e6
    return 1.2 * cost if cost < 1.2 else cost


def promised(most_cost: float | None, num: int = 8, rows: int = 40) -> list[Arch]:
    return promising(small_space(), evidence(rows), num, most_cost=most_cost, cost_of=cost_of, seed=0)


def test_the_best_predicted_come_first() -> None:
    found = promised(None)
    assert len(found) == 8 and len({arch.id for arch in found}) == 8
    assert all(arch in small_space() and arch.stages[1].blocks[0].ratio == 1 for arch in found)


def test_each_input_size_has_its_turn_however_bad_it_looks() -> None:
    rows = [(phase, point, metric - 0.3 * (point["size"] == 32), cost) for phase, point, metric, cost in evidence()]
    found = promising(small_space(), rows, 8, most_cost=2.0, cost_of=cost_of, seed=0)
    assert min(sum(arch.size_hw == (side, side) for arch in found) for side in (24, 32)) >= 3


@pytest.mark.parametrize("most", [0.9, 1.5])
def test_all_keep_the_limit_however_wrong_predictions_are(most: float) -> None:
    found = promised(most)
    assert len(found) == 8 and len({arch.id for arch in found}) == 8
    assert all(cost_of(arch) <= most for arch in found)


def test_the_last_quarter_are_those_of_most_arithmetic() -> None:
    macs = [count(arch).macs for arch in promised(1.5, 16)]
    assert len(macs) == 16 and min(macs[12:]) > statistics.median(macs[:12])


def test_measurements_are_limited() -> None:
    measured: list[str] = []

    def too_much(arch: Arch) -> float:
        measured.append(arch.id)
        return 100.0

    assert promising(small_space(), evidence(), 8, most_cost=1.5, cost_of=too_much, seed=0) == []
    assert 1 <= len(measured) == len(set(measured)) <= MOST_MEASURED * 8


def test_when_time_is_over_nothing_more_is_measured() -> None:
    measured: list[str] = []

    def slow(arch: Arch) -> float:
        measured.append(arch.id)
        return cost_of(arch)

    found = promising(
        small_space(), evidence(), 8, most_cost=1.5, cost_of=slow, seed=0, is_over=lambda: len(measured) >= 3
    )
    assert len(measured) == 3 and {arch.id for arch in found} <= set(measured)


def test_too_little_evidence_promises_nothing() -> None:
    assert promised(None, rows=LEAST_EVIDENCE - 1) == []

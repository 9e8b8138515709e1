"""Hard limits hold, and those that nothing can meet are explained before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_evaluator, small_space

from ghostfit.search.evaluate import OBJECTIVES
from ghostfit.search.limits import LIMIT_UNITS, Costs, Limits, find_feasible
from ghostfit.search.shrink import drop_infeasible

COSTS = Costs(params=2_000_000, macs=50_000_000, size_bytes=8_000_000, memory_bytes=3_000_000, latency_ms=4.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("latency_ms", 4.0), ("size_mb", 8.0), ("macs_m", 50.0), ("params_m", 2.0), ("memory_mb", 3.0)],
)
def test_each_limit_holds_up_to_its_value_and_tells_the_excess(name: str, value: float) -> None:
    assert Limits(**{name: value}).violations(COSTS) == {}
    assert Limits(**{name: value - 0.5}).violations(COSTS) == {name: pytest.approx(0.5)}
    assert name in LIMIT_UNITS


def test_limits_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="--latency-ms 0: a limit must be above zero"):
        Limits(latency_ms=0)


def test_an_infeasible_limit_shows_the_least_that_was_found(tmp_path: Path) -> None:
    evaluator, space = small_evaluator(tmp_path), small_space()
    least = evaluator.costs(space.smallest()).latency_ms
    with pytest.raises(ValueError, match=r"latency_ms 1e-06 \(the least found in this space is 0\.3"):
        find_feasible(space, Limits(latency_ms=1e-6), evaluator.costs)
    assert find_feasible(space, Limits(latency_ms=least * 1.01), evaluator.costs) in space


def test_choices_beyond_the_limits_are_dropped_with_their_reason(tmp_path: Path) -> None:
    evaluator, space = small_evaluator(tmp_path), small_space()
    limit = Limits(macs_m=evaluator.costs(space.smallest()).macs / 1e6 * 1.2)
    smaller, log = drop_infeasible(space, limit, evaluator.costs)
    assert log and all("even the smallest network with it exceeds macs_m" in entry.reason for entry in log)
    assert smaller.smallest() == space.smallest()
    for entry in log:
        assert smaller.choices(entry.gene) == entry.kept
        for choice in entry.dropped:
            assert limit.violations(evaluator.costs(space.decode({**_cheap(space), entry.gene: choice})))


def test_without_limits_nothing_is_dropped(tmp_path: Path) -> None:
    space = small_space()
    assert drop_infeasible(space, Limits(), small_evaluator(tmp_path).costs) == (space, [])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_a_number_and_the_same_one_again(name: str, tmp_path: Path) -> None:
    space = small_space()
    first = OBJECTIVES[name](small_evaluator(tmp_path), space.largest())
    again = OBJECTIVES[name](small_evaluator(tmp_path), space.largest())
    assert first == first and first == pytest.approx(again)


def _cheap(space: object) -> dict[str, int]:
    return {name: choices[0] for name, choices in space.genes}  # type: ignore[attr-defined]

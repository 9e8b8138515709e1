"""The clock of a run: what was worked counts in all processes, and a phase keeps its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostfit.run import Run
from ghostfit.verbs.clock import Clock


def new_clock(run: Run, limit_s: float | None, began_s_ago: float = 0.0) -> Clock:
    clock = Clock(run, limit_s)
    clock.began -= began_s_ago
    return clock


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", "fit", {}, seed=0)


def test_a_resumed_phase_has_the_time_it_was_given(run: Run) -> None:
    first = new_clock(run, 100.0, began_s_ago=20.0)
    given_s = first.phase_s("train", 0.5, reserve_s=10.0)
    assert given_s == pytest.approx(35.0, abs=0.1) and first.spent_s("train") < 0.1
    second = new_clock(run, 100.0, began_s_ago=15.0)
    assert second.phase_s("train", 0.5, reserve_s=10.0) == given_s, "to the last digit: the same plan"
    assert second.spent_s("train") == pytest.approx(15.0, abs=0.1)


@pytest.mark.parametrize(("limit_s", "expected"), [(200.0, 85.0), (None, None), (21.0, 1.0)])
def test_another_limit_changes_it(run: Run, limit_s: float | None, expected: float | None) -> None:
    new_clock(run, 100.0, began_s_ago=20.0).phase_s("train", 0.5)
    given_s = new_clock(run, limit_s).phase_s("train", 0.5, reserve_s=10.0)
    assert given_s == (None if expected is None else pytest.approx(expected, abs=0.1))

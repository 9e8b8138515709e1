"""A climb goes from the best of each size to larger networks, keeps the limits, and can be killed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from helpers import small_evaluator, small_space

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.run import Run
from ghostfit.search.climb import MOST_ASKS, ORIGIN, SHARE, climb, larger, num_steps, swapped
from ghostfit.search.limits import Limits
from ghostfit.search.study import Study, alike

SPACE = small_space()
LIMITS = Limits(macs_m=2.0)


def new_study(folder: Path, limits: Limits = LIMITS, objective: str = "metric") -> Study:
    run = Run.open(folder) if (folder / "run.json").exists() else Run.create(folder, "search", {}, 0)
    return Study(run, small_evaluator(folder), limits, objective)


def climbed(study: Study, start: Arch, num: int) -> list[Arch]:
    study.evaluate(start, "start")
    return [evaluation.arch for evaluation in climb(study, SPACE, num)]


def test_each_step_is_larger_than_a_network_that_the_study_could_not_tell_from_its_best(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run")
    start = SPACE.smallest()
    found = climbed(study, start, 6)
    assert found and len({arch.id for arch in [start, *found]}) == 1 + len(found)
    assert all(count(arch).macs > count(start).macs and arch.size_hw == start.size_hw for arch in found)
    assert max(count(arch).macs for arch in found) <= 2e6


def test_each_size_has_its_turn(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run", Limits(macs_m=50.0))
    for size in SPACE.choices("size"):
        study.evaluate(SPACE.restrict("size", [size]).smallest(), "start")
    steps = [evaluation.arch.size_hw for evaluation in climb(study, SPACE, 4)]
    assert len(set(steps[:2])) == 2 and steps[2:] == steps[:2]


def test_a_neighbour_has_one_gene_a_step_larger_or_another_a_step_smaller_as_well() -> None:
    arch = next(iter(larger(SPACE, SPACE.smallest())))
    assert list(swapped(SPACE, SPACE.smallest())) == [] and list(larger(SPACE, SPACE.largest())) == []
    for neighbours, changes in ((larger(SPACE, arch), [1]), (swapped(SPACE, arch), [-1, 1])):
        for other in neighbours:
            steps = [step for step in _steps(arch, other).values() if step]
            assert sorted(steps) == changes and other.size_hw == arch.size_hw


def _steps(arch: Arch, other: Arch) -> dict[str, int]:
    """By how many choices the genes that both have differ."""
    one, two = SPACE.encode(arch), SPACE.encode(other)
    return {
        gene: SPACE.choices(gene).index(two[gene]) - SPACE.choices(gene).index(one[gene]) for gene in one if gene in two
    }


def test_random_draws_are_no_place_to_climb_from(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run")
    study.evaluate(SPACE.smallest(), "random")
    assert list(climb(study, SPACE, 4)) == []


@pytest.mark.parametrize(("limits", "objective"), [(Limits(), "metric"), (LIMITS, "params")])
def test_without_a_limit_or_by_a_proxy_there_is_no_climb(limits: Limits, objective: str, tmp_path: Path) -> None:
    assert num_steps(32, new_study(tmp_path / "run", limits, objective)) == 0
    assert num_steps(32, new_study(tmp_path / "run")) == SHARE * 32


def test_a_killed_climb_repeats_nothing_and_ends_the_same(tmp_path: Path) -> None:
    expected = climbed(new_study(tmp_path / "whole"), SPACE.smallest(), 5)
    new_study(tmp_path / "killed").evaluate(SPACE.smallest(), "start")
    for kills in (1, 2, 100):
        list(itertools.islice(climb(new_study(tmp_path / "killed"), SPACE, 5), kills))
    found = [e.arch for e in new_study(tmp_path / "killed").evaluations() if e.origin == ORIGIN]
    assert found == expected


def test_networks_over_the_limit_are_measured_a_few_times_only(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run", Limits(latency_ms=30.0, params_m=count(SPACE.smallest()).params / 1e6))
    study.evaluate(SPACE.smallest(), "start")
    assert alike(study.evaluations())
    found = list(climb(study, SPACE, 2))
    assert 0 < len(found) <= MOST_ASKS * 2 and not any(e.is_feasible for e in found)

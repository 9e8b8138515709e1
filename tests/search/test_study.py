"""A study keeps what it measured, repeats nothing, and compares honestly."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from helpers import small_evaluator, small_space

from ghostfit.run import Run
from ghostfit.search.limits import Limits
from ghostfit.search.study import Evaluation, Study, best


def new_study(folder: Path, limits: Limits | None = None) -> Study:
    run = Run.open(folder) if (folder / "run.json").exists() else Run.create(folder, "search", {}, 0)
    return Study(run, small_evaluator(folder), limits or Limits())


def test_results_survive_as_json(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run")
    made = list(study.search(small_space(), "random", 3))
    assert study.evaluations() == made == [Evaluation.from_dict(e.to_dict()) for e in made]
    assert [e.number for e in made] == [0, 1, 2]


@pytest.mark.parametrize("name", ["nsga2", "tpe", "random"])
def test_a_killed_study_repeats_nothing_and_ends_the_same(name: str, tmp_path: Path) -> None:
    limits = Limits(macs_m=2.0)
    whole = new_study(tmp_path / "whole", limits)
    expected = [e.arch.id for e in whole.search(small_space(), name, 8)]
    for kills in (1, 3, 2, 100):  # each process is killed after so many results
        study = new_study(tmp_path / "killed", limits)
        list(itertools.islice(study.search(small_space(), name, 8), kills))
    found = [e.arch.id for e in study.evaluations()]
    assert found == expected and len(set(found)) == len(found)


def test_a_network_outside_the_limits_is_timed_but_not_scored(tmp_path: Path) -> None:
    space = small_space()
    study = new_study(tmp_path / "run", Limits(latency_ms=1e-6))
    evaluation = study.evaluate(space.largest(), "start")
    assert evaluation.score is None and not evaluation.is_feasible and evaluation.costs.latency_ms > 0
    assert best([evaluation]) is None


def test_a_network_known_from_another_origin_is_not_scored_again(tmp_path: Path) -> None:
    study = new_study(tmp_path / "run")
    first = study.evaluate(small_space().smallest(), "start")
    again = next(iter(study.search(small_space(), "nsga2", 1, first=[small_space().smallest()])))
    assert again.arch == first.arch and again.score == first.score and again.origin == "nsga2"


def test_among_accuracies_that_cannot_be_told_apart_the_multiply_adds_decide(tmp_path: Path) -> None:
    evaluations = list(new_study(tmp_path / "run").search(small_space(), "random", 12))
    chosen = best(evaluations)
    scored = [(e, e.score) for e in evaluations if e.score is not None]
    top = max((score for _, score in scored), key=lambda score: score.metric)
    near = [e for e, score in scored if score.metric >= top.metric - top.standard_error]
    assert chosen in near and len(near) > 1
    assert chosen is not None and chosen.costs.macs == max(e.costs.macs for e in near)


def test_a_study_that_is_over_evaluates_nothing(tmp_path: Path) -> None:
    assert list(new_study(tmp_path / "run").search(small_space(), "random", 5, is_over=lambda: True)) == []

from __future__ import annotations

import random
from pathlib import Path

from ghostfit.report.read import Evaluation, read_run
from ghostfit.report.sections.confusion import most_confused
from ghostfit.report.sections.spent import phase_seconds
from ghostfit.report.sections.tradeoff import pareto_front
from ghostfit.report.sections.training import running_mean, thin


def evaluation(latency_ms: float, metric: float) -> Evaluation:
    return Evaluation(0, "nsga2", "", metric, latency_ms, None, None, None, None, None, True)


def test_the_front_holds_what_nothing_beats() -> None:
    rng = random.Random(1)
    points = [(rng.choice((1.0, 2.0, rng.random() * 3)), rng.random()) for _ in range(80)]
    known = [(cost, accuracy, evaluation(cost, accuracy)) for cost, accuracy in points]
    front = {(e.latency_ms, e.metric) for e in pareto_front(known)}
    beaten = {(c, a) for c, a in points if any((d <= c and b >= a and (d, b) != (c, a)) for d, b in points)}
    assert front == set(points) - beaten


def test_groups_of_origins() -> None:
    origins = {
        "nsga2": "search",
        "tpe": "search",
        "random": "random",
        "width": "hand",
        "preset:x": "hand",
        "start": "start",
    }
    for origin, group in origins.items():
        assert Evaluation(0, origin, "", None, None, None, None, None, None, None, True).group == group


def test_the_run_is_read_as_written(finished_run: Path) -> None:
    run = read_run(finished_run)
    assert run.problems == ()
    assert run.chosen is not None and run.arch is not None and run.chosen.arch_id == run.arch.id
    assert list(run.metrics)[:2] == ["supernet", "train"]
    assert sum(phase_seconds(run).values()) > 0
    assert run.manifest["schema"] == "ghostfit.bundle/1"


def test_most_confused_keeps_the_worst() -> None:
    matrix = [[9 if i == j else 0 for j in range(30)] for i in range(30)]
    matrix[3][28] = 5
    matrix[17][4] = 4
    assert {3, 28, 17, 4} <= set(most_confused(matrix, 5))
    assert len(most_confused(matrix, 5)) == 5


def test_long_curves_are_thinned() -> None:
    points = [(float(i), 1.0) for i in range(10_007)]
    assert len(thin(points)) <= 240
    assert all(abs(value - 1) < 1e-9 for _, value in thin(running_mean(points)))

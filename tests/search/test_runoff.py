"""A run-off puts one network of each kind forward, trains each once, and lets the scores decide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import small_evaluator, small_space

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import Network, build
from ghostfit.run import Run
from ghostfit.search.evaluate import Score, resize_to
from ghostfit.search.limits import Costs
from ghostfit.search.runoff import FAR, MOST_FINALISTS, finalists, run_off
from ghostfit.search.study import Evaluation

SPACE = small_space()
SMALL, LARGE = (SPACE.restrict("size", [size]) for size in SPACE.choices("size"))
ERROR = 0.01


def evaluation(
    arch: Arch, metric: float, origin: str = "nsga2", quality: float | None = None, latency_ms: float = 1.0
) -> Evaluation:
    macs = count(arch).macs
    costs = Costs(params=1, macs=macs, size_bytes=4, memory_bytes=4, latency_ms=latency_ms, latency_p90_ms=latency_ms)
    score = Score(metric=metric, loss=1.0, num_images=100, standard_error=ERROR)
    chosen = metric if quality is None else quality
    return Evaluation(
        number=0, origin=origin, arch=arch, costs=costs, score=score, quality=chosen, is_feasible=True, seconds=0.0
    )


def ids(evaluations: list[Evaluation]) -> list[str]:
    return [e.arch.id for e in evaluations]


def test_the_best_of_each_size_and_of_each_origin_go_on() -> None:
    top, other = evaluation(SMALL.largest(), 0.70), evaluation(SMALL.smallest(), 0.60)
    large = evaluation(LARGE.largest(), 0.68)
    drawn = evaluation(LARGE.smallest(), 0.67, origin="random")
    assert ids(finalists([other, drawn, large, top])) == ids([top, large, drawn])


def test_what_is_far_behind_is_no_finalist() -> None:
    top, behind = evaluation(SMALL.largest(), 0.70), evaluation(LARGE.largest(), 0.70 - 1.01 * FAR * ERROR)
    assert ids(finalists([behind, top])) == ids([top])


def test_there_are_never_too_many() -> None:
    archs = [SMALL.largest(), SMALL.smallest(), LARGE.largest(), LARGE.smallest()]
    archs += [arch.replace(num_classes=4 + number) for number, arch in enumerate(archs, start=1)]
    many = [evaluation(arch, 0.7, origin=str(number)) for number, arch in enumerate(archs)]
    assert len(finalists(many)) == MOST_FINALISTS


def test_a_proxy_has_the_last_word() -> None:
    assert (
        finalists([evaluation(SMALL.largest(), 0.7, quality=5.0), evaluation(LARGE.largest(), 0.7, quality=6.0)]) == []
    )
    assert finalists([]) == []


def test_the_scores_decide_and_a_killed_run_off_trains_nothing_twice(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "search", {}, 0)
    first, second = evaluation(SMALL.largest(), 0.70), evaluation(LARGE.largest(), 0.68)
    trained: list[str] = []

    def train(arch: Arch) -> Network | None:
        if arch == second.arch and not is_resumed:
            return None  # stopped
        trained.append(arch.id)
        return build(arch)

    def score(network: Network) -> Score:
        return Score(metric=0.9 if network.arch == second.arch else 0.8, loss=1.0, num_images=10)

    is_resumed = False
    assert ids([f.evaluation for f in run_off(run, [first, second], train, score)]) == [first.arch.id]
    is_resumed = True
    held = run_off(run, [first, second], train, score)
    assert ids([f.evaluation for f in held]) == [second.arch.id, first.arch.id]
    assert [f.score.metric for f in held] == [0.9, 0.8] and trained == [first.arch.id, second.arch.id]


@pytest.mark.parametrize(
    ("metric", "error", "is_large_first"), [(0.88, 0.03, True), (0.86, 0.03, False), (0.9, 0.0, False)]
)
def test_of_networks_alike_the_largest_is_taken(
    tmp_path: Path, metric: float, error: float, is_large_first: bool
) -> None:
    run = Run.create(tmp_path / "run", "search", {}, 0)
    small, large = (evaluation(space.largest(), 0.7) for space in (SMALL, LARGE))
    assert small.costs.macs < large.costs.macs

    def score(network: Network) -> Score:
        is_large = network.arch == large.arch
        return Score(metric=metric if is_large else 0.9, loss=1.0, num_images=100, standard_error=error)

    held = run_off(run, [small, large], build, score)
    assert (held[0].evaluation.arch == large.arch) == is_large_first


def test_of_equal_networks_the_faster_is_taken(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "search", {}, 0)
    slow, fast = (evaluation(space.largest(), 0.7, latency_ms=ms) for space, ms in ((LARGE, 2.0), (SMALL, 1.0)))
    held = run_off(run, [slow, fast], build, lambda network: Score(metric=0.9, loss=1.0, num_images=10))
    assert ids([f.evaluation for f in held]) == [fast.arch.id, slow.arch.id]


def test_a_network_is_judged_at_its_own_size(tmp_path: Path) -> None:
    judge, network = small_evaluator(tmp_path), build(SMALL.largest()).eval()
    (x, y), *_ = judge.judged.epoch()
    with torch.no_grad():
        expected = (network(resize_to(x, network.arch)).argmax(1) == y).float().mean()
    assert x.shape[-1] != network.arch.size_hw[1] and judge.score_network(network).metric == pytest.approx(expected)

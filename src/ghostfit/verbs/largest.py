"""Search without a store: the largest networks within the limits, one of a kind, each trained for a while."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ghostfit.arch import Arch
from ghostfit.event import Event
from ghostfit.verbs.compare import hand_made
from ghostfit.verbs.runoff import LEAST_TIME_S, TIME_SHARE, train_shortly

if TYPE_CHECKING:
    from ghostfit.nn.build import Network
    from ghostfit.search.evaluate import Score
    from ghostfit.search.study import Evaluation
    from ghostfit.verbs.hunt import Hunt

LARGEST = "largest"  # the strategy, and the origin of what it proposes
MOST_OF_KINDS = 4  # with one scaled by hand as many as the finalists of a run-off
TIMING_SHARE = 0.1  # of the time that is left, for latencies


def take_largest(hunt: Hunt) -> tuple[Evaluation, list[Evaluation]]:
    """Phase ``search``: the network to train in full, and all that were trained for a while.

    In short runs, as for a run-off, and where a stop is asked for, it is the first: of the largest input the network of
    most multiply-adds.
    """
    from ghostfit.search.study import RECORDS, Evaluation, best

    run, clock = hunt.run, hunt.clock
    began = clock.elapsed_s
    evaluations = [Evaluation.from_dict(record) for record in run.records(RECORDS)]
    if not run.is_done("search"):
        hunt.on_event(Event("search", "start", "the largest networks within the limits"))
        wanted = _proposed(hunt)
        total_s = clock.phase_s("search", TIME_SHARE)
        seconds = None if total_s is None else total_s / len(wanted)
        has_time = len(wanted) > 1 and (hunt.config.time_s or LEAST_TIME_S) >= LEAST_TIME_S
        known = {evaluation.arch.id for evaluation in evaluations}
        for number, (origin, arch) in enumerate(wanted if has_time else wanted[:1]):
            if arch.id in known:
                continue
            start = time.perf_counter()
            score = _scored(hunt, arch, seconds) if has_time else None
            if score is None and evaluations:
                break  # stopped
            evaluations.append(_evaluation(hunt, number, origin, arch, score, time.perf_counter() - start))
            run.append(RECORDS, evaluations[-1].to_dict())
            told = "not trained" if score is None else f"{100 * score.metric:.1f} % after a short training"
            hunt.on_event(Event("search", "progress", f"{arch.id}: {told}", number + 1, len(wanted)))
        run.finish("search", seconds=round(clock.elapsed_s - began, 1), num_evaluations=len(evaluations))
        hunt.on_event(
            Event("search", "done", f"{sum(e.score is not None for e in evaluations)} networks trained for a while")
        )
    return best(evaluations) or evaluations[0], evaluations


def short_network(hunt: Hunt, arch: Arch) -> Network:
    """`arch` as its short training left it; with fresh weights where it had none."""
    from ghostfit.nn.pretrained import load_pretrained

    path = _kept(hunt, arch)
    network = load_pretrained(arch, path) if path.exists() else hunt.fresh(arch)
    return network.to(hunt.device)


def _proposed(hunt: Hunt) -> list[tuple[str, Arch]]:
    """(origin, network): the largest of each kind, then the start with all widths scaled alike."""
    from ghostfit.search.largest import largest_of_kinds

    space, seed = hunt.space, hunt.config.seed

    def is_within(arch: Arch) -> bool:
        return not hunt.aim.violations(hunt.costs(arch))

    is_over = hunt.clock.deadline(hunt.clock.share_s(TIMING_SHARE))
    found = [(LARGEST, arch) for arch in largest_of_kinds(space, is_within, MOST_OF_KINDS, seed=seed, is_over=is_over)]
    by_hand = [pair for pair in reversed(hand_made(space, hunt.outset.start)) if is_within(pair[1])]
    new = [pair for pair in by_hand[:1] if pair[1].id not in {arch.id for _, arch in found}]
    return [*found, *new] or [("fallback", hunt.fallback(space))]


def _scored(hunt: Hunt, arch: Arch, seconds: float | None) -> Score | None:
    """The score after a short training, whose weights are kept; None when that was stopped."""
    from ghostfit.nn.pretrained import save_weights

    network = train_shortly(hunt, hunt.fresh(arch), seconds, 1.0)
    if network is None:
        return None
    save_weights(network, _kept(hunt, arch))
    return hunt.run_off_judge.score_network(network)


def _kept(hunt: Hunt, arch: Arch) -> Path:
    return hunt.run.file("checkpoints", f"short-{arch.id}.safetensors")


def _evaluation(hunt: Hunt, number: int, origin: str, arch: Arch, score: Score | None, seconds: float) -> Evaluation:
    from ghostfit.search.study import Evaluation

    costs = hunt.costs(arch)
    return Evaluation(
        number=number,
        origin=origin,
        arch=arch,
        costs=costs,
        score=score,
        quality=None if score is None else score.metric,
        is_feasible=not hunt.limits.violations(costs),
        seconds=round(seconds, 3),
    )

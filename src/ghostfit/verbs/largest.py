"""Search without a store: the largest networks within the limits, one of a kind, each trained for a while.

Before them a small one is tried: where it leaves nothing to gain, a larger one would only be slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ghostfit.arch import Arch
from ghostfit.event import Event
from ghostfit.search.limits import main_cost
from ghostfit.search.start import scale_width, widest_within
from ghostfit.train.config import DEFAULT_EPOCHS
from ghostfit.verbs.compare import hand_made
from ghostfit.verbs.runoff import EPOCHS_SHARE, LEAST_TIME_S, TIME_SHARE, train_shortly

if TYPE_CHECKING:
    from ghostfit.nn.build import Network
    from ghostfit.search.evaluate import Score
    from ghostfit.search.study import Evaluation
    from ghostfit.verbs.hunt import Hunt

LARGEST = "largest"  # the strategy, and the origin of what it proposes
# One of each of two input sizes, and one is scaled by hand. More of the better size were never taken, or could not be
# told from these (measured, docs/LOG.md, 2026-12-01).
MOST_OF_KINDS = 2
TIMING_SHARE = 0.1  # of the time that is left, for latencies
SMALL = "small"  # the origin of a network that is tried before the largest
SMALL_SHARE = 0.25  # of the largest one's cost, and of that one's where it is enough
SMALL_TIME_SHARE, SMALL_EPOCHS_SHARE = 0.05, 0.2  # of the time left, or of the epochs, for its training
FIRST_SHARE = 0.25  # of that training is made first, where it is not too short to tell:
LEAST_FIRST_S, LEAST_FIRST_IMAGES = 5.0, 5000
MOST_SMALL = 2
LEAST_JUDGED = 200  # images, for a small network to be enough
MOST_WRONG = 4  # of them: two standard errors of so few reach down to none
LEAST_RIGHT_AT_FIRST = 2 / 3  # of all: after 35 steps 81 % of the digits were right, after four times as many 99 %


def take_largest(hunt: Hunt) -> tuple[Evaluation, list[Evaluation]]:
    """Phase ``search``: the network to train in full, and all that were trained for a while.

    A small one that leaves nothing to gain goes before all others. Else it is the best of the largest; in short runs,
    as for a run-off, and where a stop is asked for, the first of these, which has the largest input.
    """
    from ghostfit.search.study import RECORDS, Evaluation

    run, clock = hunt.run, hunt.clock
    began = clock.elapsed_s
    evaluations = [Evaluation.from_dict(record) for record in run.records(RECORDS)]
    if not run.is_done("search"):
        hunt.on_event(Event("search", "start", "the largest networks within the limits"))
        proposed = _proposed(hunt)
        if proposed.kinds:
            _try_small(hunt, proposed.kinds[0][0], evaluations)
        if not _enough(evaluations):
            _try_largest(hunt, proposed, evaluations)
        run.finish("search", seconds=round(clock.elapsed_s - began, 1), num_evaluations=len(evaluations))
        hunt.on_event(
            Event("search", "done", f"{sum(e.score is not None for e in evaluations)} networks trained for a while")
        )
    return taken(evaluations), evaluations


def sentence_of_small(found: Evaluation) -> str:
    """What the run says where a small network is enough; empty where the found one is none."""
    if found.origin != SMALL or found.score is None:
        return ""
    num = found.score.num_images
    return (
        f"A small network is enough: {num - wrong_of(found.score)} of {num} images are told right at "
        f"{found.costs.latency_ms:.3f} ms after a short training; what a larger one could gain can't be told from none."
    )


def short_network(hunt: Hunt, arch: Arch) -> Network:
    """`arch` as its short training left it; with fresh weights where it had none."""
    from ghostfit.nn.pretrained import load_pretrained

    path = _kept(hunt, arch)
    network = load_pretrained(arch, path) if path.exists() else hunt.fresh(arch)
    return network.to(hunt.device)


def taken(evaluations: list[Evaluation]) -> Evaluation:
    """The network to train in full: the smallest that is enough, else the best of the largest.

    Of those that the best's error can't tell from it, it is the one of most multiply-adds.
    """
    from ghostfit.search.study import best

    if enough := _enough(evaluations):
        return enough[-1]
    others = [evaluation for evaluation in evaluations if evaluation.origin != SMALL]
    return best(others) or others[0]


def _enough(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Small networks that leave nothing to gain."""
    return [e for e in evaluations if e.origin == SMALL and e.score is not None and is_enough(e.score)]


def is_enough(score: Score) -> bool:
    """Whether so few answers are wrong that a better network couldn't be told from this one."""
    return score.num_images >= LEAST_JUDGED and wrong_of(score) <= MOST_WRONG


def wrong_of(score: Score) -> int:
    """How many answers are wrong."""
    return round((1 - score.metric) * score.num_images)


def _try_small(hunt: Hunt, largest: Arch, evaluations: list[Evaluation]) -> None:
    """Train a network of a quarter of the cost of `largest`, and where it is enough one of a quarter of that."""
    if hunt.material.task != "classify" or hunt.run_off_judge.judged.num_images < LEAST_JUDGED:
        return  # other tasks don't count wrong answers, and few images don't tell enough
    known = {evaluation.arch.id: evaluation for evaluation in evaluations}

    def cost_of(arch: Arch) -> float:
        return main_cost(hunt.limits, hunt.costs(arch))

    small = scaled_down(largest, cost_of)
    for number in range(MOST_SMALL):
        if small is None:
            return
        if small.id not in known:
            start = time.perf_counter()
            score = _score_small(hunt, small, number)
            if score is None:
                return  # stopped
            known[small.id] = _keep(hunt, evaluations, SMALL, small, score, time.perf_counter() - start)
            told = f"a small network, {small.id}: {100 * score.metric:.1f} % after a short training"
            hunt.on_event(Event("search", "progress", told, number + 1, MOST_SMALL))
        if not _enough([known[small.id]]):
            return
        small = scaled_down(small, cost_of)


def _score_small(hunt: Hunt, arch: Arch, number: int) -> Score | None:
    """The score after a quarter of its training where that settles it, else after the whole of it."""
    score = None
    for step, share in (("first", FIRST_SHARE), ("", 1.0)):
        seconds = hunt.clock.phase_s(f"{SMALL}:{number}:{step}", share * SMALL_TIME_SHARE)
        if step and _is_short(hunt, seconds):
            continue
        score = _scored(hunt, arch, seconds, share * SMALL_EPOCHS_SHARE, step)
        if score is None or is_enough(score) or score.metric < LEAST_RIGHT_AT_FIRST:
            break
    return score


def _is_short(hunt: Hunt, seconds: float | None) -> bool:
    """Whether the first part of a small network's training tells nothing."""
    epochs = getattr(hunt.config, "epochs", None)
    if seconds is not None and not epochs:
        return seconds < LEAST_FIRST_S
    share = FIRST_SHARE * SMALL_EPOCHS_SHARE * (epochs or DEFAULT_EPOCHS)
    return share * len(hunt.material.indices(["train"])) < LEAST_FIRST_IMAGES


def scaled_down(arch: Arch, cost_of: Callable[[Arch], float]) -> Arch | None:
    """`arch` with all widths scaled alike to a quarter of its cost; None where none is so cheap."""
    most = SMALL_SHARE * cost_of(arch)
    return widest_within(lambda factor: scale_width(arch, factor), lambda scaled: cost_of(scaled) <= most, high=1.0)


def _try_largest(hunt: Hunt, proposed: Proposed, evaluations: list[Evaluation]) -> None:
    """Train each of the networks for a while, or, without the time for it, name the first."""
    total_s = hunt.clock.phase_s("search", TIME_SHARE)
    most = proposed.num
    has_time = most > 1 and (hunt.config.time_s or LEAST_TIME_S) >= LEAST_TIME_S
    known = {evaluation.arch.id for evaluation in evaluations if evaluation.origin != SMALL}
    for number, (origin, arch) in enumerate(proposed.in_turn(lambda: taken(evaluations).arch.size_hw)):
        if arch.id in known:
            continue
        start = time.perf_counter()
        score = _scored(hunt, arch, None if total_s is None else total_s / most, EPOCHS_SHARE) if has_time else None
        if score is None and known:
            return  # stopped
        _keep(hunt, evaluations, origin, arch, score, time.perf_counter() - start)
        known.add(arch.id)
        told = "not trained" if score is None else f"{100 * score.metric:.1f} % after a short training"
        hunt.on_event(Event("search", "progress", f"{arch.id}: {told}", number + 1, most))
        if not has_time:
            return


@dataclass(frozen=True)
class Proposed:
    """Networks within the limits: the largest of each kind, by input size, and what a person would take, if any is."""

    kinds: list[list[Arch]]
    by_hand: list[tuple[str, Arch]]

    @property
    def num(self) -> int:
        """How many are trained at most."""
        return min(MOST_OF_KINDS, sum(map(len, self.kinds))) + len(self.by_hand)

    def in_turn(self, best_size: Callable[[], tuple[int, int]]) -> Iterator[tuple[str, Arch]]:
        """(origin, network) in the order in which they are tried; `best_size` as for `search.largest.in_turn`."""
        from ghostfit.search.largest import in_turn

        yield from ((LARGEST, arch) for arch in in_turn(self.kinds, MOST_OF_KINDS, best_size))
        yield from self.by_hand


def _proposed(hunt: Hunt) -> Proposed:
    """The largest of each kind, and the start with all widths scaled alike."""
    from ghostfit.search.largest import largest_of_kinds

    space = hunt.space

    def is_within(arch: Arch) -> bool:
        return not hunt.aim.violations(hunt.costs(arch))

    is_over = hunt.clock.deadline(hunt.clock.share_s(TIMING_SHARE))
    kinds = largest_of_kinds(space, is_within, seed=hunt.config.seed, is_over=is_over)
    by_hand = next((pair for pair in reversed(hand_made(space, hunt.outset.start)) if is_within(pair[1])), None)
    if not kinds:
        by_hand = by_hand or ("fallback", hunt.fallback(space))
    return Proposed(kinds, [by_hand] if by_hand else [])


def _scored(hunt: Hunt, arch: Arch, seconds: float | None, epochs_share: float, name: str = "") -> Score | None:
    """The score after a short training, whose weights are kept; None when that was stopped.

    `name` is for one of several trainings of a network.
    """
    from ghostfit.nn.pretrained import save_weights

    network = train_shortly(hunt, hunt.fresh(arch), seconds, 1.0, epochs_share, name)
    if network is None:
        return None
    save_weights(network, _kept(hunt, arch))
    return hunt.run_off_judge.score_network(network)


def _kept(hunt: Hunt, arch: Arch) -> Path:
    return hunt.run.file("checkpoints", f"short-{arch.id}.safetensors")


def _keep(
    hunt: Hunt, evaluations: list[Evaluation], origin: str, arch: Arch, score: Score | None, seconds: float
) -> Evaluation:
    """Write down what was measured of a network."""
    from ghostfit.search.study import RECORDS, Evaluation

    costs = hunt.costs(arch)
    evaluation = Evaluation(
        number=len(evaluations),
        origin=origin,
        arch=arch,
        costs=costs,
        score=score,
        quality=None if score is None else score.metric,
        is_feasible=not hunt.limits.violations(costs),
        seconds=round(seconds, 3),
    )
    evaluations.append(evaluation)
    hunt.run.append(RECORDS, evaluation.to_dict())
    return evaluation

"""Climbing: from the best networks of a study on to larger ones beside them, until the limit is used up.

A strategy that breeds whole populations seldom ends at the limit: of some hundreds of networks within it, a few tens
are scored. Inherited accuracies of those are within their error, and of networks alike the one of most multiply-adds
gains most from a training of its own (docs/LOG.md, 2026-11-26), so the way up is known: one gene a step larger, or one
larger and another smaller. Hill climbing with the steepest feasible step, for each input size in turn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.search.limits import main_cost
from ghostfit.search.study import Evaluation, Study, alike
from ghostfit.space import Point, Space

ORIGIN = "climb"
SHARE = 0.25  # of a study's evaluations
MOST_ASKS = 4  # networks measured for each that is scored
MOST_SWAPS = 200  # pairs of genes looked at; large spaces have thousands


def num_steps(num_evaluations: int, study: Study) -> int:
    """How many of a study's evaluations are for climbing: none without a limit, or where a proxy was asked for."""
    return int(SHARE * num_evaluations) if study.limits.given() and study.objective == "metric" else 0


def climb(
    study: Study, space: Space, num_evaluations: int, *, is_over: Callable[[], bool] = lambda: False
) -> Iterator[Evaluation]:
    """Evaluate larger neighbours of the best of each size until `num_evaluations` of them have been scored.

    Yields each new evaluation, those outside the limits too; ends early where no neighbour is left.
    """
    evaluations = study.evaluations()
    mine = [e for e in evaluations if e.origin == ORIGIN]
    while sum(e.score is not None for e in mine) < num_evaluations and not is_over():
        if len(mine) >= MOST_ASKS * num_evaluations:
            return
        arch = next_step(study, space, evaluations)
        if arch is None:
            return
        evaluation = study.evaluate(arch, ORIGIN)
        evaluations.append(evaluation)
        mine.append(evaluation)
        yield evaluation


def next_step(study: Study, space: Space, evaluations: list[Evaluation]) -> Arch | None:
    """The network to evaluate next; None where nothing larger is left that could keep the limits.

    The size that has had the fewest steps comes first. Costs are taken to grow as multiply-adds do: among neighbours
    they nearly do, and a network is measured before it is scored.
    """
    seen = {e.arch.id for e in evaluations}
    steps = [e.arch.size_hw for e in evaluations if e.origin == ORIGIN]
    scored = [e for e in evaluations if e.score is not None and e.origin != "random" and e.arch in space]
    most = float(next(iter(study.limits.given().values())))
    sizes = dict.fromkeys(e.arch.size_hw for e in scored)
    for size in sorted(sizes, key=steps.count):
        for base in alike(e for e in scored if e.arch.size_hw == size):
            room = most / main_cost(study.limits, base.costs)
            for neighbours in (larger(space, base.arch), swapped(space, base.arch)):
                new = {arch.id: arch for arch in neighbours if arch.id not in seen}
                macs = {arch_id: count(arch).macs for arch_id, arch in new.items()}
                fitting = [arch_id for arch_id in new if base.costs.macs < macs[arch_id] <= room * base.costs.macs]
                if fitting:
                    return new[max(fitting, key=lambda arch_id: macs[arch_id])]
    return None


def larger(space: Space, arch: Arch) -> Iterator[Arch]:
    """`arch` with one gene at its next choice."""
    point = space.encode(arch)
    for gene, choice in _moved(space, point, 1).items():
        yield space.decode({**point, gene: choice})


def swapped(space: Space, arch: Arch) -> Iterator[Arch]:
    """`arch` with one gene at its next choice and another at the one before: `MOST_SWAPS` of them at most."""
    point = space.encode(arch)
    up, down = _moved(space, point, 1), _moved(space, point, -1)
    pairs = [pair for pair in itertools.product(up, down) if pair[0] != pair[1]]
    for first, second in random.Random(arch.id).sample(pairs, min(len(pairs), MOST_SWAPS)):
        yield space.decode({**point, first: up[first], second: down[second]})


def _moved(space: Space, point: Point, by: int) -> Point:
    """The choice so many places on, of each gene that has one; sizes stay, since shared weights can't compare them."""
    genes = [gene for gene in space.open_genes() if gene in point and gene != "size"]
    places = {gene: space.choices(gene).index(point[gene]) + by for gene in genes}
    return {gene: space.choices(gene)[n] for gene, n in places.items() if 0 <= n < len(space.choices(gene))}

"""Which networks the evidence gathered while the store was trained promises most of: where a study begins.

The linear model over genes that closes choices (`ghostfit.search.shrink`) also predicts: a sum of shares for the
metric, another for the logarithm of the cost. Thousands of points are ranked by it in a second; the best are then
measured like any other, those of each input size in turn: shared weights favour small sizes, and a run-off can only
mend that for sizes which the study has seen. A few are chosen by their multiply-adds instead: shared weights can't tell
networks apart that differ by little, and of such networks a study takes the one of most multiply-adds.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.search.shrink import GeneModel
from ghostfit.space import Point, Space

T = TypeVar("T")
NUM_DRAWN = 3000  # points ranked: about a second of work
DRAWS_A_POINT = 8  # fewer draws in a small space, so that a run of two minutes has time for its study
LEAST_EVIDENCE = 12  # networks; fewer say nothing about dozens of genes
BY_MACS = 0.25  # of the networks; docs/LOG.md, 2026-11-27
MOST_MEASURED = 4  # times the networks wanted: costs that are measured to find those within the limit
NEAR = 0.15  # of the logarithm of the limit: where the networks of most multiply-adds are looked for
MEMORY = 8  # measurements whose mean error corrects the next predictions


def promising(
    space: Space,
    evidence: Sequence[tuple[int, Point, float, float]],
    num: int,
    *,
    most_cost: float | None,
    cost_of: Callable[[Arch], float],
    seed: int,
    is_over: Callable[[], bool] = lambda: False,
) -> list[Arch]:
    """Up to `num` networks of `space` that cost at most `most_cost`.

    Those of highest predicted metric come first; the last quarter, where there is a limit, are those of most
    multiply-adds. `evidence` is (phase, point, metric, cost), as `Shrinker` gathers it; too little of it gives an empty
    list. `cost_of` measures the cost: near a limit, predictions are wrong by up to a third. Once `is_over` says so
    nothing more is measured.
    """
    if len(evidence) < LEAST_EVIDENCE or not space.open_genes():
        return []
    model = GeneModel.fit(space, evidence)
    rng, num_drawn = random.Random(seed), min(NUM_DRAWN, DRAWS_A_POINT * space.num_points())
    points = [space.encode(space.sample(rng)) for _ in range(num_drawn)]
    ranked = sorted(points, key=lambda point: -_sum(model, model.metric, point))
    ranked = _in_turn(ranked, lambda point: point["size"])
    if most_cost is None:
        found: dict[str, Arch] = {}
        for arch in map(space.decode, ranked):
            found.setdefault(arch.id, arch)
            if len(found) == num:
                break
        return list(found.values())
    middle = float(np.mean([np.log(cost) for *_, cost in evidence]))
    level = float(np.mean([_sum(model, model.log_cost, point) for _, point, _, _ in evidence]))

    def with_cost(point: Point) -> tuple[Arch, float]:
        return space.decode(point), middle + _sum(model, model.log_cost, point) - level

    probe = _Probe(cost_of, most_cost, MOST_MEASURED * num, is_over)
    num_large = int(BY_MACS * num)
    chosen = probe.take(map(with_cost, ranked), num - num_large)
    near = [pair for pair in map(with_cost, points) if abs(probe.excess(*pair)) <= NEAR]
    near = _in_turn(sorted(near, key=lambda pair: -count(pair[0]).macs), lambda pair: pair[0].size_hw)
    return [*chosen, *probe.take(near, num_large)]


@dataclass
class _Probe:
    """Measures networks that are predicted to keep a limit, and learns how wrong the predictions are."""

    cost_of: Callable[[Arch], float]
    most_cost: float
    num_left: int  # measurements
    is_over: Callable[[], bool]
    errors: dict[tuple[int, int], list[float]] = field(default_factory=dict)  # of predicted logarithms, by input size
    seen: set[str] = field(default_factory=set)

    def excess(self, arch: Arch, log_cost: float) -> float:
        """Logarithm of predicted cost over the limit, corrected by the latest measurements at that input size."""
        latest = self.errors.get(arch.size_hw, [])[-MEMORY:]
        return log_cost + (sum(latest) / len(latest) if latest else 0.0) - math.log(self.most_cost)

    def take(self, ranked: Iterable[tuple[Arch, float]], num: int) -> list[Arch]:
        """The first `num` networks of `ranked`, each with its predicted log cost, that keep the limit."""
        taken: list[Arch] = []
        for arch, log_cost in ranked:
            if len(taken) == num or not self.num_left or self.is_over():
                break
            if arch.id in self.seen or self.excess(arch, log_cost) > 0:
                continue
            self.seen.add(arch.id)
            self.num_left -= 1
            cost = self.cost_of(arch)
            self.errors.setdefault(arch.size_hw, []).append(math.log(cost) - log_cost)
            if cost <= self.most_cost:
                taken.append(arch)
        return taken


def _in_turn(items: Iterable[T], size_of: Callable[[T], Hashable]) -> list[T]:
    """The first of each input size, then the second of each, and so on."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(size_of(item), []).append(item)
    return [item for turn in itertools.zip_longest(*groups.values()) for item in turn if item is not None]


def _sum(model: GeneModel, shares: np.ndarray, point: Point) -> float:
    """Sum of the shares of a point's choices."""
    return float(sum(shares[model.columns[pair]] for pair in point.items() if pair in model.columns))

"""Which networks the evidence gathered while the store was trained promises most of: where a study begins.

The linear model over genes that closes choices (`ghostfit.search.shrink`) also predicts: a sum of shares for the
metric, another for the logarithm of the cost. Thousands of points are ranked by it in a second; the best are then
measured like any other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from ghostfit.arch import Arch
from ghostfit.search.shrink import GeneModel
from ghostfit.space import Point, Space

NUM_DRAWN = 3000  # points ranked: about a second of work
LEAST_EVIDENCE = 12  # networks; fewer say nothing about dozens of genes
TOLERANCE = 1.05  # of the cost limit: what the prediction may be wrong by, since costs are measured before scores


def promising(
    space: Space,
    evidence: Sequence[tuple[int, Point, float, float]],
    num: int,
    *,
    most_cost: float | None,
    seed: int,
) -> list[Arch]:
    """Up to `num` networks of `space`, the highest predicted metric first, predicted to cost at most `most_cost`.

    `evidence` is (phase, point, metric, cost), as `Shrinker` gathers it; too little of it gives an empty list.
    """
    if len(evidence) < LEAST_EVIDENCE or not space.open_genes():
        return []
    model = GeneModel.fit(space, evidence)
    rng = random.Random(seed)
    points = [space.encode(space.sample(rng)) for _ in range(NUM_DRAWN)]
    ranked = sorted(points, key=lambda point: -_sum(model, model.metric, point))
    middle = float(np.mean([np.log(cost) for *_, cost in evidence]))
    level = float(np.mean([_sum(model, model.log_cost, point) for _, point, _, _ in evidence]))
    found: dict[str, Arch] = {}
    for point in ranked:
        cost = np.exp(middle + _sum(model, model.log_cost, point) - level)
        if most_cost is None or cost <= TOLERANCE * most_cost:
            arch = space.decode(point)
            found.setdefault(arch.id, arch)
        if len(found) == num:
            break
    return list(found.values())


def _sum(model: GeneModel, shares: np.ndarray, point: Point) -> float:
    """Sum of the shares of a point's choices."""
    return float(sum(shares[model.columns[pair]] for pair in point.items() if pair in model.columns))

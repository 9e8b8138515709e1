"""The course of the learning rate as a pure function of progress, from 0 at the first step to 1 at the last.

Because progress and not the step number is the argument, a plan that is shortened midway (`ghostfit.train.plan`) still
anneals to the floor, without a jump. Cosine: arXiv 1608.03983. One cycle: arXiv 1708.07120, of the rate only.

>>> [round(lr_factor("cosine", p, warmup=0.1, floor=0.01), 3) for p in (0.0, 0.1, 0.55, 1.0)]
[0.02, 1.0, 0.505, 0.01]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

START = 0.02  # of the peak, at the first step; from 0 the first step would be lost
ONECYCLE_RISE, ONECYCLE_START, ONECYCLE_END = 0.3, 0.04, 1e-4  # torch.optim.lr_scheduler.OneCycleLR's defaults
COOL_DOWN = (
    0.15  # plateau: the last share of the steps anneals to the floor, so that a time limit ends in settled weights
)
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.3, 4  # evaluations without progress, then the rate falls by the factor


def lr_factor(schedule: str, progress: float, *, warmup: float, floor: float, plateau: float = 1.0) -> float:
    """Share of the peak rate at `progress` (0..1); `plateau` is `Plateau.factor`, used by that schedule only."""
    if schedule == "onecycle":
        rise, start, floor = ONECYCLE_RISE, ONECYCLE_START, min(floor, ONECYCLE_END)
        if progress < rise:
            return _cosine(start, 1.0, progress / rise)
        return _cosine(1.0, floor, (progress - rise) / (1 - rise))
    if progress < warmup:
        return START + (1 - START) * progress / warmup
    if schedule == "plateau":
        begin = 1 - COOL_DOWN
        return plateau if progress < begin else _cosine(plateau, min(floor, plateau), (progress - begin) / COOL_DOWN)
    assert schedule == "cosine", schedule
    return _cosine(1.0, floor, (progress - warmup) / (1 - warmup))


@dataclass(frozen=True)
class Plateau:
    """What the plateau schedule remembers between evaluations."""

    factor: float = 1.0
    best_loss: float = math.inf
    num_bad: int = 0

    def after(self, loss: float) -> Plateau:
        """The memory after an evaluation with validation loss `loss`.

        >>> memory = Plateau().after(1.0)
        >>> for _ in range(4): memory = memory.after(1.1)
        >>> memory.factor
        0.3
        """
        if loss < self.best_loss:
            return Plateau(self.factor, loss)
        if self.num_bad + 1 >= PLATEAU_PATIENCE:
            return Plateau(self.factor * PLATEAU_FACTOR, self.best_loss)
        return replace(self, num_bad=self.num_bad + 1)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))

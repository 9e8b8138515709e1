"""The plan of one training: how many steps, which peak rate, how often to validate; derived, then kept.

The plan is made once and stored with the run, so a resumed run follows it, unless it is given another time limit
(`under_limit`). Under a time limit the number of steps comes from measured throughput and is corrected as the machine
turns out slower or faster: `Plan.replanned` bends the line from steps to progress, so the learning rate goes on without
a jump and reaches its floor in time.

>>> plan = Plan(total_steps=101, steps_per_epoch=10, peak_lr=1e-3, ema_decay=0.9, eval_every=1)
>>> plan.progress(50), plan.replanned(50, 76).progress(50), plan.replanned(50, 76).progress(75)
(0.5, 0.5, 1.0)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ghostfit.train.config import DEFAULT_EPOCHS, MOST_EPOCHS, TrainConfig

EVAL_SHARE = 0.1  # of the training's cost may go to validation
MOST_EVALUATIONS = 100  # of one training: more points than a curve can show
BACKWARD_FACTOR = 3.0  # a training image costs a forward and a backward of twice its price
EMA_SHARE = 0.05  # of the steps are averaged at the end; at 100,000 steps this is the usual decay of 0.9998
LEAST_CHANGE = 0.03  # of the steps left: smaller corrections are noise of the clock
SPARE = 0.02  # of the time limit is kept free: the clock of the last steps is not known yet


@dataclass(frozen=True)
class Plan:
    """What a training will do. `knots` are (step, progress) pairs where the line from steps to progress bends."""

    total_steps: int
    steps_per_epoch: int
    peak_lr: float
    ema_decay: float
    eval_every: int  # epochs
    time_s: float | None = None
    step_s: float | None = None  # measured before the first step; None: not needed, not measured
    lr_from: str = "given"
    lr_curve: tuple[tuple[float, float], ...] = ()  # (rate, smoothed loss) of the range test
    knots: tuple[tuple[int, float], ...] = ((0, 0.0),)

    def progress(self, step: int) -> float:
        """Share of the schedule that lies behind when `step` steps are done; exactly 1 at the last step."""
        points = [*self.knots, (self.total_steps - 1, 1.0)]
        if step >= points[-1][0]:
            return 1.0
        (start, begun), (end, done) = next((a, b) for a, b in itertools.pairwise(points) if step < b[0])
        return begun + (done - begun) * (step - start) / (end - start)

    def replanned(self, step: int, total_steps: int) -> Plan:
        """The plan that ends after `total_steps` steps, of which `step` are done."""
        return replace(self, total_steps=total_steps, knots=(*self.knots, (step, self.progress(step))))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Inverse of `to_dict`."""
        pairs = {name: tuple((a, b) for a, b in data[name]) for name in ("knots", "lr_curve")}
        return cls(**{**data, **pairs})


def count_steps(
    config: TrainConfig, steps_per_epoch: int, *, step_s: float | None = None, left_s: float | None = None
) -> int:
    """Steps of a training: the given epochs, and no more than fit into `left_s` seconds of `step_s` each.

    >>> count_steps(TrainConfig(time_s=10.0), 5, step_s=0.1, left_s=9.0)
    90
    """
    epochs = config.epochs or (DEFAULT_EPOCHS if config.time_s is None else MOST_EPOCHS)
    steps = max(1, round(epochs * steps_per_epoch))
    if config.time_s is None or step_s is None or left_s is None:
        return steps
    return max(1, min(steps, int(left_s / step_s)))


def choose_ema_decay(total_steps: int) -> float:
    """Decay of the weight average, from the length of the training.

    >>> round(choose_ema_decay(2_000), 3), round(choose_ema_decay(100_000), 4)
    (0.99, 0.9998)
    """
    return 1 - 1 / max(4.0, EMA_SHARE * total_steps)


def choose_eval_every(total_steps: int, steps_per_epoch: int, eval_share: float) -> int:
    """Epochs between evaluations; `eval_share` is the number of validation images over an epoch's training images.

    Counted in images, not seconds, so that a resumed run evaluates at the same steps.
    """
    by_cost = math.ceil(eval_share / BACKWARD_FACTOR / EVAL_SHARE)
    by_count = math.ceil(total_steps / steps_per_epoch / MOST_EVALUATIONS)
    return max(1, by_cost, by_count)


def fit_into(
    plan: Plan, config: TrainConfig, step: int, *, elapsed_s: float, step_s: float, eval_s: float, reserve_s: float
) -> Plan:
    """The plan whose remaining steps, evaluations and ending (`reserve_s`) fit into what is left of its time limit.

    Returns `plan` itself when it is right already. Where the machine got faster it lengthens, up to the epochs wanted.
    """
    if plan.time_s is None:
        return plan
    left_s = plan.time_s * (1 - SPARE) - elapsed_s - reserve_s
    with_eval_s = step_s + eval_s / (plan.eval_every * plan.steps_per_epoch)
    most = count_steps(config, plan.steps_per_epoch)
    total = min(most, step + max(1, int(left_s / with_eval_s)))
    planned_left = plan.total_steps - step
    if planned_left <= 0 or abs(total - plan.total_steps) < max(1.0, LEAST_CHANGE * planned_left):
        return plan
    return plan.replanned(step, total)


def under_limit(
    plan: Plan, config: TrainConfig, step: int, *, elapsed_s: float, step_s: float | None, eval_s: float
) -> Plan:
    """The plan of a resumed training under the time limit of `config`, where that differs from the plan's own.

    A shorter limit, a longer one and none at all take effect: the steps left are counted anew. Without `step_s`
    seconds of a step, the loop fits the plan in as soon as it has timed some.
    """
    if plan.time_s == config.time_s or (
        plan.time_s is not None and config.time_s is not None and abs(config.time_s / plan.time_s - 1) < SPARE
    ):
        return plan
    plan = replace(plan, time_s=config.time_s)
    if config.time_s is None:
        total = max(count_steps(config, plan.steps_per_epoch), step + 1)
        return plan if total == plan.total_steps else plan.replanned(step, total)
    if not step_s:
        return plan
    return fit_into(plan, config, step, elapsed_s=elapsed_s, step_s=step_s, eval_s=eval_s, reserve_s=2 * eval_s)

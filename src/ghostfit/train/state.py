"""The state of a training: everything that a step changes, how one step changes it, and its form in a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import device_of
from ghostfit.train.optim import clip_gradient, make_optimizer
from ghostfit.train.plan import Plan
from ghostfit.train.schedule import Plateau, lr_factor
from ghostfit.train.seeding import seed_step
from ghostfit.train.task import FollowsProgress, HasState, Labels, Task, labels_to

EMA_EVERY = 4  # steps between updates of the average: 0.15 ms a step instead of 0.6 (docs/LOG.md)
EMA_RISE = 5.0  # updates: the average starts short and reaches its decay as t / (t + 5)
# Settings that a resumed run may give anew
FREE_TO_CHANGE = {"time_s", "checkpoint_s", "trackers", "teacher", "device"}

_Pair = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Snapshot:
    """Weights and what validation said of them."""

    weights: dict[str, Tensor]
    step: int
    metric: float
    loss: float
    standard_error: float = 0.0


@dataclass
class Training:
    """What a step changes. `batch` counts within `epoch`; `elapsed_s` counts over all processes of the run."""

    network: nn.Module
    task: Task
    config: TrainConfig
    plan: Plan
    optimizer: torch.optim.Optimizer
    ema: ModelEmaV3 | None
    step: int = 0
    epoch: int = 0
    batch: int = 0
    elapsed_s: float = 0.0
    lr_scale: float = 1.0  # lowered when the loss stopped being a number
    num_restores: int = 0
    is_done: bool = False
    eval_s: float = 0.0  # of the last evaluation
    plateau: Plateau = field(default_factory=Plateau)
    best: Snapshot | None = None
    epoch_sums: dict[str, float] = field(default_factory=dict)  # of the values of this epoch's steps

    def __post_init__(self) -> None:
        """Look up once what every step needs."""
        self.device = device_of(self.network)
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._pairs = None if self.ema is None else _pair_up(self.ema.module, self.network)
        self._follower = self.task if isinstance(self.task, FollowsProgress) else None

    @property
    def averaged(self) -> nn.Module:
        """The network that is validated and kept: the average, or the network itself without one."""
        return self.network if self.ema is None else self.ema.module

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        config = self.config
        progress = self.plan.progress(self.step)
        factor = lr_factor(
            config.schedule, progress, warmup=config.warmup, floor=config.lr_floor, plateau=self.plateau.factor
        )
        return self.plan.peak_lr * factor * self.lr_scale

    def begin_step(self) -> bool:
        """Tell a task that wants to know how far the training is; whether that took time."""
        return self._follower is not None and self._follower.begin_step(self.plan.progress(self.step))

    def train_step(self, x: Tensor, y: Labels) -> Mapping[str, Tensor | float]:
        """Go one step; returns the task's values."""
        seed_step(self.config.seed, self.step, self.device)
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        values = self.task.train_step(self.network, x.to(self.device, non_blocking=True), labels_to(y, self.device))
        if self.config.clip_grad:
            clip_gradient(self.parameters, self.config.clip_grad, self.device)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.batch += 1
        if self.ema is not None and self.step % EMA_EVERY == 0:
            self._update_average(self.step // EMA_EVERY)
        return values

    def _update_average(self, number: int) -> None:
        """What `ModelEmaV3.update` does, over tensors that were listed once: that takes most of its time."""
        assert self.ema is not None and self._pairs is not None
        (averages, values), (counts, new_counts) = self._pairs
        with torch.no_grad():
            torch._foreach_lerp_(averages, values, weight=1 - self.ema.get_decay(number))
            if counts:
                torch._foreach_copy_(counts, new_counts)

    def is_finite(self) -> bool:
        """Whether all weights and buffers are numbers."""
        return all(bool(torch.isfinite(value).all()) for value in self.network.state_dict().values())


def start(network: nn.Module, task: Task, config: TrainConfig, plan: Plan) -> Training:
    """A training at its first step."""
    ema = None
    if config.ema:
        decay = plan.ema_decay**EMA_EVERY
        ema = ModelEmaV3(network, decay=decay, use_warmup=True, warmup_gamma=EMA_RISE, warmup_power=1.0)
        ema.module.requires_grad_(False)
    return Training(network, task, config, plan, make_optimizer(network, config), ema)


def capture(training: Training) -> dict[str, Any]:
    """Everything as tensors (the living ones) and plain values; of a finished training little more than weights."""
    state = {name: getattr(training, name) for name in _COUNTERS}
    state["network"] = training.network.state_dict()
    state["config"] = _settings(training.config)
    state["plan"] = training.plan.to_dict()
    state["task"] = training.task.state_dict() if isinstance(training.task, HasState) else None
    if training.is_done:
        return state
    state["optimizer"] = training.optimizer.state_dict()
    state["ema"] = None if training.ema is None else training.ema.module.state_dict()
    state["plateau"] = dataclasses.asdict(training.plateau)
    state["best"] = None if training.best is None else vars(training.best)
    return state


def restore(training: Training, state: Mapping[str, Any]) -> None:
    """Put `training` into a captured state. Raises ValueError when it is of another network or of other settings."""
    _check_settings(training.config, state["config"])
    try:
        training.network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise ValueError(f"the checkpoint is of another network; choose another run folder ({error})") from error
    for name in _COUNTERS:
        setattr(training, name, state[name])
    training.plan = Plan.from_dict(state["plan"])
    if isinstance(training.task, HasState):
        training.task.load_state_dict(state["task"])
    if training.is_done:
        return
    training.optimizer.load_state_dict(state["optimizer"])
    training.optimizer.zero_grad()
    if training.ema is not None:
        training.ema.module.load_state_dict(state["ema"])
    training.plateau = Plateau(**state["plateau"])
    training.best = None if state["best"] is None else Snapshot(**state["best"])


def snapshot(network: nn.Module, step: int, metrics: Mapping[str, float], metric: str) -> Snapshot:
    """A copy of the network's weights with their scores; a metric that is no number counts as the worst."""
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    score, loss = metrics[metric], metrics.get("val_loss", math.inf)
    error = metrics.get("standard_error", 0.0)
    return Snapshot(
        weights, step, score if math.isfinite(score) else -math.inf, loss if math.isfinite(loss) else math.inf, error
    )


def is_better(new: Snapshot, old: Snapshot | None) -> bool:
    """Whether `new` is at least as good: by metric, then by loss; the later one of equals."""
    return old is None or (new.metric, -new.loss) >= (old.metric, -old.loss)


def is_clearly_better(best: Snapshot, last: Snapshot) -> bool:
    """Whether `best`, the highest of many evaluations, is better than `last` by two standard errors of either.

    Where all answers are right the error of `best` is none, whatever the number of images: one image would decide.
    """
    return best.metric > last.metric + 2 * max(best.standard_error, last.standard_error)


def _pair_up(average: nn.Module, network: nn.Module) -> tuple[_Pair, _Pair]:
    """Tensors of the average and of the network side by side: those of real numbers, and the counters."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    whole = [pair for pair in pairs if not pair[0].is_floating_point()]
    return ([a for a, _ in real], [b for _, b in real]), ([a for a, _ in whole], [b for _, b in whole])


_COUNTERS = ("step", "epoch", "batch", "elapsed_s", "lr_scale", "num_restores", "is_done", "eval_s", "epoch_sums")


def _settings(config: TrainConfig) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(TrainConfig)} - FREE_TO_CHANGE  # not those of a subclass
    return {name: getattr(config, name) for name in sorted(names)}


def _check_settings(config: TrainConfig, earlier: Mapping[str, Any]) -> None:
    now = _settings(config)
    changed = [
        f"{name} was {earlier.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*now, *earlier})
        if now.get(name) != earlier.get(name)
    ]
    if changed:
        raise ValueError(
            f"a training can't be resumed with other settings ({'; '.join(changed)}); "
            "use the earlier ones, or a new run folder"
        )

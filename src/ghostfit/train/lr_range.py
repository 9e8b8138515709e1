"""The peak learning rate by a range test: the rate climbs over a short run on a copy, and the loss tells where to stop.

Idea: arXiv 1506.01186. The same few batches come round and round, and each loss is compared with that of the same batch
before the ramp: so a fine-tuned network, whose loss changes less than batches differ, shows a curve too. Chosen is the
rate of the lowest smoothed change over `SAFETY`, within `BOUND` of the usual rate: a ramp of some tens of steps lags.

>>> rates = [1e-3 * 2**i for i in range(8)]
>>> choose_lr(rates, [0.0, -0.1, -0.2, -0.4, -0.6, -0.5, 0.1, 2.0], reference=4e-3)
0.008
"""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import device_of
from ghostfit.train.optim import clip_gradient, make_optimizer, reference_lr
from ghostfit.train.seeding import seed_step
from ghostfit.train.task import Batch, HasState, Loader, Task, labels_to

SPAN = (1 / 64, 8.0)  # of the usual rate: where the ramp begins and ends
NUM_BATCHES = 8  # that come round
SAFETY = 2.0  # the lowest loss stands shortly before divergence (measured, docs/LOG.md)
BOUND = (
    1 / 32,
    2.5,
)  # of the usual rate: fine-tuning may need far less, nothing needs far more (measured, docs/LOG.md)
SMOOTHING = 0.8  # of the curve, per step
DIVERGED = 1.0  # the loss has doubled: the ramp ends
NUM_PROBE_STEPS = 6  # the first two pay for allocation and are not counted


Stop = Callable[[], bool]


class StoppedError(Exception):
    """A stop was asked for before the first step of a training."""


@dataclass(frozen=True)
class RangeTest:
    """What the ramp showed: the chosen peak rate, and (rate, smoothed change of the loss) pairs."""

    lr: float
    curve: tuple[tuple[float, float], ...]


def find_lr(
    network: nn.Module,
    task: Task,
    batches: Loader,
    config: TrainConfig,
    num_steps: int,
    *,
    stop: Stop = lambda: False,
) -> RangeTest:
    """Find the peak rate in a ramp of `num_steps` steps. Network and task are as before when this ends.

    Raises StoppedError when `stop` says True meanwhile.
    """
    reference = reference_lr(config.optimizer, batches.num_images / len(batches))
    low, high = (reference * factor for factor in SPAN)
    rates = [low * (high / low) ** (i / (num_steps - 1)) for i in range(num_steps)]
    few = list(itertools.islice(_endless(batches), NUM_BATCHES))
    curve: list[tuple[float, float]] = []
    average = 0.0
    with as_before(network, task):
        before = list(_run_steps(network, task, few, config, [0.0] * len(few), stop))
    with as_before(network, task):
        for i, loss in enumerate(_run_steps(network, task, few, config, rates, stop)):
            change = loss / max(before[i % len(few)], 1e-6) - 1
            if not math.isfinite(change):
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * change
            curve.append((rates[i], average / (1 - SMOOTHING ** (i + 1))))
            if curve[-1][1] > DIVERGED:
                break
    if not curve:
        return RangeTest(reference * BOUND[0], ())
    return RangeTest(choose_lr([rate for rate, _ in curve], [change for _, change in curve], reference), tuple(curve))


def choose_lr(rates: Sequence[float], changes: Sequence[float], reference: float) -> float:
    """The peak rate that a curve of rates and smoothed changes of the loss suggests."""
    best = rates[min(range(len(changes)), key=changes.__getitem__)] / SAFETY
    return min(max(best, reference * BOUND[0]), reference * BOUND[1])


def measure_step_s(
    network: nn.Module, task: Task, batches: Loader, config: TrainConfig, *, stop: Stop = lambda: False
) -> float:
    """Seconds of a training step, data included: median of a few. Network and task are as before when this ends.

    Raises StoppedError when `stop` says True meanwhile.
    """
    times = []
    with as_before(network, task):
        before = time.perf_counter()
        for _ in _run_steps(network, task, _endless(batches), config, [0.0] * NUM_PROBE_STEPS, stop):
            now = time.perf_counter()
            times.append(now - before)
            before = now
    return statistics.median(times[2:])


@contextmanager
def as_before(network: nn.Module, task: Task) -> Iterator[None]:
    """Put weights, buffers, gradients and the task's state back at the end, whatever happened in between."""
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    state = copy.deepcopy(task.state_dict()) if isinstance(task, HasState) else None
    try:
        yield
    finally:
        network.load_state_dict(weights)
        network.zero_grad()
        if isinstance(task, HasState) and state is not None:
            task.load_state_dict(state)


def _run_steps(
    network: nn.Module, task: Task, batches: Iterable[Batch], config: TrainConfig, rates: Sequence[float], stop: Stop
) -> Iterator[float]:
    """Train a step at each of `rates` and yield its loss; the batches come round, each with a seed of its own."""
    optimizer = make_optimizer(network, config)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    device = device_of(network)
    network.train()
    for rate, (i, (x, y)) in zip(rates, itertools.cycle(enumerate(batches)), strict=False):
        if stop():
            raise StoppedError
        seed_step(config.seed, i, device)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        loss = float(task.train_step(network, x.to(device), labels_to(y, device))["loss"])
        yield loss
        if config.clip_grad:
            clip_gradient(parameters, config.clip_grad, device)
        optimizer.step()
        optimizer.zero_grad()


def _endless(batches: Loader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1

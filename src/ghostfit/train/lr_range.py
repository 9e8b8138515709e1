"""The peak learning rate by a range test: the rate climbs over a short run on a copy, and the loss tells where to stop.

Idea: arXiv 1506.01186. The chosen rate is that of the lowest smoothed loss over `SAFETY`, kept within `BOUND` of the
reference rate: a ramp of some tens of steps is a noisy instrument, and usual rates are good priors (docs/LOG.md).

>>> rates = [1e-4 * 2**i for i in range(10)]
>>> choose_lr(rates, [2.3, 2.3, 2.2, 2.0, 1.7, 1.4, 1.3, 1.5, 4.0, 9.0], reference=2e-3)
0.0016
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import device_of
from ghostfit.train.optim import make_optimizer, reference_lr
from ghostfit.train.seeding import seed_step
from ghostfit.train.task import Batch, HasState, Loader, Task

SPAN = (1 / 64, 16.0)  # of the reference rate: where the ramp begins and ends
SAFETY = 4.0  # the lowest loss stands shortly before divergence
BOUND = (1 / 4, 2.0)  # of the reference rate: what is chosen stays within
SMOOTHING = 0.8  # of the loss curve, per step
DIVERGED = 2.0  # times the lowest loss: the ramp ends
NUM_PROBE_STEPS = 6  # the first two pay for allocation and are not counted


@dataclass(frozen=True)
class RangeTest:
    """What the ramp showed: (rate, smoothed loss) pairs and the chosen peak rate."""

    lr: float
    curve: tuple[tuple[float, float], ...]


def find_lr(network: nn.Module, task: Task, batches: Loader, config: TrainConfig, num_steps: int) -> RangeTest:
    """Find the peak rate in `num_steps` steps. Network and task are as before when this returns."""
    reference = reference_lr(config.optimizer, config.batch_size)
    low, high = (reference * factor for factor in SPAN)
    rates = [low * (high / low) ** (i / (num_steps - 1)) for i in range(num_steps)]
    curve: list[tuple[float, float]] = []
    average, lowest = 0.0, math.inf
    with as_before(network, task):
        for i, loss in enumerate(_run_steps(network, task, batches, config, rates)):
            if not math.isfinite(loss):
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            smooth = average / (1 - SMOOTHING ** (i + 1))
            curve.append((rates[i], smooth))
            lowest = min(lowest, smooth)
            if smooth > DIVERGED * lowest:
                break
    if not curve:
        return RangeTest(reference * BOUND[0], ())
    return RangeTest(choose_lr([rate for rate, _ in curve], [loss for _, loss in curve], reference), tuple(curve))


def choose_lr(rates: Sequence[float], losses: Sequence[float], reference: float) -> float:
    """The peak rate that a curve of rates and smoothed losses suggests."""
    best = rates[min(range(len(losses)), key=losses.__getitem__)] / SAFETY
    return min(max(best, reference * BOUND[0]), reference * BOUND[1])


def measure_step_s(network: nn.Module, task: Task, batches: Loader, config: TrainConfig) -> float:
    """Seconds of a training step, data included: median of a few. Network and task are as before when this returns."""
    times = []
    with as_before(network, task):
        before = time.perf_counter()
        for _ in _run_steps(network, task, batches, config, [0.0] * NUM_PROBE_STEPS):
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
    network: nn.Module, task: Task, batches: Loader, config: TrainConfig, rates: Sequence[float]
) -> Iterator[float]:
    """Train a step at each of `rates` and yield its loss, until the loss is not finite."""
    optimizer = make_optimizer(network, config)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    device = device_of(network)
    network.train()
    for i, (rate, (x, y)) in enumerate(zip(rates, _endless(batches), strict=False)):
        seed_step(config.seed, i, device)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        loss = float(task.train_step(network, x.to(device), y.to(device))["loss"])
        yield loss
        if config.clip_grad:
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_grad)
        optimizer.step()
        optimizer.zero_grad()


def _endless(batches: Loader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1

"""What the training loop needs from a task, so that it can stay ignorant of labels, boxes and subnets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

Labels: TypeAlias = "Tensor | Mapping[str, Tensor]"  # (B,) int64, or what a dense task reads by name
Batch: TypeAlias = "tuple[Tensor, Labels]"


class Loader(Protocol):
    """Batches that follow from the epoch alone, so that a resumed run sees the same; see `ghostfit.data.loader`."""

    @property
    def num_images(self) -> int:
        """Images in an epoch."""
        ...

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, epoch: int = 0, start_batch: int = 0) -> Iterator[Batch]:
        """Batches (x: (B, C, H, W) float; y: its labels) of an epoch, from `start_batch` on."""
        ...


class Task(Protocol):
    """Loss and metric of a training.

    The loop seeds the global generators of torch, numpy and random before each `train_step` from (seed, step), so
    a task that draws from them needs no state of its own to be resumed. One that has state (curricula, counters)
    is also a `HasState`.
    """

    @property
    def metric(self) -> str:
        """Name of the value of `evaluate` by which the best weights are kept; larger is better."""
        ...

    def train_step(self, network: nn.Module, x: Tensor, y: Any) -> Mapping[str, Tensor | float]:
        """Forward and backward: add gradients to the parameters, return values to average and record.

        y: the `Labels` of the task's own batches. The values must hold ``loss``. Return detached tensors, not floats:
        the loop reads them seldom, so a GPU never waits.
        """
        ...

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """Metrics on the validation split: `metric`, ``val_loss`` and, when known, ``standard_error`` of the metric."""
        ...


class Learner(Task, Protocol):
    """A task whose losses can be had from raw outputs alone, whatever network they come from: a supernet needs that.

    Outputs are the network's: a tensor for classification, else a tuple (docs/design/dense.md).
    """

    def loss(self, outputs: Any, y: Any) -> dict[str, Tensor]:
        """``loss`` and its parts, with gradients."""
        ...

    def distill(self, outputs: Any, teacher_outputs: Any, y: Any) -> Tensor:
        """How far outputs are from a teacher's, which get no gradient and may come from another input size."""
        ...


@runtime_checkable
class HasState(Protocol):
    """A task whose state belongs into checkpoints: plain values and tensors only."""

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        ...


@runtime_checkable
class FollowsProgress(Protocol):
    """A task that changes as the training goes on."""

    def begin_step(self, progress: float) -> bool:
        """Called before each step, `progress` from 0 at the first to 1 at the last.

        Returns whether it did something that took time: that is then not booked as the time of a step.
        """
        ...


@runtime_checkable
class FadesAugmentation(Protocol):
    """A loader that changes images less as the training ends."""

    def begin_epoch(self, progress: float) -> None:
        """Called before each `Loader.epoch` of a training, with the share of its steps that lie before that epoch."""
        ...


def labels_to(y: Labels, device: torch.device) -> Labels:
    """The labels on `device`, of whatever kind they are."""
    if isinstance(y, Tensor):
        return y.to(device, non_blocking=True)
    return {name: value.to(device, non_blocking=True) for name, value in y.items()}

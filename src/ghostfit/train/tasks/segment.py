"""Semantic segmentation: cross entropy of the pixels, all or the hard ones, and Dice of the classes.

Sources: hard pixels and their share BiSeNet (arXiv 1808.00897); Dice of a whole batch nnU-Net (arXiv 1809.10486).

The logits are compared with the labels at the labels' resolution, interpolated bilinearly as in decoding, but in a step
only at every second row and column, from an offset that is drawn anew. Over the steps every pixel counts, and thin
things are learnt, which they are not when labels shrink to the stride of the head. Measured (docs/LOG.md), 16 images
of 320 x 320, 20 classes, one core: all pixels 1150 ms by `F.interpolate`, 670 ms by the two matrix products used here,
a quarter of the pixels 85 ms.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import device_of
from ghostfit.train.precision import autocast_of
from ghostfit.train.task import Loader
from ghostfit.train.tasks.classify import balanced_weights
from ghostfit.train.tasks.dense import Outputs, Values, arch_of, check_settings, in_float32, passes, step, teacher_for
from ghostfit.train.tasks.losses import dice_loss, hard_mean
from ghostfit.vision.decode import decode_class_map
from ghostfit.vision.objects import IGNORE
from ghostfit.vision.placement import Placement
from ghostfit.vision.segmentation_metrics import segmentation_report

EVERY, EVERY_IN_VAL = 2, 4  # rows and columns on which the loss of a step, and of a validation, is computed
DICE_WEIGHT = 1.0  # nnU-Net
NUM_COUNTED = 32  # batches from which the classes' shares are taken


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The task of naming the class of each pixel; a `Task` of the loop.

    `is_hard`: the cross entropy is that of the hard pixels, otherwise of all.
    """

    num_classes: int
    is_hard: bool = False
    class_weights: Tensor | None = None  # (C,), mean over the pixels about 1
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    distill_temperature: float = 2.0
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext

    metric = "val_miou"

    def train_step(self, network: nn.Module, x: Tensor, y: Mapping[str, Tensor]) -> Values:
        """One forward and backward."""
        return step(self, network, x, y)

    def loss(self, outputs: Outputs, y: Mapping[str, Tensor]) -> Values:
        """``loss``, ``cross_loss`` and ``dice_loss``. outputs, y: as docs/design/dense.md has them.

        Draws from the global generator of `random`, see `Task`.
        """
        return self._loss(outputs, y, EVERY, (random.randrange(EVERY), random.randrange(EVERY)))

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, y: Mapping[str, Tensor]) -> Tensor:
        """Mean divergence of the classes' probabilities from the teacher's, over all places, labelled or not."""
        (logits,), (wanted,) = in_float32(outputs), in_float32(teacher_outputs)
        if wanted.shape[2:] != logits.shape[2:]:
            wanted = F.interpolate(wanted, logits.shape[2:], mode="bilinear", align_corners=False)
        student, teacher = (F.log_softmax(scores / self.distill_temperature, 1) for scores in (logits, wanted))
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        return divergence.mean() * self.distill_temperature**2

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """Mean intersection over union on the whole split, with its standard error, and the mean loss."""
        report = self.report(network, batches)
        return {
            "val_miou": report["miou"] or 0.0,
            "val_loss": report["loss"],
            "standard_error": report["standard_error"] or 0.0,
        }

    def report(self, network: nn.Module, batches: Loader) -> dict[str, Any]:
        """The `segmentation_report` without boundaries, and the mean ``loss``; class maps in pixels of the input."""
        losses: list[float] = []
        found, wanted = itertools.tee(self._maps(network, batches, losses))
        report = segmentation_report(
            (class_map for class_map, _ in found),
            (truth for _, truth in wanted),
            [str(index) for index in range(self.num_classes)],
            with_boundaries=False,
        )
        return {**report, "loss": float(np.mean(losses))}

    def _maps(
        self, network: nn.Module, batches: Loader, losses: list[float]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Predicted and true class maps, image by image; the loss of each is added to `losses`."""
        names = tuple(str(index) for index in range(self.num_classes))
        for outputs, y in passes(network, batches, self.autocast):
            labels = y["classes"]
            size_hw = (labels.shape[1], labels.shape[2])
            losses += [float(self._loss(outputs, y, EVERY_IN_VAL, (EVERY_IN_VAL // 2,) * 2)["loss"])] * len(labels)
            placement = Placement(image_hw=size_hw, input_hw=size_hw, scale_xy=(1.0, 1.0), offset_xy=(0.0, 0.0))
            logits = outputs[0].nan_to_num().cpu().numpy()  # a diverged network scores low, its loss says why
            maps = decode_class_map({"classes": logits}, placements=[placement] * len(labels), class_names=names)
            for found, truth in zip(maps, labels.cpu().numpy().astype(np.uint8), strict=True):
                yield found.class_map, truth

    def _loss(self, outputs: Outputs, y: Mapping[str, Tensor], every: int, offset: tuple[int, int]) -> Values:
        (logits,) = in_float32(outputs)
        labels = y["classes"]
        size_hw = (labels.shape[1], labels.shape[2])
        labels = labels[:, offset[0] :: every, offset[1] :: every]
        probabilities = F.log_softmax(interpolate(logits, size_hw, every, offset), 1)
        is_known = labels != IGNORE
        right = probabilities.gather(1, labels.where(is_known, 0)[:, None])[:, 0][is_known]
        classes = labels[is_known]
        cross = self._cross_entropy(right, classes, labels.numel())
        areas = (probabilities.exp() * is_known[:, None]).sum((0, 2, 3))
        both = areas.new_zeros(len(areas)).index_add(0, classes, right.exp())
        wanted = torch.bincount(classes, minlength=len(areas))
        dice = dice_loss(both, areas + wanted)[wanted > 0].sum() / (wanted > 0).sum().clamp(min=1)
        return {"loss": cross + DICE_WEIGHT * dice, "cross_loss": cross, "dice_loss": dice}

    def _cross_entropy(self, right: Tensor, classes: Tensor, num_pixels: int) -> Tensor:
        """From the log-probability of each known pixel's class, (N,) both; 0 without any."""
        weights = None if self.class_weights is None else self.class_weights[classes]
        losses = -right if weights is None else -right * weights
        if self.is_hard:
            return hard_mean(losses, num_pixels)
        return losses.sum() / (weights.sum() if weights is not None else classes.new_tensor(len(classes))).clamp(min=1)


def make_segment(
    network: nn.Module,
    config: TrainConfig,
    batches: Loader,
    *,
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
) -> Segment:
    """The task that `config` asks for. Raises ValueError for settings that it makes no use of.

    Balanced class weights come from the pixels of the first `NUM_COUNTED` batches.
    """
    check_settings(config, "segment")
    arch, device = arch_of(network, "segment")[0], device_of(network)
    if class_weights is None and config.class_weights == "balanced":
        class_weights = balanced_weights(count_pixels(batches, arch.num_classes))
    return Segment(
        num_classes=arch.num_classes,
        is_hard=config.hard_pixels,
        class_weights=None if class_weights is None else class_weights.to(device),
        teacher=teacher_for(network, config, arch.num_classes, teacher),
        distill_weight=config.distill_weight,
        distill_temperature=config.distill_temperature,
        autocast=autocast_of(config.amp, device),
    )


def count_pixels(batches: Loader, num_classes: int) -> list[int]:
    """Labelled pixels of each class in the first `NUM_COUNTED` batches."""
    counts = torch.zeros(num_classes, dtype=torch.int64)
    for _, y in itertools.islice(batches.epoch(), NUM_COUNTED):
        assert isinstance(y, Mapping)
        counts += torch.bincount(y["classes"].flatten(), minlength=IGNORE + 1)[:num_classes]
    return [int(count) for count in counts]


def interpolate(logits: Tensor, size_hw: tuple[int, int], every: int = 1, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Logits (B, C, h, w) at every so many pixels of a map of `size_hw`, from row and column `offset` on: (B, C, H, W).

    What `F.interpolate` (bilinear, align_corners=False) gives there, by two matrix products: faster on a CPU, forward
    and above all backward.
    """
    rows, columns = (
        _mixing(cells, size, every, first, logits.device)
        for cells, size, first in zip(logits.shape[2:], size_hw, offset, strict=True)
    )
    with torch.autocast(logits.device.type, enabled=False):
        return rows @ (logits @ columns.T)


@lru_cache(maxsize=64)
def _mixing(cells: int, size: int, every: int, first: int, device: torch.device) -> Tensor:
    """(n, cells): the share of each cell in the value at each of the chosen pixels of an axis."""
    places = (torch.arange(first, size, every, device=device) + 0.5) * (cells / size) - 0.5
    places = places.clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells, device=device)).abs()).clamp(min=0)

"""Image classification: cross entropy with label smoothing, mixup, cutmix, class weights and a teacher.

Sources: label smoothing arXiv 1512.00567; mixup arXiv 1710.09412; cutmix arXiv 1905.04899; distillation
arXiv 1503.02531, on the very images that the student sees (arXiv 2106.05237).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.distill import distillation_loss, freeze, load_teacher
from ghostfit.train.evaluate import device_of, evaluate
from ghostfit.train.precision import autocast_of
from ghostfit.train.task import Loader
from ghostfit.train.tasks.dense import check_settings


@dataclass(frozen=True, kw_only=True)
class Classify:
    """The task of naming one class for an image; a `Task` of the loop."""

    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: Tensor | None = None  # (num_classes,), mean about 1
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    distill_temperature: float = 2.0
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext

    metric = "val_accuracy"

    def train_step(self, network: nn.Module, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One forward and backward."""
        with self.autocast():
            values = self._values(network, x, y)
        values["loss"].backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in values.items()}

    def loss(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """``loss``. outputs: raw scores (B, num_classes); y: (B,) class numbers."""
        cross = F.cross_entropy(outputs.float(), y, weight=self.class_weights, label_smoothing=self.label_smoothing)
        return {"loss": cross}

    def distill(self, outputs: Tensor, teacher_outputs: Tensor, y: Tensor) -> Tensor:
        """Cross entropy with the teacher's probabilities; labels are not looked at. Both: raw scores (B, num_classes).

        A teacher of another architecture is better softened: see `ghostfit.train.distill.distillation_loss`.
        """
        return F.cross_entropy(outputs.float(), F.softmax(teacher_outputs.detach().float(), dim=1))

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """Accuracy with its standard error, and the plain cross entropy."""
        scores, labels = evaluate(network, batches, autocast=self.autocast)
        accuracy = float((scores.argmax(axis=1) == labels).mean())
        loss = float(F.cross_entropy(torch.from_numpy(scores).double(), torch.from_numpy(labels)))
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(labels)))
        return {"val_accuracy": accuracy, "val_loss": loss, "standard_error": error}

    def _values(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """``loss`` and its parts on mixed images, with the teacher's share. x: (B, C, H, W)."""
        x, share = mix_images(x, mixup=self.mixup, cutmix=self.cutmix)
        scores = network(x).float()
        loss = self.loss(scores, y)["loss"]
        if share < 1:
            loss = share * loss + (1 - share) * self.loss(scores, y.flip(0))["loss"]
        if self.teacher is None:
            return {"loss": loss}
        with torch.no_grad():
            wanted = self.teacher(x).float()
        distilled = distillation_loss(scores, wanted, self.distill_temperature)
        total = (1 - self.distill_weight) * loss + self.distill_weight * distilled
        return {"loss": total, "label_loss": loss, "distill_loss": distilled}


def make_classify(
    network: nn.Module,
    config: TrainConfig,
    batches: Loader,
    *,
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
) -> Classify:
    """The task that `config` asks for. A teacher or weights given here stand in for those it names.

    Raises ValueError when a teacher or balanced weights are asked for and what they are made from is not known, and
    for settings that classification makes no use of.
    """
    check_settings(config, "classify")
    device = device_of(network)
    num_classes = getattr(getattr(network, "arch", None), "num_classes", None)
    if teacher is None and config.teacher:
        if num_classes is None:
            raise ValueError("teacher=... by name needs a network built from an Arch; pass the teacher as a module")
        teacher = load_teacher(config.teacher, num_classes=num_classes, prepare=getattr(network, "prepare", None))
    if class_weights is None and config.class_weights == "balanced":
        labels, rows = getattr(batches, "labels", None), getattr(batches, "indices", None)
        if labels is None or rows is None or num_classes is None:
            raise ValueError(
                "class_weights=balanced: the class counts are not known here; pass balanced_weights(counts)"
            )
        class_weights = balanced_weights(np.bincount(labels[rows], minlength=num_classes).tolist())
    return Classify(
        label_smoothing=config.label_smoothing,
        mixup=config.mixup,
        cutmix=config.cutmix,
        class_weights=None if class_weights is None else class_weights.to(device),
        teacher=None if teacher is None else freeze(teacher).to(device),
        distill_weight=config.distill_weight,
        distill_temperature=config.distill_temperature,
        autocast=autocast_of(config.amp, device),
    )


def balanced_weights(class_counts: Sequence[int]) -> Tensor:
    """Loss weight of each class, inverse to its number of images; the mean over all images is 1.

    >>> balanced_weights([30, 10]).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.tensor(class_counts, dtype=torch.float32).clamp(min=1)
    return counts.sum() / (len(class_counts) * counts)


def mix_images(x: Tensor, *, mixup: float, cutmix: float) -> tuple[Tensor, float]:
    """Each image mixed with its partner ``x.flip(0)``: the new images and the share of the first of each pair.

    With both given, a coin decides for the batch. Draws from the global generator of `random`, see `Task`.
    """
    if not (mixup or cutmix) or len(x) < 2:
        return x, 1.0
    use_cutmix = bool(cutmix) and (not mixup or random.random() < 0.5)
    alpha = cutmix if use_cutmix else mixup
    share = random.betavariate(alpha, alpha)
    if not use_cutmix:
        return torch.lerp(x.flip(0), x, share), share
    height, width = x.shape[-2:]
    half_h, half_w = (int(size * (1 - share) ** 0.5 / 2) for size in (height, width))
    middle_h, middle_w = random.randrange(height), random.randrange(width)
    top, bottom = max(middle_h - half_h, 0), min(middle_h + half_h, height)
    left, right = max(middle_w - half_w, 0), min(middle_w + half_w, width)
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x.flip(0)[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)

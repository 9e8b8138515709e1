"""Instance segmentation: the losses of detection, and masks made of prototypes (YOLACT, arXiv 1904.02689, section 3).

A mask is sigmoid(coefficients . prototypes), learnt within the object's box: Dice and cross entropy, at the prototypes'
resolution, of some of the anchors that learn an object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import device_of
from ghostfit.train.precision import autocast_of
from ghostfit.train.task import Loader
from ghostfit.train.tasks.assign import Assignment, check_sizes, grid_of
from ghostfit.train.tasks.dense import (
    Outputs,
    Values,
    arch_of,
    check_settings,
    in_float32,
    of_each_head,
    sizes_of,
    step,
    sum_heads,
    teacher_for,
)
from ghostfit.train.tasks.detect import (
    CONFIDENT,
    WARMUP,
    boxes_of,
    detection_loss,
    distill_detection,
    resize_levels,
    teacher_at,
)
from ghostfit.train.tasks.losses import dice_loss
from ghostfit.train.tasks.scoring import figures_of, score_objects

DICE_WEIGHT, CROSS_WEIGHT = 2.0, 1.0  # RTMDet-Ins (arXiv 2212.07784) has Dice 2.0; the crop is YOLACT's
NUM_OUTPUTS = 4  # of a head
MOST_MASKS = 16  # of an image in a step: each costs as many floats as a prototype; see `choose`


@dataclass(kw_only=True)
class Instance:
    """The task of finding objects and their outlines; a `Task` of the loop. Fields as those of `Detect`."""

    strides: tuple[int, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    nms_free: bool = False
    warmup: float = WARMUP
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    progress: float = 0.0

    metric = "val_map"

    def __post_init__(self) -> None:
        """Raise ValueError for input sizes that outputs don't tell apart."""
        check_sizes(self.sizes_hw, self.strides)

    def begin_step(self, progress: float) -> bool:
        """Note the progress: the assignment by place ends with the warm-up."""
        self.progress = progress
        return False

    def train_step(self, network: nn.Module, x: Tensor, y: Mapping[str, Tensor]) -> Values:
        """One forward and backward."""
        return step(self, network, x, y)

    def loss(self, outputs: Outputs, y: Mapping[str, Tensor]) -> Values:
        """``loss``, ``score_loss``, ``box_loss`` and ``mask_loss``. outputs, y: as docs/design/dense.md has them.

        With a guide they are its own, and ``nms_free_loss`` is the other head's.
        """
        *guiding, last = of_each_head(outputs, NUM_OUTPUTS)
        single = self._loss(last, y, is_single=self.nms_free)
        return sum_heads(self._loss(guiding[0], y), single) if guiding else single

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, y: Mapping[str, Tensor]) -> Tensor:
        """Distance from the teacher's scores, and from its boxes and masks where it is confident."""
        pairs = zip(of_each_head(outputs, NUM_OUTPUTS), of_each_head(teacher_outputs, NUM_OUTPUTS), strict=False)
        distances = [
            distill_detection(own, wanted, self.sizes_hw, self.strides) + self._distill_masks(own, wanted)
            for own, wanted in pairs
        ]
        return torch.stack(distances).sum()

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """COCO's mean average precision of the masks at stride 4, and the mean loss."""
        return figures_of(self.report(network, batches))

    def report(
        self,
        network: nn.Module,
        batches: Loader,
        *,
        wanted_recall: float | None = None,
        wanted_precision: float | None = None,
    ) -> dict[str, Any]:
        """All figures of the masks; see `score_objects`."""
        judged = dataclasses.replace(self, progress=1.0)
        return score_objects(
            network,
            batches,
            lambda outputs, y: judged.loss(outputs, y)["loss"],
            autocast=self.autocast,
            sizes_hw=self.sizes_hw,
            strides=self.strides,
            kind="masks",
            nms=not self.nms_free,
            wanted_recall=wanted_recall,
            wanted_precision=wanted_precision,
        )

    def _loss(self, outputs: Outputs, y: Mapping[str, Tensor], *, is_single: bool = False) -> Values:
        coefficients, prototypes = in_float32(outputs[2:])
        is_early = self.progress < self.warmup
        found = detection_loss(outputs, y, self.sizes_hw, self.strides, is_early=is_early, is_single=is_single)
        grid = grid_of(coefficients.shape[1], self.sizes_hw, self.strides, coefficients.device)
        loss = mask_loss(coefficients, prototypes, found.y, found.assignment, grid.size_hw)
        return {**found.values, "loss": found.values["loss"] + loss, "mask_loss": loss}

    def _distill_masks(self, outputs: Outputs, teacher_outputs: Outputs) -> Tensor:
        """Cross entropy with the teacher's masks of its most confident anchors, within its boxes; 0 where equal."""
        coefficients, prototypes = in_float32(outputs[2:])
        grid = grid_of(coefficients.shape[1], self.sizes_hw, self.strides, coefficients.device)
        with torch.no_grad():
            scores, distances = teacher_at(teacher_outputs, grid, self.sizes_hw, self.strides)
            wanted, wanted_prototypes = in_float32(teacher_outputs[2:])
            own = grid_of(wanted.shape[1], self.sizes_hw, self.strides, wanted.device)
            wanted = wanted if own.size_hw == grid.size_hw else resize_levels(wanted, own, grid)
            confidence, anchors = scores.amax(-1).sigmoid().topk(min(MOST_MASKS, scores.shape[1]), dim=1)
            weights = confidence * (confidence >= CONFIDENT)
            logits = mask_logits(_pick(wanted, anchors), wanted_prototypes)
            if logits.shape[2:] != prototypes.shape[2:]:
                logits = F.interpolate(logits, prototypes.shape[2:], mode="bilinear", align_corners=False)
            boxes = _pick(boxes_of(distances, grid), anchors)
            inside = inside_of(boxes, grid.size_hw, logits.shape[2:])
            inside = inside * (weights / inside.sum((2, 3)).clamp(min=1))[..., None, None]
            targets = logits.sigmoid()
            floor = F.binary_cross_entropy_with_logits(logits, targets, weight=inside, reduction="sum")
        own_logits = mask_logits(_pick(coefficients, anchors), prototypes)
        loss = F.binary_cross_entropy_with_logits(own_logits, targets, weight=inside, reduction="sum") - floor
        return CROSS_WEIGHT * loss / weights.sum().clamp(min=1)


def make_instance(
    network: nn.Module,
    config: TrainConfig,
    batches: Loader,
    *,
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
) -> Instance:
    """The task that `config` asks for. Raises ValueError for settings that it makes no use of."""
    check_settings(config, "instance")
    if class_weights is not None:
        raise ValueError("class weights have no effect on instance segmentation: its losses follow the objects' scores")
    arch, dense = arch_of(network, "instance")
    teacher = teacher_for(network, config, arch.num_classes, teacher)
    return Instance(
        strides=dense.strides,
        sizes_hw=sizes_of(arch, teacher),
        nms_free=dense.nms_free,
        teacher=teacher,
        distill_weight=config.distill_weight,
        autocast=autocast_of(config.amp, device_of(network)),
    )


def mask_loss(
    coefficients: Tensor, prototypes: Tensor, y: Mapping[str, Tensor], found: Assignment, size_hw: tuple[int, int]
) -> Tensor:
    """Mean mask loss of some assigned anchors, weighted by their wanted score; 0 without any.

    coefficients: (B, A, P); prototypes: (B, P, h, w); y: ``boxes`` in pixels of an input of `size_hw`, ``masks``
    (B, M, h, w), resized where they have another size.
    """
    places = choose(found, len(y["classes"]), y["classes"].shape[1])
    kept = places < MOST_MASKS
    images, objects, places = found.images[kept], found.objects[kept], places[kept]
    chosen = coefficients.new_zeros(len(coefficients), MOST_MASKS, coefficients.shape[2])
    chosen = chosen.index_put((images, places), coefficients[images, found.anchors[kept]])
    logits = mask_logits(chosen, prototypes)[images, places]
    with torch.no_grad():
        masks = y["masks"][images, objects].float()
        if masks.shape[1:] != logits.shape[1:] and len(masks):
            masks = (F.interpolate(masks[None], logits.shape[1:], mode="area")[0] >= 0.5).float()
        inside = inside_of(y["boxes"][images, objects], size_hw, logits.shape[1:])
        weights = found.targets[kept]
        masks = masks * inside
    cross = F.binary_cross_entropy_with_logits(logits, masks, weight=inside, reduction="none").sum((1, 2))
    cross = cross / inside.sum((1, 2)).clamp(min=1)
    probabilities = logits.sigmoid() * inside
    dice = dice_loss((probabilities * masks).sum((1, 2)), (probabilities + masks).sum((1, 2)))
    return (weights * (DICE_WEIGHT * dice + CROSS_WEIGHT * cross)).sum() / weights.sum().clamp(min=1)


def choose(found: Assignment, num_images: int, num_objects: int) -> Tensor:
    """(P,): the place of each assigned anchor in its image's queue for a mask.

    First the best anchor of each object, then the second best, and so on; among these the higher wanted score.
    """
    ranks = rank_within(found.images * num_objects + found.objects, found.targets)
    return rank_within(found.images, found.targets - ranks)


def rank_within(groups: Tensor, values: Tensor) -> Tensor:
    """(P,): how many values of its own group are higher than each; the earlier of equals ranks first.

    >>> rank_within(torch.tensor([0, 1, 0, 0]), torch.tensor([0.5, 0.1, 0.7, 0.6])).tolist()
    [2, 0, 0, 1]
    """
    order = values.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    in_order = groups[order].contiguous()
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(in_order, in_order)
    return ranks


def mask_logits(coefficients: Tensor, prototypes: Tensor) -> Tensor:
    """(B, K, h, w) of coefficients (B, K, P) and prototypes (B, P, h, w), in float32 whatever the mixed precision."""
    with torch.autocast(prototypes.device.type, enabled=False):
        logits = torch.bmm(coefficients, prototypes.flatten(2))
    return logits.view(*logits.shape[:2], *prototypes.shape[2:])


def inside_of(boxes_xyxy: Tensor, size_hw: tuple[int, int], grid_hw: torch.Size) -> Tensor:
    """(..., h, w), 1.0 where a cell's centre lies in the box (..., 4), in pixels of an input of `size_hw`, else 0.0."""
    ys, xs = (
        (torch.arange(cells, device=boxes_xyxy.device) + 0.5) * (side / cells)
        for cells, side in zip(grid_hw, size_hw, strict=True)
    )
    left, top, right, bottom = boxes_xyxy[..., None].unbind(-2)
    rows, columns = (ys >= top) & (ys <= bottom), (xs >= left) & (xs <= right)
    return (rows[..., :, None] & columns[..., None, :]).float()


def _pick(values: Tensor, anchors: Tensor) -> Tensor:
    """(B, K, N) of (B, A, N) at anchors (B, K)."""
    return values.gather(1, anchors[..., None].expand(-1, -1, values.shape[2]))

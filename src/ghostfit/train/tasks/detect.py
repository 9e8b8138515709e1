"""Object detection: an anchor-free dense head learns scores and boxes of the anchors that are assigned to objects.

Sources: assignment, see `ghostfit.train.tasks.assign`; weights of the losses and their normaliser PP-PicoDet
(arXiv 2111.00902, section 3.3, without the distribution focal loss); distillation of scores and boxes where the
teacher is confident, after arXiv 2006.13108 (feature richness) and 2204.05957 (localisation); two heads
for a network free of NMS YOLOv10 (arXiv 2405.14458, section 3.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
from ghostfit.train.tasks.assign import (
    Assignment,
    Grid,
    assign_aligned,
    assign_nearest,
    assign_single,
    check_sizes,
    grid_of,
)
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
from ghostfit.train.tasks.losses import giou_of, imitation_loss, varifocal_loss
from ghostfit.train.tasks.scoring import figures_of, score_objects

SCORE_WEIGHT, BOX_WEIGHT = 1.0, 2.5  # PP-PicoDet: varifocal 1.0, GIoU 2.5
WARMUP = 0.1  # of the training, in which the network's own predictions are no guide yet
CONFIDENT = 0.2  # score of a teacher from which on its box is taken for true
NUM_OUTPUTS = 2  # of a head


@dataclass(kw_only=True)
class Detect:
    """The task of finding objects; a `Task` of the loop.

    `strides` are the levels of the head. `sizes_hw` are the input sizes that may occur, the labels' own first: outputs
    tell by their number of anchors which one they come from. `nms_free`: each object is one anchor's, in the outputs of
    the head that runs; in training those of a guide stand before them.
    """

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
        """``loss``, ``score_loss`` and ``box_loss``. outputs, y: as docs/design/dense.md has them.

        With a guide they are its own, and ``nms_free_loss`` is the other head's.
        """
        *guiding, last = of_each_head(outputs, NUM_OUTPUTS)
        single = self._loss(last, y, is_single=self.nms_free)
        return sum_heads(self._loss(guiding[0], y), single) if guiding else single

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, y: Mapping[str, Tensor]) -> Tensor:
        """Distance from the teacher's scores, and from its boxes where it is confident; labels are not looked at."""
        pairs = zip(of_each_head(outputs, NUM_OUTPUTS), of_each_head(teacher_outputs, NUM_OUTPUTS), strict=False)
        distances = [distill_detection(own, wanted, self.sizes_hw, self.strides) for own, wanted in pairs]
        return torch.stack(distances).sum()

    def evaluate(self, network: nn.Module, batches: Loader) -> dict[str, float]:
        """COCO's mean average precision of the boxes, and the mean loss."""
        return figures_of(self.report(network, batches))

    def report(
        self,
        network: nn.Module,
        batches: Loader,
        *,
        wanted_recall: float | None = None,
        wanted_precision: float | None = None,
    ) -> dict[str, Any]:
        """All figures of the boxes; see `score_objects`."""
        judged = dataclasses.replace(self, progress=1.0)
        return score_objects(
            network,
            batches,
            lambda outputs, y: judged.loss(outputs, y)["loss"],
            autocast=self.autocast,
            sizes_hw=self.sizes_hw,
            strides=self.strides,
            kind="boxes",
            nms=not self.nms_free,
            wanted_recall=wanted_recall,
            wanted_precision=wanted_precision,
        )

    def _loss(self, outputs: Outputs, y: Mapping[str, Tensor], *, is_single: bool = False) -> Values:
        is_early = self.progress < self.warmup
        found = detection_loss(outputs, y, self.sizes_hw, self.strides, is_early=is_early, is_single=is_single)
        return found.values


def make_detect(
    network: nn.Module,
    config: TrainConfig,
    batches: Loader,
    *,
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
) -> Detect:
    """The task that `config` asks for. Raises ValueError for settings that detection makes no use of."""
    check_settings(config, "detect")
    if class_weights is not None:
        raise ValueError("class weights have no effect on detection: its losses follow the objects' scores")
    arch, dense = arch_of(network, "detect")
    teacher = teacher_for(network, config, arch.num_classes, teacher)
    return Detect(
        strides=dense.strides,
        sizes_hw=sizes_of(arch, teacher),
        nms_free=dense.nms_free,
        teacher=teacher,
        distill_weight=config.distill_weight,
        autocast=autocast_of(config.amp, device_of(network)),
    )


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """``loss`` and its parts by name, and what they were computed from, for the losses of masks.

    `y`: the labels in pixels of the outputs' own input size.
    """

    values: Values
    assignment: Assignment
    y: Mapping[str, Tensor]


def detection_loss(
    outputs: Outputs,
    y: Mapping[str, Tensor],
    sizes_hw: Sequence[tuple[int, int]],
    strides: tuple[int, ...],
    *,
    is_early: bool,
    is_single: bool = False,
) -> DetectionLoss:
    """Losses of scores and boxes; `is_early` assigns anchors by place, not by prediction, `is_single` one an object.

    outputs: scores (B, A, C) and boxes (B, A, 4), then what is not read here. Losses are sums over all anchors, over
    the sum of the wanted scores (at least 1).
    """
    scores, distances = in_float32(outputs[:2])
    grid = grid_of(scores.shape[1], sizes_hw, strides, scores.device)
    y = labels_at(y, sizes_hw[0], grid.size_hw)
    boxes = boxes_of(distances, grid)
    with torch.no_grad():
        if is_early and not is_single:
            found = assign_nearest(boxes, grid, y)
        else:
            found = (assign_single if is_single else assign_aligned)(scores, boxes, grid, y)
        normaliser = found.targets.sum().clamp(min=1)
        where = (found.images, found.anchors, y["classes"][found.images, found.objects])
    score_loss = varifocal_loss(scores, where, found.targets, _ignored(found)) / normaliser
    giou = giou_of(boxes[found.images, found.anchors], y["boxes"][found.images, found.objects])
    box_loss = (found.targets * (1 - giou)).sum() / normaliser
    total = SCORE_WEIGHT * score_loss + BOX_WEIGHT * box_loss
    return DetectionLoss({"loss": total, "score_loss": score_loss, "box_loss": box_loss}, found, y)


def distill_detection(
    outputs: Outputs, teacher_outputs: Outputs, sizes_hw: Sequence[tuple[int, int]], strides: tuple[int, ...]
) -> Tensor:
    """0 where scores and confident boxes are the teacher's, whose outputs may come from another input size.

    Scores weigh by the teacher's, and by the student's own where the teacher sees nothing; boxes by the teacher's.
    """
    scores, distances = in_float32(outputs[:2])
    grid = grid_of(scores.shape[1], sizes_hw, strides, scores.device)
    with torch.no_grad():
        logits, wanted_distances = teacher_at(teacher_outputs, grid, sizes_hw, strides)
        confidence = logits.amax(-1).sigmoid()
        images, anchors = (confidence >= CONFIDENT).nonzero(as_tuple=True)
        confidence = confidence[images, anchors]
        normaliser = confidence.sum().clamp(min=1)
        wanted_boxes = boxes_of(wanted_distances, grid)[images, anchors]
    score_loss = imitation_loss(scores, logits)
    giou = giou_of(boxes_of(distances, grid)[images, anchors], wanted_boxes)
    return (SCORE_WEIGHT * score_loss + BOX_WEIGHT * (confidence * (1 - giou)).sum()) / normaliser


def boxes_of(distances: Tensor, grid: Grid) -> Tensor:
    """Boxes left, top, right, bottom in pixels (B, A, 4), from distances to the anchors."""
    return torch.cat((grid.points - distances[..., :2], grid.points + distances[..., 2:]), -1)


def labels_at(y: Mapping[str, Tensor], size_hw: tuple[int, int], new_hw: tuple[int, int]) -> Mapping[str, Tensor]:
    """The labels with their boxes in pixels of an input of another size."""
    if size_hw == new_hw:
        return y
    return {**y, "boxes": y["boxes"] * _scale(size_hw, new_hw, y["boxes"].device)}


def teacher_at(
    outputs: Outputs, grid: Grid, sizes_hw: Sequence[tuple[int, int]], strides: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The teacher's scores (B, A, C) and distances (B, A, 4) at the anchors of `grid`: each level resized to it."""
    scores, distances = in_float32(outputs[:2])
    own = grid_of(scores.shape[1], sizes_hw, strides, scores.device)
    if own.size_hw == grid.size_hw:
        return scores, distances
    scale = _scale(own.size_hw, grid.size_hw, scores.device)
    return resize_levels(scores, own, grid), resize_levels(distances, own, grid) * scale


def resize_levels(values: Tensor, own: Grid, grid: Grid) -> Tensor:
    """(B, A', N) of the anchors of `own` as (B, A, N) of those of `grid`, bilinearly on each level."""
    parts = torch.split(values, [height * width for height, width in own.levels_hw], 1)
    resized = []
    for part, old_hw, new_hw in zip(parts, own.levels_hw, grid.levels_hw, strict=True):
        level = part.transpose(1, 2).reshape(len(part), -1, *old_hw)
        resized.append(F.interpolate(level, new_hw, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2))
    return torch.cat(resized, 1)


def _scale(old_hw: tuple[int, int], new_hw: tuple[int, int], device: torch.device) -> Tensor:
    """(4,): factors of left, top, right, bottom."""
    factors = [new / old for old, new in zip(old_hw, new_hw, strict=True)]
    return torch.tensor([factors[1], factors[0]] * 2, device=device)


def _ignored(found: Assignment) -> Tensor | None:
    """Anchors (B, A) in a crowd that learn no object."""
    if found.ignored is None:
        return None
    ignored = found.ignored.clone()
    ignored[found.images, found.anchors] = False
    return ignored

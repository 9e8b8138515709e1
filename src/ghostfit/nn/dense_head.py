"""Heads for every place of an image: objects, their masks, or a class for each place.

Sources: the anchor-free head of PicoDet (arXiv 2111.00902, section 3.2) with the points and distances of FCOS (arXiv
1904.01355, section 3.1); prototypes and coefficients of YOLACT (arXiv 1904.02689, section 3); the two heads of YOLOv10
(arXiv 2405.14458, section 3.1); the class head of PP-LiteSeg (arXiv 2204.02681) with the skips of FCN (arXiv 1411.4038,
section 4.2). Names, shapes and order of the outputs: docs/design/dense.md.

>>> head = DetectHead(Dense("detect", width=16, strides=(8, 16)), 3, Form()).eval()
>>> scores, boxes = head([torch.zeros(1, 16, 4, 4), torch.zeros(1, 16, 2, 2)], {})
>>> scores.shape, boxes.shape
(torch.Size([1, 20, 3]), torch.Size([1, 20, 4]))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.arch import PROTOTYPE_STRIDE, Dense, memory_slots
from ghostfit.nn.ghost import ConvBN, Form, Slots
from ghostfit.nn.neck import Separable, enlarge

__all__ = ["DetectHead", "LevelHead", "Prototypes", "SegmentHead", "build_head", "initialise_predictions"]

CLASS_PRIOR = 0.01  # probability of each class everywhere at the start (RetinaNet, arXiv 1708.02002, section 4.1)
PREDICTION_STD = 0.01  # of the last convolutions' weights, ibid.
FIRST_DISTANCE = 2.0  # cells from a point to each side of its box at the start: 4 cells a side, the anchors of ATSS


def build_head(
    dense: Dense, num_classes: int, feature_slots: Mapping[int, Slots], form: Form
) -> DetectHead | SegmentHead:
    """The head of `dense`. `feature_slots`: of the backbone's maps, by stride."""
    if dense.task == "segment":
        taps = {stride: feature_slots[stride] for stride in dense.strides if stride in feature_slots}
        return SegmentHead(dense, num_classes, taps, form)
    return DetectHead(dense, num_classes, form, feature_slots.get(PROTOTYPE_STRIDE, ()))


class DetectHead(nn.Module):
    """Class scores and box distances, and where `dense` has prototypes their coefficients, at every point of a level.

    Each level has weights of its own: they are few, and the maps of different levels have different statistics. Where
    `dense` is free of NMS, `guide` has the predictions that teach backbone and neck while the network is trained; those
    of `levels`, which run, then learn from the maps without changing them. The fused form has no guide.
    """

    def __init__(self, dense: Dense, num_classes: int, form: Form, detail_slots: Slots = ()) -> None:
        super().__init__()
        self.strides = dense.strides
        self.levels = nn.ModuleList(LevelHead(dense, num_classes, form) for _ in dense.strides)
        self.guide: nn.ModuleList | None = None
        if dense.nms_free and form.norm:
            self.guide = nn.ModuleList(LevelHead(dense, num_classes, form) for _ in dense.strides)
        self.prototypes = Prototypes(dense, detail_slots, form) if dense.num_prototypes else None

    def forward(self, levels: Sequence[Tensor], features: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
        """Scores (B, A, C), boxes (B, A, 4) in input pixels[, coefficients (B, A, P), prototypes (B, P, H/4, W/4)].

        levels: the neck's maps, fine to coarse; features: the backbone's by stride. In training mode a guide's outputs
        come first, then as many of the head that runs; both share the prototypes, which learn from the guide.
        """
        prototypes: tuple[Tensor, ...] = ()
        if self.prototypes is not None:
            prototypes = (self.prototypes(levels[0], features[PROTOTYPE_STRIDE]),)
        if self.guide is None or not self.training:
            return self._predict(self.levels, levels) + prototypes
        guiding = self._predict(self.guide, levels) + prototypes
        outputs = self._predict(self.levels, [level.detach() for level in levels])
        return guiding + outputs + tuple(each.detach() for each in prototypes)

    def _predict(self, heads: nn.ModuleList, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        predictions = [head(level) for head, level in zip(heads, levels, strict=True)]
        scores, boxes, *coefficients = zip(*predictions, strict=True)
        # Above zero, with a slope everywhere; softplus takes a fifth of the head's time (docs/LOG.md, 2026-11-26).
        distances = [(F.elu(box) + 1) * stride for box, stride in zip(boxes, self.strides, strict=True)]
        return (_rows(scores), _rows(distances), *(torch.tanh(_rows(each)) for each in coefficients))


class LevelHead(nn.Module):
    """The predictions of one level, before they are scaled."""

    def __init__(self, dense: Dense, num_classes: int, form: Form) -> None:
        super().__init__()
        order = memory_slots(dense.width, dense.ratio)
        self.trunk = nn.Sequential(*(Separable(order, order, dense, form) for _ in range(dense.head_depth)))
        self.scores = ConvBN(tuple(range(num_classes)), order, form, norm=False)
        self.boxes = ConvBN(tuple(range(4)), order, form, norm=False)
        self.coefficients: ConvBN | None = None
        if dense.num_prototypes:
            self.coefficients = ConvBN(memory_slots(dense.num_prototypes, dense.ratio), order, form, norm=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.trunk(x)
        outputs: tuple[Tensor, ...] = (self.scores(x), self.boxes(x))
        if self.coefficients is not None:
            outputs += (self.coefficients(x),)
        return outputs


class Prototypes(nn.Module):
    """Mask prototypes at stride 4: the finest level enlarged, with the backbone's own map of that stride for edges."""

    def __init__(self, dense: Dense, detail_slots: Slots, form: Form) -> None:
        super().__init__()
        order = memory_slots(dense.num_prototypes, dense.ratio)
        self.reduce = ConvBN(order, memory_slots(dense.width, dense.ratio), form, act=dense.act)
        self.trunk = nn.Sequential(*(Separable(order, order, dense, form) for _ in range(dense.head_depth)))
        self.lateral = ConvBN(order, detail_slots, form, act=dense.act)
        self.join = Separable(order, order, dense, form)

    def forward(self, level: Tensor, detail: Tensor) -> Tensor:
        detail = self.lateral(detail)
        level = self.trunk(self.reduce(level))
        detail = self.join(detail + enlarge(level, detail))
        return detail


class SegmentHead(nn.Module):
    """Class scores at every place of the finest map: those of the fused map, and a share of each map of the backbone.

    The shares run in a hundredth of the network's time. They are a short way for the gradient: the backbone learns as
    fast as under a head of one layer, where the fused map alone taught it a third slower (docs/LOG.md, 2026-11-27).
    """

    def __init__(self, dense: Dense, num_classes: int, tap_slots: Mapping[int, Slots], form: Form) -> None:
        super().__init__()
        classes, order = tuple(range(num_classes)), memory_slots(dense.widths[0], dense.ratio)
        self.strides = tuple(tap_slots)
        self.trunk = nn.Sequential(*(Separable(order, order, dense, form) for _ in range(dense.head_depth)))
        self.classes = ConvBN(classes, order, form, norm=False)
        self.skips = nn.ModuleList(ConvBN(classes, slots, form, norm=False) for slots in tap_slots.values())

    def forward(self, levels: Sequence[Tensor], features: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
        """Logits (B, C, H / s, W / s) at the finest stride s, alone in a tuple.

        levels: the neck's one map; features: the backbone's by stride.
        """
        (level,) = levels
        shares = [skip(features[stride]) for skip, stride in zip(self.skips, self.strides, strict=True)]
        y = shares.pop()
        while shares:
            finer = shares.pop()
            y = finer + enlarge(y, finer)
        return (y + self.classes(self.trunk(level)),)


@torch.no_grad()
def initialise_predictions(network: nn.Module) -> None:
    """Small weights for the last convolutions, and biases that say "nothing here" and "a small box", in place.

    A guide starts as a copy of the head that runs.

    Class maps start with weights of their usual size: with small ones the maps before them get so little gradient that
    three hundred steps taught eight pictures nothing (docs/LOG.md, 2026-11-26).
    """
    score_bias = -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR)
    box_bias = FIRST_DISTANCE - 1  # elu(x) + 1 = x + 1
    for module in network.modules():
        if isinstance(module, LevelHead):
            _start(module.scores, score_bias)
            _start(module.boxes, box_bias)
            if module.coefficients is not None:
                _start(module.coefficients, 0.0)
        elif isinstance(module, SegmentHead):
            for share in (module.classes, *module.skips):
                assert isinstance(share, ConvBN)
                _start(share, 0.0, std=(len(share.in_slots or ()) * (1 + len(module.skips))) ** -0.5)
    for module in network.modules():
        if isinstance(module, DetectHead) and module.guide is not None:
            module.guide.load_state_dict(module.levels.state_dict())


def _start(prediction: ConvBN, bias: float, std: float = PREDICTION_STD) -> None:
    assert prediction.conv.bias is not None
    prediction.conv.weight.normal_(0.0, std)
    prediction.conv.bias.fill_(bias)


def _rows(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, N, H, W) of all levels as rows (B, A, N): fine to coarse, each level's rows, then columns."""
    return torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)

"""Necks: from a backbone's maps at several strides to the maps that a dense head reads.

Sources: the path aggregation of PicoDet (arXiv 2111.00902, section 3.1), with Ghost modules as NanoDet-Plus has it; the
pooled context and the top-down path of PP-LiteSeg (arXiv 2204.02681, section 3) as MobileSeg simplifies them.

Maps are joined by sums where the papers concatenate: a 1x1 convolution on concatenated maps is the sum of one on each,
so nothing is lost, the coarse map's share is computed before it is enlarged, and both sides have the same slots. Every
map of one width has one channel order, that which Ghost modules of the head's ratio write.

>>> neck = GhostPan(Dense("detect", width=16), (tuple(range(8)), tuple(range(12))), Form()).eval()
>>> [tuple(level.shape) for level in neck([torch.zeros(1, 8, 8, 8), torch.zeros(1, 12, 4, 4)])]
[(1, 16, 8, 8), (1, 16, 4, 4), (1, 16, 2, 2), (1, 16, 1, 1)]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.arch import CHEAP_KERNEL, CONTEXT_BINS, Dense, memory_slots
from ghostfit.nn.block import GhostBlock
from ghostfit.nn.ghost import ConvBN, Form, GhostModule, Slots, conv_unit

__all__ = ["Context", "ContextFusion", "GhostPan", "Separable", "build_neck", "enlarge"]


def build_neck(dense: Dense, tap_slots: Sequence[Slots], form: Form) -> GhostPan | ContextFusion:
    """The neck of `dense` for maps with `tap_slots`, fine to coarse."""
    return (ContextFusion if dense.task == "segment" else GhostPan)(dense, tap_slots, form)


class GhostPan(nn.Module):
    """Path aggregation: 1x1 to one width, top-down, bottom-up, and further levels coarser than the backbone's."""

    def __init__(self, dense: Dense, tap_slots: Sequence[Slots], form: Form) -> None:
        super().__init__()
        order = memory_slots(dense.width, dense.ratio)
        block = dense.block(dense.width)
        num_joints = len(tap_slots) - 1
        self.laterals = nn.ModuleList(ConvBN(order, slots, form, act=dense.act) for slots in tap_slots)
        self.top_down, self.bottom_up = (
            nn.ModuleList(GhostBlock(block, order, order, dense.ratio, form) for _ in range(num_joints))
            for _ in range(2)
        )
        self.down = nn.ModuleList(Separable(order, order, dense, form, stride=2) for _ in range(num_joints))
        num_extra = len(dense.strides) - len(tap_slots)
        self.extra = nn.ModuleList(Separable(order, order, dense, form, stride=2) for _ in range(num_extra))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of one width at all strides. features: the backbone's, (B, C, H, W), fine to coarse."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for i in reversed(range(len(self.top_down))):
            levels[i] = self.top_down[i](levels[i] + enlarge(levels[i + 1], levels[i]))
        for i, (down, block) in enumerate(zip(self.down, self.bottom_up, strict=True)):
            levels[i + 1] = block(levels[i + 1] + down(levels[i]))
        for extra in self.extra:
            levels.append(extra(levels[-1]))
        return levels


class ContextFusion(nn.Module):
    """Pooled context of the coarsest map, then top-down to the finest, narrower at each finer level."""

    def __init__(self, dense: Dense, tap_slots: Sequence[Slots], form: Form) -> None:
        super().__init__()
        orders = [memory_slots(width, dense.ratio) for width in dense.widths[: len(tap_slots)]]
        self.context = Context(orders[-1], tap_slots[-1], form)
        self.laterals = nn.ModuleList(
            ConvBN(order, slots, form, act=dense.act) for order, slots in zip(orders, tap_slots, strict=True)
        )
        self.blocks = nn.ModuleList(
            GhostBlock(dense.block(len(order)), order, order, dense.ratio, form) for order in orders
        )
        self.reduce = nn.ModuleList(ConvBN(fine, coarse, form, act=dense.act) for fine, coarse in pairwise(orders))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The fused map at the finest stride. features: the backbone's, (B, C, H, W), fine to coarse."""
        laterals = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        y = self.blocks[-1](laterals[-1] + self.context(features[-1]))
        for i in reversed(range(len(self.reduce))):
            y = self.blocks[i](laterals[i] + enlarge(self.reduce[i](y), laterals[i]))
        return [y]


class Context(nn.Module):
    """What the whole map holds, told to every place: means over a few large cells, each through a 1x1 convolution."""

    def __init__(self, out_slots: Slots, in_slots: Slots, form: Form) -> None:
        super().__init__()
        # Without norm, as in squeeze-and-excitation: a batch has one value an image here, too few for statistics.
        self.bins = nn.ModuleList(ConvBN(out_slots, in_slots, form, act="relu", norm=False) for _ in CONTEXT_BINS)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros((), dtype=x.dtype, device=x.device)
        for conv, cells in zip(self.bins, CONTEXT_BINS, strict=True):
            y = y + enlarge(conv(F.adaptive_avg_pool2d(x, cells)), x)
        return y


class Separable(nn.Module):
    """Depthwise convolution, which carries the stride, then a pointwise Ghost module, each with an activation."""

    def __init__(self, out_slots: Slots, in_slots: Slots, dense: Dense, form: Form, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = conv_unit(in_slots, None, form, kernel=dense.kernel, stride=stride, act=dense.act)
        self.pointwise = GhostModule(out_slots, in_slots, dense.ratio, CHEAP_KERNEL, dense.act, form)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(self.depthwise(x))
        return x


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """`x` at the size of `like`, each value repeated."""
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")

"""The universal Ghost block: [depthwise] -> expand [+ DFC gate] -> [depthwise] -> [SE] -> project + shortcut.

Sources: the Ghost bottleneck (arXiv 1911.11907, figure 3), the inverted residual of MobileNetV2 and V3 (arXiv
1801.04381, 1905.02244), the universal inverted bottleneck of MobileNetV4 (arXiv 2404.10518): all are settings of it.

>>> block = GhostBlock(Block(mid=16, ratio=2), (0, 1, 2, 3), (0, 2, 1, 3), 2, Form())
>>> block.shortcut.index  # the input's channels in the order of the sum
(0, 2, 1, 3)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.arch import Block, memory_slots
from ghostfit.nn.ghost import ConvBN, Form, GhostModule, Slots, conv_unit

__all__ = ["DropPath", "GhostBlock", "Reorder", "Shortcut", "SqueezeExcite"]


class GhostBlock(nn.Module):
    """One universal Ghost block as `arch.Block` describes it.

    `in_slots` is the order of the map it reads, `out_slots` of the map it writes. Parts that the block lacks are None;
    `shortcut` is an `nn.Identity`, a `Reorder`, a `Shortcut` or, where the block has no residual sum, None.
    """

    def __init__(
        self,
        block: Block,
        in_slots: Slots,
        out_slots: Slots,
        project_ratio: int,
        form: Form,
        *,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        mid_slots = memory_slots(block.mid, block.ratio) if block.mid else in_slots
        act = block.act if block.mid_act else "none"
        start_stride = 1 if block.kernel else block.stride
        self.start = self.expand = self.depthwise = self.se = None
        if block.start_kernel:
            self.start = conv_unit(in_slots, None, form, kernel=block.start_kernel, stride=start_stride)
        if block.mid:
            self.expand = GhostModule(
                mid_slots, in_slots, block.ratio, block.cheap_kernel, block.act, form, gated=block.dfc
            )
        if block.kernel:
            self.depthwise = conv_unit(mid_slots, None, form, kernel=block.kernel, stride=block.stride, act=act)
        if block.se:
            self.se = SqueezeExcite(mid_slots, block.se, form)
        self.project = GhostModule(out_slots, mid_slots, project_ratio, block.cheap_kernel, "none", form)
        self.shortcut = _shortcut(block, in_slots, out_slots, form)
        self.drop_path = DropPath(drop_path) if drop_path and self.shortcut is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if self.start is not None:
            y = self.start(y)
        if self.expand is not None:
            y = self.expand(y)
        if self.depthwise is not None:
            y = self.depthwise(y)
        if self.se is not None:
            y = self.se(y)
        y = self.drop_path(self.project(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return y


class SqueezeExcite(nn.Module):
    """Channel attention: pool -> 1x1 -> ReLU -> 1x1 -> hard sigmoid -> multiply (MobileNetV3, section 5.3)."""

    def __init__(self, slots: Slots, channels: int, form: Form) -> None:
        super().__init__()
        inner = tuple(range(channels))
        self.reduce = ConvBN(inner, slots, form, act="relu", norm=False)
        self.expand = ConvBN(slots, inner, form, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(gate)


class Shortcut(nn.Module):
    """Shortcut across a change of size or width: depthwise convolution, then pointwise, neither with activation."""

    def __init__(self, in_slots: Slots, out_slots: Slots, kernel: int, stride: int, form: Form) -> None:
        super().__init__()
        self.depthwise = ConvBN(in_slots, None, form, kernel=kernel, stride=stride)
        self.pointwise = ConvBN(out_slots, in_slots, form)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(self.depthwise(x))
        return x


class Reorder(nn.Module):
    """Identity shortcut between two stages of different channel order: each slot is added to the same slot."""

    def __init__(self, in_slots: Slots, out_slots: Slots) -> None:
        super().__init__()
        place = {slot: position for position, slot in enumerate(in_slots)}
        self.index = tuple(place[slot] for slot in out_slots)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, list(self.index)]


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the branch of a whole sample at `rate` (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


def _shortcut(block: Block, in_slots: Slots, out_slots: Slots, form: Form) -> nn.Module | None:
    if block.stride == 1 and len(in_slots) == len(out_slots):
        return nn.Identity() if in_slots == out_slots else Reorder(in_slots, out_slots)
    if block.shortcut_kernel:
        return Shortcut(in_slots, out_slots, block.shortcut_kernel, block.stride, form)
    return None

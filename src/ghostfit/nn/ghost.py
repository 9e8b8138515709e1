"""Convolution with batch norm, the Ghost module, and its re-parameterised training form.

Sources: GhostNet (arXiv 1911.11907, section 3.1), DFC attention of GhostNetV2 (arXiv 2211.12905, section 3.2),
training branches of GhostNetV3 (arXiv 2404.11202, section 3.1).

Every module that holds weights records its *slots* (docs/design/slots.md): `out_slots` names the slot of each channel
it writes, in memory order, and `in_slots` of each channel it reads, or is None for a depthwise convolution.

>>> module = GhostModule(memory_slots(6, 2), tuple(range(4)), 2, 3, "relu", Form())
>>> module.primary.out_slots, module.cheap.out_slots
((0, 2, 4), (1, 3, 5))
>>> module(torch.zeros(1, 4, 8, 8)).shape
torch.Size([1, 6, 8, 8])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.arch import memory_slots, same_pads

__all__ = ["ConvBN", "DFCGate", "Form", "GhostModule", "LinearBN", "TrainingConv", "activation", "memory_slots"]

Slots = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """What all convolutions of one network have in common; `norm=False` is the fused form, with biases instead."""

    bn_eps: float = 1e-5
    padding: Literal["symmetric", "same"] = "symmetric"
    norm: bool = True
    branches: int = 0


class ConvBN(nn.Module):
    """Convolution -> batch norm -> activation.

    `in_slots=None` makes it depthwise: `groups` inputs (as many as outputs unless told), each its own group.
    A convolution without norm has a bias; `norm=False` makes one such in an unfused network (squeeze-and-excitation).
    """

    def __init__(
        self,
        out_slots: Slots,
        in_slots: Slots | None,
        form: Form,
        *,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        act: str = "none",
        groups: int = 0,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.out_slots, self.in_slots = out_slots, in_slots
        num_groups = 1 if in_slots is not None else groups or len(out_slots)
        num_inputs = len(in_slots) if in_slots is not None else num_groups
        kernel_hw = (kernel, kernel) if isinstance(kernel, int) else kernel
        has_norm = form.norm and norm
        self.pads_same = form.padding == "same" and stride > 1 and max(kernel_hw) > 1
        self.conv = nn.Conv2d(
            num_inputs,
            len(out_slots),
            kernel_hw,
            stride,
            padding=0 if self.pads_same else (kernel_hw[0] // 2, kernel_hw[1] // 2),
            groups=num_groups,
            bias=not has_norm,
        )
        self.bn = nn.BatchNorm2d(len(out_slots), eps=form.bn_eps) if has_norm else None
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        if self.pads_same:
            x = _pad_same(x, self.conv.kernel_size, self.conv.stride)
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        x = self.act(x)
        return x


class LinearBN(nn.Module):
    """Linear layer -> optional batch norm -> activation, on pooled features (B, C)."""

    def __init__(self, out_slots: Slots, in_slots: Slots, form: Form, *, act: str = "none", norm: bool = False) -> None:
        super().__init__()
        self.out_slots, self.in_slots = out_slots, in_slots
        has_norm = form.norm and norm
        self.linear = nn.Linear(len(in_slots), len(out_slots), bias=not has_norm)
        self.bn = nn.BatchNorm1d(len(out_slots), eps=form.bn_eps) if has_norm else None
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        if self.bn is not None:
            x = self.bn(x)
        x = self.act(x)
        return x


class TrainingConv(nn.Module):
    """Parallel branches whose sum one convolution can replace after training (GhostNetV3, section 3.1).

    `form.branches` convolutions with batch norm; a depthwise one also has a 1x1 `scale` branch, unless a stride with
    TensorFlow's padding leaves no pixel in the kernel's centre for it, and where its outputs are as many and as large
    as its inputs, a batch norm alone (`skip`).
    """

    def __init__(
        self,
        out_slots: Slots,
        in_slots: Slots | None,
        form: Form,
        *,
        kernel: int = 1,
        stride: int = 1,
        act: str = "none",
        groups: int = 0,
    ) -> None:
        super().__init__()
        self.out_slots, self.in_slots = out_slots, in_slots
        self.branches = nn.ModuleList(
            ConvBN(out_slots, in_slots, form, kernel=kernel, stride=stride, groups=groups) for _ in range(form.branches)
        )
        is_depthwise = in_slots is None
        is_centred = form.padding == "symmetric" or stride == 1
        keeps_shape = stride == 1 and groups in (0, len(out_slots))
        self.scale = (
            ConvBN(out_slots, None, form, stride=stride, groups=groups) if is_depthwise and is_centred else None
        )
        self.skip = nn.BatchNorm2d(len(out_slots), eps=form.bn_eps) if is_depthwise and keeps_shape else None
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branches[0](x)
        for branch in self.branches[1:]:
            y = y + branch(x)
        if self.scale is not None:
            y = y + self.scale(x)
        if self.skip is not None:
            y = y + self.skip(x)
        y = self.act(y)
        return y


def conv_unit(
    out_slots: Slots,
    in_slots: Slots | None,
    form: Form,
    *,
    kernel: int = 1,
    stride: int = 1,
    act: str = "none",
    groups: int = 0,
) -> ConvBN | TrainingConv:
    """The convolution in the network's form: with training branches where `form.branches` asks for them."""
    kind = TrainingConv if form.branches else ConvBN
    return kind(out_slots, in_slots, form, kernel=kernel, stride=stride, act=act, groups=groups)


class GhostModule(nn.Module):
    """Convolution of which only one map in `ratio` is computed; cheap depthwise ones make the rest.

    The primary convolution is pointwise unless `kernel` and `stride` say otherwise (Ghost-VGG, section 4.1).

    `out_slots` is the memory order of the output: ``memory_slots(channels, ratio)``, or any order when `ratio` is 1.
    The last cheap maps are cut where `ratio` does not divide the channels; their slots go on beyond the map's.
    """

    def __init__(
        self,
        out_slots: Slots,
        in_slots: Slots,
        ratio: int,
        cheap_kernel: int,
        act: str,
        form: Form,
        *,
        kernel: int = 1,
        stride: int = 1,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.out_slots, self.in_slots, self.ratio = out_slots, in_slots, ratio
        num_primary = -(-len(out_slots) // ratio)
        slots = memory_slots(num_primary * ratio, ratio) if ratio > 1 else out_slots
        assert slots[: len(out_slots)] == out_slots, "a Ghost module writes its own memory order"
        self.primary = conv_unit(slots[:num_primary], in_slots, form, kernel=kernel, stride=stride, act=act)
        self.cheap: ConvBN | TrainingConv | None = None
        if ratio > 1:
            self.cheap = conv_unit(slots[num_primary:], None, form, kernel=cheap_kernel, act=act, groups=num_primary)
        self.num_cut = len(slots) - len(out_slots)
        self.gate = DFCGate(out_slots, in_slots, form) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.primary(x)
        if self.cheap is not None:
            y = torch.cat([y, self.cheap(y)], dim=1)
        if self.num_cut:
            y = y[:, : -self.num_cut]
        if self.gate is not None:
            y = y * F.interpolate(self.gate(x), size=y.shape[-2:], mode="nearest")
        return y


class DFCGate(nn.Module):
    """Decoupled fully connected attention: a gate 0..1 at half the resolution from rows and columns of the map.

    Odd maps lose their last row or column to the pool, as published; an axis of one pixel is not pooled.
    """

    def __init__(self, out_slots: Slots, in_slots: Slots, form: Form) -> None:
        super().__init__()
        self.pointwise = ConvBN(out_slots, in_slots, form)
        self.horizontal = ConvBN(out_slots, None, form, kernel=(1, 5))
        self.vertical = ConvBN(out_slots, None, form, kernel=(5, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.avg_pool2d(x, (min(2, height), min(2, width)))
        return torch.sigmoid(self.vertical(self.horizontal(self.pointwise(x))))


def activation(name: str) -> nn.Module:
    """The activation of `arch.ACTIVATIONS` called `name`."""
    kinds = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish, "silu": nn.SiLU}
    return kinds[name](inplace=True) if name != "none" else nn.Identity()


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's rule: ceil(size / stride) outputs, the odd pixel of padding at the right and below."""
    (top, bottom), (left, right) = (
        same_pads(size, k, s) for size, k, s in zip(x.shape[-2:], kernel, stride, strict=True)
    )
    return F.pad(x, (left, right, top, bottom))

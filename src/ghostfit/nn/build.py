"""From an architecture to the ordinary torch module that runs it.

>>> from ghostfit.presets import preset
>>> network = build(preset("mobilenetv3_small_100", num_classes=10, size_hw=(32, 32)))
>>> network(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 10])

Module names: ``stem``, ``stages.{i}.{j}.(start|expand|depthwise|se|project|shortcut)`` and
``head.(conv|hidden|classifier)``; with `Arch.dense` ``neck`` (`ghostfit.nn.neck`) and ``head``
(`ghostfit.nn.dense_head`) instead of the classifier.
Where a map's channel order is not forced by a Ghost module, the plain convolution that writes it takes the order that
a residual sum needs (`channel_orders`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ghostfit.arch import Arch, Block, Head, memory_slots
from ghostfit.nn.block import GhostBlock
from ghostfit.nn.dense_head import DetectHead, SegmentHead, build_head, initialise_predictions
from ghostfit.nn.ghost import ConvBN, Form, GhostModule, LinearBN, Slots
from ghostfit.nn.neck import ContextFusion, GhostPan, build_neck

if TYPE_CHECKING:
    from ghostfit.vision.prepare import Prepare

__all__ = ["Classifier", "Network", "build", "channel_orders"]


def build(
    arch: Arch,
    *,
    device: torch.device | str | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    is_fused: bool = False,
) -> Network:
    """The network of `arch`, freshly initialised.

    `drop_path` is the rate of the last block, falling linearly to 0 at the first; `dropout` acts before the classifier.
    On ``device="meta"`` nothing is allocated. `is_fused` builds the form that `ghostfit.nn.fuse` writes, without norms.
    """
    device = torch.get_default_device() if device is None else torch.device(device)
    with torch.device("meta"):
        network = Network(arch, drop_path=drop_path, dropout=dropout, is_fused=is_fused)
    if device.type != "meta":
        network.to_empty(device=device)
        initialise(network)
    return network


class Network(nn.Module):
    """Stem, stages of blocks, and a classifier or a neck with a dense head. `arch` is what it was built from.

    `prepare` tells how images become its input; it travels with pretrained weights and is None for a fresh network.
    """

    def __init__(self, arch: Arch, *, drop_path: float = 0.0, dropout: float = 0.0, is_fused: bool = False) -> None:
        super().__init__()
        if is_fused and arch.branches:
            raise ValueError("a fused network has no training branches; pass arch.deployed()")
        self.arch = arch
        self.is_fused = is_fused
        self.prepare: Prepare | None = None
        form = Form(arch.bn_eps, arch.padding, not is_fused, arch.branches)
        orders = channel_orders(arch)
        num_blocks = sum(len(stage.blocks) for stage in arch.stages)
        rates = iter([drop_path * i / max(num_blocks - 1, 1) for i in range(num_blocks)])
        stem = arch.stem
        self.stem = ConvBN(
            orders[0], tuple(range(arch.in_channels)), form, kernel=stem.kernel, stride=stem.stride, act=stem.act
        )
        self.stages = nn.ModuleList()
        for stage, before, order in zip(arch.stages, orders, orders[1:], strict=False):
            blocks: list[nn.Module] = []
            for block in stage.blocks:
                blocks.append(_block(block, before, order, stage.project_ratio, form, next(rates)))
                before = order
            self.stages.append(nn.Sequential(*blocks))
        self._feature_ends = {index: stride for stride, index in arch.features.items()}
        self.neck: GhostPan | ContextFusion | None = None
        self.head: Classifier | DetectHead | SegmentHead
        if arch.dense is None:
            self.head = Classifier(arch.head, orders[-1], arch.num_classes, form, dropout)
        else:
            slots = {stride: orders[1 + index] for stride, index in arch.features.items()}
            self.neck = build_neck(arch.dense, [slots[stride] for stride in arch.taps], form)
            self.head = build_head(arch.dense, arch.num_classes, slots, form)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Class scores (logits). x: (B, in_channels, H, W), float, normalised -> (B, num_classes).

        With `arch.dense` a tuple of raw outputs in the order of `arch.output_names`; shapes: docs/design/dense.md. In
        training mode a network free of NMS gives those of its guide first.
        """
        if self.neck is not None:
            features = self.forward_features(x)
            levels = self.neck([features[stride] for stride in self.arch.taps])
            outputs: tuple[Tensor, ...] = self.head(levels, features)
            return outputs
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = self.head(x)
        return x

    def forward_features(self, x: Tensor) -> dict[int, Tensor]:
        """Last map at each stride from 4 on that the network has, by stride: {4: (B, C, H/4, W/4), ...}."""
        features = {}
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self._feature_ends:
                features[self._feature_ends[index]] = x
        return features


class Classifier(nn.Module):
    """[1x1 convolution] -> global average pool -> [hidden layer] -> class scores."""

    def __init__(self, head: Head, in_slots: Slots, num_classes: int, form: Form, dropout: float) -> None:
        super().__init__()
        self.conv = self.hidden = None
        slots = in_slots
        if head.conv:
            self.conv = ConvBN(tuple(range(head.conv)), slots, form, act=head.act)
            slots = self.conv.out_slots
        if head.hidden:
            self.hidden = LinearBN(tuple(range(head.hidden)), slots, form, act=head.act, norm=head.hidden_norm)
            slots = self.hidden.out_slots
        self.dropout = nn.Dropout(dropout)
        self.classifier = LinearBN(tuple(range(num_classes)), slots, form)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is not None:
            x = self.conv(x)
        x = x.mean((2, 3))
        if self.hidden is not None:
            x = self.hidden(x)
        x = self.classifier(self.dropout(x))
        return x


def channel_orders(arch: Arch) -> tuple[Slots, ...]:
    """Memory order of the stem's map and of each stage's, as slots.

    A stage whose projections are Ghost modules has the order they write. The stem and the stages of plain projections
    take the order of the Ghost stage that an identity shortcut joins them with, the one before if there are two, so
    that the sum needs no reordering; without such a neighbour their order is 0, 1, 2, ...
    """
    widths = [arch.stem.out] + [stage.out for stage in arch.stages]
    ratios = [1] + [stage.project_ratio for stage in arch.stages]
    is_joined = [False] + [
        stage.blocks[0].kind == "ghost" and stage.blocks[0].stride == 1 and stage.out == before
        for stage, before in zip(arch.stages, widths, strict=False)
    ]
    for i in range(1, len(ratios)):
        if is_joined[i] and ratios[i] == 1:
            ratios[i] = ratios[i - 1]
    for i in range(len(ratios) - 1, 0, -1):
        if is_joined[i] and ratios[i - 1] == 1:
            ratios[i - 1] = ratios[i]
    return tuple(memory_slots(width, ratio) for width, ratio in zip(widths, ratios, strict=True))


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Fresh weights, in place: He's normal by fan-out for convolutions, as MobileNet's and GhostNet's training code."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
            module.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, 0.01)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in network.modules():
        if isinstance(module, GhostModule) and isinstance(module.primary, ConvBN):
            _start_from_identity(module.primary)
    initialise_predictions(network)


def _start_from_identity(unit: ConvBN) -> None:
    """Halve a dense convolution's weights and let each slot pass on to itself, where its size and width stay the same.

    A chain of plain convolutions without shortcuts then learns as fast as one with them (identity initialisation, arXiv
    1706.00388; on CIFAR-10 5 points above a residual network of equal latency: docs/LOG.md, 2026-11-26).
    """
    weight, inputs = unit.conv.weight, unit.in_slots
    kernel_h, kernel_w = unit.conv.kernel_size
    if unit.conv.stride != (1, 1) or kernel_h * kernel_w == 1 or inputs is None:
        return
    place = {slot: column for column, slot in enumerate(inputs)}
    if not set(unit.out_slots) <= set(place) or weight.is_meta:
        return
    columns = torch.tensor([place[slot] for slot in unit.out_slots])
    weight.mul_(0.5)
    weight[torch.arange(len(columns)), columns, kernel_h // 2, kernel_w // 2] += 1.0


def _block(
    block: Block, in_slots: Slots, out_slots: Slots, project_ratio: int, form: Form, drop_path: float
) -> nn.Module:
    if block.kind == "conv":
        return GhostModule(
            out_slots,
            in_slots,
            project_ratio,
            block.cheap_kernel,
            block.act,
            form,
            kernel=block.kernel,
            stride=block.stride,
        )
    return GhostBlock(block, in_slots, out_slots, project_ratio, form, drop_path=drop_path)

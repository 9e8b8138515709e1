"""What each block of an architecture costs, by closed formulas: the drawing's own arithmetic, free of torch.

Counted are multiply-accumulates of convolutions and linear layers (no norms, activations, sums, pooling) and all
learned parameters, norms included. ``tests/report/test_cost.py`` holds it to the counts of the networks themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from ghostfit.arch import Arch, Block

DFC_KERNEL = 5  # 1 x 5 and 5 x 1, at half resolution: GhostNetV2 (arXiv 2211.12905), section 4.2


@dataclass(frozen=True)
class BlockCost:
    """One part of the network: ``stem``, ``stages.I.J`` or ``head``."""

    name: str
    macs: int
    params: int
    in_channels: int
    size_hw: tuple[int, int]  # of its output


@dataclass
class _Sum:
    macs: int = 0
    params: int = 0

    def conv(self, weights: int, out: int, size_hw: tuple[int, int], *, norm: bool = True) -> None:
        """A convolution of `weights` parameters, each used once a position, and its batch norm."""
        self.macs += weights * size_hw[0] * size_hw[1]
        self.params += weights + 2 * out * norm

    def ghost(self, inside: int, out: int, ratio: int, cheap_kernel: int, size_hw: tuple[int, int]) -> None:
        """A pointwise convolution as a Ghost module: primaries, then cheap maps by a depthwise convolution."""
        primaries = -(-out // ratio)
        self.conv(inside * primaries, primaries, size_hw)
        if ratio > 1:
            cheap = out - primaries
            self.conv(cheap * cheap_kernel**2, cheap, size_hw)

    def linear(self, inside: int, out: int, *, bias: bool = True) -> None:
        self.macs += inside * out
        self.params += inside * out + out * bias


def block_costs(arch: Arch) -> tuple[BlockCost, ...]:
    """Cost of the stem, of each block and of the head, in the order in which they run."""
    stem = _Sum()
    size_hw = _shrink(arch.size_hw, arch.stem.stride)
    stem.conv(arch.in_channels * arch.stem.out * arch.stem.kernel**2, arch.stem.out, size_hw)
    costs = [BlockCost("stem", stem.macs, stem.params, arch.in_channels, size_hw)]
    inside = arch.stem.out
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.blocks):
            total = _block(block, inside, stage.out, stage.project_ratio, size_hw)
            size_hw = _shrink(size_hw, block.stride)
            costs.append(BlockCost(f"stages.{i}.{j}", total.macs, total.params, inside, size_hw))
            inside = stage.out
    head = _head(arch, inside, size_hw)
    return (*costs, BlockCost("head", head.macs, head.params, inside, size_hw))


def _shrink(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size_hw[0] // stride), -(-size_hw[1] // stride)


def _block(block: Block, inside: int, out: int, project_ratio: int, size_hw: tuple[int, int]) -> _Sum:
    total, after = _Sum(), _shrink(size_hw, block.stride)
    if block.kind == "conv":
        total.conv(inside * out * block.kernel**2, out, after)
        return total
    width = block.mid or inside
    between = size_hw if block.kernel else after  # a stride falls to the start when no later depthwise carries it
    if block.start_kernel:
        total.conv(inside * block.start_kernel**2, inside, between)
    if block.mid:
        total.ghost(inside, block.mid, block.ratio, block.cheap_kernel, between)
    if block.dfc:
        half = max(between[0] // 2, 1), max(between[1] // 2, 1)
        total.conv(inside * width, width, half)
        total.conv(width * DFC_KERNEL, width, half)
        total.conv(width * DFC_KERNEL, width, half)
    if block.kernel:
        total.conv(width * block.kernel**2, width, after)
    if block.se:
        total.linear(width, block.se)
        total.linear(block.se, width)
    total.ghost(width, out, project_ratio, block.cheap_kernel, after)
    if block.shortcut_kernel and (block.stride > 1 or inside != out):
        total.conv(inside * block.shortcut_kernel**2, inside, after)
        total.conv(inside * out, out, after)
    return total


def _head(arch: Arch, inside: int, size_hw: tuple[int, int]) -> _Sum:
    total, width = _Sum(), inside
    if arch.head.conv:
        total.conv(width * arch.head.conv, arch.head.conv, size_hw)
        width = arch.head.conv
    if arch.head.hidden:
        total.linear(width, arch.head.hidden, bias=not arch.head.hidden_norm)
        total.params += 2 * arch.head.hidden * arch.head.hidden_norm
        width = arch.head.hidden
    total.linear(width, arch.num_classes)
    return total

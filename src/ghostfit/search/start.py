"""Start networks: where a search begins when nobody names one, and how a network is scaled to a latency limit.

Published mobile networks were drawn for 224 pixels and for counted operations. On small inputs and real runtimes a
shallow network of dense convolutions whose widths fill the runtime's blocks carries several times the arithmetic in the
same time, and is trained several times as fast, since a depthwise convolution costs its gradient dearly (measured,
docs/LOG.md, 2026-11-26). So the start is drawn for the input size, with no Ghost modules; the space around it lets the
search find where they pay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ghostfit.arch import Arch, Block, Head, Stage, Stem

STAGE_WIDTHS = (32, 64, 128, 192, 256, 320)  # at width 1; the last ones are used
WIDEST = 512  # channels of `conv_start` at width 1: beyond it a kernel's weights no longer fit the cache
LAST_MAP = 7  # pixels: strided stages are added until the last map is no larger
SMALL_INPUT = 48  # pixels: below it the stem of `plain_start` keeps the resolution, and that of `conv_start` is wide
STEM_KERNEL = 5  # with whitening filters 0.8 points better than 3, and 1.0 than 7 (CIFAR-10; docs/LOG.md, 2026-12-01)
ALIGN = 16  # channels: one AVX-512 register of floats, the runtime's block (ghost.md figures; measured, docs/LOG.md)


def conv_start(
    num_classes: int,
    size_hw: tuple[int, int],
    *,
    in_channels: int = 3,
    width: float = 1.0,
    depth: int = 3,
) -> Arch:
    """A chain of dense convolutions for inputs of `size_hw` pixels, its channels scaled by `width`.

    The stem halves the map, with a large kernel, which tells whitening filters (`ghostfit.nn.whiten`) more than three
    pixels would. Each stage halves it again and doubles the channels, so that all cost the same; for small inputs the
    first one, of a single convolution, keeps it.

    >>> arch = conv_start(10, (32, 32))
    >>> arch.stem.out, [stage.out for stage in arch.stages], [stage.blocks[0].stride for stage in arch.stages]
    (32, [32, 64, 128], [1, 2, 2])
    """
    is_small = min(size_hw) <= SMALL_INPUT
    stages = []
    for number in range(_num_stages(size_hw, 2) + is_small):
        keeps = is_small and number == 0
        blocks = (Block(kind="conv", stride=1 if keeps else 2), *(Block(kind="conv") for _ in range(depth - 1)))
        out = aligned(min(32 * 2**number, WIDEST) * width)
        stages.append(Stage(out=out, blocks=blocks[:1] if keeps else blocks))
    return Arch(
        stem=Stem(out=aligned((32 if is_small else 16) * width), kernel=STEM_KERNEL, stride=2),
        stages=tuple(stages),
        head=Head(),
        num_classes=num_classes,
        size_hw=size_hw,
        in_channels=in_channels,
    )


def plain_start(
    num_classes: int,
    size_hw: tuple[int, int],
    *,
    in_channels: int = 3,
    width: float = 1.0,
    expand: int = 3,
    depth: int = 2,
) -> Arch:
    """A wide, shallow inverted-bottleneck network for inputs of `size_hw` pixels, its channels scaled by `width`.

    >>> arch = plain_start(10, (32, 32))
    >>> [stage.out for stage in arch.stages], [stage.blocks[0].stride for stage in arch.stages]
    ([64, 128, 192], [2, 2, 2])
    """
    stem_stride, num_stages = _strides(size_hw)
    widths = _widths(num_stages, width)
    stages = []
    before = aligned(32 * width)
    for out in widths:
        first = Block(mid=before * expand, stride=2)
        rest = tuple(Block(mid=out * expand) for _ in range(depth - 1))
        stages.append(Stage(out=out, blocks=(first, *rest)))
        before = out
    return Arch(
        stem=Stem(out=aligned(32 * width), stride=stem_stride),
        stages=tuple(stages),
        head=Head(conv=2 * before),
        num_classes=num_classes,
        size_hw=size_hw,
        in_channels=in_channels,
    )


def scale_width(arch: Arch, factor: float) -> Arch:
    """`arch` with every channel count multiplied by `factor` and rounded to multiples of 8: the usual way by hand."""
    stages = tuple(
        dataclasses.replace(
            stage,
            out=aligned(stage.out * factor, 8),
            blocks=tuple(
                dataclasses.replace(
                    block,
                    mid=aligned(block.mid * factor, 8) if block.mid else 0,
                    se=aligned(block.se * factor, 4) if block.se else 0,
                )
                for block in stage.blocks
            ),
        )
        for stage in arch.stages
    )
    head = dataclasses.replace(
        arch.head,
        conv=aligned(arch.head.conv * factor, 8) if arch.head.conv else 0,
        hidden=aligned(arch.head.hidden * factor, 8) if arch.head.hidden else 0,
    )
    dense = arch.dense and dataclasses.replace(arch.dense, width=aligned(arch.dense.width * factor, 8))
    stem = dataclasses.replace(arch.stem, out=aligned(arch.stem.out * factor, 8))
    return arch.replace(stem=stem, stages=stages, head=head, dense=dense)


def widest_within(
    make: Callable[[float], Arch],
    is_within: Callable[[Arch], bool],
    *,
    low: float = 0.1,
    high: float = 4.0,
    steps: int = 7,
) -> Arch | None:
    """The widest of the networks ``make(factor)`` that `is_within` accepts, by bisection.

    None when even `low` is too wide.

    >>> widest_within(lambda f: plain_start(10, (32, 32), width=f), lambda arch: arch.stages[0].out <= 96).stages[0].out
    96
    """
    if not is_within(make(low)):
        return None
    best = make(low)
    for _ in range(steps):
        middle = (low * high) ** 0.5
        arch = make(middle)
        if is_within(arch):
            best, low = arch, middle
        else:
            high = middle
    return best


def aligned(channels: float, align: int = ALIGN) -> int:
    """Nearest multiple of `align`, at least `align`."""
    return max(align, int(channels / align + 0.5) * align)


def _strides(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Stride of the stem, and how many stages of stride 2 follow."""
    stem_stride = 1 if min(size_hw) <= SMALL_INPUT else 2
    return stem_stride, _num_stages(size_hw, stem_stride)


def _num_stages(size_hw: tuple[int, int], stem_stride: int) -> int:
    num_stages, last = 0, -(-min(size_hw) // stem_stride)
    while last > LAST_MAP or num_stages < 2:
        num_stages, last = num_stages + 1, -(-last // 2)
    return num_stages


def _widths(num_stages: int, width: float) -> list[int]:
    first = 1 if num_stages <= 3 else 0
    base = STAGE_WIDTHS[first : first + num_stages]
    base += (STAGE_WIDTHS[-1],) * (num_stages - len(base))
    return [aligned(channels * width) for channels in base]

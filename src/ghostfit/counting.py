"""Parameters, multiply-accumulates and peak activation memory of an architecture, in closed form and without torch.

Counted is the deployed network in eval mode, batch 1: MACs of convolutions and linear layers (those of
squeeze-and-excitation and of the DFC gate included), not of norms, activations, pools, sums and products. Parameters
are the trainable ones, norms included, as published; training branches count where the architecture has them.

>>> from ghostfit.presets import preset
>>> counts = count(preset("ghostnet_100"))
>>> f"{counts.params / 1e6:.3f} M, {counts.macs / 1e6:.1f} M, {counts.peak_activation_bytes / 1e6:.2f} MB"
'5.183 M, 141.2 M, 5.62 MB'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ghostfit.arch import CHEAP_KERNEL, CONTEXT_BINS, PROTOTYPE_STRIDE, Arch, Block, Dense, Stage

__all__ = ["BlockCount", "Counts", "Operation", "count", "operations"]

BYTES_PER_VALUE = 4  # float32


@dataclass(frozen=True)
class BlockCount:
    """Share of one block: ``stem``, ``stages.{i}.{j}``, ``neck``, ``head``.

    `out` is the (channels, height, width) of what it writes last.
    """

    name: str
    params: int
    macs: int
    out: tuple[int, int, int]


@dataclass(frozen=True)
class Counts:
    """What `count` finds. `peak_activation_bytes` is the most that maps needed at one time take, as float32.

    A map is needed from the operation that writes it to the last that reads it; activations and sums work in place;
    weights and the runtime's own buffers are not in it.
    """

    params: int
    macs: int
    peak_activation_bytes: int
    by_block: tuple[BlockCount, ...]


@dataclass(frozen=True)
class Operation:
    """One step of a network: it reads maps and writes one, `out` = (channels, height, width)."""

    name: str
    block: str
    reads: tuple[int, ...]  # numbers of the maps read; 0 is the image, k is what operation k - 1 writes
    out: tuple[int, int, int]
    params: int = 0
    macs: int = 0
    is_in_place: bool = False  # writes over the first map it reads


def count(arch: Arch) -> Counts:
    """Exact counts of `arch` at its own input size."""
    steps = operations(arch)
    by_block = []
    for name, group in groupby(steps, key=lambda step: step.block):
        part = list(group)
        by_block.append(
            BlockCount(name, sum(step.params for step in part), sum(step.macs for step in part), part[-1].out)
        )
    return Counts(
        params=sum(step.params for step in steps),
        macs=sum(step.macs for step in steps),
        peak_activation_bytes=BYTES_PER_VALUE * _peak_values(arch, steps),
        by_block=tuple(by_block),
    )


def operations(arch: Arch) -> tuple[Operation, ...]:
    """The steps of ``build(arch)`` in the order in which they run."""
    tape = _Tape(arch)
    tape.block = "stem"
    x = tape.conv("stem", 0, arch.stem.out, arch.stem.kernel, arch.stem.stride)
    ends = []
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.blocks):
            tape.block = f"stages.{i}.{j}"
            x = _block(tape, tape.block, block, stage, x)
        ends.append(x)
    if arch.dense is None:
        tape.block = "head"
        _head(tape, arch, x)
    else:
        features = {stride: ends[index] for stride, index in arch.features.items()}
        _dense(tape, arch, arch.dense, features)
    return tuple(tape.steps)


def _block(tape: _Tape, name: str, block: Block, stage: Stage, x: int) -> int:
    if block.kind == "conv":
        return tape.ghost(name, x, stage.out, stage.project_ratio, block.cheap_kernel, block.kernel, block.stride)
    y = x
    if block.start_kernel:
        y = tape.depthwise(f"{name}.start", y, block.start_kernel, 1 if block.kernel else block.stride)
    if block.mid:
        before = y
        y = tape.ghost(f"{name}.expand", y, block.mid, block.ratio, block.cheap_kernel)
        if block.dfc:
            y = tape.gate(f"{name}.expand.gate", before, y)
    if block.kernel:
        y = tape.depthwise(f"{name}.depthwise", y, block.kernel, block.stride)
    if block.se:
        y = tape.squeeze_excite(f"{name}.se", y, block.se)
    y = tape.ghost(f"{name}.project", y, stage.out, stage.project_ratio, block.cheap_kernel)
    if block.stride == 1 and tape.channels(x) == stage.out:
        return tape.add(f"{name}.shortcut", y, x)
    if block.shortcut_kernel:
        x = tape.conv(
            f"{name}.shortcut.depthwise", x, tape.channels(x), block.shortcut_kernel, block.stride, is_depthwise=True
        )
        x = tape.conv(f"{name}.shortcut.pointwise", x, stage.out)
        return tape.add(f"{name}.shortcut", y, x)
    return y


def _head(tape: _Tape, arch: Arch, x: int) -> None:
    if arch.head.conv:
        x = tape.conv("head.conv", x, arch.head.conv)
    x = tape.step("head.pool", (x,), (tape.channels(x), 1, 1))
    if arch.head.hidden:
        x = tape.linear("head.hidden", x, arch.head.hidden, has_norm=arch.head.hidden_norm)
    tape.linear("head.classifier", x, arch.num_classes)


def _dense(tape: _Tape, arch: Arch, dense: Dense, features: Mapping[int, int]) -> None:
    taps = [features[stride] for stride in arch.taps]
    tape.block = "neck"
    levels = [_fusion(tape, dense, taps)] if dense.task == "segment" else _pan(tape, dense, taps)
    tape.block = "head"
    if dense.task == "segment":
        _segment_head(tape, arch, dense, levels[0], taps)
        return
    values = {"scores": arch.num_classes, "boxes": 4}
    if dense.num_prototypes:
        values["coefficients"] = dense.num_prototypes
    maps: dict[str, list[int]] = {name: [] for name in values}
    for i, level in enumerate(levels):
        y = _trunk(tape, f"head.levels.{i}.trunk", dense, level)
        for name, number in values.items():
            maps[name].append(tape.conv(f"head.levels.{i}.{name}", y, number, has_norm=False))
    for name, number in values.items():
        num_anchors = sum(tape.shape(one)[1] * tape.shape(one)[2] for one in maps[name])
        tape.step(f"head.{name}", tuple(maps[name]), (number, num_anchors, 1))
    if dense.num_prototypes:
        _prototypes(tape, dense, levels[0], features[PROTOTYPE_STRIDE])


def _pan(tape: _Tape, dense: Dense, taps: Sequence[int]) -> list[int]:
    block, stage = dense.block(dense.width), Stage(dense.width, (), dense.ratio)
    levels = [tape.conv(f"neck.laterals.{i}", tap, dense.width) for i, tap in enumerate(taps)]
    for i in reversed(range(len(taps) - 1)):
        joined = tape.add_enlarged(f"neck.top_down.{i}.join", levels[i], levels[i + 1])
        levels[i] = _block(tape, f"neck.top_down.{i}", block, stage, joined)
    for i in range(len(taps) - 1):
        fine = _separable(tape, f"neck.down.{i}", dense, levels[i], dense.width, 2)
        joined = tape.add(f"neck.bottom_up.{i}.join", levels[i + 1], fine)
        levels[i + 1] = _block(tape, f"neck.bottom_up.{i}", block, stage, joined)
    for i in range(len(dense.strides) - len(taps)):
        levels.append(_separable(tape, f"neck.extra.{i}", dense, levels[-1], dense.width, 2))
    return levels


def _fusion(tape: _Tape, dense: Dense, taps: Sequence[int]) -> int:
    widths = dense.widths[: len(taps)]
    last = len(taps) - 1
    laterals = [tape.conv(f"neck.laterals.{i}", tap, widths[i]) for i, tap in enumerate(taps)]
    y = laterals[last]
    for number, cells in enumerate(CONTEXT_BINS):
        name = f"neck.context.bins.{number}"
        means = tape.step(f"{name}.pool", (taps[last],), (tape.channels(taps[last]), cells, cells))
        y = tape.add_enlarged(name, y, tape.conv(name, means, widths[last], has_norm=False))
    for i in reversed(range(len(taps))):
        if i < last:
            y = tape.add_enlarged(f"neck.blocks.{i}.join", laterals[i], tape.conv(f"neck.reduce.{i}", y, widths[i]))
        y = _block(tape, f"neck.blocks.{i}", dense.block(widths[i]), Stage(widths[i], (), dense.ratio), y)
    return y


def _segment_head(tape: _Tape, arch: Arch, dense: Dense, level: int, taps: Sequence[int]) -> None:
    shares = [tape.conv(f"head.skips.{i}", tap, arch.num_classes, has_norm=False) for i, tap in enumerate(taps)]
    y = shares.pop()
    while shares:
        y = tape.add_enlarged(f"head.skips.{len(shares)}", shares.pop(), y)
    fused = tape.conv("head.classes", _trunk(tape, "head.trunk", dense, level), arch.num_classes, has_norm=False)
    tape.add("head.classes", y, fused)


def _prototypes(tape: _Tape, dense: Dense, level: int, detail: int) -> None:
    name, width = "head.prototypes", dense.num_prototypes
    lateral = tape.conv(f"{name}.lateral", detail, width)
    y = _trunk(tape, f"{name}.trunk", dense, tape.conv(f"{name}.reduce", level, width))
    _separable(tape, f"{name}.join", dense, tape.add_enlarged(name, lateral, y), width, 1)


def _trunk(tape: _Tape, name: str, dense: Dense, x: int) -> int:
    for number in range(dense.head_depth):
        x = _separable(tape, f"{name}.{number}", dense, x, tape.channels(x), 1)
    return x


def _separable(tape: _Tape, name: str, dense: Dense, x: int, out: int, stride: int) -> int:
    x = tape.depthwise(f"{name}.depthwise", x, dense.kernel, stride)
    return tape.ghost(f"{name}.pointwise", x, out, dense.ratio, CHEAP_KERNEL)


@dataclass
class _Tape:
    """The operations written so far; each method appends some and gives the number of the map they end in."""

    arch: Arch
    block: str = ""
    steps: list[Operation] = field(default_factory=list)

    def shape(self, number: int) -> tuple[int, int, int]:
        """Channels, height and width of a map."""
        return self.steps[number - 1].out if number else (self.arch.in_channels, *self.arch.size_hw)

    def channels(self, number: int) -> int:
        """Channels of a map."""
        return self.shape(number)[0]

    def step(
        self,
        name: str,
        reads: tuple[int, ...],
        out: tuple[int, int, int],
        params: int = 0,
        macs: int = 0,
        is_in_place: bool = False,
    ) -> int:
        """Append one operation."""
        self.steps.append(Operation(name, self.block, reads, out, params, macs, is_in_place))
        return len(self.steps)

    def conv(
        self,
        name: str,
        x: int,
        out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        *,
        is_depthwise: bool = False,
        has_norm: bool = True,
    ) -> int:
        """Convolution with batch norm, or with a bias when `has_norm` is False."""
        channels, height, width = self.shape(x)
        height, width = -(-height // stride), -(-width // stride)
        kernel_h, kernel_w = (kernel, kernel) if isinstance(kernel, int) else kernel
        weights = out * (1 if is_depthwise else channels) * kernel_h * kernel_w
        params = weights + out * (2 if has_norm else 1)
        return self.step(name, (x,), (out, height, width), params, weights * height * width)

    def unit(self, name: str, x: int, out: int, kernel: int = 1, stride: int = 1, *, is_depthwise: bool = False) -> int:
        """A convolution that has branches in the training form; those cost parameters and MACs of their own."""
        end = self.conv(name, x, out, kernel, stride, is_depthwise=is_depthwise)
        if not self.arch.branches:
            return end
        one = self.steps.pop()
        values = one.out[1] * one.out[2]
        params, macs = one.params * self.arch.branches, one.macs * self.arch.branches
        if is_depthwise and (self.arch.padding == "symmetric" or stride == 1):
            params, macs = params + 3 * out, macs + out * values
        if is_depthwise and stride == 1 and self.channels(x) == out:
            params += 2 * out
        return self.step(name, one.reads, one.out, params, macs)

    def depthwise(self, name: str, x: int, kernel: int, stride: int) -> int:
        """Depthwise convolution that keeps the channels."""
        return self.unit(name, x, self.channels(x), kernel, stride, is_depthwise=True)

    def ghost(
        self, name: str, x: int, out: int, ratio: int, cheap_kernel: int, kernel: int = 1, stride: int = 1
    ) -> int:
        """Ghost module without its gate."""
        num_primary = -(-out // ratio)
        y = self.unit(f"{name}.primary", x, num_primary, kernel, stride)
        if ratio > 1:
            cheap = self.unit(f"{name}.cheap", y, num_primary * (ratio - 1), cheap_kernel, is_depthwise=True)
            y = self.step(f"{name}.concat", (y, cheap), (out, *self.shape(y)[1:]))
        return y

    def gate(self, name: str, x: int, y: int) -> int:
        """DFC gate computed from `x`, multiplied into `y`."""
        channels, height, width = self.shape(y)
        gate = self.step(f"{name}.pool", (x,), (self.channels(x), max(1, height // 2), max(1, width // 2)))
        gate = self.conv(f"{name}.pointwise", gate, channels)
        gate = self.conv(f"{name}.horizontal", gate, channels, (1, 5), is_depthwise=True)
        gate = self.conv(f"{name}.vertical", gate, channels, (5, 1), is_depthwise=True)
        gate = self.step(f"{name}.upsample", (gate,), (channels, height, width))
        return self.step(f"{name}.multiply", (y, gate), (channels, height, width), is_in_place=True)

    def squeeze_excite(self, name: str, x: int, inner: int) -> int:
        """Squeeze-and-excitation of `x`."""
        channels, height, width = self.shape(x)
        gate = self.step(f"{name}.pool", (x,), (channels, 1, 1))
        gate = self.conv(f"{name}.reduce", gate, inner, has_norm=False)
        gate = self.conv(f"{name}.expand", gate, channels, has_norm=False)
        return self.step(f"{name}.multiply", (x, gate), (channels, height, width), is_in_place=True)

    def add(self, name: str, y: int, x: int) -> int:
        """Residual sum."""
        return self.step(f"{name}.add", (y, x), self.shape(y), is_in_place=True)

    def add_enlarged(self, name: str, y: int, x: int) -> int:
        """Sum of `y` and of `x` enlarged to its size."""
        x = self.step(f"{name}.enlarge", (x,), self.shape(y))
        return self.add(name, y, x)

    def linear(self, name: str, x: int, out: int, *, has_norm: bool = False) -> int:
        """Linear layer with bias, or with batch norm."""
        macs = self.channels(x) * out
        return self.step(name, (x,), (out, 1, 1), macs + out * (2 if has_norm else 1), macs)


def _peak_values(arch: Arch, steps: tuple[Operation, ...]) -> int:
    """Most values that are needed at one time."""
    last_read = dict.fromkeys(range(len(steps) + 1), len(steps) + 1)  # outputs stay to the end
    last_read |= {read: number for number, step in enumerate(steps, start=1) for read in step.reads}
    live = {0: arch.in_channels * arch.size_hw[0] * arch.size_hw[1]}
    peak = 0
    for number, step in enumerate(steps, start=1):
        size = step.out[0] * step.out[1] * step.out[2]
        overwrites = step.is_in_place and last_read[step.reads[0]] == number
        peak = max(peak, sum(live.values()) + (0 if overwrites else size))
        live = {other: kept for other, kept in live.items() if last_read[other] > number}
        live[number] = size
    return peak

"""Lowering: how our modules are written for a runtime, in forms that differ in speed and not in result.

A Ghost module is a convolution (the primary maps) and a cheap depthwise one on its result, one behind the other in
memory. Runtimes copy to bring them together; `GHOST_FORMS` are the ways to write it:

- ``concat``: the two results concatenated, as published.
- ``split``: they stay two tensors; whatever reads them becomes two operations (two convolutions added).
- ``repeat``: the convolution writes each primary map again for each of its cheap maps, and the depthwise one passes the
  first copies unchanged (a kernel with a single one): more arithmetic, one tensor, no copy.

`Lowering` says which form is used where, to what multiple channels are filled up so that the runtime's blocks are full,
and how squeeze-and-excitation scales its map. Measured: docs/LOG.md, 2026-11-24.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ghostfit.export.graph import UNUSED, Array, GraphWriter, Layout, Maps, Pads, Part
from ghostfit.nn.block import GhostBlock, Reorder, Shortcut, SqueezeExcite
from ghostfit.nn.build import Classifier, Network
from ghostfit.nn.ghost import ConvBN, DFCGate, GhostModule, LinearBN

GHOST_FORMS = ("concat", "split", "repeat")
SCALE_FORMS = ("broadcast", "spread")
IDEMPOTENT = ("none", "relu", "relu6")  # activations that leave their own result as it is: what "repeat" needs
ACTIVATION_NAMES = {
    nn.Identity: "none",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hard_swish",
    nn.SiLU: "silu",
}


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """How a network is written. `forms` overrides `ghost` for single modules, by name such as ``stages.0.1.expand``."""

    ghost: str = "concat"
    block: int = 1  # multiple to which each tensor's channels are filled up; 1: as they are
    scale: str = "broadcast"  # "spread": the gate is enlarged to its map's size before multiplying
    forms: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for form in (self.ghost, *(form for _, form in self.forms)):
            if form not in GHOST_FORMS:
                raise ValueError(f"Ghost form {form!r}; allowed: {', '.join(GHOST_FORMS)}")
        if self.scale not in SCALE_FORMS:
            raise ValueError(f"scale={self.scale!r}; allowed: {', '.join(SCALE_FORMS)}")
        if self.block < 1:
            raise ValueError(f"block={self.block}; allowed: 1 (as they are) or a number of channels such as 8 or 16")

    def form_of(self, module: str) -> str:
        """The form of the Ghost module of that name."""
        return dict(self.forms).get(module, self.ghost)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lowering:
        """Inverse of `to_dict`."""
        return cls(**{**data, "forms": tuple((name, form) for name, form in data.get("forms", ()))})


def write_network(writer: GraphWriter, network: Network, image: Maps, lowering: Lowering) -> str:
    """Write a deployed network (no training branches); returns the tensor of its logits (N, num_classes)."""
    maps = _write_conv(writer, "stem", network.stem, image)
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            name = f"stages.{i}.{j}"
            if isinstance(block, GhostBlock):
                maps = _write_block(writer, name, block, maps, lowering)
            else:
                maps = _write_conv(writer, name, block, maps)
    return _write_classifier(writer, network.head, maps)


def _write_block(writer: GraphWriter, name: str, block: GhostBlock, x: Maps, lowering: Lowering) -> Maps:
    y = x
    if block.start is not None:
        y = _write_conv(writer, f"{name}.start", block.start, y)
    if block.expand is not None:
        y = _write_ghost(writer, f"{name}.expand", block.expand, y, lowering)
    if block.depthwise is not None:
        y = _write_conv(writer, f"{name}.depthwise", block.depthwise, y)
    if block.se is not None:
        y = _write_squeeze_excite(writer, f"{name}.se", block.se, y, lowering)
    if isinstance(block.shortcut, Shortcut):
        y = _write_ghost(writer, f"{name}.project", block.project, y, lowering)
        short = _write_conv(writer, f"{name}.shortcut.depthwise", block.shortcut.depthwise, x)
        short = _write_conv(writer, f"{name}.shortcut.pointwise", block.shortcut.pointwise, short, y.layout)
        return writer.add(_path(name), y, short)
    if block.shortcut is None:
        return _write_ghost(writer, f"{name}.project", block.project, y, lowering)
    short = _renumber(x, block.shortcut.index) if isinstance(block.shortcut, Reorder) else x
    y = _write_ghost(writer, f"{name}.project", block.project, y, lowering, short.layout)
    return writer.add(_path(name), y, short)


def _write_ghost(
    writer: GraphWriter, name: str, module: GhostModule, x: Maps, lowering: Lowering, layout: Layout | None = None
) -> Maps:
    """A Ghost module; a plain one (ratio 1) is written in `layout`."""
    form = lowering.form_of(name)
    if module.cheap is None:
        y = _write_conv(writer, f"{name}.primary", module.primary, x, layout)
    elif form == "repeat" and _activation_name(module.cheap) in IDEMPOTENT:
        y = _write_repeated(writer, name, module, x)
    else:
        y = _write_halves(writer, name, module, x)
        y = writer.concat(_path(name), y) if form == "concat" else y
    if module.gate is not None:
        gate = _write_gate(writer, f"{name}.gate", module.gate, x, y)
        y = writer.multiply(_path(f"{name}.gate"), y, gate)
    return y


def _write_halves(writer: GraphWriter, name: str, module: GhostModule, x: Maps) -> Maps:
    """Primary maps in one tensor; each further tensor holds one cheap map of each primary map."""
    primary = _write_conv(writer, f"{name}.primary", module.primary, x)
    cheap = _read_filter(module.cheap, x.size_hw)
    num_primary, copies = len(module.primary.out_slots), module.ratio - 1
    parts = list(primary.parts)
    for copy in range(copies):
        (part,) = _depthwise(writer, f"{name}.cheap", primary, cheap, slice(copy, None, copies)).parts
        numbers = (num_primary + i * copies + copy for i in range(num_primary))
        kept = tuple(number if number < len(module.out_slots) else UNUSED for number in numbers)
        parts.append(Part(part.tensor, kept + part.channels[num_primary:]))
    return Maps(tuple(parts), primary.size_hw)


def _write_repeated(writer: GraphWriter, name: str, module: GhostModule, x: Maps) -> Maps:
    """Both halves by one convolution with repeated rows and one depthwise one that passes the first half."""
    primary, cheap = _read_filter(module.primary, x.size_hw), _read_filter(module.cheap, x.size_hw)
    num_primary, num_cheap = len(primary.weight), len(module.out_slots) - len(primary.weight)
    rows = np.array([*range(num_primary), *(i // (module.ratio - 1) for i in range(num_cheap))])
    y = writer.conv(_path(f"{name}.primary"), x, primary.weight[rows], primary.bias[rows], act=primary.act)
    height, width = cheap.weight.shape[2:]
    passing = np.zeros((num_primary, 1, height, width), np.float32)
    passing[:, :, height // 2, width // 2] = 1
    weight = np.concatenate([passing, cheap.weight[:num_cheap]])
    bias = np.concatenate([np.zeros(num_primary, np.float32), cheap.bias[:num_cheap]])
    return writer.depthwise(_path(f"{name}.cheap"), y, weight, bias, act=cheap.act, pads=cheap.pads)


def _write_gate(writer: GraphWriter, name: str, gate: DFCGate, x: Maps, like: Maps) -> Maps:
    """DFC attention, in the layout and size of the map `like` that it multiplies."""
    height, width = x.size_hw
    kernel = (min(2, height), min(2, width))
    small = (height // kernel[0], width // kernel[1])
    y = writer.each("AveragePool", _path(name), x, small, kernel_shape=list(kernel), strides=list(kernel))
    y = _write_conv(writer, f"{name}.pointwise", gate.pointwise, y, like.layout)
    y = _write_conv(writer, f"{name}.horizontal", gate.horizontal, y)
    y = _write_conv(writer, f"{name}.vertical", gate.vertical, y, act="sigmoid")
    return writer.spread(_path(name), y, like.size_hw)


def _write_squeeze_excite(writer: GraphWriter, name: str, module: SqueezeExcite, x: Maps, lowering: Lowering) -> Maps:
    y = writer.each("GlobalAveragePool", _path(name), x, (1, 1))
    y = _write_conv(writer, f"{name}.reduce", module.reduce, y)
    y = _write_conv(writer, f"{name}.expand", module.expand, y, x.layout, act="hard_sigmoid")
    if lowering.scale == "spread":
        y = writer.spread(_path(name), y, x.size_hw)
    return writer.multiply(_path(name), x, y)


def _write_classifier(writer: GraphWriter, head: Classifier, x: Maps) -> str:
    if head.conv is not None:
        x = _write_conv(writer, "head.conv", head.conv, x)
    x = writer.concat(_path("head"), writer.each("GlobalAveragePool", _path("head"), x, (1, 1)))
    (pooled,) = x.parts
    channels = pooled.channels
    vector = writer.node("Flatten", "/head/Flatten", [pooled.tensor], axis=1)
    if head.hidden is not None:
        vector = _write_linear(writer, "head.hidden", head.hidden, vector, channels)
        channels = tuple(range(head.hidden.linear.out_features))
    return _write_linear(writer, "head.classifier", head.classifier, vector, channels)


def _write_linear(writer: GraphWriter, name: str, module: LinearBN, vector: str, channels: tuple[int, ...]) -> str:
    weight, bias = fold(module.linear, module.bn)
    return writer.linear(_path(name), vector, weight, bias, channels, act=_activation_name(module))


def _write_conv(
    writer: GraphWriter, name: str, module: ConvBN, x: Maps, layout: Layout | None = None, act: str | None = None
) -> Maps:
    """Any convolution with its norm folded in; `act` stands in for the module's own activation."""
    filter = _read_filter(module, x.size_hw)
    if act is not None:
        filter = dataclasses.replace(filter, act=act)
    if module.in_slots is None:
        return _depthwise(writer, name, x, filter)
    return writer.conv(
        _path(name),
        x,
        filter.weight,
        filter.bias,
        act=filter.act,
        stride=filter.stride,
        pads=filter.pads,
        layout=layout,
    )


def _depthwise(writer: GraphWriter, name: str, x: Maps, filter: _Filter, rows: slice = slice(None)) -> Maps:
    return writer.depthwise(
        _path(name), x, filter.weight[rows], filter.bias[rows], act=filter.act, stride=filter.stride, pads=filter.pads
    )


@dataclass(frozen=True)
class _Filter:
    """What a convolution does, with its norm folded in. `weight`: (out, in / groups, kh, kw)."""

    weight: Array
    bias: Array
    act: str
    stride: int
    pads: Pads


def _read_filter(module: ConvBN, size_hw: tuple[int, int]) -> _Filter:
    weight, bias = fold(module.conv, module.bn)
    stride = module.conv.stride[0]
    kernel = weight.shape[2:]
    if module.pads_same:
        pads = _same_pads(size_hw, kernel, stride)
    else:
        pads = (kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2)
    return _Filter(weight, bias, _activation_name(module), stride, pads)


def fold(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d | None) -> tuple[Array, Array]:
    """Weight and bias of a layer with the batch norm behind it folded in, in float64 and then rounded once."""
    weight = layer.weight.detach().cpu().numpy()
    bias = np.zeros(len(weight), np.float32) if layer.bias is None else layer.bias.detach().cpu().numpy()
    if norm is None:
        return weight, bias
    gain, shift, mean, variance = (
        t.detach().cpu().numpy().astype(np.float64)
        for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = gain / np.sqrt(variance + norm.eps)
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.astype(np.float32), (shift + (bias - mean) * scale).astype(np.float32)


def _same_pads(size_hw: tuple[int, int], kernel: tuple[int, ...], stride: int) -> Pads:
    """TensorFlow's rule: ceil(size / stride) outputs, the odd pixel of padding at the right and below."""
    totals = [max((-(-size // stride) - 1) * stride + k - size, 0) for size, k in zip(size_hw, kernel, strict=True)]
    return totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2


def _renumber(maps: Maps, index: tuple[int, ...]) -> Maps:
    """The map whose channel c is channel ``index[c]`` of `maps`: other numbers, nothing moved."""
    number = {old: new for new, old in enumerate(index)} | {UNUSED: UNUSED}
    return Maps(tuple(Part(p.tensor, tuple(number[c] for c in p.channels)) for p in maps.parts), maps.size_hw)


def _activation_name(module: ConvBN | LinearBN) -> str:
    return ACTIVATION_NAMES[type(module.act)]


def _path(name: str) -> str:
    """Node name of a module: ``stages.0.1.expand.primary`` is ``/stages.0.1/expand/primary``."""
    parts = name.split(".")
    if parts[0] == "stages":
        return "/" + "/".join([".".join(parts[:3]), *parts[3:]])
    return "/" + "/".join(parts)

"""Lowering: how our modules are written for a runtime, in forms that differ in speed and not in result.

A Ghost module is a convolution (the primary maps) and a cheap depthwise one on its result, one behind the other in
memory. Runtimes copy to bring them together; `GHOST_FORMS` are the ways to write it:

- ``concat``: the two results concatenated, as published.
- ``split``: they stay two tensors; whatever reads them becomes two operations (two convolutions added).
- ``repeat``: the convolution writes each primary map again for each of its cheap maps, and the depthwise one passes the
  first copies unchanged (a kernel with a single one): more arithmetic, one tensor, no copy.

`Lowering` says which form is used where, to what multiple channels are filled up so that the runtime's blocks are
full, and how squeeze-and-excitation scales its map. `LOWERINGS` has those that measured best somewhere: docs/LOG.md,
2026-11-24.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import nn

from ghostfit.arch import same_pads
from ghostfit.export.graph import UNUSED, Array, Channels, GraphWriter, Layout, Maps, Pads, Part
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
    concat_below: int = 0  # pixels: on smaller maps "split" gives way to "concat", whose operations are fewer
    repeat_up_to: int = 0  # Ghost modules of at most so many channels are repeated whatever `ghost` says
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

    def form_of(self, name: str, num_channels: int, size_hw: tuple[int, int]) -> str:
        """The form of the Ghost module of that name, output width and size."""
        form = "concat" if size_hw[0] * size_hw[1] < self.concat_below else self.ghost
        return dict(self.forms).get(name, "repeat" if num_channels <= self.repeat_up_to else form)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lowering:
        """Inverse of `to_dict`."""
        return cls(**{**data, "forms": tuple((name, form) for name, form in data.get("forms", ()))})


# Measured on ghostnet_050 to 130, v2 and v3 at 32 to 224 px (docs/LOG.md, 2026-11-24): "split" wins on large maps,
# "concat" on small ones; 16 channels are a block of ONNX Runtime with AVX-512, 8 with AVX2.
LOWERINGS: Mapping[str, Lowering] = {
    "plain": Lowering(),
    "split16": Lowering(ghost="split", concat_below=300, repeat_up_to=40, block=16, scale="spread"),
    "split8": Lowering(ghost="split", concat_below=300, repeat_up_to=40, block=8, scale="spread"),
    "concat16": Lowering(ghost="concat", repeat_up_to=80, block=16, scale="spread"),
    "concat8": Lowering(ghost="concat", repeat_up_to=80, block=8, scale="spread"),
}
DEFAULT_LOWERING = "split16"


def lowering_of(lowering: str | Lowering) -> Lowering:
    """The lowering of that name in `LOWERINGS`. Raises ValueError for an unknown one."""
    if isinstance(lowering, Lowering):
        return lowering
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering {lowering!r}; allowed: {', '.join(LOWERINGS)}")
    return LOWERINGS[lowering]


def write_backbone(writer: GraphWriter, network: Network, image: Maps, lowering: Lowering) -> list[Maps]:
    """Write stem and stages of a fused network; returns the last map of each stage."""
    ends = []
    maps = write_conv(writer, "stem", network.stem, image)
    writer.marks["stem"] = maps
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(cast(nn.Sequential, stage)):
            name = f"stages.{i}.{j}"
            if isinstance(block, GhostBlock):
                maps = write_block(writer, name, block, maps, lowering)
            else:
                maps = write_ghost(writer, name, cast(GhostModule, block), maps, lowering)
            writer.marks[name] = maps
        ends.append(maps)
    return ends


def write_block(writer: GraphWriter, name: str, block: GhostBlock, x: Maps, lowering: Lowering) -> Maps:
    """A universal Ghost block."""
    y = x
    if block.start is not None:
        y = write_conv(writer, f"{name}.start", block.start, y)
    if block.expand is not None:
        y = write_ghost(writer, f"{name}.expand", block.expand, y, lowering)
    if block.depthwise is not None:
        y = write_conv(writer, f"{name}.depthwise", block.depthwise, y)
    if block.se is not None:
        y = _write_squeeze_excite(writer, f"{name}.se", block.se, y, lowering)
    if block.shortcut is None:
        return write_ghost(writer, f"{name}.project", block.project, y, lowering)
    if isinstance(block.shortcut, Shortcut):
        y = write_ghost(writer, f"{name}.project", block.project, y, lowering)
        short = write_conv(writer, f"{name}.shortcut.depthwise", block.shortcut.depthwise, x)
        short = write_conv(writer, f"{name}.shortcut.pointwise", block.shortcut.pointwise, short, y.layout)
    else:
        short = _renumber(x, block.shortcut.index) if isinstance(block.shortcut, Reorder) else x
        y = write_ghost(writer, f"{name}.project", block.project, y, lowering, short.layout)
    return writer.add(path_of(name), y, short)


def write_ghost(
    writer: GraphWriter, name: str, module: GhostModule, x: Maps, lowering: Lowering, like: Layout | None = None
) -> Maps:
    """A Ghost module, where it can be in the layout `like` of the map that it is added to."""
    form = lowering.form_of(name, len(module.out_slots), x.size_hw)
    if form == "split" and like is not None and len(like) == 1:
        form = "repeat"
    if form == "repeat" and _is_dense(module):
        form = "concat"  # computing the maps of a large kernel twice costs what the module saves
    if module.cheap is None:
        y = write_conv(writer, f"{name}.primary", module.primary, x, like)
    elif form == "repeat" and _activation_name(module.cheap) in IDEMPOTENT:
        y = _write_repeated(writer, name, module, x)
    else:
        y = _write_halves(writer, name, module, x)
        y = writer.concat(path_of(name), y) if form == "concat" else y
    if module.gate is not None:
        gate = _write_gate(writer, f"{name}.gate", module.gate, x, y)
        y = writer.multiply(path_of(f"{name}.gate"), y, gate)
    return y


def _is_dense(module: GhostModule) -> bool:
    return isinstance(module.primary, ConvBN) and module.primary.conv.kernel_size != (1, 1)


def _write_halves(writer: GraphWriter, name: str, module: GhostModule, x: Maps) -> Maps:
    """Primary maps in one tensor; each further tensor holds one cheap map of each primary map."""
    primary = write_conv(writer, f"{name}.primary", module.primary, x)
    cheap = _read_conv(module.cheap, x.size_hw)
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
    primary, cheap = _read_conv(module.primary, x.size_hw), _read_conv(module.cheap, x.size_hw)
    num_primary, num_cheap = len(primary.weight), len(module.out_slots) - len(primary.weight)
    rows = np.array([*range(num_primary), *(i // (module.ratio - 1) for i in range(num_cheap))])
    y = writer.conv(path_of(f"{name}.primary"), x, primary.weight[rows], primary.bias[rows], act=primary.act)
    height, width = cheap.weight.shape[2:]
    passing = np.zeros((num_primary, 1, height, width), np.float32)
    passing[:, :, height // 2, width // 2] = 1
    weight = np.concatenate([passing, cheap.weight[:num_cheap]])
    bias = np.concatenate([np.zeros(num_primary, np.float32), cheap.bias[:num_cheap]])
    return writer.depthwise(path_of(f"{name}.cheap"), y, weight, bias, act=cheap.act, pads=cheap.pads)


def _write_gate(writer: GraphWriter, name: str, gate: DFCGate, x: Maps, like: Maps) -> Maps:
    """DFC attention, in the layout and size of the map `like` that it multiplies."""
    height, width = x.size_hw
    kernel = (min(2, height), min(2, width))
    small = (height // kernel[0], width // kernel[1])
    y = writer.each("AveragePool", path_of(name), x, small, kernel_shape=list(kernel), strides=list(kernel))
    y = write_conv(writer, f"{name}.pointwise", gate.pointwise, y, like.layout)
    y = write_conv(writer, f"{name}.horizontal", gate.horizontal, y)
    y = write_conv(writer, f"{name}.vertical", gate.vertical, y, act="sigmoid")
    return writer.enlarge(path_of(name), y, like.size_hw)


def _write_squeeze_excite(writer: GraphWriter, name: str, module: SqueezeExcite, x: Maps, lowering: Lowering) -> Maps:
    y = writer.each("GlobalAveragePool", path_of(name), x, (1, 1))
    y = write_conv(writer, f"{name}.reduce", module.reduce, y)
    y = write_conv(writer, f"{name}.expand", module.expand, y, x.layout, act="hard_sigmoid")
    if lowering.scale == "spread":
        y = writer.enlarge(path_of(name), y, x.size_hw)
    return writer.multiply(path_of(name), x, y)


def write_classifier(writer: GraphWriter, head: Classifier, x: Maps) -> str:
    """The classifier; returns the tensor of its logits (N, num_classes)."""
    if head.conv is not None:
        x = write_conv(writer, "head.conv", head.conv, x)
    (pooled,) = writer.concat("/head", writer.each("GlobalAveragePool", "/head", x, (1, 1))).parts
    vector = writer.node("Flatten", "/head/Flatten", [pooled.tensor], axis=1)
    channels = pooled.channels
    if head.hidden is not None:
        vector = _write_linear(writer, "head.hidden", head.hidden, vector, channels)
        channels = tuple(range(head.hidden.linear.out_features))
    return _write_linear(writer, "head.classifier", head.classifier, vector, channels)


def _write_linear(writer: GraphWriter, name: str, module: LinearBN, vector: str, channels: Channels) -> str:
    weight, bias = _weights(module.linear)
    return writer.linear(path_of(name), vector, weight, bias, channels, act=_activation_name(module))


def write_conv(
    writer: GraphWriter, name: str, module: nn.Module, x: Maps, layout: Layout | None = None, act: str | None = None
) -> Maps:
    """Any convolution; `act` stands in for the module's own activation."""
    conv = _read_conv(module, x.size_hw)
    if act is not None:
        conv = dataclasses.replace(conv, act=act)
    if conv.is_depthwise:
        return _depthwise(writer, name, x, conv)
    return writer.conv(
        path_of(name), x, conv.weight, conv.bias, act=conv.act, stride=conv.stride, pads=conv.pads, layout=layout
    )


def _depthwise(writer: GraphWriter, name: str, x: Maps, conv: _Conv, rows: slice = slice(None)) -> Maps:
    return writer.depthwise(
        path_of(name), x, conv.weight[rows], conv.bias[rows], act=conv.act, stride=conv.stride, pads=conv.pads
    )


@dataclass(frozen=True)
class _Conv:
    """What a fused convolution does. `weight`: (out, in / groups, kh, kw)."""

    weight: Array
    bias: Array
    act: str
    stride: int
    pads: Pads
    is_depthwise: bool


def _read_conv(module: nn.Module | None, size_hw: tuple[int, int]) -> _Conv:
    assert isinstance(module, ConvBN) and module.bn is None, "networks are fused before they are written"
    weight, bias = _weights(module.conv)
    stride = module.conv.stride[0]
    pads = [(kernel // 2, kernel // 2) for kernel in weight.shape[2:]]
    if module.pads_same:
        pads = [same_pads(size, kernel, stride) for size, kernel in zip(size_hw, weight.shape[2:], strict=True)]
    (top, bottom), (left, right) = pads
    is_depthwise = module.in_slots is None
    return _Conv(weight, bias, _activation_name(module), stride, (top, left, bottom, right), is_depthwise)


def _weights(layer: nn.Conv2d | nn.Linear) -> tuple[Array, Array]:
    assert layer.bias is not None
    weight, bias = (tensor.detach().cpu().numpy() for tensor in (layer.weight, layer.bias))
    return weight.astype(np.float32, copy=False), bias.astype(np.float32, copy=False)


def _renumber(maps: Maps, index: Channels) -> Maps:
    """The map whose channel c is channel ``index[c]`` of `maps`: other numbers, nothing moved."""
    number = {old: new for new, old in enumerate(index)} | {UNUSED: UNUSED}
    return Maps(tuple(Part(p.tensor, tuple(number[c] for c in p.channels)) for p in maps.parts), maps.size_hw)


def _activation_name(module: nn.Module) -> str:
    assert isinstance(module, ConvBN | LinearBN)
    return ACTIVATION_NAMES[type(module.act)]


def path_of(name: str) -> str:
    """Node name of a module: ``stages.0.1.expand.primary`` is ``/stages.0.1/expand/primary``."""
    parts = name.split(".")
    if parts[0] == "stages":
        return "/" + "/".join([".".join(parts[:3]), *parts[3:]])
    return "/" + "/".join(parts)

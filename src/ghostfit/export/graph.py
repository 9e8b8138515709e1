"""Writes an ONNX graph node by node, with feature maps that may lie in several tensors and may carry padding channels.

ONNX Runtime keeps feature maps in blocks of 16 channels (8 without AVX-512) and leaves that layout for every operation
that it cannot run in blocks. `Maps` says where each channel lies, so that a convolution can read a map from two tensors
(two convolutions added instead of a concatenation), write its rows in any order, and fill blocks with zero channels;
the result stays the same.

>>> writer = GraphWriter(block=4)
>>> image = writer.input("image", channels=3, size_hw=(8, 8), batch=1)
>>> maps = writer.conv("/stem", image, np.ones((6, 3, 3, 3), np.float32), np.zeros(6, np.float32), act="relu")
>>> maps.parts[0].channels
(0, 1, 2, 3, 4, 5, -1, -1)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]
Channels = tuple[int, ...]
Layout = tuple[Channels, ...]  # the channels of each tensor that a map is spread over
Pads = tuple[int, int, int, int]  # top, left, bottom, right: ONNX's order

OPSET = 17  # HardSwish needs 14, Resize as written here 13; readable by every ONNX Runtime since 1.12
IR_VERSION = 8  # the file format that belongs to opset 17
MAX_CHOICE = 1 << 16  # numbers in a matrix that enlarges a map; the 7 x 7 maps of a 224 px image take 441
UNUSED = -1  # number of a channel that only fills a block: nothing reads it


@dataclass(frozen=True)
class Part:
    """A tensor that holds some channels of a feature map; `channels` names them in memory order, -1 is filling."""

    tensor: str
    channels: Channels


@dataclass(frozen=True)
class Output:
    """A tensor that becomes an output of the network, and its shape; a dimension that is text is left open."""

    tensor: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Maps:
    """A feature map spread over one or more tensors."""

    parts: tuple[Part, ...]
    size_hw: tuple[int, int]

    @property
    def layout(self) -> Layout:
        """Channels of each tensor."""
        return tuple(part.channels for part in self.parts)


class GraphWriter:
    """Collects nodes and weights; `finish` makes the model. Channels are filled up to a multiple of `block`."""

    def __init__(self, block: int = 1) -> None:
        self.block = block
        self.marks: dict[str, Maps] = {}  # feature maps that are told in the file, by the name of their module
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._taken: set[str] = set()

    def input(self, name: str, *, channels: int, size_hw: tuple[int, int], batch: int | str) -> Maps:
        """Declare the network's input; a `batch` that is text is a dimension left open."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels, *size_hw]))
        return Maps((Part(name, tuple(range(channels))),), size_hw)

    def finish(self, outputs: Mapping[str, Output], metadata: dict[str, str]) -> bytes:
        """The serialised model with `outputs` by name, which no node may read; `marks` join the metadata as "maps"."""
        names = {output.tensor: name for name, output in outputs.items()}
        for node in self._nodes:
            node.output[0] = names.get(node.output[0], node.output[0])
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, out.shape) for name, out in outputs.items()]
        graph = helper.make_graph(self._nodes, "ghostfit", self._inputs, infos, list(self._weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "ghostfit"
        marks = {name: [[part.tensor, part.channels] for part in maps.parts] for name, maps in self.marks.items()}
        helper.set_model_props(model, {**metadata, "maps": json.dumps(marks)})
        return bytes(model.SerializeToString())

    def conv(
        self,
        name: str,
        maps: Maps,
        weight: Array,
        bias: Array | None,
        *,
        act: str = "none",
        stride: int = 1,
        pads: Pads = (0, 0, 0, 0),
        layout: Layout | None = None,
    ) -> Maps:
        """Dense convolution. `weight`: (out, in, kh, kw), its columns numbered as the channels of `maps`.

        `layout` spreads the rows over tensors; default: one tensor in order. A map that lies in several tensors is read
        by as many convolutions, whose results are added.
        """
        layout = self.pad((tuple(range(len(weight))),)) if layout is None else layout
        parts = []
        for rows in layout:
            total = ""
            for number, part in enumerate(maps.parts):
                chosen = take(take(weight, rows, 0), part.channels, 1)
                offset = take(bias, rows, 0) if bias is not None and number == 0 else None
                result = self._conv_node(name, part.tensor, chosen, offset, stride, pads, groups=1)
                total = self.node("Add", f"{name}/Add", [total, result]) if total else result
            parts.append(Part(self.activation(name, total, act), rows))
        return Maps(tuple(parts), output_size(maps.size_hw, weight.shape[2:], stride, pads))

    def depthwise(
        self,
        name: str,
        maps: Maps,
        weight: Array,
        bias: Array | None,
        *,
        act: str = "none",
        stride: int = 1,
        pads: Pads = (0, 0, 0, 0),
    ) -> Maps:
        """One kernel for each channel. `weight`: (channels, 1, kh, kw). The layout stays."""
        parts = []
        for part in maps.parts:
            offset = take(bias, part.channels, 0) if bias is not None else None
            chosen = take(weight, part.channels, 0)
            result = self._conv_node(name, part.tensor, chosen, offset, stride, pads, groups=len(part.channels))
            parts.append(Part(self.activation(name, result, act), part.channels))
        return Maps(tuple(parts), output_size(maps.size_hw, weight.shape[2:], stride, pads))

    def linear(
        self, name: str, vector: str, weight: Array, bias: Array, channels: Channels, *, act: str = "none"
    ) -> str:
        """Fully connected layer on (N, channels). `weight`: (out, in), its columns numbered as `channels`."""
        columns = self.weight(f"{name}/Gemm.weight", take(weight, channels, 1))
        inputs = [vector, columns, self.weight(f"{name}/Gemm.bias", bias)]
        return self.activation(name, self.node("Gemm", f"{name}/Gemm", inputs, transB=1), act)

    def add(self, name: str, left: Maps, right: Maps) -> Maps:
        """Sum of two maps, in the layout of `left`."""
        right = self.arrange(f"{name}/arrange", right, left.layout)
        return self._binary("Add", name, left, right)

    def multiply(self, name: str, left: Maps, right: Maps) -> Maps:
        """Product of two maps of one layout; `right` may be 1 x 1."""
        assert left.layout == right.layout, "a gate is written in the layout of the map that it multiplies"
        return self._binary("Mul", name, left, right)

    def arrange(self, name: str, maps: Maps, layout: Layout) -> Maps:
        """The same channels in another layout: copied by a convolution with ones and zeros, which is exact."""
        if maps.layout == layout:
            return maps
        count = 1 + max(channel for channels in layout for channel in channels)
        return self.conv(name, maps, np.eye(count, dtype=np.float32)[:, :, None, None], None, layout=layout)

    def concat(self, name: str, maps: Maps) -> Maps:
        """The same map in one tensor."""
        if len(maps.parts) == 1:
            return maps
        tensor = self.node("Concat", f"{name}/Concat", [part.tensor for part in maps.parts], axis=1)
        return Maps((Part(tensor, sum(maps.layout, ())),), maps.size_hw)

    def each(
        self, op: str, name: str, maps: Maps, size_hw: tuple[int, int], inputs: Sequence[str] = (), **attributes: Any
    ) -> Maps:
        """Apply an operation to each tensor of a map."""
        parts = [
            Part(self.node(op, f"{name}/{op}", [part.tensor, *inputs], **attributes), part.channels)
            for part in maps.parts
        ]
        return Maps(tuple(parts), size_hw)

    def enlarge(self, name: str, maps: Maps, size_hw: tuple[int, int]) -> Maps:
        """Nearest-neighbour enlargement, exactly as ``torch.nn.functional.interpolate(mode="nearest")``."""
        if maps.size_hw == size_hw:
            return maps
        (high, wide), (height, width) = maps.size_hw, size_hw
        if height % high == 0 and width % wide == 0:  # whole factors: what runs in blocks
            factors = np.array([1, 1, height // high, width // wide], np.float32)
            scales = self.weight(f"{name}/scales", factors)
            return self.each(
                "Resize", name, maps, size_hw, ["", scales],
                mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        rows, columns = nearest_index(high, height), nearest_index(wide, width)
        if high * wide * height * width > MAX_CHOICE:
            maps = self.each("Gather", name, maps, (height, wide), [self.weight(f"{name}/rows", rows)], axis=2)
            return self.each("Gather", name, maps, size_hw, [self.weight(f"{name}/columns", columns)], axis=3)
        # A product with ones and zeros is several times faster than Gather or Resize: docs/LOG.md, 2026-11-24.
        choice = np.zeros((high, wide, height, width), np.float32)
        y, x = np.indices(size_hw)
        choice[rows[y], columns[x], y, x] = 1
        return self._mix(name, maps, choice)

    def pool(self, name: str, maps: Maps, cells: int) -> Maps:
        """Means of `cells` x `cells` windows, exactly as ``torch.nn.functional.adaptive_avg_pool2d``."""
        height, width = maps.size_hw
        if cells == 1:
            return self.each("GlobalAveragePool", name, maps, (1, 1))
        if height % cells == 0 and width % cells == 0:
            kernel = [height // cells, width // cells]
            return self.each("AveragePool", name, maps, (cells, cells), kernel_shape=kernel, strides=kernel)
        windows = np.zeros((height, width, cells, cells), np.float32)
        for i, j in np.ndindex(cells, cells):
            rows = slice(i * height // cells, -(-(i + 1) * height // cells))
            columns = slice(j * width // cells, -(-(j + 1) * width // cells))
            windows[rows, columns, i, j] = 1 / windows[rows, columns, i, j].size
        return self._mix(name, maps, windows)

    def _mix(self, name: str, maps: Maps, weights: Array) -> Maps:
        """Each place of the new map as a weighted sum of the old one's. weights: (old H, old W, new H, new W)."""
        high, wide, height, width = weights.shape
        matrix = self.weight(f"{name}/choice", weights.reshape(high * wide, height * width))
        flat, shape = (self.weight(f"{name}/{key}", np.array(size)) for key, size in
                       (("flat", (0, 0, high * wide)), ("shape", (0, 0, height, width))))  # fmt: skip
        maps = self.each("Reshape", name, maps, maps.size_hw, [flat])
        maps = self.each("MatMul", name, maps, (height, width), [matrix])
        return self.each("Reshape", name, maps, (height, width), [shape])

    def activation(self, name: str, tensor: str, act: str) -> str:
        """Name of the activated tensor. ONNX Runtime 1.32 fuses all of these into convolutions, SiLU excepted."""
        if act == "none":
            return tensor
        if act == "relu":
            return self.node("Relu", f"{name}/Relu", [tensor])
        if act == "relu6":
            bounds = [self.weight("/zero", np.array(0, np.float32)), self.weight("/six", np.array(6, np.float32))]
            return self.node("Clip", f"{name}/Clip", [tensor, *bounds])
        if act == "hard_swish":
            return self.node("HardSwish", f"{name}/HardSwish", [tensor])
        if act == "hard_sigmoid":
            return self.node("HardSigmoid", f"{name}/HardSigmoid", [tensor], alpha=1 / 6, beta=0.5)
        if act == "sigmoid":
            return self.node("Sigmoid", f"{name}/Sigmoid", [tensor])
        if act == "silu":
            return self.node("Mul", f"{name}/Mul", [tensor, self.node("Sigmoid", f"{name}/Sigmoid", [tensor])])
        raise ValueError(f"activation {act!r} has no ONNX form here")

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add one node; its output, which this returns, has its name."""
        name = self._free(name)
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add a constant tensor; constants of one name are the same constant."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def pad(self, layout: Layout) -> Layout:
        """`layout` with each tensor filled to whole blocks."""
        return tuple(channels + (UNUSED,) * (-len(channels) % self.block) for channels in layout)

    def _binary(self, op: Literal["Add", "Mul"], name: str, left: Maps, right: Maps) -> Maps:
        parts = [
            Part(self.node(op, f"{name}/{op}", [a.tensor, b.tensor]), a.channels)
            for a, b in zip(left.parts, right.parts, strict=True)
        ]
        return Maps(tuple(parts), left.size_hw)

    def _conv_node(
        self, name: str, tensor: str, weight: Array, bias: Array | None, stride: int, pads: Pads, groups: int
    ) -> str:
        name = self._free(f"{name}/Conv")
        inputs = [tensor, self.weight(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        node = helper.make_node(
            "Conv", inputs, [name], name=name, kernel_shape=list(weight.shape[2:]), strides=[stride, stride],
            pads=list(pads), group=groups,
        )  # fmt: skip
        self._nodes.append(node)
        return name

    def _free(self, name: str) -> str:
        """`name`, or with a number behind it when it is taken."""
        free, number = name, 1
        while free in self._taken:
            free, number = f"{name}.{number}", number + 1
        self._taken.add(free)
        return free


def take(array: Array, channels: Channels, axis: int) -> Array:
    """The given slices of `array`; zeros for -1.

    >>> take(np.array([5.0, 6.0], np.float32), (1, -1, 0), 0).tolist()
    [6.0, 0.0, 5.0]
    """
    if channels == tuple(range(array.shape[axis])):
        return array
    index = np.array(channels)
    chosen = np.take(array, np.maximum(index, 0), axis)
    if (index < 0).any():
        chosen[(slice(None),) * axis + (index < 0,)] = 0
    return np.asarray(chosen)


def output_size(size_hw: tuple[int, int], kernel_hw: Sequence[int], stride: int, pads: Pads) -> tuple[int, int]:
    """Height and width after a convolution.

    >>> output_size((7, 7), (3, 3), 2, (1, 1, 1, 1))
    (4, 4)
    """
    top, left, bottom, right = pads
    height = (size_hw[0] + top + bottom - kernel_hw[0]) // stride + 1
    width = (size_hw[1] + left + right - kernel_hw[1]) // stride + 1
    return height, width


def nearest_index(size: int, enlarged: int) -> npt.NDArray[np.int64]:
    """Source row of each enlarged row, in the single-precision arithmetic of PyTorch.

    >>> nearest_index(3, 7).tolist()
    [0, 0, 0, 1, 1, 2, 2]
    """
    scale = np.float32(size) / np.float32(enlarged)
    rows: npt.NDArray[np.int64] = np.floor(np.arange(enlarged, dtype=np.float32) * scale).astype(np.int64)
    return rows.clip(max=size - 1)

"""A look into an ONNX file without the onnx package: is it whole, and does it keep its weights inside?

A file may name other files for its weights (``external_data``), and a runtime would read whatever they point at. The
walk follows the protobuf wire format (protobuf.dev/programming-guides/encoding) through the messages of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_DEPTH = 32  # graphs inside attributes (If, Loop); ours have none

# Message -> field number -> message inside it. From onnx/onnx.proto3, release 1.16; only what leads to tensors.
_MODEL = {7: "graph", 20: "training", 25: "function"}
_TREE: dict[str, dict[int, str]] = {
    "model": _MODEL,
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(model: bytes) -> None:
    """Raise ValueError when `model` is damaged ONNX or keeps weights in other files."""
    _walk(memoryview(model), "model", 0)


def _walk(message: memoryview, kind: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs nested deeper than {MAX_DEPTH}")
    for number, wire, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            raise ValueError("it keeps weights in another file; export it with the weights inside")
        inner = _TREE[kind].get(number)
        if inner and wire == _BYTES:
            assert isinstance(value, memoryview)
            _walk(value, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) of each field. Raises ValueError where the message breaks off."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("damaged, or no ONNX file")
        if position + size > len(message):
            raise ValueError("truncated ONNX file")
        yield number, wire, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("truncated ONNX file")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("damaged, or no ONNX file")

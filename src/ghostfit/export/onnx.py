"""Networks as ONNX files, written straight from our modules: batch norm folded, no node that does nothing.

Written node by node instead of traced, because a search exports hundreds of networks to measure them, the names of the
nodes say which block they belong to, and a lowering decides how each Ghost module is written (`ghostfit.export.lower`).

>>> from ghostfit.nn.build import build
>>> from ghostfit.presets import preset
>>> model = to_onnx(build(preset("ghostnet_050", num_classes=10, size_hw=(32, 32))))
>>> onnx.load_from_string(model).graph.output[0].name
'logits'
"""

from __future__ import annotations

from typing import Literal

from ghostfit.export.graph import GraphWriter
from ghostfit.export.lower import Lowering, write_network
from ghostfit.nn.build import Network
from ghostfit.nn.fuse import fuse

__all__ = ["to_onnx"]

INPUT, OUTPUT = "image", "logits"


def to_onnx(
    network: Network,
    *,
    lowering: Lowering | None = None,
    size_hw: tuple[int, int] | None = None,
    batch: int | Literal["dynamic"] = 1,
) -> bytes:
    """The serialised ONNX model of `network` in evaluation.

    Input "image": (batch, in_channels, *size_hw), float32, normalised; output "logits": (batch, num_classes).
    `size_hw` is the architecture's unless given. A network with training branches is deployed first.
    """
    arch = network.arch
    lowering = Lowering() if lowering is None else lowering
    height, width = size_hw or arch.size_hw
    dimension = "N" if batch == "dynamic" else batch
    writer = GraphWriter(lowering.block)
    image = writer.input(INPUT, channels=arch.in_channels, size_hw=(height, width), batch=dimension)
    logits = write_network(writer, network if network.is_fused else fuse(network), image, lowering)
    return writer.finish(logits, OUTPUT, [dimension, arch.num_classes], {"arch_id": arch.id})

"""Networks as ONNX files, written straight from our modules: batch norm folded, no node that does nothing.

Written node by node instead of traced, because a search exports hundreds of networks to measure them, the names of the
nodes say which block they belong to, and a lowering decides how each Ghost module is written (`ghostfit.export.lower`).

>>> from ghostfit.nn.build import build
>>> from ghostfit.presets import preset
>>> model = to_onnx(build(preset("ghostnet_050", num_classes=10, size_hw=(32, 32))))
>>> import onnx
>>> onnx.load_from_string(model).graph.output[0].name
'logits'
"""

from __future__ import annotations

import json
from typing import Literal

from ghostfit.export.graph import GraphWriter
from ghostfit.export.lower import DEFAULT_LOWERING, Lowering, lowering_of
from ghostfit.export.network import write_network
from ghostfit.nn.build import Network
from ghostfit.nn.fuse import fuse

__all__ = ["to_onnx"]

INPUT = "image"


def to_onnx(
    network: Network,
    *,
    lowering: str | Lowering = DEFAULT_LOWERING,
    size_hw: tuple[int, int] | None = None,
    batch: int | Literal["dynamic"] = 1,
) -> bytes:
    """The serialised ONNX model of `network` in evaluation, training branches merged.

    Input "image": (batch, in_channels, *size_hw), float32, normalised; outputs: `arch.output_names`, in the shapes that
    the network gives. `size_hw` is the architecture's unless given; `lowering` is a name in `LOWERINGS` or one of your
    own. To measure an architecture, ``build(arch, is_fused=True)`` is the fastest way to a network.
    """
    arch = network.arch.deployed().replace(size_hw=size_hw or network.arch.size_hw)
    if batch != "dynamic" and batch < 1:
        raise ValueError(f"batch={batch}; allowed: 1 or more, or 'dynamic'")
    lowering = lowering_of(lowering)
    dimension = "N" if batch == "dynamic" else batch
    writer = GraphWriter(lowering.block)
    image = writer.input(INPUT, channels=arch.in_channels, size_hw=arch.size_hw, batch=dimension)
    outputs = write_network(writer, network if network.is_fused else fuse(network), image, lowering, dimension)
    metadata = {"arch_id": arch.id, "lowering": json.dumps(lowering.to_dict())}
    return writer.finish(outputs, metadata)

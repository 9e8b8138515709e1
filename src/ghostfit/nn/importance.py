"""Channels sorted by importance, without changing what a network computes.

A subnet of a store takes the first slots of each map. When the store starts from a trained network, the channels that matter
most should hold these slots (Once-for-all, arXiv 1908.09791, section 3.3, sorts by the L1 norm of the weights).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ghostfit.nn.block import GhostBlock, Reorder
from ghostfit.nn.build import Network, build
from ghostfit.nn.ghost import ConvBN, LinearBN

Layer = ConvBN | LinearBN


@torch.no_grad()
def sort_channels(network: Network) -> Network:
    """A network of the same architecture and outputs whose slots are in falling order of importance.

    A channel's importance is the L1 norm of the weights that read it, times the size of its batch norm's scale. Maps
    written by Ghost modules, maps that a stem or earlier stage shares with one by a reordered sum, and squeezed channels keep their order.
    """
    result = build(network.arch).train(network.training)
    result.load_state_dict(network.state_dict())
    result.prepare = network.prepare
    for writers, along, readers in _maps(result):
        if any(layer.out_slots != writers[0].out_slots for layer in writers):
            continue
        importance = _importance(writers, readers)
        order = torch.argsort(importance, descending=True, stable=True)
        slots = torch.tensor(writers[0].out_slots)
        # Position p of the memory holds slot slots[p]: the k-th most important channel moves to where slot k lies.
        source = order[slots]
        for layer in (*writers, *along):
            _permute_rows(layer, source)
        for layer in readers:
            weight = _weight(layer)
            weight.copy_(weight[:, source])
    return result


def _maps(network: Network) -> Iterator[tuple[list[Layer], list[Layer], list[Layer]]]:
    """For each map that may be permuted: the layers that write it, those that carry it along channel by channel, those that read it."""
    for block in network.modules():
        if isinstance(block, GhostBlock) and block.expand is not None and block.expand.cheap is None:
            yield _mid_map(block)
    yield from _stage_maps(network)
    head = network.head
    after = head.hidden or head.classifier
    if head.conv is not None:
        yield [head.conv], [], [after]
    if head.hidden is not None:
        yield [head.hidden], [], [head.classifier]


def _mid_map(block: GhostBlock) -> tuple[list[Layer], list[Layer], list[Layer]]:
    along: list[Layer] = [block.depthwise] if block.depthwise is not None else []
    readers: list[Layer] = [block.project.primary]
    if block.se is not None:
        along.append(block.se.expand)
        readers.append(block.se.reduce)
    if block.expand.gate is not None:
        along += [block.expand.gate.pointwise, block.expand.gate.horizontal, block.expand.gate.vertical]
    return [block.expand.primary], along, readers


def _stage_maps(network: Network) -> Iterator[tuple[list[Layer], list[Layer], list[Layer]]]:
    """Maps between blocks; an identity across a border makes the maps on both sides one."""
    head = network.head
    last_reader: Layer = head.conv or head.hidden or head.classifier
    writers: list[Layer] = [network.stem]
    along: list[Layer] = []
    readers: list[Layer] = []
    is_free = True
    for stage in network.stages:
        for block in stage:
            if isinstance(block, ConvBN):
                readers.append(block)
                if is_free:
                    yield writers, along, readers
                writers, along, readers, is_free = [block], [], [], True
                continue
            _read_by(block, along, readers)
            is_ghost = block.project.cheap is not None
            if isinstance(block.shortcut, nn.Identity):
                writers.append(block.project.primary)
                is_free &= not is_ghost
            elif isinstance(block.shortcut, Reorder):
                writers, along, readers, is_free = [block.project.primary], [], [], False
            else:
                if is_free:
                    yield writers, along, readers
                writers, along, readers, is_free = [block.project.primary], [], [], not is_ghost
                if block.shortcut is not None:
                    writers.append(block.shortcut.pointwise)
    readers.append(last_reader)
    if is_free:
        yield writers, along, readers


def _read_by(block: GhostBlock, along: list[Layer], readers: list[Layer]) -> None:
    """Add how `block` uses the map that it reads."""
    if block.start is not None:
        along.append(block.start)
    if block.expand is not None:
        readers.append(block.expand.primary)
        if block.expand.gate is not None:
            readers.append(block.expand.gate.pointwise)
    else:
        readers.append(block.project.primary)
        if block.depthwise is not None:
            along.append(block.depthwise)
        if block.se is not None:
            along.append(block.se.expand)
            readers.append(block.se.reduce)
    if block.shortcut is not None and hasattr(block.shortcut, "depthwise"):
        along.append(block.shortcut.depthwise)
        readers.append(block.shortcut.pointwise)


def _importance(writers: list[Layer], readers: list[Layer]) -> Tensor:
    norms = [layer.bn.weight.abs() for layer in writers if layer.bn is not None]
    scale = torch.stack(norms).sum(0) if norms else torch.ones(len(writers[0].out_slots))
    read = torch.stack([_weight(layer).abs().transpose(0, 1).flatten(1).sum(1) for layer in readers]).sum(0)
    return read * scale


def _permute_rows(layer: Layer, source: Tensor) -> None:
    own = [_weight(layer), layer.conv.bias if isinstance(layer, ConvBN) else layer.linear.bias]
    if layer.bn is not None:
        own += [layer.bn.weight, layer.bn.bias, layer.bn.running_mean, layer.bn.running_var]
    for tensor in own:
        if tensor is not None:
            tensor.copy_(tensor[source])


def _weight(layer: Layer) -> Tensor:
    return layer.conv.weight if isinstance(layer, ConvBN) else layer.linear.weight

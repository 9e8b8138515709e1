"""Channels sorted by importance, without changing what a network computes.

A subnet of a store takes the first slots of each map. When the store starts from a trained network, the channels that
matter most should hold these slots (Once-for-all, arXiv 1908.09791, section 3.3, sorts by the L1 norm of the weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from ghostfit.arch import PROTOTYPE_STRIDE
from ghostfit.nn.block import GhostBlock, Reorder, Shortcut
from ghostfit.nn.build import Classifier, Network, build
from ghostfit.nn.dense_head import DetectHead, SegmentHead
from ghostfit.nn.ghost import ConvBN, GhostModule, LinearBN, TrainingConv
from ghostfit.nn.neck import ContextFusion

Layer = ConvBN | LinearBN


@torch.no_grad()
def sort_channels(network: Network) -> Network:
    """A network of the same architecture and outputs whose slots are in falling order of importance.

    A channel's importance is the L1 norm of the weights that read it, times the size of its batch norm's scale. Maps
    that Ghost modules write, or that are added to one of another order, keep their order, as do squeezed channels.
    Raises ValueError for a training form, whose branches say the same thing in several ways.
    """
    if network.arch.branches:
        raise ValueError("channels are sorted in the deployed form; pass ghostfit.nn.fuse.deploy(network)")
    result = build(network.arch).train(network.training)
    result.load_state_dict(network.state_dict())
    result.prepare = network.prepare
    for chart in _charts(result):
        order = torch.argsort(_importance(chart), descending=True, stable=True)
        # Position p of the memory holds slot slots[p]: the k-th most important channel moves to where slot k lies.
        source = order[torch.tensor(chart.writers[0].out_slots)]
        for layer in (*chart.writers, *chart.carriers):
            _permute_rows(layer, source)
        for layer in chart.readers:
            weight = _weight(layer)
            weight.copy_(weight[:, source])
    return result


@dataclass
class _Chart:
    """The layers around one feature map: those that write it, carry it on channel by channel, and read it."""

    writers: list[Layer]
    carriers: list[Layer] = field(default_factory=list)
    readers: list[Layer] = field(default_factory=list)
    is_free: bool = True  # no Ghost module and no reordered sum forces its order


def _charts(network: Network) -> Iterator[_Chart]:
    """Every map whose channels may be permuted."""
    for block in network.modules():
        if isinstance(block, GhostBlock) and block.expand is not None and block.expand.cheap is None:
            yield _expanded(block, block.expand)
    yield from (chart for chart in _between_blocks(network) if chart.is_free)
    head = network.head
    if not isinstance(head, Classifier):
        return  # the maps of neck and head are joined in one order from end to end
    if head.conv is not None:
        yield _Chart([head.conv], [], [head.hidden or head.classifier])
    if head.hidden is not None:
        yield _Chart([head.hidden], [], [head.classifier])


def _expanded(block: GhostBlock, expand: GhostModule) -> _Chart:
    """The map between a block's expansion and its projection."""
    chart = _Chart([_plain(expand.primary)], [], [_plain(block.project.primary)])
    if block.depthwise is not None:
        chart.carriers.append(_plain(block.depthwise))
    if block.se is not None:
        chart.carriers.append(block.se.expand)
        chart.readers.append(block.se.reduce)
    if expand.gate is not None:
        chart.carriers += [expand.gate.pointwise, expand.gate.horizontal, expand.gate.vertical]
    return chart


def _between_blocks(network: Network) -> Iterator[_Chart]:
    """The maps that blocks hand on; an identity shortcut makes the map before a block and the one after it the same."""
    chart = _Chart([network.stem])
    readers = _readers_beyond(network)
    for index, block in ((i, block) for i, stage in enumerate(network.stages) for block in cast(nn.Sequential, stage)):
        chart.readers += readers.pop(index - 1, [])
        if isinstance(block, GhostModule):
            chart.readers.append(_plain(block.primary))
            yield chart
            chart = _Chart([_plain(block.primary)], is_free=block.cheap is None)
            continue
        assert isinstance(block, GhostBlock)
        _add_use(chart, block)
        project, is_plain = _plain(block.project.primary), block.project.cheap is None
        if isinstance(block.shortcut, nn.Identity):
            chart.writers.append(project)
            chart.is_free &= is_plain
            continue
        if isinstance(block.shortcut, Reorder):
            chart.is_free = is_plain = False
        yield chart
        chart = _Chart([project], is_free=is_plain)
        if isinstance(block.shortcut, Shortcut):
            chart.writers.append(block.shortcut.pointwise)
    chart.readers += readers.pop(len(network.stages) - 1)
    yield chart


def _readers_beyond(network: Network) -> dict[int, list[Layer]]:
    """What reads the last map of a stage besides the next one, by the stage's index: classifier, or neck and head."""
    head, neck, features = network.head, network.neck, network.arch.features
    if isinstance(head, Classifier):
        return {len(network.stages) - 1: [head.conv or head.hidden or head.classifier]}
    assert neck is not None
    readers: dict[int, list[Layer]] = {}
    for stride, lateral in zip(network.arch.taps, neck.laterals, strict=True):
        readers[features[stride]] = [cast(ConvBN, lateral)]
    if isinstance(neck, ContextFusion):
        assert isinstance(head, SegmentHead)
        readers[len(network.stages) - 1] += [cast(ConvBN, conv) for conv in neck.context.bins]
        for stride, skip in zip(network.arch.taps, head.skips, strict=True):
            readers[features[stride]].append(cast(ConvBN, skip))
    elif isinstance(head, DetectHead) and head.prototypes is not None:
        readers.setdefault(features[PROTOTYPE_STRIDE], []).append(head.prototypes.lateral)
    return readers


def _add_use(chart: _Chart, block: GhostBlock) -> None:
    """Add to `chart` how `block` uses the map that it reads."""
    if block.start is not None:
        chart.carriers.append(_plain(block.start))
    if block.expand is not None:
        chart.readers.append(_plain(block.expand.primary))
        if block.expand.gate is not None:
            chart.readers.append(block.expand.gate.pointwise)
    else:
        chart.readers.append(_plain(block.project.primary))
        if block.depthwise is not None:
            chart.carriers.append(_plain(block.depthwise))
        if block.se is not None:
            chart.carriers.append(block.se.expand)
            chart.readers.append(block.se.reduce)
    if isinstance(block.shortcut, Shortcut):
        chart.carriers.append(block.shortcut.depthwise)
        chart.readers.append(block.shortcut.pointwise)


def _plain(unit: ConvBN | TrainingConv) -> ConvBN:
    assert isinstance(unit, ConvBN), "the deployed form has no training branches"
    return unit


def _importance(chart: _Chart) -> Tensor:
    norms = [layer.bn.weight.abs() for layer in chart.writers if layer.bn is not None]
    scale = torch.stack(norms).sum(0) if norms else torch.ones(len(chart.writers[0].out_slots))
    read = torch.stack([_weight(layer).abs().transpose(0, 1).flatten(1).sum(1) for layer in chart.readers]).sum(0)
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

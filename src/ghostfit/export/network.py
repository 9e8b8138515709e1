"""Writes a whole network: backbone, then classifier, or neck and dense head.

Maps that are added are written in one layout, so that the sums of a neck need no copies. Predictions of all levels are
brought together once, behind the convolutions; scores and boxes stay separate outputs, each with a scale of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import nn

from ghostfit.arch import CONTEXT_BINS, PROTOTYPE_STRIDE
from ghostfit.export.graph import GraphWriter, Layout, Maps, Output
from ghostfit.export.lower import (
    Lowering,
    path_of,
    write_backbone,
    write_block,
    write_classifier,
    write_conv,
    write_ghost,
)
from ghostfit.nn.block import GhostBlock
from ghostfit.nn.build import Classifier, Network
from ghostfit.nn.dense_head import DetectHead, LevelHead, Prototypes, SegmentHead
from ghostfit.nn.neck import ContextFusion, GhostPan, Separable

__all__ = ["write_network"]


def write_network(
    writer: GraphWriter, network: Network, image: Maps, lowering: Lowering, batch: int | str
) -> dict[str, Output]:
    """Write a fused network; returns its outputs by name, for `GraphWriter.finish`."""
    ends = write_backbone(writer, network, image, lowering)
    head, arch = network.head, network.arch
    if isinstance(head, Classifier):
        return {"logits": Output(write_classifier(writer, head, ends[-1]), (batch, arch.num_classes))}
    features = {stride: ends[index] for stride, index in arch.features.items()}
    taps = [features[stride] for stride in arch.taps]
    if isinstance(head, SegmentHead):
        assert isinstance(network.neck, ContextFusion)
        fused = _write_fusion(writer, network.neck, taps, lowering)
        return _write_segment_head(writer, head, fused, taps, lowering, batch)
    assert isinstance(network.neck, GhostPan)
    levels = _write_pan(writer, network.neck, taps, lowering)
    outputs = _write_detect_head(writer, head, levels, lowering, batch)
    if head.prototypes is not None:
        detail = features[PROTOTYPE_STRIDE]
        outputs["prototypes"] = _write_prototypes(writer, head.prototypes, levels[0], detail, lowering, batch)
    return outputs


def _write_pan(writer: GraphWriter, neck: GhostPan, taps: Sequence[Maps], lowering: Lowering) -> list[Maps]:
    levels = [write_conv(writer, f"neck.laterals.{len(taps) - 1}", neck.laterals[-1], taps[-1])]
    for i in reversed(range(len(neck.top_down))):
        name = f"neck.top_down.{i}"
        coarse = writer.enlarge(path_of(name), levels[0], taps[i].size_hw)
        lateral = write_conv(writer, f"neck.laterals.{i}", neck.laterals[i], taps[i], coarse.layout)
        joined = writer.add(path_of(f"{name}.join"), lateral, coarse)
        levels.insert(0, _write_joint(writer, name, neck.top_down[i], joined, lowering))
    for i, down in enumerate(neck.down):
        name = f"neck.bottom_up.{i}"
        fine = _write_separable(writer, f"neck.down.{i}", down, levels[i], lowering, levels[i + 1].layout)
        joined = writer.add(path_of(f"{name}.join"), levels[i + 1], fine)
        levels[i + 1] = _write_joint(writer, name, neck.bottom_up[i], joined, lowering)
    for i, extra in enumerate(neck.extra):
        levels.append(_write_separable(writer, f"neck.extra.{i}", extra, levels[-1], lowering))
        writer.marks[f"neck.extra.{i}"] = levels[-1]
    return levels


def _write_fusion(writer: GraphWriter, neck: ContextFusion, taps: Sequence[Maps], lowering: Lowering) -> Maps:
    last = len(taps) - 1
    y = write_conv(writer, f"neck.laterals.{last}", neck.laterals[last], taps[last])
    for number, (conv, cells) in enumerate(zip(neck.context.bins, CONTEXT_BINS, strict=True)):
        name = f"neck.context.bins.{number}"
        means = writer.pool(path_of(f"{name}.pool"), taps[last], cells)
        means = writer.enlarge(path_of(name), write_conv(writer, name, conv, means, y.layout), y.size_hw)
        y = writer.add(path_of(name), y, means)
    y = _write_joint(writer, f"neck.blocks.{last}", neck.blocks[last], y, lowering)
    for i in reversed(range(last)):
        coarse = write_conv(writer, f"neck.reduce.{i}", neck.reduce[i], y)
        coarse = writer.enlarge(path_of(f"neck.reduce.{i}"), coarse, taps[i].size_hw)
        lateral = write_conv(writer, f"neck.laterals.{i}", neck.laterals[i], taps[i], coarse.layout)
        name = f"neck.blocks.{i}"
        y = writer.add(path_of(f"{name}.join"), lateral, coarse)
        y = _write_joint(writer, name, neck.blocks[i], y, lowering)
    return y


def _write_joint(writer: GraphWriter, name: str, block: nn.Module, x: Maps, lowering: Lowering) -> Maps:
    writer.marks[name] = write_block(writer, name, cast(GhostBlock, block), x, lowering)
    return writer.marks[name]


def _write_detect_head(
    writer: GraphWriter, head: DetectHead, levels: Sequence[Maps], lowering: Lowering, batch: int | str
) -> dict[str, Output]:
    heads = [cast(LevelHead, level) for level in head.levels]
    maps = [
        _write_trunk(writer, f"head.levels.{i}.trunk", level.trunk, x, lowering)
        for i, (level, x) in enumerate(zip(heads, levels, strict=True))
    ]
    num_places = [height * width for height, width in (level.size_hw for level in levels)]
    scores = _write_rows(writer, "scores", [level.scores for level in heads], maps)
    boxes = _write_rows(writer, "boxes", [level.boxes for level in heads], maps)
    boxes = writer.node("Elu", "/head/boxes/Elu", [boxes], alpha=1.0)
    boxes = writer.node("Add", "/head/boxes/Add", [boxes, writer.weight("/head/one", np.array(1, np.float32))])
    strides = np.repeat(np.array(head.strides, np.float32), num_places)
    strides = np.repeat(strides[:, None], 4, 1)  # one for each value: whole rows are multiplied at half the speed
    boxes = writer.node("Mul", "/head/boxes/Mul", [boxes, writer.weight("/head/strides", strides)])
    num_anchors = sum(num_places)
    outputs = {
        "scores": Output(scores, (batch, num_anchors, len(heads[0].scores.out_slots))),
        "boxes": Output(boxes, (batch, num_anchors, 4)),
    }
    if head.prototypes is not None:
        rows = _write_rows(writer, "coefficients", [level.coefficients for level in heads], maps)
        rows = writer.node("Tanh", "/head/coefficients/Tanh", [rows])
        outputs["coefficients"] = Output(rows, (batch, num_anchors, len(head.prototypes.reduce.out_slots)))
    return outputs


def _write_rows(writer: GraphWriter, name: str, convs: Sequence[nn.Module | None], maps: Sequence[Maps]) -> str:
    """One prediction of all levels as (N, anchors, values)."""
    flat = []
    for i, (conv, x) in enumerate(zip(convs, maps, strict=True)):
        assert conv is not None
        y = _write_exact(writer, f"head.levels.{i}.{name}", conv, x)
        num_values = len(y.layout[0])
        shape = writer.weight(f"/head/{name}/shape", np.array([0, num_values, -1]))
        flat.append(writer.node("Reshape", f"/head/levels/{i}/{name}/Reshape", [y.parts[0].tensor, shape]))
    joined = writer.node("Concat", f"/head/{name}/Concat", flat, axis=2) if len(flat) > 1 else flat[0]
    return writer.node("Transpose", f"/head/{name}/Transpose", [joined], perm=[0, 2, 1])


def _write_prototypes(
    writer: GraphWriter, module: Prototypes, level: Maps, detail: Maps, lowering: Lowering, batch: int | str
) -> Output:
    name = "head.prototypes"
    y = write_conv(writer, f"{name}.reduce", module.reduce, level)
    y = _write_trunk(writer, f"{name}.trunk", module.trunk, y, lowering)
    y = writer.enlarge(path_of(name), y, detail.size_hw)
    lateral = write_conv(writer, f"{name}.lateral", module.lateral, detail, y.layout)
    y = writer.add(path_of(name), lateral, y)
    exact = (tuple(range(len(module.reduce.out_slots))),)
    y = _write_separable(writer, f"{name}.join", module.join, y, lowering, exact)
    (part,) = writer.arrange(path_of(f"{name}.order"), y, exact).parts
    return Output(part.tensor, (batch, len(part.channels), *y.size_hw))


def _write_segment_head(
    writer: GraphWriter, head: SegmentHead, x: Maps, taps: Sequence[Maps], lowering: Lowering, batch: int | str
) -> dict[str, Output]:
    shares = [
        _write_exact(writer, f"head.skips.{i}", skip, tap)
        for i, (skip, tap) in enumerate(zip(head.skips, taps, strict=True))
    ]
    y = shares.pop()
    while shares:
        name, finer = f"head.skips.{len(shares)}", shares.pop()
        y = writer.add(path_of(name), finer, writer.enlarge(path_of(name), y, finer.size_hw))
    fused = _write_trunk(writer, "head.trunk", head.trunk, x, lowering)
    y = writer.add(path_of("head.classes"), y, _write_exact(writer, "head.classes", head.classes, fused))
    return {"classes": Output(y.parts[0].tensor, (batch, len(y.layout[0]), *y.size_hw))}


def _write_trunk(writer: GraphWriter, name: str, trunk: nn.Sequential, x: Maps, lowering: Lowering) -> Maps:
    for number, module in enumerate(trunk):
        x = _write_separable(writer, f"{name}.{number}", module, x, lowering)
        writer.marks[f"{name}.{number}"] = x
    return x


def _write_separable(
    writer: GraphWriter, name: str, module: nn.Module, x: Maps, lowering: Lowering, like: Layout | None = None
) -> Maps:
    assert isinstance(module, Separable)
    x = write_conv(writer, f"{name}.depthwise", module.depthwise, x)
    return write_ghost(writer, f"{name}.pointwise", module.pointwise, x, lowering, like)


def _write_exact(writer: GraphWriter, name: str, conv: nn.Module, x: Maps) -> Maps:
    """A convolution into one tensor without filling, as an output needs it."""
    num_values = len(cast(tuple[int, ...], conv.out_slots))
    return write_conv(writer, name, conv, x, (tuple(range(num_values)),))

"""From what an annotation file says of an image to its label: the steps that COCO, YOLO and VOC share.

Objects that can't be used as they stand are left out, or mended, and told in `Skipped` by the id of their finding.

>>> skipped = []
>>> flat = Drawn("a.jpg object 1", 0, (5, 5, 5, 9))
>>> settle([flat, Drawn("a.jpg object 2", 0, (5, 5, 12, 9))], (10, 10), skipped)[0].box_xyxy
(5, 5, 10, 9)
>>> [entry.kind for entry in skipped]
['GF604', 'GF605']
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from ghostfit.data.dataset import Dataset, Sample, Skipped, Source
from ghostfit.data.outlines import Outline, Polygons
from ghostfit.data.targets import ListedObjects, Target

MAX_JSON_BYTES = 2 * 2**30  # LVIS, the largest in use, has 1.1 GB
MAX_TEXT_BYTES = 16 * 2**20  # the label file of one image, a list of images, a list of classes
SLACK = 0.5  # pixels that a box may reach beyond the image without a word: rounding
NEARLY_ALL = 0.9  # of the objects have an outline, so that outlines are what the set is about


@dataclass(frozen=True, slots=True)
class Drawn:
    """An object as its file gives it; `where` names it in a message."""

    where: str
    class_id: int
    box_xyxy: tuple[float, float, float, float]
    is_crowd: bool = False
    outline: Outline | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An image with its objects or its target, as a reader found it. `frame_hw` as in `ListedObjects`."""

    id: str
    split: str
    source: Source
    num_bytes: int
    objects: tuple[Drawn, ...] = ()
    frame_hw: tuple[int, int] | None = None
    target: Target | None = None


def settle(drawn: Sequence[Drawn], frame_wh: tuple[float, float], skipped: list[Skipped]) -> list[Drawn]:
    """The objects whose boxes have an area within a frame of that width and height, cut at its edge.

    `frame_wh` is (1, 1) for boxes in shares of the image.
    """
    width, height = frame_wh
    slack = SLACK if frame_wh != (1, 1) else 1e-3
    kept = []
    for each in drawn:
        left, top, right, bottom = each.box_xyxy
        text = f"box from {left:.6g}, {top:.6g} to {right:.6g}, {bottom:.6g}"
        if not all(math.isfinite(edge) for edge in each.box_xyxy):
            skipped.append(Skipped(each.where, f"{text}: not finite", "GF608"))
        elif right <= left or bottom <= top:
            skipped.append(Skipped(each.where, f"{text}: no area", "GF604"))
        elif right <= 0 or bottom <= 0 or left >= width or top >= height:
            skipped.append(Skipped(each.where, f"{text}, outside the image of {width:g}x{height:g}", "GF606"))
        else:
            if min(left, top) < -slack or right > width + slack or bottom > height + slack:
                skipped.append(Skipped(each.where, f"{text}, cut at the edge of {width:g}x{height:g}", "GF605"))
            kept.append(replace(each, box_xyxy=(max(left, 0), max(top, 0), min(right, width), min(bottom, height))))
    return kept


def has_outlines(rows: Sequence[Row]) -> bool:
    """Whether outlines are given for nearly all objects that are no crowd."""
    given = [drawn.outline is not None for row in rows for drawn in row.objects if not drawn.is_crowd]
    return bool(given) and sum(given) >= NEARLY_ALL * len(given)


def make_dense(
    rows: Sequence[Row], skipped: Sequence[Skipped], *, path: Path, class_names: Sequence[str], task: str
) -> Dataset:
    """The dataset of a dense task, samples in the order of their ids.

    For ``instance``, an object without an outline becomes a crowd, filled to its box: neither learned nor counted as
    wrong. Raises ValueError when there are no images, none to learn from, or no classes.
    """
    skipped = list(skipped)
    named: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.id in named:
            skipped.append(Skipped(row.id, "listed before"))
        named.setdefault(row.id, row)
    if not named or not class_names:
        raise ValueError(
            f"{path} holds no {'labelled images' if not named else 'classes'}{_example(skipped)}; "
            "see docs/data.md for how the folders must lie"
        )
    given: dict[str, list[int]] = {}
    for index, row in enumerate(named.values()):
        given.setdefault(row.split, []).append(index)
    if "train" not in given and "all" not in given:
        raise ValueError(f"{path} has {' and '.join(sorted(given))} but no train images; name a split train")
    samples = tuple(
        Sample(row.id, row.source, 0, row.num_bytes, row.target or _listed(row, task, skipped))
        for row in named.values()
    )
    return Dataset(
        name=path.resolve().stem,
        root=str(path),
        class_names=tuple(class_names),
        samples=samples,
        given={split: tuple(given[split]) for split in ("all", "train", "val", "test") if split in given},
        skipped=tuple(sorted(skipped, key=lambda entry: entry.id)),
        task=task,
    )


def inside(root: Path, name: str) -> Path | None:
    """The path of `name` below `root`; None when it would leave it."""
    try:
        joined = os.path.normpath(os.path.join(root, name.replace("\\", "/")))
    except ValueError:
        return None
    top = os.path.normpath(root)
    is_below = "\0" not in joined and os.path.commonpath([os.path.abspath(joined), os.path.abspath(top)]) == (
        os.path.abspath(top)
    )
    return Path(root, os.path.relpath(joined, top)) if is_below else None


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """A small text file. Raises ValueError when it is larger than `limit` bytes or not UTF-8."""
    return read_bytes(path, limit).decode("utf-8-sig")


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """A small file. Raises ValueError when it is larger than `limit` bytes."""
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"larger than {limit // 2**20} MiB, which no file of its kind is")
    return content


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ValueError when it is damaged or too large."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {MAX_JSON_BYTES // 2**30} GiB; split it")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable JSON: {error}") from error


def parse_xml(content: bytes) -> Element:
    """The root of an XML file. Raises ValueError on damage, and on a document type: entities are never expanded."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type, which may hold entities; remove the DOCTYPE line")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"no readable XML: {error}") from error
    return builder.close()


def _listed(row: Row, task: str, skipped: list[Skipped]) -> ListedObjects:
    objects = row.objects
    if task == "instance":
        bare = [drawn.where for drawn in objects if drawn.outline is None and not drawn.is_crowd]
        skipped += [Skipped(where, "no outline: neither learned nor counted as wrong", "GF609") for where in bare]
        objects = tuple(
            drawn if drawn.outline is not None else replace(drawn, is_crowd=True, outline=_rectangle(drawn.box_xyxy))
            for drawn in objects
        )
    return ListedObjects(
        boxes_xyxy=np.array([drawn.box_xyxy for drawn in objects], np.float64).reshape(-1, 4),
        ids=np.array([drawn.class_id for drawn in objects], np.int64),
        is_crowd=np.array([drawn.is_crowd for drawn in objects], np.bool_),
        image=row.source,
        frame_hw=row.frame_hw,
        outlines=tuple(drawn.outline for drawn in objects if drawn.outline is not None) if task == "instance" else None,
    )


def _rectangle(box_xyxy: tuple[float, float, float, float]) -> Polygons:
    left, top, right, bottom = box_xyxy
    return Polygons((np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64),))


def _example(skipped: Sequence[Skipped]) -> str:
    return f" (passed over {len(skipped)}, such as {skipped[0].id}: {skipped[0].reason})" if skipped else ""

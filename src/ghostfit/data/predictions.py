"""Write what a model found, one row of `FORMS` for each layout; other tools read them, and so do our own readers.

- ``coco``: `predictions.json`, COCO's results, and `images.json`, which lists the images and categories that their ids
  mean, in the form of COCO's annotations without any: ``COCO("images.json").loadRes("predictions.json")``.
- ``yolo``: `labels/NAME.txt` and `data.yaml`; a mask as one closed outline along its pixels. Scores are not kept.
- ``png``: `masks/NAME.png` of classes, or `instances/NAME.png` of objects with 16 bits, and `classes.txt`.

Ids of images count from 1 in their order, ids of categories are 1 + the class's number. Source of COCO's form:
https://cocodataset.org/#format-results.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ghostfit.data.masks import CLASS_FILE
from ghostfit.data.targets import CLASS_STEP
from ghostfit.data.writers import EMPTY_MASKS, put_file, yaml_of_names, yolo_line
from ghostfit.vision.coco import as_annotations, mask_codes
from ghostfit.vision.draw import colour_of_class
from ghostfit.vision.results import ClassMap, Detections

RESULTS, IMAGES = "predictions.json", "images.json"
MAX_MAP_CLASSES = 65  # of a map of objects: class * 1000 + number must fit 16 bits
COVERED = "objects that better ones cover in the map"
TOO_MANY = f"objects beyond the {CLASS_STEP - 1} of a class that a map can number"


@dataclass(frozen=True)
class Found:
    """The result for one image; `name` is what its files are called, without a suffix."""

    image: str
    name: str
    result: Detections | ClassMap


@dataclass
class Kept:
    """How much was written, and what the layout could not hold."""

    num_images: int = 0
    num_objects: int = 0
    losses: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Form:
    """A layout of results: how it is written, and the tasks whose results it takes."""

    write: Callable[[Iterable[Found], Path, Sequence[str], Kept], None]
    help: str
    tasks: tuple[str, ...]


def choose_form(to: str | None, task: str, num_classes: int) -> str:
    """The layout `to`, or by default the first that takes the task's results. Raises ValueError where none, or not
    this one, does."""
    suited = [name for name, form in FORMS.items() if task in form.tasks]
    if to is not None and to not in FORMS:
        raise ValueError(f"to={to!r}; allowed: {', '.join(FORMS)}")
    if not suited:
        raise ValueError("a class for each image is no result of objects or pixels; --csv and --json write it")
    if to is not None and to not in suited:
        raise ValueError(f"to={to!r} can't hold results of a bundle for {task}; allowed: {', '.join(suited)}")
    if to == "png" and task == "instance" and num_classes > MAX_MAP_CLASSES:
        raise ValueError(f"{num_classes} classes; a map of objects with 16 bits holds {MAX_MAP_CLASSES}: write coco")
    return to or suited[0]


def names_of(paths: Sequence[Path]) -> list[str]:
    """A file name without suffix for each path: its stem, with its folder or its suffix too where others share that.

    >>> names_of([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/1.png"), Path("b/2.jpg")])
    ['a__1', 'b__1.jpg', 'b__1.png', '2']
    """
    choices = [(path.stem, f"{path.parent.name}__{path.stem}", f"{path.parent.name}__{path.name}") for path in paths]
    shared = Counter(name.casefold() for names in choices for name in set(names))
    return [
        next((name for name in names if shared[name.casefold()] == 1), f"{names[-1]}-{number}")
        for number, names in enumerate(choices, start=1)
    ]


def write_coco(found: Iterable[Found], out: Path, class_names: Sequence[str], kept: Kept) -> None:
    """`predictions.json` and `images.json`; masks as compressed run lengths."""
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for each in found:
        assert isinstance(each.result, Detections)
        kept.num_images += 1
        kept.num_objects += len(each.result)
        height, width = each.result.size_hw
        images.append({"id": kept.num_images, "file_name": each.image, "height": height, "width": width})
        codes = None if each.result.masks is None else mask_codes(each.result.masks)
        for entry in as_annotations(each.result, kept.num_images, 1, codes):
            row = {"image_id": entry["image_id"], "category_id": entry["category_id"]}
            row |= {"bbox": [round(edge, 3) for edge in entry["bbox"]], "score": round(entry["score"], 6)}
            entries.append(row | ({"segmentation": entry["segmentation"]} if codes is not None else {}))
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    listed = {"info": {}, "images": images, "annotations": [], "categories": categories}
    put_file(out / IMAGES, json.dumps(listed, indent=1).encode())
    put_file(out / RESULTS, json.dumps(entries).encode())


def write_yolo(found: Iterable[Found], out: Path, class_names: Sequence[str], kept: Kept) -> None:
    """`labels/NAME.txt`, empty where nothing was found, and `data.yaml` with the names of the classes."""
    for each in found:
        assert isinstance(each.result, Detections)
        kept.num_images += 1
        lines = []
        for number in range(len(each.result)):
            if each.result.masks is not None and not each.result.masks[number].any():
                kept.losses[EMPTY_MASKS] += 1
                continue
            lines.append(yolo_line(each.result, number, each.result.size_hw))
        kept.num_objects += len(lines)
        put_file(out / "labels" / f"{each.name}.txt", "".join(lines).encode())
    put_file(out / "data.yaml", yaml_of_names(class_names).encode())


def write_png(found: Iterable[Found], out: Path, class_names: Sequence[str], kept: Kept) -> None:
    """`masks/NAME.png`, a class as its number, with its colour as palette; or `instances/NAME.png`, 0 as background
    and of one class the number of an object from 1 on, best first, of several classes class * 1000 + that number."""
    for each in found:
        kept.num_images += 1
        if isinstance(each.result, ClassMap):
            image, folder = Image.fromarray(each.result.class_map), "masks"
            image.putpalette([part for number in range(len(class_names)) for part in colour_of_class(number)])
        else:
            image, folder = Image.fromarray(object_map(each.result, kept)), "instances"
        stream = io.BytesIO()
        image.save(stream, "PNG")
        put_file(out / folder / f"{each.name}.png", stream.getvalue())
    put_file(out / CLASS_FILE, "".join(f"{name}\n" for name in class_names).encode())


def object_map(result: Detections, kept: Kept) -> NDArray[np.uint16]:
    """The numbers of the objects, (H, W); where masks overlap, the better object has the pixel."""
    assert result.masks is not None
    numbers = np.zeros(result.size_hw, np.uint16)
    counts: Counter[int] = Counter()
    for mask, class_id in zip(result.masks, result.class_ids.tolist(), strict=True):
        free = mask & (numbers == 0)
        if not free.any():
            kept.losses[COVERED if mask.any() else EMPTY_MASKS] += 1
        elif counts[class_id] == CLASS_STEP - 1:
            kept.losses[TOO_MANY] += 1
        else:
            counts[class_id] += 1
            kept.num_objects += 1
            numbers[free] = CLASS_STEP * class_id + counts[class_id]
    return numbers


FORMS: Mapping[str, Form] = {
    "coco": Form(write_coco, f"{RESULTS} and {IMAGES}", ("detect", "instance")),
    "yolo": Form(write_yolo, "labels/NAME.txt and data.yaml", ("detect", "instance")),
    "png": Form(write_png, "masks/ or instances/NAME.png and classes.txt", ("segment", "instance")),
}

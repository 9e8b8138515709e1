"""Write a labelled image set in another layout: one row of `WRITERS` for each, which the reader of that name reads.

Images are copied as they are; labels are those that `Sample.target` gives, so crowds, mended boxes and the numbers of
classes are as in training. What a layout can't hold is counted in `Written.losses`.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from PIL import Image

from ghostfit.data.dataset import Dataset, Sample
from ghostfit.data.label_images import read_size_hw
from ghostfit.data.masks import CLASS_FILE
from ghostfit.data.outlines import trace
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections
from ghostfit.vision.rle import encode_mask

CROWDS_LOST = "crowds, which the layout can't mark, are left out"
MASKS_LOST = "masks, of which the layout keeps the boxes"
EMPTY_MASKS = "objects whose mask is empty are left out"


@dataclass
class Written:
    """What was written, and of what could not be, how much."""

    num_images: int = 0
    num_objects: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)  # id of an image -> why it was left out


@dataclass(frozen=True)
class Writer:
    """A layout: how it is written, and the tasks whose labels it takes."""

    write: Callable[[Dataset, Path, Written], None]
    help: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """One sample with its label read and its image's bytes; `name` is its file's in the new layout."""

    name: str
    split: str
    content: bytes
    size_hw: tuple[int, int]
    label: Any  # Objects, or a class map (H, W)


def read_items(dataset: Dataset, written: Written) -> Iterator[Item]:
    """Every sample whose image and label can be read; the others are told in `written.failed`."""
    split_of = {index: split for split, indices in dataset.given.items() for index in indices}
    names = _file_names(dataset, split_of)
    for index, sample in enumerate(dataset.samples):
        try:
            content, size_hw = _image_bytes(sample), read_size_hw(sample.source)
            if sample.target is None:
                raise ValueError("it has no label")
            label = sample.target.read()
        except (ValueError, OSError) as error:
            written.failed[sample.id] = str(error)
            continue
        written.num_images += 1
        yield Item(names[index], split_of[index], content, size_hw, label)


def write_coco(dataset: Dataset, out: Path, written: Written) -> None:
    """`annotations/instances_SPLIT.json` and `SPLIT/`; category ids from 1 on; masks as compressed run lengths."""
    categories = [{"id": number, "name": name} for number, name in enumerate(dataset.class_names, start=1)]
    images: dict[str, list[dict[str, Any]]] = {split: [] for split in dataset.given}
    annotations: dict[str, list[dict[str, Any]]] = {split: [] for split in dataset.given}
    for item in read_items(dataset, written):
        put_file(out / item.split / item.name, item.content)
        image_id = len(images[item.split]) + 1
        height, width = item.size_hw
        images[item.split].append({"id": image_id, "file_name": item.name, "height": height, "width": width})
        for number in _kept(item.label, written):
            left, top, right, bottom = (float(edge) for edge in item.label.boxes_xyxy[number])
            entry = {
                "id": len(annotations[item.split]) + 1,
                "image_id": image_id,
                "category_id": int(item.label.class_ids[number]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": int(item.label.is_crowd[number]),
            }
            if item.label.masks is not None:
                mask = item.label.masks[number]
                entry |= {"area": int(mask.sum()), "segmentation": encode_mask(mask)}
            annotations[item.split].append(entry)
    for split in dataset.given:
        content = {"images": images[split], "annotations": annotations[split], "categories": categories}
        put_file(out / "annotations" / f"instances_{split}.json", json.dumps(content).encode())


def write_yolo(dataset: Dataset, out: Path, written: Written) -> None:
    """`images/SPLIT/`, `labels/SPLIT/` and `data.yaml`; a mask as one closed outline along its pixels."""
    for item in read_items(dataset, written):
        put_file(out / "images" / item.split / item.name, item.content)
        kept = _kept(item.label, written, crowds=False)
        lines = [yolo_line(item.label, number, item.size_hw) for number in kept]
        label = out / "labels" / item.split / f"{Path(item.name).stem}.txt"
        put_file(label, "".join(lines).encode())
    splits = {"train" if split == "all" else split: f"images/{split}" for split in dataset.given}
    text = "".join(f"{split}: {folder}\n" for split, folder in splits.items()) + yaml_of_names(dataset.class_names)
    put_file(out / "data.yaml", text.encode())


def write_voc(dataset: Dataset, out: Path, written: Written) -> None:
    """`Annotations/*.xml`, `JPEGImages/` and `ImageSets/Main/SPLIT.txt`; boxes only, a crowd as difficult."""
    stems: dict[str, list[str]] = {split: [] for split in dataset.given if split != "all"}
    for item in read_items(dataset, written):
        stem = f"{item.split}__{Path(item.name).stem}" if len(dataset.given) > 1 else Path(item.name).stem
        name = stem + Path(item.name).suffix
        put_file(out / "JPEGImages" / name, item.content)
        root = Element("annotation")
        SubElement(root, "filename").text = name
        size = SubElement(root, "size")
        for tag, value in zip(("height", "width", "depth"), (*item.size_hw, 3), strict=True):
            SubElement(size, tag).text = str(value)
        for number in _kept(item.label, written):
            _add_voc_object(root, item.label, number, dataset.class_names)
        if item.label.masks is not None:
            written.losses[MASKS_LOST] += len(item.label)
        indent(root)
        put_file(out / "Annotations" / f"{stem}.xml", tostring(root))
        if item.split != "all":
            stems[item.split].append(stem)
    for split, names in stems.items():
        put_file(out / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in names).encode())


def write_masks(dataset: Dataset, out: Path, written: Written) -> None:
    """`images/SPLIT/`, `masks/SPLIT/*.png` and `classes.txt`; a pixel's value is its class, 255 for no label."""
    for item in read_items(dataset, written):
        folder = "" if item.split == "all" else item.split
        put_file(out / "images" / folder / item.name, item.content)
        stream = io.BytesIO()
        Image.fromarray(item.label).save(stream, "PNG")
        put_file(out / "masks" / folder / f"{Path(item.name).stem}.png", stream.getvalue())
    put_file(out / CLASS_FILE, "".join(f"{name}\n" for name in dataset.class_names).encode())


def _kept(objects: Objects, written: Written, *, crowds: bool = True) -> Iterator[int]:
    """The numbers of the objects that the layout can hold."""
    for number in range(len(objects)):
        if not crowds and objects.is_crowd[number]:
            written.losses[CROWDS_LOST] += 1
        elif objects.masks is not None and not objects.masks[number].any():
            written.losses[EMPTY_MASKS] += 1
        else:
            written.num_objects += 1
            yield number


def yolo_line(objects: Objects | Detections, number: int, size_hw: tuple[int, int]) -> str:
    """The line of one object: its box, or the outline of its mask, which must not be empty."""
    height, width = size_hw
    if objects.masks is None:
        left, top, right, bottom = (float(edge) for edge in objects.boxes_xyxy[number])
        values = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width]
        values.append((bottom - top) / height)
    else:
        values = (trace(objects.masks[number]) / (width, height)).ravel().tolist()
    return " ".join([str(int(objects.class_ids[number])), *(f"{value:.9g}" for value in values)]) + "\n"


def yaml_of_names(class_names: Sequence[str]) -> str:
    """The names of the classes as `data.yaml` has them."""
    # JSON's strings are YAML's too (YAML 1.2, section 1.3), so that no name needs escaping by hand.
    return "".join(["names:\n", *(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(class_names))])


def _add_voc_object(root: Element, objects: Objects, number: int, class_names: tuple[str, ...]) -> None:
    item = SubElement(root, "object")
    SubElement(item, "name").text = class_names[objects.class_ids[number]]
    SubElement(item, "difficult").text = str(int(objects.is_crowd[number]))
    box = SubElement(item, "bndbox")
    for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), objects.boxes_xyxy[number].tolist(), strict=True):
        SubElement(box, tag).text = f"{edge:.9g}"


def _file_names(dataset: Dataset, split_of: Mapping[int, str]) -> list[str]:
    """A file name for each sample: its own, with its folders in front where others of its split share its stem."""
    paths = [Path(sample.id) for sample in dataset.samples]
    shared = Counter((split_of[index], path.stem) for index, path in enumerate(paths))
    names = []
    for index, path in enumerate(paths):
        stem = path.stem if shared[split_of[index], path.stem] == 1 else "__".join([*path.parent.parts, path.name])
        names.append(stem.replace(":", "_") + (path.suffix or ".png"))
    return names


def _image_bytes(sample: Sample) -> bytes:
    """The image's file; pixels in memory as a PNG."""
    content = sample.source.read()
    if isinstance(content, bytes):
        return content
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(content)).save(stream, "PNG")
    return stream.getvalue()


def put_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


WRITERS: Mapping[str, Writer] = {
    "coco": Writer(write_coco, "annotations/instances_SPLIT.json and SPLIT/", ("detect", "instance")),
    "yolo": Writer(write_yolo, "images/ and labels/ with data.yaml", ("detect", "instance")),
    "voc": Writer(write_voc, "Annotations/ and JPEGImages/, boxes only", ("detect", "instance")),
    "masks": Writer(write_masks, "images/ and masks/ of class indices", ("segment",)),
}

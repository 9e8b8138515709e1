"""COCO's JSON: `annotations/instances_*.json` with folders of images, or Roboflow's `train/_annotations.coco.json`.

Classes are the categories in rising order of their ids, whatever these are; the files of a set must agree on them.
Source of the form: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.data.annotations import Drawn, Row, has_outlines, inside, make_dense, read_json, settle
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.folder import FOLDER_SPLITS
from ghostfit.data.label_images import read_size_hw
from ghostfit.data.outlines import Outline, Polygons, RunLengths
from ghostfit.vision.prepare import MAX_PIXELS
from ghostfit.vision.rle import decode_mask, encode_mask

ROBOFLOW_NAME = "_annotations.coco.json"
MIN_CORNERS = 3


def is_coco(path: Path) -> bool:
    """Whether `path` is a JSON file or a folder with annotations of this form."""
    return (path.is_file() and path.suffix.lower() == ".json") or (path.is_dir() and bool(_annotation_files(path)))


def read_coco(path: Path) -> Dataset:
    """The dataset: ``instance`` when nearly all objects have an outline, else ``detect``.

    Crowds are marked as such. Raises ValueError when a file is damaged or the files disagree on the categories.
    """
    files = [path] if path.is_file() else _annotation_files(path)
    root = _root_of(path) if path.is_file() else path
    contents = [(file, _read_file(file)) for file in files]
    skipped: list[Skipped] = []
    names = _categories(contents, skipped)
    classes = {id: number for number, id in enumerate(names)}
    rows = [row for file, content in contents for row in _rows(file, content, root, classes, skipped)]
    task = "instance" if has_outlines(rows) else "detect"
    return make_dense(rows, skipped, path=path, class_names=list(names.values()), task=task)


def _annotation_files(path: Path) -> list[Path]:
    roboflow = [path / ROBOFLOW_NAME, *sorted(path.glob(f"*/{ROBOFLOW_NAME}"))]
    if found := [file for file in roboflow if file.is_file()]:
        return found
    every = sorted((path / "annotations").glob("*.json"))
    instances = [file for file in every if file.name.startswith("instances")]
    other = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")
    return instances or [file for file in every if not file.name.startswith(other)]


def _root_of(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _read_file(file: Path) -> dict[str, Any]:
    content = read_json(file)
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key, []), list) for key in keys):
        raise ValueError(f"{file} is no COCO file; one has lists called {', '.join(keys)}")
    return {key: [item for item in content.get(key, []) if isinstance(item, dict)] for key in keys}


def _categories(contents: Sequence[tuple[Path, Mapping[str, Any]]], skipped: list[Skipped]) -> dict[int, str]:
    """Category id -> name, in rising order of the ids, which is the order of the classes."""
    names: dict[int, str] = {}
    parents: dict[int, str] = {}
    for file, content in contents:
        for category in content["categories"]:
            id, name = _whole(category.get("id")), category.get("name")
            if id is None or not isinstance(name, str) or not name.strip():
                raise ValueError(f"{file}: the category {category} must have a whole number as id, and a name")
            if names.setdefault(id, name.strip()) != name.strip():
                raise ValueError(
                    f"{file}: category {id} is {name!r}, in another file {names[id]!r}; give each one name"
                )
            parents[id] = str(category.get("supercategory", ""))
    used = {_whole(item.get("category_id")) for _, content in contents for item in content["annotations"]}
    others = {parents[id] for id in names if id != 0}
    if 0 in names and 0 not in used and others == {names[0]}:  # Roboflow puts the group itself first
        skipped.append(Skipped("category 0", f"{names.pop(0)!r} is the group of the others and has no objects"))
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ValueError(f"several categories are called {', '.join(twice)}; give each its own name, or join them")
    ids = sorted(names)
    if ids and ids not in (list(range(len(ids))), list(range(1, len(ids) + 1))):
        reason = f"ids {ids[0]}..{ids[-1]} with gaps become classes 0..{len(ids) - 1}, in the order of the ids"
        skipped.append(Skipped("categories", reason, "GF617"))
    return {id: names[id] for id in ids}


def _rows(
    file: Path, content: Mapping[str, Any], root: Path, classes: Mapping[int, int], skipped: list[Skipped]
) -> Iterator[Row]:
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for item in content["annotations"]:
        by_image.setdefault(_key(item.get("image_id")), []).append(item)
    split = _split_of(file)
    folders = _image_folders(file, root, split)
    for image in content["images"]:
        key, name = _key(image.get("id")), image.get("file_name")
        where = f"{file.name} image {key}"
        items = by_image.pop(key, [])
        if not isinstance(name, str) or not name:
            skipped.append(Skipped(where, "an image without file_name", "GF601"))
            continue
        found = _find(name, folders)
        if found is None:
            skipped.append(Skipped(name, f"image not found beside {file.name}", "GF602"))
            continue
        source, id = FileSource(found), found.relative_to(root).as_posix()
        frame = (_whole(image.get("height")) or 0, _whole(image.get("width")) or 0)
        try:
            frame = frame if min(frame) > 0 else read_size_hw(source)
        except ValueError:  # an image that can't be read is a finding of its own
            frame = (1 << 20, 1 << 20)
        drawn = [
            each
            for number, item in enumerate(items, start=1)
            if (each := _drawn(item, f"{id} object {number}", frame, classes, skipped))
        ]
        objects = settle(drawn, (frame[1], frame[0]), skipped)
        yield Row(id, split, source, found.stat().st_size, tuple(objects), frame)
    for key, items in by_image.items():
        skipped.append(
            Skipped(f"{file.name} image {key}", f"{len(items)} objects of an image that is not listed", "GF602")
        )


def _split_of(file: Path) -> str:
    """The split that the name of the file says, as in instances_train2017.json, or that of its folder."""
    words = re.split(r"[^a-z]+", (file.parent.name if file.name == ROBOFLOW_NAME else file.stem).lower())
    return next((FOLDER_SPLITS[word] for word in words if word in FOLDER_SPLITS), "all")


def _image_folders(file: Path, root: Path, split: str) -> list[Path]:
    """Where the images of an annotation file may lie, the likeliest first."""
    last = re.split(r"[_.]", file.stem)[-1]  # train2017
    names = [name for name in (last, split, *(key for key, value in FOLDER_SPLITS.items() if value == split)) if name]
    folders = [root / "images" / name for name in names] + [root / name for name in names]
    folders = [file.parent] * (file.parent != root / "annotations") + folders + [root / "images", root, file.parent]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _find(name: str, folders: list[Path]) -> Path | None:
    """The image file; the folder that held the last one is tried first."""
    for number, folder in enumerate(folders):
        path = inside(folder, name)
        if path is not None and path.is_file():
            folders.insert(0, folders.pop(number))
            return path
    return None


def _drawn(
    item: Mapping[str, Any], where: str, frame_hw: tuple[int, int], classes: Mapping[int, int], skipped: list[Skipped]
) -> Drawn | None:
    class_id = classes.get(_whole(item.get("category_id")))  # type: ignore[arg-type]
    if class_id is None:
        skipped.append(Skipped(where, f"category id {item.get('category_id')!r} is not listed", "GF603"))
        return None
    outline = None
    if item.get("segmentation"):
        try:
            outline = _outline(item["segmentation"], frame_hw)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            skipped.append(Skipped(where, f"its outline can't be filled: {error}", "GF607"))
            return None
    try:
        box = item.get("bbox") or None
        if box is None and outline is None:
            raise ValueError("neither bbox nor segmentation")
        if box is not None:
            left, top, width, height = (float(number) for number in box)
            edges = (left, top, left + width, top + height)
        elif outline is not None:
            edges = outline.box_xyxy()
    except (ValueError, TypeError) as error:
        skipped.append(Skipped(where, f"no readable box: {error}", "GF608"))
        return None
    return Drawn(where, class_id, edges, bool(item.get("iscrowd")), outline)


def _outline(given: Any, frame_hw: tuple[int, int]) -> Outline:
    """The outline of a list of polygons, or of run lengths. Raises ValueError when it encloses nothing."""
    if isinstance(given, Mapping):
        size_hw = (int(given["size"][0]), int(given["size"][1]))
        if size_hw != frame_hw:
            raise ValueError(f"run lengths of {size_hw[1]}x{size_hw[0]} in an image of {frame_hw[1]}x{frame_hw[0]}")
        counts = given["counts"]
        if isinstance(counts, list):
            counts = _compressed(counts, size_hw)
        decode_mask({"size": size_hw, "counts": counts})
        return RunLengths(str(counts), size_hw)
    if not isinstance(given, list):
        raise ValueError(f"neither polygons nor run lengths but {type(given).__name__}")
    flat = [given] if given and not isinstance(given[0], list) else given
    parts = [np.array(numbers, np.float64) for numbers in flat]
    if any(part.ndim != 1 or len(part) % 2 or not np.isfinite(part).all() for part in parts):
        raise ValueError("a polygon must be a list of finite numbers x, y, x, y, ...")
    corners = [part.reshape(-1, 2) for part in parts if len(part) >= 2 * MIN_CORNERS]
    if not corners:
        raise ValueError(f"a polygon of {max(len(part) for part in parts) // 2} points; at least 3 enclose something")
    return Polygons(tuple(corners))


def _compressed(counts: list[Any], size_hw: tuple[int, int]) -> str:
    """The compressed form of run lengths given as numbers. Raises ValueError when they don't fill the image."""
    lengths, num_pixels = np.array(counts, np.int64), size_hw[0] * size_hw[1]
    if lengths.ndim != 1 or lengths.min(initial=0) < 0 or sum(counts) != num_pixels or num_pixels > MAX_PIXELS:
        raise ValueError(f"the runs don't fill its {size_hw[1]}x{size_hw[0]} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return str(encode_mask(flat.reshape(size_hw[1], size_hw[0]).T)["counts"])


def _whole(value: Any) -> int | None:
    """A whole number, also one written as 3.0; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _key(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else repr(value)

"""YOLO's text files: a line an object, beside folders of images, with a `data.yaml` that names classes and splits.

    images/train/1.jpg   labels/train/1.txt        class x y width height         a box by its centre
    train/images/1.jpg   train/labels/1.txt        class x1 y1 x2 y2 x3 y3 ...    an outline

All numbers are shares of the image's sides. No file, or an empty one, says that there is nothing in the image. Without
`data.yaml`, classes are the lines of `classes.txt` or `obj.names`, else the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.data.annotations import Drawn, Row, has_outlines, inside, make_dense, read_text, settle
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.folder import FOLDER_SPLITS, IMAGE_SUFFIXES, files_below, is_ignored, walk
from ghostfit.data.outlines import Polygons

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
MAX_YAML_BYTES = 2**20
BOX_NUMBERS = 5
SPLIT_KEYS = ("train", "val", "valid", "validation", "test")


def is_yolo(path: Path) -> bool:
    """Whether `path` is such a YAML file or a folder of this form."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    if not path.is_dir():
        return False
    if any((path / name).is_file() for name in YAML_NAMES):
        return True
    return (path / "images").is_dir() and (path / "labels").is_dir()


def read_yolo(path: Path) -> Dataset:
    """The dataset: ``instance`` when nearly all objects have an outline, else ``detect``.

    Raises ValueError when `data.yaml` is damaged or names nothing that is there.
    """
    root = path.parent if path.is_file() else path
    settings = _read_settings(path)
    skipped: list[Skipped] = []
    names = _class_names(settings, root)
    rows: list[Row] = []
    ids: list[str] = []
    highest = -1
    for split, image in _images(settings, root, skipped):
        id = image.relative_to(root).as_posix()
        label = _label_of(image, root)
        ids.append(id)
        drawn = _objects_of(label, id, names, skipped)
        if drawn is None:
            continue
        highest = max(highest, *(each.class_id for each in drawn), -1)
        objects = tuple(settle(drawn, (1, 1), skipped))
        rows.append(Row(id, split, FileSource(image), image.stat().st_size, objects))
    _tell_orphans(ids, root, skipped)
    task = "instance" if has_outlines(rows) else "detect"
    class_names = names or [str(number) for number in range(highest + 1)]
    return make_dense(rows, skipped, path=path, class_names=class_names, task=task)


def _read_settings(path: Path) -> dict[str, Any]:
    """What data.yaml says; empty when there is none."""
    files = [path] if path.is_file() else [path / name for name in YAML_NAMES if (path / name).is_file()]
    if not files:
        return {}
    import yaml

    try:
        settings = yaml.safe_load(read_text(files[0], MAX_YAML_BYTES))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{files[0]} is no readable YAML: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("names"), (list, dict)):
        raise ValueError(f"{files[0]} must name the classes: names: [cat, dog]")
    return settings


def _class_names(settings: Mapping[str, Any], root: Path) -> list[str]:
    """The names in the order of their numbers; empty when none are given."""
    given = settings.get("names", [])
    if isinstance(given, dict):
        if sorted(given) != list(range(len(given))):
            raise ValueError(f"names in data.yaml are numbered {sorted(map(str, given))[:5]}...; wanted 0, 1, 2, ...")
        given = [given[number] for number in range(len(given))]
    if not given:
        file = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
        given = [line.strip() for line in read_text(file).splitlines() if line.strip()] if file else []
    names = [str(name).strip() for name in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several classes are called {', '.join(twice)}; give each its own name")
    count = settings.get("nc")
    if isinstance(count, int) and count != len(names):
        raise ValueError(f"data.yaml says nc: {count} and names {len(names)} classes; make them agree")
    return names


def _images(settings: Mapping[str, Any], root: Path, skipped: list[Skipped]) -> Iterator[tuple[str, Path]]:
    """(split, image) of every image, by the splits of data.yaml or else by the folders."""
    places = {FOLDER_SPLITS[key]: settings[key] for key in SPLIT_KEYS if settings.get(key)}
    if not places:
        yield from _images_by_folder(root, skipped)
        return
    num_found = 0
    for split, given in places.items():
        for name in given if isinstance(given, list) else [given]:
            place = _resolve(str(name), str(settings.get("path") or ""), root)
            if place is None:
                skipped.append(Skipped(str(name), f"{split} of data.yaml is not found below {root}", "GF602"))
                continue
            images = _listed_images(place, root, skipped) if place.is_file() else _images_in(place, root, skipped)
            for image in images:
                num_found += 1
                yield split, image
    if not num_found:
        raise ValueError(
            f"data.yaml names {', '.join(map(str, places.values()))}, where no images are; they must lie below {root}"
        )


def _images_by_folder(root: Path, skipped: list[Skipped]) -> Iterator[tuple[str, Path]]:
    for image in _images_in(root / "images" if (root / "images").is_dir() else root, root, skipped):
        folders = image.relative_to(root).parts[:-1]
        yield next((FOLDER_SPLITS[part.lower()] for part in folders if part.lower() in FOLDER_SPLITS), "all"), image


def _resolve(name: str, base: str, root: Path) -> Path | None:
    """Where a path of data.yaml lies below the root. Exported files often have a base, or dots, that lead elsewhere."""
    plain = name.replace("\\", "/")
    stripped = plain
    while stripped.startswith("../"):
        stripped = stripped[3:]
    for candidate in (f"{base}/{plain}" if base else plain, plain, stripped):
        place = inside(root, candidate)
        if place is not None and place.exists():
            return place
    return None


def _images_in(folder: Path, root: Path, skipped: list[Skipped]) -> list[Path]:
    return [file for file in files_below(folder, root, skipped) if file.suffix.lower() in IMAGE_SUFFIXES]


def _listed_images(file: Path, root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """The images that a text file lists, a path a line, relative to it or to the root."""
    for line in read_text(file).splitlines():
        name = line.strip()
        if not name:
            continue
        candidates = [inside(root, str(folder.relative_to(root) / name)) for folder in (root, file.parent)]
        found = next((place for place in candidates if place is not None and place.is_file()), None)
        if found is None:
            skipped.append(Skipped(name, f"image not found, listed in {file.name}", "GF602"))
        else:
            yield found


def _label_of(image: Path, root: Path) -> Path:
    """The text file of an image: in `labels` where the image is in `images`, else beside it."""
    parts = list(image.relative_to(root).parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] == "images":
            parts[number] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def _objects_of(file: Path, id: str, names: Sequence[str], skipped: list[Skipped]) -> list[Drawn] | None:
    """The objects of an image, none where the file is missing or empty; None where nothing in it could be read.

    Such an image is left out: it would be learnt as background.
    """
    if not file.is_file():
        return []
    noted = len(skipped)
    drawn = list(_read_objects(file, id, names, skipped))
    if drawn or len(skipped) == noted:
        return drawn
    if skipped[-1].kind != "GF601":
        skipped.append(Skipped(id, "none of its labels can be read; the image is left out", "GF601"))
    return None


def _read_objects(file: Path, id: str, names: Sequence[str], skipped: list[Skipped]) -> Iterator[Drawn]:
    try:
        lines = read_text(file).splitlines()
    except (ValueError, OSError) as error:
        skipped.append(Skipped(f"{id} labels", f"can't be read: {error}; the image is left out", "GF601"))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{id} line {number}"
        try:
            values = np.array([float(word) for word in line.split()])
            class_id, numbers = int(values[0]), values[1:]
            if class_id != values[0] or not np.isfinite(values).all():
                raise ValueError("numbers must be finite, and the class whole")
        except (ValueError, OverflowError) as error:
            skipped.append(Skipped(where, f"no readable line: {error}", "GF608"))
            continue
        if class_id < 0 or (names and class_id >= len(names)):
            skipped.append(Skipped(where, f"class {class_id}; there are {len(names)} classes", "GF603"))
        elif len(values) == BOX_NUMBERS:
            x, y, width, height = numbers.tolist()
            yield Drawn(where, class_id, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        elif len(values) >= 7 and len(values) % 2:
            outline = Polygons((numbers.reshape(-1, 2),))
            yield Drawn(where, class_id, outline.box_xyxy(), outline=outline)
        else:
            kind = "GF607" if len(values) > BOX_NUMBERS else "GF608"
            text = f"{len(values)} numbers; wanted 5 for a box, or the class and three or more pairs for an outline"
            skipped.append(Skipped(where, text, kind))


def _tell_orphans(ids: Sequence[str], root: Path, skipped: list[Skipped]) -> None:
    """Label files whose image is missing; `ids` are the images."""
    known = {Path(id).with_suffix("").as_posix() for id in ids}
    for folder in (root / "labels", *root.glob("*/labels")):
        if not folder.is_dir():
            continue
        for entry in walk(folder, folder.relative_to(root).parts, set(), []):
            name = entry.parts[-1]
            if not name.endswith(".txt") or name == "classes.txt" or is_ignored(name):
                continue
            parts = ["images" if part == "labels" else part for part in entry.parts[:-1]]
            if "/".join([*parts, name.removesuffix(".txt")]) not in known:
                skipped.append(Skipped("/".join(entry.parts), "labels without an image", "GF602"))

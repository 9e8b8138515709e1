"""Class maps as images: `images/SPLIT/1.jpg` under `masks/SPLIT/1.png`, or both without splits.

A pixel's value is its class. The lines of `classes.txt` name the classes from 0 on; a line may give a colour, and then
masks are read by colour:

    sky 128 128 128
    void 0 0 0

A class called void, ignore, unlabeled or unlabelled is no class: its pixels have no label, like those of value 255.
Without that file the classes are the values that occur; masks of only 0 and 255 are background and foreground.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ghostfit.data.annotations import Row, make_dense, read_text
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.folder import FOLDER_SPLITS, IMAGE_SUFFIXES, files_below
from ghostfit.data.label_images import MAX_CLASSES, LabelError, Legend, read_values
from ghostfit.data.targets import ClassMapFile
from ghostfit.vision.objects import IGNORE

CLASS_FILE = "classes.txt"
LABEL_SUFFIXES = frozenset((".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm"))
UNLABELLED = frozenset(("void", "ignore", "unlabeled", "unlabelled"))
FOREGROUND = 255  # of masks that hold only 0 and this


def is_masks(path: Path) -> bool:
    """Whether a folder has `images` and `masks`."""
    return path.is_dir() and (path / "images").is_dir() and (path / "masks").is_dir()


def read_masks(path: Path, *, ignore: str = "") -> Dataset:
    """The dataset, of task ``segment``. `ignore` are further values without a label, such as ``11`` or ``0+11``.

    Raises ValueError when nothing pairs, or without classes.txt when the values can't be classes.
    """
    ignored = _parse_ignored(ignore)
    skipped: list[Skipped] = []
    pairs = list(pair_images(path, "masks", skipped))
    if (path / CLASS_FILE).is_file():
        names, legend = _read_classes(path / CLASS_FILE, ignored)
    else:
        names, legend = _classes_of_values([mask for _, _, mask in pairs], ignored)
    rows = []
    for split, image, mask in pairs:
        source, id = FileSource(image), image.relative_to(path).as_posix()
        target = ClassMapFile(FileSource(mask), legend, source)
        rows.append(Row(id, split, source, image.stat().st_size, target=target))
    return make_dense(rows, skipped, path=path, class_names=names, task="segment")


def pair_images(path: Path, labels: str, skipped: list[Skipped]) -> Iterator[tuple[str, Path, Path]]:
    """(split, image, label image) of the files of one name below `images` and below the folder `labels`."""
    images = {_key(file, path / "images"): file for file in _files(path / "images", IMAGE_SUFFIXES, skipped)}
    masks = {_key(file, path / labels): file for file in _files(path / labels, LABEL_SUFFIXES, skipped)}
    for key in sorted(images.keys() | masks.keys()):
        if key not in images:
            skipped.append(Skipped(masks[key].relative_to(path).as_posix(), "a label without an image", "GF602"))
        elif key not in masks:
            skipped.append(Skipped(images[key].relative_to(path).as_posix(), f"no file of its name in {labels}"))
        else:
            top = key.split("/")[0].lower() if "/" in key else ""
            yield FOLDER_SPLITS.get(top, "all"), images[key], masks[key]


def read_class_names(file: Path) -> list[tuple[str, tuple[int, int, int] | None]]:
    """Names of classes, a line each, and their colours if given. Raises ValueError on a line that can't be read."""
    entries: list[tuple[str, tuple[int, int, int] | None]] = []
    for line in read_text(file).splitlines():
        words = line.replace(",", " ").split()
        if not words:
            continue
        numbers = words[-3:]
        if len(words) > 3 and all(word.isdigit() and int(word) <= 255 for word in numbers):
            entries.append((" ".join(words[:-3]), (int(numbers[0]), int(numbers[1]), int(numbers[2]))))
        else:
            entries.append((line.strip(), None))
    names = [name for name, _ in entries]
    if len(set(names)) != len(names) or not names or len(names) > MAX_CLASSES:
        raise ValueError(f"{file} must name 1 to {MAX_CLASSES} classes, a line each, every name once")
    if len({colour is None for _, colour in entries}) > 1:
        raise ValueError(f"{file} gives colours for some classes only; give one for each: name red green blue")
    return entries


def _files(folder: Path, suffixes: frozenset[str], skipped: list[Skipped]) -> Iterator[Path]:
    for file in files_below(folder, folder.parent, skipped):
        if file.suffix.lower() in suffixes:
            yield file
        else:
            skipped.append(Skipped(file.relative_to(folder.parent).as_posix(), "not a file of images or labels"))


def _key(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _read_classes(file: Path, ignored: Sequence[int]) -> tuple[list[str], Legend]:
    """Names and legend; lines that are no class, and `ignored` values, have no label."""
    entries = read_class_names(file)
    is_class = [name.lower() not in UNLABELLED and value not in ignored for value, (name, _) in enumerate(entries)]
    names = [name for (name, _), is_kept in zip(entries, is_class, strict=True) if is_kept]
    number_of = np.where(is_class, np.cumsum(is_class) - 1, IGNORE).tolist()
    if entries[0][1] is not None:
        colours = {colour: number for (_, colour), number in zip(entries, number_of, strict=True) if colour}
        if len(colours) != len(entries):
            raise ValueError(f"{file} gives one colour to several classes")
        return names, Legend.of_colours(colours, len(names))
    classes = dict(enumerate(number_of)) | dict.fromkeys((*ignored, IGNORE), IGNORE)
    return names, Legend(classes, {}, len(names))


def _classes_of_values(masks: Sequence[Path], ignored: Sequence[int]) -> tuple[list[str], Legend]:
    """Classes from 0 to the largest value of all masks. Raises ValueError when they are no class indices."""
    values: set[int] = set()
    for mask in masks:
        try:
            values.update(np.unique(read_values(FileSource(mask))).tolist())
        except LabelError:  # told by the check, which reads it again
            continue
    if values and values <= {0, FOREGROUND} and not ignored:
        return ["background", "foreground"], Legend({0: 0, FOREGROUND: 1}, {}, 2)
    values -= {IGNORE, *ignored}
    if not values:
        return [], Legend.of_values(0, ignored)
    if min(values) < 0 or max(values) >= MAX_CLASSES or (max(values) > 1 and len(values) < max(values) / 4):
        shown = ", ".join(map(str, sorted(values)[:8])) + ", ..." * (len(values) > 8)
        raise ValueError(
            f"the masks hold the values {shown}, which don't look like classes from "
            f"0 on; name the classes, or their colours, in {CLASS_FILE}"
        )
    # A value in `ignored` below the largest leaves no gap among the classes.
    kept = [value for value in range(max(values) + 1) if value not in ignored]
    classes = {value: number for number, value in enumerate(kept)} | dict.fromkeys((*ignored, IGNORE), IGNORE)
    return [str(value) for value in kept], Legend(classes, {}, len(kept))


def _parse_ignored(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split("+") if part]
    except ValueError as error:
        raise ValueError(f"ignore={text!r}; wanted values of pixels, such as 11 or 0+11") from error

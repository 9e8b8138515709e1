"""Pascal VOC: `Annotations/*.xml` and `JPEGImages/`, with `ImageSets/Main/{train,val,test}.txt` where there are splits.

Also `train/1.xml` beside `train/1.jpg`. An object that is marked difficult is a crowd: neither wanted nor wrong to
find, as VOC scores it. Coordinates are taken as edges in pixels; in files of the VOC challenge itself they are numbers
of pixels from 1, both included (Everingham et al. 2010, devkit), and are turned into edges.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from ghostfit.data.annotations import Drawn, Row, inside, make_dense, parse_xml, read_bytes, read_text, settle
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.folder import FOLDER_SPLITS, IMAGE_SUFFIXES, files_below
from ghostfit.data.label_images import Legend, read_size_hw
from ghostfit.data.targets import ClassMapFile

IMAGE_FOLDERS = ("JPEGImages", "images", "")
CHALLENGE = "The VOC"  # begins <source><database> of the challenge's own files
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LABEL_MAP = "labelmap.txt"  # name:red,green,blue:parts:actions, as CVAT writes it


def is_voc(path: Path) -> bool:
    """Whether a folder has annotations of this form, or XML files beside images in split folders."""
    if not path.is_dir():
        return False
    if (path / "Annotations").is_dir():
        return True
    return any(next(path.glob(f"{name}/*.xml"), None) for name in FOLDER_SPLITS)


def read_voc(path: Path) -> Dataset:
    """The dataset, of task ``detect``; classes in the order of their names."""
    skipped: list[Skipped] = []
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = [file for file in files_below(folder, path, skipped) if file.suffix.lower() == ".xml"]
    split_of = _read_sets(path / "ImageSets" / "Main", skipped)
    found = [item for file in files if (item := _read_annotation(file, path, skipped))]
    _tell_unlisted(split_of, {file.stem for file in files}, skipped)
    names = sorted({name for _, _, root in found for name in _names(root)})
    numbers = {name: number for number, name in enumerate(names)}
    rows = []
    for file, image, root in found:
        split = _split_of(file, path, split_of, skipped)
        if split:
            rows.append(_row(image, root, split, path, numbers, skipped))
    return make_dense(rows, skipped, path=path, class_names=names, task="detect")


def has_voc_masks(path: Path) -> bool:
    """Whether a folder has class maps as VOC lays them out."""
    return path.is_dir() and (path / "SegmentationClass").is_dir()


def read_voc_masks(path: Path) -> Dataset:
    """`SegmentationClass/*.png` over `JPEGImages/`, split by `ImageSets/Segmentation`; 255 is no label.

    Classes and colours are those of labelmap.txt, if there is one, else VOC's 21.
    """
    skipped: list[Skipped] = []
    names, legend = _read_label_map(path / LABEL_MAP)
    split_of = _read_sets(path / "ImageSets" / "Segmentation", skipped)
    folder = path / "SegmentationClass"
    files = list(files_below(folder, path, skipped))
    _tell_unlisted(split_of, {file.stem for file in files}, skipped)
    rows = []
    for file in files:
        image = _image_for(file.stem, path)
        if image is None:
            skipped.append(Skipped(file.relative_to(path).as_posix(), "a mask without an image", "GF602"))
            continue
        if split := _split_of(file, path, split_of, skipped):
            source = FileSource(image)
            target = ClassMapFile(FileSource(file), legend, source)
            id = image.relative_to(path).as_posix()
            rows.append(Row(id, split, source, image.stat().st_size, target=target))
    return make_dense(rows, skipped, path=path, class_names=names, task="segment")


def _read_sets(folder: Path, skipped: list[Skipped]) -> dict[str, str]:
    """Name of an image -> split. trainval counts where train and val are not told apart."""
    split_of: dict[str, str] = {}
    files = {name: folder / f"{name}.txt" for name in ("test", "val", "train", "trainval")}
    for name, file in files.items():
        if not file.is_file():
            continue
        split = "train" if name == "trainval" else name
        for line in read_text(file).splitlines():
            words = line.split()
            if not words:
                continue
            known = split_of.setdefault(words[0], split)
            if known != split and name != "trainval":
                skipped.append(Skipped(words[0], f"listed in {known} and in {name}; it stays in {known}", "GF618"))
    return split_of


def _split_of(file: Path, root: Path, split_of: Mapping[str, str], skipped: list[Skipped]) -> str:
    """The split of an annotation; empty when lists are given and it is in none."""
    if not split_of:
        folders = file.relative_to(root).parts[:-1]
        return next((FOLDER_SPLITS[part.lower()] for part in folders if part.lower() in FOLDER_SPLITS), "all")
    if file.stem not in split_of:
        skipped.append(Skipped(file.relative_to(root).as_posix(), "in no list of ImageSets"))
    return split_of.get(file.stem, "")


def _tell_unlisted(split_of: Mapping[str, str], stems: set[str], skipped: list[Skipped]) -> None:
    reason = "listed in ImageSets, and has no label file"
    skipped += [Skipped(name, reason, "GF601") for name in sorted(split_of.keys() - stems)]


def _read_annotation(file: Path, path: Path, skipped: list[Skipped]) -> tuple[Path, Path, Element] | None:
    """The file, its image and its parsed content; None when one of them can't be had."""
    id = file.relative_to(path).as_posix()
    try:
        root = parse_xml(read_bytes(file))
        if root.tag != "annotation":
            raise ValueError(f"its root is <{root.tag}>, not <annotation>")
    except (ValueError, OSError) as error:
        skipped.append(Skipped(id, str(error), "GF601"))
        return None
    named = (root.findtext("filename") or "").strip()
    image = _image_for(file.stem, path, beside=file.parent, named=named)
    if image is None:
        skipped.append(Skipped(id, f"its image {named or file.stem} is not found", "GF602"))
        return None
    return file, image, root


def _image_for(stem: str, path: Path, beside: Path | None = None, named: str = "") -> Path | None:
    """The image of an annotation: by its own stem, then by the name that it gives."""
    folders = [path / name for name in IMAGE_FOLDERS] + ([beside] if beside else [])
    for folder in folders:
        for suffix in (".jpg", ".png", ".jpeg", ".JPG", *sorted(IMAGE_SUFFIXES)):
            if (image := folder / f"{stem}{suffix}").is_file():
                return image
    for folder in folders:
        place = inside(folder, named) if named else None
        if place is not None and place.is_file() and place.suffix.lower() in IMAGE_SUFFIXES:
            return place
    return None


def _names(root: Element) -> Iterator[str]:
    for item in root.iterfind("object"):
        if name := _name(item):
            yield name


def _name(item: Element) -> str:
    return unicodedata.normalize("NFC", (item.findtext("name") or "").strip())


def _row(image: Path, root: Element, split: str, path: Path, numbers: Mapping[str, int], skipped: list[Skipped]) -> Row:
    source, id = FileSource(image), image.relative_to(path).as_posix()
    frame_hw = _frame_hw(root, source)
    is_challenge = (root.findtext("source/database") or "").startswith(CHALLENGE)
    drawn = []
    for number, item in enumerate(root.iterfind("object"), start=1):
        where, name = f"{id} object {number}", _name(item)
        if not name:
            skipped.append(Skipped(where, "an object without a name", "GF608"))
            continue
        try:
            box = [float(item.findtext(f"bndbox/{edge}") or "") for edge in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError:
            skipped.append(Skipped(where, "no readable box", "GF608"))
            continue
        shift = 1 if is_challenge else 0
        edges = (box[0] - shift, box[1] - shift, box[2], box[3])
        is_difficult = (item.findtext("difficult") or "").strip() == "1"
        drawn.append(Drawn(where, numbers[name], edges, is_difficult))
    objects = settle(drawn, (frame_hw[1], frame_hw[0]), skipped)
    return Row(id, split, source, image.stat().st_size, tuple(objects), frame_hw)


def _frame_hw(root: Element, source: FileSource) -> tuple[int, int]:
    """The size that the file gives, or that of the image when it gives none."""
    try:
        height, width = (int(float(root.findtext(f"size/{side}") or "")) for side in ("height", "width"))
        if min(height, width) > 0:
            return height, width
    except (ValueError, OverflowError):
        pass
    try:
        return read_size_hw(source)
    except ValueError:  # an image that can't be read is a finding of its own
        return 1 << 20, 1 << 20


def _read_label_map(file: Path) -> tuple[tuple[str, ...], Legend]:
    if not file.is_file():
        return VOC_CLASSES, Legend.of_values(len(VOC_CLASSES))
    names: list[str] = []
    colours: dict[tuple[int, int, int], int] = {}
    for line in read_text(file).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        except ValueError as error:
            raise ValueError(f"{file}: {line!r} is not name:red,green,blue::") from error
        colours[red, green, blue] = len(names)
        names.append(name.strip())
    return tuple(names), Legend.of_colours(colours, len(names))

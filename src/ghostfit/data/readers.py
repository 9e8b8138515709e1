"""Read a labelled image set, whatever its form: one row of `READERS` for each format.

>>> dataset = read_dataset("digits")
>>> dataset.class_names[:3], len(dataset)
(('0', '1', '2'), 1797)
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ghostfit.data.cifar import is_cifar, read_cifar
from ghostfit.data.cityscapes import is_cityscapes, read_cityscapes
from ghostfit.data.coco import is_coco, read_coco
from ghostfit.data.dataset import ArraySource, Dataset, Sample, Skipped
from ghostfit.data.demo import DEMO, read_demo
from ghostfit.data.folder import read_folder, read_zip
from ghostfit.data.instances import is_instances, read_instances
from ghostfit.data.masks import is_masks, read_masks
from ghostfit.data.table import read_csv
from ghostfit.data.targets import without_masks
from ghostfit.data.unpacked import unpack
from ghostfit.data.voc import has_voc_masks, is_voc, read_voc, read_voc_masks
from ghostfit.data.yolo import is_yolo, read_yolo


@dataclass(frozen=True)
class Reader:
    """A format: whether it is the one at a path, how it is read, and which tasks it can have labels for.

    `read` takes the `options` that the format has, as text.
    """

    accepts: Callable[[Path], bool]
    read: Callable[..., Dataset]
    help: str
    tasks: tuple[str, ...] = ("classify",)
    options: tuple[str, ...] = ()


def read_dataset(path: str | Path, *, format: str | None = None, task: str | None = None) -> Dataset:
    """The labelled images at `path`, a folder, zip, CSV, annotation file, CIFAR's own files, ``demo:parts`` or
    ``digits``; the format is found by looking.

    `format` may carry options, as in ``masks:ignore=11``. `task` is what the labels are wanted for: of objects with
    masks, ``detect`` takes the boxes only. Files that can't be samples are listed in `Dataset.skipped`; images are not
    decoded yet. Raises ValueError when nothing is there, no format fits, the labels are of another task, or there is
    nothing to learn from.
    """
    place = Path(path)
    name, options = _parse_format(format)
    if task is not None and task not in TASKS:
        raise ValueError(f"task={task!r}; allowed: {', '.join(TASKS)}")
    if name not in BUILT_IN and not place.exists() and str(path) not in BUILT_IN.values():
        raise ValueError(f"{path} does not exist; give a folder, a .zip, a .csv, {DEMO} or digits")
    unpacked: list[Skipped] = []
    if READERS["zip"].accepts(place) and (name in DENSE or not name):
        place = unpack(place, lambda folder: bool(name) or _is_dense(folder), unpacked) or place
    found = [name] if name else [key for key, reader in READERS.items() if reader.accepts(place)]
    if not found:
        raise ValueError(
            f"{path} is in no known form; allowed: {'; '.join(reader.help for reader in READERS.values())}"
        )
    name = next((key for key in found if task is None or task in READERS[key].tasks), found[0])
    try:
        dataset = READERS[name].read(place, **options)
    except OSError as error:
        raise ValueError(f"{path} can't be read as {name}: {error}") from error
    except ValueError as error:
        if READERS[name].accepts(place):
            raise
        raise ValueError(f"{error}; {name} is {READERS[name].help}") from error
    if place != Path(path):
        skipped = tuple(sorted((*dataset.skipped, *unpacked), key=lambda entry: entry.id))
        dataset = replace(dataset, name=Path(path).stem, root=str(path), skipped=skipped)
    return dataset if task is None else _narrow(dataset, task, name)


def _is_dense(place: Path) -> bool:
    """Whether a folder is of a layout for objects or pixels."""
    return any(READERS[name].accepts(place) for name in DENSE)


def _parse_format(format: str | None) -> tuple[str, dict[str, str]]:
    """Name and options of a format. Raises ValueError on a name or an option that does not exist."""
    name, _, rest = (format or "").partition(":")
    if format is not None and name not in READERS:
        raise ValueError(f"format={name!r}; allowed: {', '.join(READERS)}")
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    if unknown := sorted(options.keys() - set(READERS[name].options if name else ())):
        allowed = ", ".join(READERS[name].options) or "none"
        raise ValueError(f"format={format!r} has the option {unknown[0]!r}; options of {name}: {allowed}")
    return name, options


def _narrow(dataset: Dataset, task: str, name: str) -> Dataset:
    """The dataset with labels of `task`. Raises ValueError when it has none."""
    if dataset.task == task:
        return dataset
    if (dataset.task, task) != ("instance", "detect"):
        raise ValueError(
            f"{dataset.root} has labels for {dataset.task}, read as {name}; they can't be used for {task}"
            + ("; the objects have no outlines" if (dataset.task, task) == ("detect", "instance") else "")
        )
    samples = tuple(
        replace(sample, target=without_masks(sample.target) if sample.target else None) for sample in dataset.samples
    )
    return replace(dataset, samples=samples, task=task)


def read_digits(path: Path = Path("digits")) -> Dataset:
    """The 1,797 handwritten digits, 8 x 8 gray, that scikit-learn ships (UCI, Alpaydin and Kaynak 1998)."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ValueError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    samples = tuple(
        Sample(f"digits/{index:04d}", ArraySource(image), int(label), image.size)
        for index, (image, label) in enumerate(zip(images, data.target, strict=True))
    )
    names = tuple(str(name) for name in data.target_names)
    return Dataset("digits", str(path), names, samples, {"all": tuple(range(len(samples)))})


TASKS = ("classify", "detect", "segment", "instance")
BUILT_IN = {"digits": "digits", "demo": DEMO, "demo-masks": DEMO}  # formats that read no file, and what they are called

# The first that accepts a path reads it, so the particular ones come before the general.
READERS: Mapping[str, Reader] = {
    "digits": Reader(lambda path: str(path) == "digits" and not path.exists(), read_digits, "digits (no file)"),
    "demo": Reader(
        lambda path: str(path) == DEMO and not path.exists(),
        lambda _path: read_demo("instance"),
        f"{DEMO} (no file)",
        ("instance", "detect"),
    ),
    "demo-masks": Reader(
        lambda path: str(path) == DEMO and not path.exists(),
        lambda _path: read_demo("segment"),
        f"{DEMO} as class maps",
        ("segment",),
    ),
    "cifar": Reader(is_cifar, read_cifar, "CIFAR-10 or CIFAR-100, pickled or binary, as a folder or .tar.gz"),
    "csv": Reader(
        lambda path: path.is_file() and path.suffix.lower() in (".csv", ".tsv"),
        read_csv,
        "a .csv with columns path,label",
    ),
    "zip": Reader(
        lambda path: path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)),
        read_zip,
        "a .zip of a folder for each class, or of one of the layouts below",
    ),
    "coco": Reader(
        is_coco,
        read_coco,
        "COCO's annotations/instances_*.json, or train/_annotations.coco.json",
        ("instance", "detect"),
    ),
    "yolo": Reader(is_yolo, read_yolo, "YOLO's images/ and labels/ with data.yaml", ("instance", "detect")),
    "cityscapes": Reader(is_cityscapes, read_cityscapes, "Cityscapes' leftImg8bit/ and gtFine/", ("segment",)),
    "voc": Reader(is_voc, read_voc, "Pascal VOC's Annotations/ and JPEGImages/", ("detect",)),
    "voc-masks": Reader(has_voc_masks, read_voc_masks, "Pascal VOC's SegmentationClass/ and JPEGImages/", ("segment",)),
    "masks": Reader(is_masks, read_masks, "images/ and masks/ of class indices", ("segment",), ("ignore",)),
    "instances": Reader(
        is_instances, read_instances, "images/ and instances/ of 16-bit numbers of objects", ("instance", "detect")
    ),
    "imagefolder": Reader(
        Path.is_dir, read_folder, "a folder with a folder for each class, or train/ val/ test/ of them"
    ),
}
DENSE = [name for name, reader in READERS.items() if "classify" not in reader.tasks and name not in BUILT_IN]

"""Read a labelled image set, whatever its form: one row of `READERS` for each format.

>>> dataset = read_dataset("digits")
>>> dataset.class_names[:3], len(dataset)
(('0', '1', '2'), 1797)
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ghostfit.data.cifar import is_cifar, read_cifar
from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.folder import read_folder, read_zip
from ghostfit.data.table import read_csv


@dataclass(frozen=True)
class Reader:
    """A format: whether it is the one at a path, and how it is read."""

    accepts: Callable[[Path], bool]
    read: Callable[[Path], Dataset]
    help: str


def read_dataset(path: str | Path, *, format: str | None = None) -> Dataset:
    """The labelled images at `path`, a folder, zip, CSV, CIFAR's own files, or ``digits``; the format is found by
    looking.

    Files that can't be samples are listed in `Dataset.skipped`; images are not decoded yet. Raises ValueError when
    nothing is there, no format fits, or there is nothing to learn from.
    """
    place = Path(path)
    if format is not None and format not in READERS:
        raise ValueError(f"format={format!r}; allowed: {', '.join(READERS)}")
    if format != "digits" and not place.exists() and str(path) != "digits":
        raise ValueError(f"{path} does not exist; give a folder, a .zip, a .csv, or digits")
    if format is None:
        format = next((name for name, reader in READERS.items() if reader.accepts(place)), None)
    if format is None:
        raise ValueError(
            f"{path} is in no known form; allowed: {'; '.join(reader.help for reader in READERS.values())}"
        )
    try:
        return READERS[format].read(place)
    except OSError as error:
        raise ValueError(f"{path} can't be read as {format}: {error}") from error


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


# The first that accepts a path reads it, so the particular ones come before the general.
READERS: Mapping[str, Reader] = {
    "digits": Reader(lambda path: str(path) == "digits" and not path.exists(), read_digits, "digits (no file)"),
    "cifar": Reader(is_cifar, read_cifar, "CIFAR-10 or CIFAR-100, pickled or binary, as a folder or .tar.gz"),
    "csv": Reader(
        lambda path: path.is_file() and path.suffix.lower() in (".csv", ".tsv"),
        read_csv,
        "a .csv with columns path,label",
    ),
    "zip": Reader(
        lambda path: path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)),
        read_zip,
        "a .zip of a folder for each class",
    ),
    "imagefolder": Reader(
        Path.is_dir, read_folder, "a folder with a folder for each class, or train/ val/ test/ of them"
    ),
}

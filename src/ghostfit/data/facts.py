"""What each image file is, measured once by decoding it: size, mode, rotation, damage, and what duplicates are told by.

The check, the splits and the reports read these facts; they are kept in the cache folder, so that a second look costs
nothing.

>>> from ghostfit.data.readers import read_dataset
>>> facts = measure_images(read_dataset("digits"), in_memory=True)
>>> facts.table["width"].max(), facts.broken()
(np.uint32(8), {})
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ghostfit.data.cache import Progress, default_cache_dir
from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.parallel import map_samples
from ghostfit.run import write_atomically
from ghostfit.vision.prepare import FORMATS, MAX_PIXELS, ImageError, read_image

THUMB = 12  # pixels a side of the thumbnail that near duplicates are told by
DRAFT_PIXELS = 2_000_000  # a larger JPEG is decoded at 1/2, 1/4 or 1/8: 4 times faster, and damage still shows
KEPT_FILES = 50  # facts of so many datasets are kept; about 0.5 KB an image
SCHEMA = "ghostfit.facts/1"
OK, EMPTY, TRUNCATED, UNREADABLE, MISSING = range(5)
Table: TypeAlias = NDArray[Any]  # (N,) of ROW
ROW = np.dtype(
    [
        ("problem", "u1"),  # OK, EMPTY, TRUNCATED, UNREADABLE or MISSING
        ("height", "u4"),  # as stored, before EXIF rotation
        ("width", "u4"),
        ("mode", "U8"),  # Pillow's: L, RGB, CMYK, P, I;16, ...
        ("format", "U8"),  # JPEG, PNG, ...; ARRAY for pixels in memory
        ("orientation", "u1"),  # EXIF; 1 is upright
        ("is_16_bit", "?"),
        ("has_alpha", "?"),
        ("is_animated", "?"),
        ("pixel_hash", "u8"),  # of the upright RGB pixels and their size
        ("thumb", "u1", (THUMB, THUMB, 3)),
    ]
)


@dataclass(frozen=True)
class ImageFacts:
    """A row of `ROW` for each sample, and the reason for each that can't be decoded."""

    table: Table
    reasons: dict[int, str]

    def broken(self) -> dict[int, str]:
        """Index -> reason of the samples that can't be decoded; leave them out of the splits."""
        return dict(self.reasons)


def measure_images(
    dataset: Dataset,
    *,
    cache_dir: str | Path | None = None,
    in_memory: bool | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> ImageFacts:
    """Facts of every image of `dataset`, measured now or found in the cache. A broken image is a fact, never an
    error."""
    if in_memory is None:
        in_memory = all(isinstance(sample.source, ArraySource) for sample in dataset.samples)
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    path = folder / f"{dataset.name[:40]}-{dataset.stamp()}.facts.npz"
    if not in_memory and (facts := _load(path, len(dataset))):
        return facts
    table = np.zeros(len(dataset), ROW)
    reasons: dict[int, str] = {}
    for index, (row, reason) in enumerate(map_samples(_measure, dataset.samples, num_threads)):
        table[index] = row
        if reason:
            reasons[index] = reason
        if progress and (index % 256 == 255 or index + 1 == len(dataset)):
            progress(index + 1, len(dataset))
    facts = ImageFacts(table, reasons)
    if not in_memory:
        _save(path, facts)
    return facts


def _measure(sample: Sample) -> tuple[Any, str]:
    """The row of one sample, and the reason when it can't be decoded."""
    row = np.zeros((), ROW)
    row["orientation"] = 1
    problem, reason = OK, ""
    try:
        content = sample.source.read()
        if isinstance(content, bytes):
            if not content:
                return _failed(row, EMPTY, "the file is empty (0 bytes)")
            pixels = _read_header_and_pixels(content, row)
        else:
            row["height"], row["width"] = content.shape[:2]
            row["mode"], row["format"] = "L" if content.ndim == 2 or content.shape[2] == 1 else "RGB", "ARRAY"
            pixels = read_image(content)
        _describe_pixels(pixels, row)
    except UnidentifiedImageError:
        problem, reason = UNREADABLE, f"not an image of a known format ({', '.join(_formats())})"
    except FileNotFoundError:
        problem, reason = MISSING, "no such file"
    except Exception as error:  # noqa: BLE001 - decoders meet damaged data with nearly any exception
        reason = str(error) or type(error).__name__
        problem = TRUNCATED if "truncated" in reason or "Truncated" in reason else UNREADABLE
    return _failed(row, problem, reason) if problem else (row, "")


def _failed(row: Any, problem: int, reason: str) -> tuple[Any, str]:
    row["problem"] = problem
    return row, reason


def _read_header_and_pixels(content: bytes, row: Any) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        row["width"], row["height"] = image.size
        row["mode"], row["format"] = image.mode, image.format
        row["has_alpha"] = image.has_transparency_data
        row["is_animated"] = getattr(image, "is_animated", False)
        row["is_16_bit"] = image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in image.tile)
        row["orientation"] = _orientation(image)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
        if image.width * image.height > DRAFT_PIXELS:
            image.draft(None, (1024, 1024))  # only JPEG heeds it
        return read_image(image)


def _describe_pixels(pixels: NDArray[np.uint8], row: Any) -> None:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    digest.update(pixels.data)
    row["pixel_hash"] = int.from_bytes(digest.digest(), "little")
    row["thumb"] = np.asarray(Image.fromarray(pixels).resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=2.0))


def _orientation(image: Image.Image) -> int:
    try:
        value = int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - a damaged block of tags fails in any way; the pixels may still be good
        return 1
    return value if 1 <= value <= 8 else 1


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _load(path: Path, num_images: int) -> ImageFacts | None:
    """The facts in a file, None when there is none or it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            if str(data["schema"]) != SCHEMA or data["table"].dtype != ROW or len(data["table"]) != num_images:
                return None
            reasons = dict(zip(data["broken"].tolist(), data["reasons"].tolist(), strict=True))
            return ImageFacts(data["table"], reasons)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, facts: ImageFacts) -> None:
    stream = io.BytesIO()
    np.savez(
        stream,
        schema=np.array(SCHEMA),
        table=facts.table,
        broken=np.array(list(facts.reasons), np.int64),
        reasons=np.array(list(facts.reasons.values()), np.str_),
    )
    write_atomically(path, stream.getvalue())
    newest_first: Callable[[Path], float] = lambda file: -file.stat().st_mtime  # noqa: E731
    for old in sorted(path.parent.glob("*.facts.npz"), key=newest_first)[KEPT_FILES:]:
        old.unlink(missing_ok=True)

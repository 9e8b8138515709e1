"""Decode every image of a data set once and note what it is: its size, mode, rotation, damage, and near copies.

The facts are kept in the cache folder, so that a second look costs nothing.

>>> from ghostfit.data.readers import read_dataset
>>> facts = measure_images(read_dataset("digits"), in_memory=True)
>>> int(facts.table["width"].max()), facts.broken()
(8, {})
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ghostfit.data.cache import Progress, default_cache_dir
from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.duplicates import find_near
from ghostfit.data.fact_table import (
    EMPTY,
    MISSING,
    OK,
    ROW,
    THUMB,
    TRUNCATED,
    UNREADABLE,
    ImageFacts,
    load_facts,
    save_facts,
)
from ghostfit.data.parallel import map_samples
from ghostfit.vision.prepare import FORMATS, MAX_PIXELS, RANGE_16, ImageError, read_image, reason_of

__all__ = ["OK", "ImageFacts", "measure_images", "range_16_of"]

TAIL = 0.1  # per cent of the pixels: dead and hot ones of a sensor don't stretch the range
HALF_RANGE = 1 << 15
DRAFT_PIXELS = 2_000_000  # a larger JPEG is decoded at 1/2, 1/4 or 1/8: 4 times faster, and damage still shows


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
    if not in_memory and (facts := load_facts(path, len(dataset))):
        return facts
    table = np.zeros(len(dataset), ROW)
    reasons: dict[int, str] = {}
    for index, (row, reason) in enumerate(map_samples(_measure, dataset.samples, num_threads)):
        table[index] = row
        if reason:
            reasons[index] = reason
        if progress and (index % 256 == 255 or index + 1 == len(dataset)):
            progress(index + 1, len(dataset))
    facts = ImageFacts(table, reasons, tuple(find_near(table)))
    if not in_memory:
        save_facts(path, facts)
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
        reason = reason_of(error)
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
        if not image.mode.startswith("I"):
            return read_image(image)
        values = np.clip(np.asarray(image), *RANGE_16).astype(np.uint16)
        row["range_16"] = np.percentile(values, (TAIL, 100 - TAIL)).astype(np.uint16)
        return read_image(image, range_16=_narrow(row["range_16"]))


def range_16_of(facts: ImageFacts, indices: Sequence[int]) -> tuple[int, int]:
    """The values of 16-bit gray images that are worth their 8 bits: from those of the images at `indices`, all but the
    one in a hundred that is darkest or brightest."""
    rows = facts.table[list(indices)]
    ranges = rows["range_16"][(rows["problem"] == OK) & (rows["range_16"][:, 1] > 0)]
    if not len(ranges):
        return RANGE_16
    return _narrow((np.percentile(ranges[:, 0], 1), np.percentile(ranges[:, 1], 99)))


def _narrow(values: Any) -> tuple[int, int]:
    """The range, or that of all 16 bits where it takes half of them or more: steps of one size everywhere."""
    low, high = min(int(values[0]), RANGE_16[1] - 1), int(values[1])
    return RANGE_16 if high - low >= HALF_RANGE else (low, max(high, low + 1))  # of a blank image two values


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

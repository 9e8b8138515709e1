"""What is known of each image file once it was decoded: values that the check, the splits and the reports read.

>>> facts = ImageFacts(np.zeros(2, ROW), {1: "the file is empty (0 bytes)"}, ())
>>> facts.broken()
{1: 'the file is empty (0 bytes)'}
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostfit.run import write_atomically

THUMB = 12  # pixels a side of the thumbnail that near duplicates are told by
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
        ("range_16", "u2", (2,)),  # of 16-bit gray: the values that all but 1 in 1000 pixels lie above and below
        ("has_alpha", "?"),
        ("is_animated", "?"),
        ("pixel_hash", "u8"),  # of the upright RGB pixels and their size
        ("thumb", "u1", (THUMB, THUMB, 3)),
    ]
)


@dataclass(frozen=True)
class ImageFacts:
    """Facts of a dataset: `table` (N,) of `ROW`, the reason for each image that can't be decoded, nearly equal
    pairs."""

    table: Table
    reasons: dict[int, str]
    near: tuple[tuple[int, int], ...]

    def broken(self) -> dict[int, str]:
        """Index -> reason of the samples that can't be decoded; leave them out of the splits."""
        return dict(self.reasons)


def load_facts(path: Path, num_images: int) -> ImageFacts | None:
    """The facts in a file, None when there is none or it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            if str(data["schema"]) != SCHEMA or data["table"].dtype != ROW or len(data["table"]) != num_images:
                return None
            reasons = dict(zip(data["broken"].tolist(), data["reasons"].tolist(), strict=True))
            near = tuple((int(first), int(second)) for first, second in data["near"])
            return ImageFacts(data["table"], reasons, near)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def save_facts(path: Path, facts: ImageFacts) -> None:
    """Write the file whole or not at all, and delete those of the data sets looked at longest ago."""
    stream = io.BytesIO()
    np.savez(
        stream,
        schema=np.array(SCHEMA),
        table=facts.table,
        near=np.array(facts.near, np.int64).reshape(-1, 2),
        broken=np.array(list(facts.reasons), np.int64),
        reasons=np.array(list(facts.reasons.values()), np.str_),
    )
    write_atomically(path, stream.getvalue())
    newest_first: Callable[[Path], float] = lambda file: -file.stat().st_mtime  # noqa: E731
    for old in sorted(path.parent.glob("*.facts.npz"), key=newest_first)[KEPT_FILES:]:
        old.unlink(missing_ok=True)

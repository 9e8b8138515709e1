"""Masks as COCO's run-length encoding, the compressed form that COCO's tools read and write.

Runs go down the columns, the first of them of zeros; a count from the third on is stored as its difference to the one
two before, in groups of five bits (cocodataset/cocoapi, common/maskApi.h; Lin et al. 2014).

>>> mask = np.array([[0, 1], [1, 1]], bool)
>>> encode_mask(mask)
{'size': [2, 2], 'counts': '13'}
>>> bool((decode_mask(encode_mask(mask)) == mask).all())
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ghostfit.vision.prepare import MAX_PIXELS

_GROUPS = 7  # groups of five bits in the longest count, which `MAX_PIXELS` bounds


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """``{"size": [height, width], "counts": text}`` of a `mask` (H, W), bool."""
    return {"size": [int(side) for side in mask.shape], "counts": _written(_counts(mask))}


def decode_mask(encoded: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `encode_mask`: (H, W), bool. Raises ValueError when it is damaged or larger than an image may be."""
    try:
        height, width = (int(side) for side in encoded["size"])
        counts = _read(str(encoded["counts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a run-length encoded mask: {error}") from error
    if min(height, width) < 0 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
    if counts.min(initial=0) < 0 or counts.max(initial=0) > height * width or counts.sum() != height * width:
        raise ValueError(f"the runs of the mask don't fill its {width} x {height} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def _counts(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs down the columns, int64, found within the rows and columns that hold anything."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.array([height * width], np.int64)
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].T
    padded = np.zeros((inner.shape[0], inner.shape[1] + 2), np.int8)
    padded[:, 1:-1] = inner
    x, y = np.nonzero(np.diff(padded, axis=1))  # each column starts and ends outside: starts and ends take turns
    edges = (x + columns[0]) * height + y + rows[0]
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])  # a run to the end of one column goes on in the next
    edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return counts if counts[-1] else counts[:-1]


def _written(counts: np.ndarray) -> str:
    rest = counts.astype(np.int64)
    rest[3:] = counts[3:] - counts[1:-2]
    groups = np.zeros((len(rest), _GROUPS), np.uint8)
    is_used = np.zeros(groups.shape, bool)
    goes_on = np.ones(len(rest), bool)
    for number in range(_GROUPS):
        is_used[:, number] = goes_on
        bits = rest & 31
        rest = rest >> 5
        goes_on = goes_on & np.where(bits & 16, rest != -1, rest != 0)
        groups[:, number] = bits + 32 * goes_on + 48
    return groups[is_used].tobytes().decode("ascii")


def _read(text: str) -> np.ndarray:
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift >= 5 * _GROUPS:
            raise ValueError("its counts hold a character that none has")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its counts break off")
    return np.array(counts, np.int64) if counts else np.zeros(0, np.int64)

"""Equal and nearly equal images: told by hashes of pixels, and by thumbnails of which a perceptual hash proposes the
pairs.

Near duplicates are copies that were re-encoded, resized or slightly changed. Source of the hash: pHash, signs of low
DCT frequencies (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010); of finding
candidates by equal parts of the hash: Manku et al., "Detecting Near-Duplicates for Web Crawling", 2007.

>>> from ghostfit.data.fact_table import ROW
>>> facts = np.zeros(3, ROW)
>>> facts["pixel_hash"] = [7, 8, 7]
>>> find_identical(facts)
[(0, 2)]
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.fact_table import OK, THUMB, ImageFacts, Table

HASH_SIDE = 8  # frequencies a side: 64 bits
NUM_BANDS = 4  # a pair within 3 bits agrees in one band at least
MAX_BITS = 10  # candidates differ in at most so many of 64 bits
MIN_CORRELATION = 0.95  # of thumbnails less their mean (measured, docs/LOG.md, near duplicates)
MAX_DIFFERENCE = 32.0  # mean absolute difference of thumbnails, of 255 (same place)
MIN_SIDE = 24  # pixels; smaller images, such as 8 x 8 digits, look alike without being copies (same place)
MIN_SPREAD = 4.0  # standard deviation of a thumbnail, of 255; flatter ones all look alike
MAX_BUCKET = 4000  # images that share a band of the hash; a larger bucket says nothing about its members


def find_identical(table: Table) -> list[tuple[int, ...]]:
    """Groups of two or more rows with equal pixels, however they are stored; in order of their first row."""
    groups: dict[int, list[int]] = {}
    for index in np.flatnonzero(table["problem"] == OK).tolist():
        groups.setdefault(int(table["pixel_hash"][index]), []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def find_near(table: Table) -> list[tuple[int, int]]:
    """Pairs of rows (i < j) that are nearly but not exactly equal."""
    is_large = np.minimum(table["height"], table["width"]) >= MIN_SIDE
    usable = np.flatnonzero((table["problem"] == OK) & is_large & (spread(table) >= MIN_SPREAD))
    # Of equal images one is compared, so that a hundred copies don't make thousands of pairs.
    if not len(usable):
        return []
    usable = usable[np.unique(table["pixel_hash"][usable], return_index=True)[1]]
    thumbs = table["thumb"][usable].reshape(-1, THUMB * THUMB, 3)
    hashes = perceptual_hashes(thumbs)
    found: set[tuple[int, int]] = set()
    for left, right in _candidates(hashes):
        for i, j in zip(*_verify(thumbs, left, right), strict=True):
            first, second = int(usable[i]), int(usable[j])
            found.add((min(first, second), max(first, second)))
    return sorted(found)


def group_duplicates(facts: ImageFacts, *, with_near: bool = True) -> list[int]:
    """A number for each image, equal for images that are equal or nearly so: what `make_splits` keeps on one side."""
    pairs = [(group[0], other) for group in find_identical(facts.table) for other in group[1:]]
    numbers = list(range(len(facts.table)))
    for group in join_pairs([*pairs, *(facts.near if with_near else ())]):
        for index in group:
            numbers[index] = group[0]
    return numbers


def join_pairs(pairs: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Groups that the pairs connect.

    >>> join_pairs([(0, 1), (5, 6), (1, 4)])
    [(0, 1, 4), (5, 6)]
    """
    parent: dict[int, int] = {}

    def root(index: int) -> int:
        while parent.setdefault(index, index) != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs:
        parent[max(root(first), root(second))] = min(root(first), root(second))
    groups: dict[int, list[int]] = {}
    for index in sorted(parent):
        groups.setdefault(root(index), []).append(index)
    return [tuple(group) for _, group in sorted(groups.items())]


def spread(table: Table) -> NDArray[np.float32]:
    """(N,) largest standard deviation of a thumbnail's channels, of 255: near 0 for an image of one colour."""
    thumbs = table["thumb"].reshape(len(table), THUMB * THUMB, 3)
    parts = [part.astype(np.float32).std(axis=1).max(axis=1) for part in np.array_split(thumbs, len(table) // 4096 + 1)]
    return np.concatenate(parts)


def perceptual_hashes(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,) 64-bit hashes of thumbnails (N, THUMB * THUMB, 3)."""
    luma = (thumbs @ np.array([0.299, 0.587, 0.114], np.float32)).reshape(-1, THUMB, THUMB)
    frequencies, places = np.arange(1, HASH_SIDE + 1)[:, None], np.arange(THUMB)[None, :]
    basis = np.cos(math.pi * frequencies * (2 * places + 1) / (2 * THUMB)).astype(np.float32)
    spectrum = np.einsum("ua,nab,vb->nuv", basis, luma, basis, optimize=True).reshape(-1, HASH_SIDE**2)
    bits = np.packbits(spectrum > np.median(spectrum, axis=1, keepdims=True), axis=1)
    hashes: NDArray[np.uint64] = np.ascontiguousarray(bits).view(np.uint64).reshape(-1)
    return hashes


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Arrays of pairs whose hashes agree in a band and differ in at most `MAX_BITS` bits in all."""
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, NUM_BANDS)
    for band in range(NUM_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band]
        borders = np.flatnonzero(np.diff(keys)) + 1
        for bucket in np.split(order, borders):
            if not 1 < len(bucket) <= MAX_BUCKET:
                continue
            differing = np.bitwise_count(hashes[bucket][:, None] ^ hashes[bucket][None, :])
            left, right = np.nonzero(np.triu(differing <= MAX_BITS, k=1))
            if len(left):
                yield bucket[left], bucket[right]


def _verify(
    thumbs: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs whose thumbnails are close in colour and shape."""
    kept: list[NDArray[np.bool_]] = []
    for start in range(0, len(left), 4096):
        first = thumbs[left[start : start + 4096]].astype(np.float32)
        second = thumbs[right[start : start + 4096]].astype(np.float32)
        is_close = np.abs(first - second).mean(axis=(1, 2)) <= MAX_DIFFERENCE
        first -= first.mean(axis=1, keepdims=True)
        second -= second.mean(axis=1, keepdims=True)
        scale = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
        kept.append(is_close & ((first * second).sum(axis=(1, 2)) >= MIN_CORRELATION * scale))
    keep = np.concatenate(kept)
    return left[keep], right[keep]

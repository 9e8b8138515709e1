"""The outline of an object, as polygons or run lengths, and the mask that it encloses.

A pixel belongs to a polygon when its centre lies inside, by the even-odd rule; the parts of an object are joined. So
`trace` and `fill` undo each other exactly, holes included.

>>> square = Polygons((np.array([[1, 1], [3, 1], [3, 3], [1, 3]]),))
>>> square.fill((4, 4)).sum(), trace(square.fill((4, 4))).tolist()
(np.int64(4), [[1, 1], [3, 1], [3, 3], [1, 3]])
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.duplicates import join_pairs
from ghostfit.vision.rle import decode_mask


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """Closed polygons that together are one object; each (K, 2): x and y of its corners."""

    parts: tuple[NDArray[np.float64], ...]

    def fill(self, size_hw: tuple[int, int], scale_xy: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.bool_]:
        """The mask (H, W); corners are multiplied by `scale_xy` before."""
        mask = np.zeros(size_hw, np.bool_)
        for part in self.parts:
            _fill_polygon(np.asarray(part, np.float64) * scale_xy, mask)
        return mask

    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all parts."""
        points = np.concatenate(self.parts)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def to_bytes(self) -> bytes:
        """What a stamp is made of."""
        return b"|".join(np.asarray(part, np.float64).tobytes() for part in self.parts)


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """A mask of `size_hw` in COCO's compressed run lengths (`ghostfit.vision.rle`)."""

    counts: str
    size_hw: tuple[int, int]

    def fill(self, size_hw: tuple[int, int], scale_xy: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.bool_]:
        """The mask (H, W). Raises ValueError for another size than its own, or damaged run lengths."""
        if size_hw != self.size_hw or scale_xy != (1.0, 1.0):
            raise ValueError(f"run lengths of a mask of {self.size_hw}, wanted {size_hw}; they can't be scaled")
        mask: NDArray[np.bool_] = decode_mask({"size": size_hw, "counts": self.counts})
        return mask

    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom; zeros when the mask is empty."""
        left, top, right, bottom = box_of(self.fill(self.size_hw))
        return float(left), float(top), float(right), float(bottom)

    def to_bytes(self) -> bytes:
        """What a stamp is made of."""
        return self.counts.encode()


Outline: TypeAlias = Polygons | RunLengths


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom edges of what is set in a mask (H, W); zeros when nothing is."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def trace(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """One closed polygon (K, 2) along the edges of the pixels of `mask` (H, W); (0, 2) when nothing is set.

    Parts and holes are reached by bridges that are walked both ways, which the even-odd rule does not see.
    """
    loops = list(_loops(mask))
    if not loops:
        return np.zeros((0, 2), np.int64)
    points = list(loops[0])
    for loop in loops[1:]:
        points += [loops[0][0], *loop, loop[0]]
    return np.array(points, np.int64)


def split_regions(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The connected regions of `mask` (H, W), corners counted, each as a mask; in the order of their first pixels."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    first_of_row = np.searchsorted(rows, np.arange(len(mask) + 1))
    pairs: list[tuple[int, int]] = [(run, run) for run in range(len(rows))]
    for row in range(1, len(mask)):
        upper, lower = int(first_of_row[row - 1]), int(first_of_row[row])
        while upper < first_of_row[row] and lower < first_of_row[row + 1]:
            if starts[lower] <= ends[upper] and starts[upper] <= ends[lower]:
                pairs.append((upper, lower))
            if ends[upper] < ends[lower]:
                upper += 1
            else:
                lower += 1
    regions = []
    for group in join_pairs(pairs):
        region = np.zeros_like(mask)
        for run in group:
            region[rows[run], starts[run] : ends[run]] = True
        regions.append(region)
    return regions


def _fill_polygon(points: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    """Set the pixels whose centres lie in the polygon (K, 2): each edge toggles the rest of the rows that it
    crosses."""
    height, width = mask.shape
    # From the upper end to the lower, so that a bridge walked both ways is rounded alike.
    ends = np.stack([points, np.roll(points, -1, axis=0)])
    order = np.argsort(ends[:, :, 1], axis=0, kind="stable")[:, :, None]
    (x, y), (next_x, next_y) = np.moveaxis(np.take_along_axis(ends, order, axis=0), 2, 1)
    first = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(next_y - 0.5), 0, height).astype(np.int64)
    num_rows = last - first
    edge = np.repeat(np.arange(len(points)), num_rows)
    if not len(edge):
        return
    row = np.arange(len(edge)) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows) + first[edge]
    crossing = x[edge] + (row + 0.5 - y[edge]) * ((next_x - x)[edge] / (next_y - y)[edge])
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    top, left, right = int(row.min()), int(column.min()), int(column.max())
    shape = (int(row.max()) + 1 - top, right + 1 - left)
    toggles = np.bincount((row - top) * shape[1] + column - left, minlength=shape[0] * shape[1]).reshape(shape)
    inside = np.cumsum(toggles[:, :-1], axis=1) % 2 == 1
    mask[top : top + shape[0], left:right] |= inside


def _loops(mask: NDArray[np.bool_]) -> Iterator[list[tuple[int, int]]]:
    """Closed walks along the edges between inside and outside, inside at the right hand; corners only."""
    padded = np.pad(mask, 1).astype(np.int8)
    down, across = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1, :]
    edges: list[tuple[int, int, int, int]] = []  # from x, from y, to x, to y
    for sign, array, (ax, ay, bx, by) in (
        (1, down, (0, 0, 1, 0)),
        (-1, down, (1, 0, 0, 0)),
        (1, across, (0, 1, 0, 0)),
        (-1, across, (0, 0, 0, 1)),
    ):
        ys, xs = np.nonzero(array == sign)
        edges += zip((xs + ax).tolist(), (ys + ay).tolist(), (xs + bx).tolist(), (ys + by).tolist(), strict=True)
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for from_x, from_y, to_x, to_y in edges:
        leaving.setdefault((from_x, from_y), []).append((to_x, to_y))
    for start in list(leaving):
        while leaving[start]:
            loop, here, heading = [start], start, (0, 0)
            while leaving[here]:
                there = leaving[here].pop()
                step = (there[0] - here[0], there[1] - here[1])
                if here != start and step == heading:
                    loop.pop()
                loop.append(there)
                here, heading = there, step
            yield loop[:-1]

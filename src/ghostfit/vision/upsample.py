"""From the coarse grid of a network's output to the pixels of the image, a part at a time so that memory stays small.

Bilinear between the centres of the cells, as everywhere in the field (``align_corners=False``); beyond the outermost
centres the outermost value goes on.

>>> placement = Placement(image_hw=(1, 4), input_hw=(8, 16), scale_xy=(4, 8), offset_xy=(0, 0))
>>> upsample(np.array([[0.0, 1.0]]), *grid_axes((1, 2), placement, (0, 0, 4, 1))).tolist()
[[0.0, 0.25, 0.75, 1.0]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ghostfit.vision.placement import Placement


@dataclass(frozen=True, eq=False)
class Axis:
    """For each pixel of a row or column the two cells it lies between, and how far towards the second (0..1)."""

    low: np.ndarray
    high: np.ndarray
    fraction: np.ndarray


def grid_axes(
    grid_hw: tuple[int, int], placement: Placement, window_xyxy: tuple[int, int, int, int]
) -> tuple[Axis, Axis]:
    """Rows and columns of the image's pixels in a window (left, top, right, bottom) on a grid over the whole input."""
    left, top, right, bottom = window_xyxy
    cell_y, cell_x = (side / cells for side, cells in zip(placement.input_hw, grid_hw, strict=True))
    y = (np.arange(top, bottom) + 0.5) * placement.scale_xy[1] + placement.offset_xy[1]
    x = (np.arange(left, right) + 0.5) * placement.scale_xy[0] + placement.offset_xy[0]
    return _axis(y / cell_y - 0.5, grid_hw[0]), _axis(x / cell_x - 0.5, grid_hw[1])


def upsample(plane: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Values (H, W), float32, of the `plane` (h, w) at the pixels of `rows` and `columns`."""
    first, last = int(columns.low.min(initial=0)), int(columns.high.max(initial=0)) + 1
    inner = plane[:, first:last].astype(np.float32, copy=False)
    upper, lower = inner[rows.low], inner[rows.high]
    lower -= upper
    lower *= rows.fraction[:, None]
    upper += lower
    left: np.ndarray = upper[:, columns.low - first]
    right = upper[:, columns.high - first]
    right -= left
    right *= columns.fraction
    left += right
    return left


def _axis(position: np.ndarray, cells: int) -> Axis:
    position = np.clip(position, 0, cells - 1)
    low = np.floor(position).astype(np.intp)
    return Axis(low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32))

"""Where an image lies in a network's input, so that boxes and masks can go from the one to the other.

Coordinates are those of edges: an image of width W reaches from 0 to W, whatever its number of pixels, so resizing is
a mere scale.

>>> placement = Placement(image_hw=(50, 100), input_hw=(32, 32), scale_xy=(0.32, 0.32), offset_xy=(0, 8))
>>> placement.to_input(np.array([[0, 0, 100, 50]])).tolist()
[[0.0, 8.0, 32.0, 24.0]]
>>> placement.to_image(np.array([[-1, 8, 16, 24]])).tolist()
[[0.0, 0.0, 50.0, 50.0]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """input = image * `scale_xy` + `offset_xy`, in pixels of the input (`input_hw`) and of the image (`image_hw`)."""

    image_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def to_image(self, boxes_xyxy: NDArray[np.number]) -> NDArray[np.float32]:
        """Boxes (..., 4) of the input as boxes of the image, cut at its border: nothing is found outside an image."""
        height, width = self.image_hw
        boxes = (np.asarray(boxes_xyxy, np.float64) - [*self.offset_xy, *self.offset_xy]) / (2 * self.scale_xy)
        return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)

    def to_input(self, boxes_xyxy: NDArray[np.number]) -> NDArray[np.float32]:
        """Boxes (..., 4) of the image as boxes of the input; what a crop cut off lies outside."""
        boxes = np.asarray(boxes_xyxy, np.float64) * (2 * self.scale_xy) + [*self.offset_xy, *self.offset_xy]
        return boxes.astype(np.float32)

    def map_to_input(self, label_map: NDArray[S], *, fill: int) -> NDArray[S]:
        """Labels of pixels (..., H, W) of the image at the input's size, each the nearest one; `fill` in the bars.

        Raises ValueError when `label_map` is not of the image's size.
        """
        if tuple(label_map.shape[-2:]) != self.image_hw:
            raise ValueError(f"a map of {label_map.shape[-2:]} for an image of {self.image_hw}; their sizes must agree")
        return sample_map(label_map, *self.centres(), fill=fill)

    def centres(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Where the centres of the input's rows and columns lie in the image."""
        (scale_x, scale_y), (offset_x, offset_y) = self.scale_xy, self.offset_xy
        height, width = self.input_hw
        return (np.arange(height) + 0.5 - offset_y) / scale_y, (np.arange(width) + 0.5 - offset_x) / scale_x


def sample_map(label_map: NDArray[S], y: NDArray[np.floating], x: NDArray[np.floating], *, fill: int) -> NDArray[S]:
    """Values of `label_map` (..., H, W) at rows `y` (h,) and columns `x` (w,), in pixels from its edge: (..., h, w).

    `fill` where a point lies outside.
    """
    height, width = label_map.shape[-2:]
    rows, columns = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    is_row, is_column = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    if is_row.all() and is_column.all():
        return label_map[..., rows[:, None], columns]
    found = np.full((*label_map.shape[:-2], len(rows), len(columns)), fill, label_map.dtype)
    if is_row.any() and is_column.any():
        (top, bottom), (left, right) = (np.flatnonzero(inside)[[0, -1]] for inside in (is_row, is_column))
        inner = label_map[..., rows[top : bottom + 1, None], columns[left : right + 1]]
        found[..., top : bottom + 1, left : right + 1] = inner
    return found

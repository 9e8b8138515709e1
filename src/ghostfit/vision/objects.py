"""Labelled objects of one image, as data sets give them and as metrics compare them: plain arrays.

>>> objects = Objects(np.array([[0, 0, 4, 2]]), np.array([1]))
>>> len(objects), objects.boxes_xyxy.dtype
(1, dtype('float32'))
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # in a class map: the pixel has no label and counts nowhere


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of an image, N of them, in pixels of the image as `read_image` gives it.

    `boxes_xyxy` (N, 4) float32: left, top, right, bottom edges, so that width = right - left. `class_ids` (N,) int64.
    `is_crowd` (N,) bool: a region of many objects, neither wanted nor wrong to find. `masks` (N, H, W) bool, or None
    when only boxes are known.
    """

    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    is_crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        num = len(self.class_ids)
        boxes = np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4)
        crowd = np.asarray(self.is_crowd, np.bool_) if len(self.is_crowd) else np.zeros(num, np.bool_)
        if not len(boxes) == len(crowd) == num or (self.masks is not None and len(self.masks) != num):
            raise ValueError(f"{len(boxes)} boxes, {len(crowd)} crowd marks, {num} classes; all must be as many")
        object.__setattr__(self, "boxes_xyxy", boxes)
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64))
        object.__setattr__(self, "is_crowd", crowd)

    def __len__(self) -> int:
        return len(self.class_ids)

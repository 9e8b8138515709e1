"""What a sample of a dense task is labelled with, read when it is needed: objects, or a class for each pixel.

>>> target = KnownObjects(Objects(np.array([[0, 0, 4, 2]]), np.array([1])))
>>> len(target.read())
1
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostfit.vision.objects import Objects

Label: TypeAlias = "Objects | NDArray[np.uint8]"  # the array: (H, W), class index of each pixel, `IGNORE` for none


class Target(Protocol):
    """Where the label of a sample lies. `Dataset.task` tells which of the two kinds `read` gives."""

    def read(self) -> Label:
        """The objects or the class map, at the image's own size. Raises ValueError, OSError when it is damaged."""
        ...

    def stamp(self) -> str:
        """Short text that changes when the label changes; cheap."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class KnownObjects:
    """Objects already in memory."""

    objects: Objects

    def read(self) -> Objects:
        return self.objects

    def stamp(self) -> str:
        digest = hashlib.sha256(self.objects.boxes_xyxy.tobytes() + self.objects.class_ids.tobytes())
        if self.objects.masks is not None:
            digest.update(np.packbits(self.objects.masks).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class KnownClassMap:
    """A class map (H, W), uint8, already in memory."""

    class_map: NDArray[np.uint8]

    def read(self) -> NDArray[np.uint8]:
        return self.class_map

    def stamp(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.class_map).tobytes()).hexdigest()[:16]

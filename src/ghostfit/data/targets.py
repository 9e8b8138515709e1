"""What a sample of a dense task is labelled with, read when it is needed: objects, or a class for each pixel.

>>> target = KnownObjects(Objects(np.array([[0, 0, 4, 2]]), np.array([1])))
>>> len(target.read())
1
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.label_images import LabelError, Legend, check_size, read_size_hw, read_values
from ghostfit.data.outlines import Outline
from ghostfit.vision.objects import IGNORE, Objects

if TYPE_CHECKING:
    from ghostfit.data.dataset import Source

Label: TypeAlias = "Objects | NDArray[np.uint8]"  # the array: (H, W), class index of each pixel, `IGNORE` for none
MAX_MASK_BYTES = 2**30  # of one image's masks together; more is a mistake, or an image to be cut into tiles
CLASS_STEP = 1000  # in a label map of several classes, class * 1000 + number, as Cityscapes writes them


class Target(Protocol):
    """Where the label of a sample lies. `Dataset.task` tells which of the two kinds `read` gives."""

    def read(self) -> Label:
        """The objects or the class map, at the image's own size. Raises ValueError, OSError when it is damaged."""
        ...

    def class_ids(self) -> NDArray[np.int64]:
        """Class of each object, or the classes that occur in a map; without filling masks. Raises as `read` does."""
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

    def class_ids(self) -> NDArray[np.int64]:
        return self.objects.class_ids

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

    def class_ids(self) -> NDArray[np.int64]:
        return _classes_in(self.class_map)

    def stamp(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.class_map).tobytes()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class ListedObjects:
    """Objects as an annotation file lists them; outlines are filled when they are read.

    `boxes_xyxy` (N, 4) and `outlines` are in pixels of an image of `frame_hw`; without it, in shares of the sides of
    `image`. `outlines` is None when only boxes are known. `read` raises LabelError when `image` has another size.
    """

    boxes_xyxy: NDArray[np.float64]
    ids: NDArray[np.int64]
    is_crowd: NDArray[np.bool_]
    image: Source
    frame_hw: tuple[int, int] | None = None
    outlines: tuple[Outline, ...] | None = None

    def read(self) -> Objects:
        height, width = read_size_hw(self.image)
        if self.frame_hw is not None:
            check_size(self.frame_hw, (height, width))
        scale_xy = (1.0, 1.0) if self.frame_hw is not None else (float(width), float(height))
        boxes = self.boxes_xyxy * np.tile(scale_xy, 2)
        masks = None
        if self.outlines is not None:
            _check_bytes(len(self.outlines), height, width)
            masks = np.zeros((len(self.outlines), height, width), np.bool_)
            for number, outline in enumerate(self.outlines):
                masks[number] = outline.fill((height, width), scale_xy)
        return Objects(boxes.astype(np.float32), self.ids, self.is_crowd, masks)

    def class_ids(self) -> NDArray[np.int64]:
        return self.ids

    def stamp(self) -> str:
        digest = hashlib.sha256(self.boxes_xyxy.tobytes() + self.ids.tobytes() + self.is_crowd.tobytes())
        for outline in self.outlines or ():
            digest.update(outline.to_bytes() + b"/")
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMapFile:
    """An image whose pixels are classes, by the `legend`, of the `image` that it lies over."""

    source: Source
    legend: Legend
    image: Source

    def read(self) -> NDArray[np.uint8]:
        class_map = self.legend.classes_of(read_values(self.source, colours=bool(self.legend.colours)))
        check_size(class_map.shape, read_size_hw(self.image))
        return class_map

    def class_ids(self) -> NDArray[np.int64]:
        return _classes_in(self.read())

    def stamp(self) -> str:
        return f"{_stamp_of(self.source)}{self.legend.stamp()}"


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMapFile:
    """An image whose pixels are numbers of objects, 0 for none, with up to 16 bits.

    With one class a number is an object; with more it is class * 1000 + object, as Cityscapes writes them.
    """

    source: Source
    num_classes: int
    image: Source

    def read(self) -> Objects:
        values, numbers, class_ids = self._read_numbers()
        height, width = values.shape
        check_size((height, width), read_size_hw(self.image))
        _check_bytes(len(numbers), height, width)
        masks = values[None] == numbers[:, None, None]
        return Objects(_boxes_of(values, numbers), class_ids, masks=masks)

    def class_ids(self) -> NDArray[np.int64]:
        return self._read_numbers()[2]

    def stamp(self) -> str:
        return _stamp_of(self.source)

    def _read_numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Pixels (H, W), the numbers of the objects (N,) in rising order, and their classes (N,)."""
        values = read_values(self.source)
        numbers = np.unique(values)
        numbers = numbers[numbers != 0]
        if self.num_classes == 1:
            return values, numbers, np.zeros(len(numbers), np.int64)
        class_ids: NDArray[np.int64] = numbers // CLASS_STEP
        if len(numbers) and (class_ids.max() >= self.num_classes or numbers.min() < 0):
            worst = int(numbers[np.argmax(class_ids)])
            raise LabelError(
                "GF612", f"the number {worst} is of class {worst // CLASS_STEP}; there are {self.num_classes} classes"
            )
        return values, numbers, class_ids


@dataclass(frozen=True, slots=True, eq=False)
class BoxesOf:
    """The boxes of objects that have masks too."""

    target: Target

    def read(self) -> Objects:
        label = self.target.read()
        assert isinstance(label, Objects)
        return replace(label, masks=None)

    def class_ids(self) -> NDArray[np.int64]:
        return self.target.class_ids()

    def stamp(self) -> str:
        return "boxes " + self.target.stamp()


def without_masks(target: Target) -> Target:
    """The same objects as boxes only."""
    return replace(target, outlines=None) if isinstance(target, ListedObjects) else BoxesOf(target)


def _classes_in(class_map: NDArray[np.uint8]) -> NDArray[np.int64]:
    found = np.flatnonzero(np.bincount(class_map.ravel(), minlength=IGNORE + 1))
    classes: NDArray[np.int64] = found[found != IGNORE].astype(np.int64)
    return classes


def _boxes_of(values: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Boxes (N, 4) around the pixels of each of `numbers` (N,), rising, in a label map (H, W)."""
    boxes = np.zeros((len(numbers), 4), np.float32)
    y, x = np.nonzero(values)
    which = np.searchsorted(numbers, values[y, x])
    boxes[:, :2] = np.inf
    for column, edges in enumerate((x, y, x + 1, y + 1)):
        join = np.minimum if column < 2 else np.maximum
        join.at(boxes[:, column], which, edges.astype(np.float32))
    return boxes


def _check_bytes(num_objects: int, height: int, width: int) -> None:
    if num_objects * height * width > MAX_MASK_BYTES:
        raise LabelError(
            "GF611",
            f"{num_objects} masks of {width}x{height} need {num_objects * height * width / 2**30:.1f} GiB; at most "
            f"{MAX_MASK_BYTES // 2**30} is read: cut the image into tiles",
        )


def _stamp_of(source: Source) -> str:
    """Hash of what a label file holds, so that the same set in another place has the same."""
    try:
        content = source.read()
    except (OSError, ValueError):
        return "missing"
    return hashlib.sha256(content if isinstance(content, bytes) else content.tobytes()).hexdigest()[:16]

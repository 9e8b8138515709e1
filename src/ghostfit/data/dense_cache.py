"""Labels of a dense task at the size of the network's input, beside the images that `build_cache` decoded.

In memory and small: masks as bits within their boxes, class maps deflated; about 1 KB an object, 2 KB a map.

>>> from ghostfit.data.dataset import ArraySource
>>> from ghostfit.data.targets import KnownObjects
>>> target = KnownObjects(Objects(np.array([[0, 0, 4, 2]]), np.array([0])))
>>> sample = Sample("a", ArraySource(np.zeros((8, 8, 3), np.uint8)), 0, 64, target)
>>> dataset = Dataset("demo", "demo", ("cat",), (sample,), {"all": (0,)}, task="detect")
>>> build_targets(dataset, Prepare(size_hw=(16, 16))).read(0).boxes_xyxy.tolist()
[[0.0, 0.0, 8.0, 4.0]]
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.cache import Progress
from ghostfit.data.dataset import Dataset, Sample, Skipped
from ghostfit.data.label_images import check_size, read_size_hw
from ghostfit.data.parallel import map_samples
from ghostfit.data.targets import Label
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.placement import Placement, sample_map
from ghostfit.vision.prepare import Prepare

DEFLATE_LEVEL = 1  # a map of large areas shrinks to a few per cent at any level


@dataclass(frozen=True, slots=True, eq=False)
class PackedObjects:
    """Objects whose masks are kept as bits: `windows` (N, 4) int, left, top, right, bottom, and the bits within."""

    objects: Objects
    windows: NDArray[np.int64]
    bits: tuple[bytes, ...]

    def unpack(self, size_hw: tuple[int, int]) -> Objects:
        """The objects with masks (N, *size_hw)."""
        masks = np.zeros((len(self.bits), *size_hw), np.bool_)
        for mask, (left, top, right, bottom), bits in zip(masks, self.windows.tolist(), self.bits, strict=True):
            shape = bottom - top, right - left
            flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1])
            mask[top:bottom, left:right] = flat.reshape(shape)
        return Objects(self.objects.boxes_xyxy, self.objects.class_ids, self.objects.is_crowd, masks)


@dataclass(frozen=True)
class CachedTargets:
    """Labels of a dataset at the input's size, rows in the order of its samples.

    A row whose `valid` is false has none: it could not be read, `skipped` says why.
    """

    task: str
    size_hw: tuple[int, int]
    packed: tuple[Objects | PackedObjects | bytes | None, ...]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) whether the row has a label."""
        return np.array([label is not None for label in self.packed], np.bool_)

    def read(self, row: int) -> Label:
        """The label of a row, in pixels of the input: objects, those of ``instance`` with masks, or a class map.

        Raises ValueError when the row has none.
        """
        label = self.packed[row]
        if label is None:
            raise ValueError(f"row {row} has no label; use the rows that are valid")
        if isinstance(label, bytes):
            return np.frombuffer(zlib.decompress(label), np.uint8).reshape(self.size_hw)
        return label.unpack(self.size_hw) if isinstance(label, PackedObjects) else label


def build_targets(
    dataset: Dataset,
    prepare: Prepare,
    *,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CachedTargets:
    """Every label of `dataset`, as `prepare` resizes the images.

    What lies outside a crop is left out, bars have no class. A label that can't be read is listed, never raised.
    Raises ValueError for a classification, and when no label can be read.
    """
    if dataset.task not in ("detect", "segment", "instance"):
        raise ValueError(f"{dataset.root} is labelled for {dataset.task}; targets are of detect, segment and instance")
    packed: list[Objects | PackedObjects | bytes | None] = []
    skipped: list[Skipped] = []
    results = map_samples(lambda sample: _read(sample, dataset.task, prepare), dataset.samples, num_threads)
    for sample, label in zip(dataset.samples, results, strict=True):
        if isinstance(label, str):
            skipped.append(Skipped(sample.id, label))
        packed.append(None if isinstance(label, str) else label)
        if progress and (len(packed) % 256 == 0 or len(packed) == len(dataset)):
            progress(len(packed), len(dataset))
    if len(skipped) == len(dataset):
        raise ValueError(f"none of the {len(dataset)} labels of {dataset.root} can be read: {skipped[0].reason}")
    return CachedTargets(dataset.task, prepare.size_hw, tuple(packed), tuple(skipped))


def _read(sample: Sample, task: str, prepare: Prepare) -> Objects | PackedObjects | bytes | str:
    """The label of a sample at the input's size, or why there is none."""
    if sample.target is None:
        return "it has no label"
    try:
        label = sample.target.read()
        image_hw = read_size_hw(sample.source)
        placement = prepare.placement(image_hw)
        if not isinstance(label, Objects):
            check_size(label.shape, image_hw)
            return zlib.compress(placement.map_to_input(label, fill=IGNORE).tobytes(), DEFLATE_LEVEL)
        return _resized(label, placement, with_masks=task == "instance")
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _resized(objects: Objects, placement: Placement, *, with_masks: bool) -> Objects | PackedObjects:
    """Objects in pixels of the input, cut at its edge."""
    height, width = placement.input_hw
    boxes = np.clip(placement.to_input(objects.boxes_xyxy), 0, [width, height, width, height])
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    moved = Objects(boxes[kept], objects.class_ids[kept], objects.is_crowd[kept])
    if not with_masks:
        return moved
    if objects.masks is None:
        raise ValueError("the objects have no masks; read the data for detect instead")
    check_size(objects.masks.shape[1:], placement.image_hw)
    low, high = np.floor(moved.boxes_xyxy[:, :2]), np.ceil(moved.boxes_xyxy[:, 2:])
    windows = np.concatenate([low, high], axis=1).astype(np.int64)
    y, x = placement.centres()
    bits = []
    for mask, (left, top, right, bottom) in zip(objects.masks[kept], windows.tolist(), strict=True):
        inner = sample_map(mask, y[top:bottom], x[left:right], fill=0)
        bits.append(np.packbits(inner if inner.any() else ~inner).tobytes())  # smaller than a pixel: its box
    return PackedObjects(moved, windows, tuple(bits))

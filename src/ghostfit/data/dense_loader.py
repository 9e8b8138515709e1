"""Batches of the dense tasks, from decoded images and their labels in memory; the contract of `ghostfit.data.loader`.

What batch k of epoch e holds follows from (seed, e, k), and from how far the training is when the epoch begins: mosaics
fade out, since the pictures that count are whole ones (YOLOX, arXiv 2107.08430, section 2.1).

>>> from ghostfit.vision.objects import Objects
>>> targets = CachedTargets("detect", (32, 32), (Objects(np.array([[4, 4, 20, 9]]), np.array([0])),) * 10)
>>> batches = DenseBatches(
...     np.zeros((10, 32, 32, 3), np.uint8), targets, range(10), batch_size=4, size_hw=(32, 32), mean=(0.5,) * 3,
...     std=(0.5,) * 3,
... )
>>> [(tuple(x.shape), tuple(y["boxes"].shape)) for x, y in batches.epoch()]
[((4, 3, 32, 32), (4, 1, 4)), ((4, 3, 32, 32), (4, 1, 4)), ((2, 3, 32, 32), (2, 1, 4))]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ghostfit.data.dense_augment import DenseAugment, Picture, fitted
from ghostfit.data.dense_cache import CachedTargets
from ghostfit.data.loader import prefetched
from ghostfit.vision.objects import Objects

DenseBatch = tuple[Tensor, Mapping[str, Tensor]]  # see docs/design/dense.md

NONE, CROWD = -1, -2  # classes of what is no object, and of what is neither wanted nor wrong to find
MASK_STRIDE = 4  # pixels of the input a side of a mask's cell
FADE = (0.6, 0.85)  # of a training: where mosaics begin to become rarer, and where they end


class DenseBatches:
    """Batches of some rows of `images` (N, H, W, C), uint8, with their `targets`.

    `indices` are the rows used. `transform` augments (see `ghostfit.data.dense_augment`); without one images are
    squashed to `size_hw`, which leaves them as they are when they were cached at that size. `drop_last` leaves out a
    last batch that is not full. `prefetch` is the number of batches prepared ahead; 0 prepares them in the caller's
    thread.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        targets: CachedTargets,
        indices: Sequence[int],
        *,
        batch_size: int,
        size_hw: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        transform: DenseAugment | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        prefetch: int = 3,
    ) -> None:
        if batch_size < 1 or not len(indices):
            raise ValueError(f"batch_size={batch_size} of {len(indices)} images; both must be positive")
        if not len(mean) == len(std) == images.shape[3]:
            raise ValueError(f"{len(mean)} means and {len(std)} deviations for images of {images.shape[3]} channels")
        if len(images) != len(targets) or tuple(images.shape[1:3]) != tuple(targets.size_hw):
            raise ValueError(
                f"images {images.shape[:3]} with {len(targets)} labels for {targets.size_hw} pixels; "
                "build both from one data set and one Prepare"
            )
        self.images = images
        self.targets = targets
        self.indices = np.asarray(indices, np.int64)
        self.batch_size = min(batch_size, len(self.indices)) if drop_last else batch_size
        self.size_hw = size_hw
        self.seed = seed
        self.transform = transform
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.prefetch = prefetch
        self.progress = 0.0
        self._fill = [round(255 * min(1.0, max(0.0, value))) for value in mean]
        deviations = np.asarray(std, np.float64)
        self._scale = torch.tensor(1 / (255 * deviations), dtype=torch.float32).view(1, -1, 1, 1)
        self._offset = torch.tensor(-np.asarray(mean, np.float64) / deviations, dtype=torch.float32).view(1, -1, 1, 1)

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.indices), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    @property
    def num_images(self) -> int:
        """Images in an epoch."""
        return min(len(self) * self.batch_size, len(self.indices))

    def begin_epoch(self, progress: float) -> None:
        """How far the training is, 0..1, when the epochs asked for from now on begin: mosaics become rarer."""
        self.progress = progress

    def epoch(
        self, epoch: int = 0, start_batch: int = 0, *, size_hw: tuple[int, int] | None = None
    ) -> Iterator[DenseBatch]:
        """Batches `start_batch`.. of one epoch: x (B, C, H, W), float32, channels_last, normalised; y by name.

        `size_hw` stands in for the batches' own size in this epoch. Raises ValueError when masks can't be had at it.
        """
        size_hw = size_hw or self.size_hw
        if self.targets.task == "instance" and any(side % MASK_STRIDE for side in size_hw):
            raise ValueError(f"size_hw={size_hw} with masks; both must be multiples of {MASK_STRIDE}")
        order = self.indices
        if self.shuffle:
            order = order[np.random.default_rng([self.seed, epoch]).permutation(len(order))]
        numbers, progress = range(start_batch, len(self)), self.progress
        make = lambda number: self._make(order, epoch, number, size_hw, progress)  # noqa: E731
        if self.prefetch == 0:
            return map(make, numbers)
        return prefetched(make, numbers, self.prefetch)

    def _make(
        self, order: NDArray[np.int64], epoch: int, number: int, size_hw: tuple[int, int], progress: float
    ) -> DenseBatch:
        rows = order[number * self.batch_size : (number + 1) * self.batch_size]
        if self.transform is None:
            pictures = [fitted(self._picture(row), size_hw) for row in rows]
            x = _stacked(pictures)
        else:
            rng = np.random.default_rng([self.seed, epoch, number])
            pictures = [self._augmented(row, rng, size_hw, progress, self.transform) for row in rows]
            x = self.transform.colour(_stacked(pictures), rng, size_hw)
        x = x.to(torch.float32).mul_(self._scale).add_(self._offset).contiguous(memory_format=torch.channels_last)
        return x, {**_collated(pictures), "index": torch.from_numpy(rows.copy())}

    def _augmented(
        self,
        row: int,
        rng: np.random.Generator,
        size_hw: tuple[int, int],
        progress: float,
        transform: DenseAugment,
    ) -> Picture:
        pictures = [self._picture(row)]
        if rng.random() < transform.mosaic_share * mosaic_factor(progress):
            pictures += [self._picture(self.indices[partner]) for partner in rng.integers(0, len(self.indices), 3)]
        return transform.compose(pictures, rng, size_hw, fill=self._fill)

    def _picture(self, row: int) -> Picture:
        return Picture(np.array(self.images[row]), self.targets.read(row))


def dense_eval_batches(
    images: NDArray[np.uint8],
    targets: CachedTargets,
    indices: Sequence[int],
    *,
    batch_size: int,
    size_hw: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> DenseBatches:
    """Batches in the order of `indices`, whole and without augmentation: what evaluation reads."""
    return DenseBatches(
        images, targets, indices, batch_size=batch_size, size_hw=size_hw, mean=mean, std=std, shuffle=False
    )


def mosaic_factor(progress: float) -> float:
    """Share of the mosaics that are still made at `progress`, 0..1, of a training.

    >>> [mosaic_factor(progress) for progress in (0.0, 0.6, 0.85, 1.0)]
    [1.0, 1.0, 0.0, 0.0]
    """
    begin, end = FADE
    return min(1.0, max(0.0, (end - progress) / (end - begin)))


def shrink_masks(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Masks (N, H, W) at a quarter of their sides: of each, the cells that it covers most, as many as keep its area.

    A threshold of one half would lose what is thinner than two pixels. Of cells covered alike all are taken.
    """
    number, height, width = masks.shape
    # Four pixels of a row are one word of 32 bits, so that its bytes are summed without leaving their row.
    words = np.ascontiguousarray(masks).view(np.uint32).reshape(number, height // 4, 4, width // 4)
    sums = words[:, :, 0] + words[:, :, 1] + words[:, :, 2] + words[:, :, 3]
    covered = ((sums * np.uint32(0x01010101)) >> np.uint32(24)).reshape(number, (height // 4) * (width // 4))
    shrunk = np.zeros(covered.shape, np.bool_)
    for row, counts in enumerate(covered):
        wanted = max(1, round(int(counts.sum(dtype=np.int64)) / MASK_STRIDE**2))
        at_least = np.cumsum(np.bincount(counts, minlength=MASK_STRIDE**2 + 1)[::-1])[::-1]  # cells covered so far
        level = max(1, int(np.flatnonzero(at_least >= wanted)[-1]))
        shrunk[row] = counts >= level
    return shrunk.reshape(number, height // MASK_STRIDE, width // MASK_STRIDE)


def _stacked(pictures: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack([picture.image for picture in pictures])).permute(0, 3, 1, 2)  # channels_last


def _collated(pictures: Sequence[Picture]) -> dict[str, Tensor]:
    """Labels of a batch as tensors, objects padded to the largest number, at least one."""
    labels = [picture.label for picture in pictures]
    objects = [label for label in labels if isinstance(label, Objects)]
    if not objects:
        maps = np.stack([label for label in labels if not isinstance(label, Objects)])
        return {"classes": torch.from_numpy(maps).to(torch.int64)}
    most = max(1, *(len(label) for label in objects))
    boxes = torch.zeros(len(objects), most, 4)
    classes = torch.full((len(objects), most), NONE, dtype=torch.int64)
    for row, label in enumerate(objects):
        boxes[row, : len(label)] = torch.from_numpy(label.boxes_xyxy)
        classes[row, : len(label)] = torch.from_numpy(np.where(label.is_crowd, CROWD, label.class_ids))
    if objects[0].masks is None:
        return {"boxes": boxes, "classes": classes}
    height, width = objects[0].masks.shape[1:]
    masks = torch.zeros(len(objects), most, height // MASK_STRIDE, width // MASK_STRIDE, dtype=torch.bool)
    for row, label in enumerate(objects):
        assert label.masks is not None
        masks[row, : len(label)] = torch.from_numpy(shrink_masks(label.masks))
    return {"boxes": boxes, "classes": classes, "masks": masks}

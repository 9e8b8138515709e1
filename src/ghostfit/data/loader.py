"""Batches for training and evaluation, from decoded images in memory.

What batch k of epoch e holds follows from (seed, e, k) alone, not from what was drawn before: a resumed run goes on
exactly where it was. A background thread prepares the next batches; it draws from its own generators and never
touches torch's.

>>> images, labels = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
>>> batches = Batches(images, labels, range(10), batch_size=4, size_hw=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
>>> [tuple(x.shape) for x, y in batches.epoch(0)]
[(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ghostfit.data.augment import Transform, resize

__all__ = ["Batch", "Batches", "KeptBatches", "eval_batches", "resize"]

T = TypeVar("T")
Batch = tuple[Tensor, Tensor]  # x (B, C, H, W) float32, channels_last, normalised; y (B,) int64


class Batches:
    """Batches of some rows of `images` (N, H, W, C), uint8, with `labels` (N,).

    `indices` are the rows used. `transform` augments batches of uint8 (see `ghostfit.data.augment`); without one the
    batches are what `Prepare` gives, when the images were cached at `size_hw`. `drop_last` leaves out a last batch
    that is not full. `prefetch` is the number of batches prepared ahead; 0 prepares them in the caller's thread.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        indices: Sequence[int],
        *,
        batch_size: int,
        size_hw: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        transform: Transform | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        prefetch: int = 3,
    ) -> None:
        if batch_size < 1 or not len(indices):
            raise ValueError(f"batch_size={batch_size} of {len(indices)} images; both must be positive")
        if not len(mean) == len(std) == images.shape[3]:
            raise ValueError(f"{len(mean)} means and {len(std)} deviations for images of {images.shape[3]} channels")
        self.images = images
        self.labels = np.asarray(labels, np.int64)
        self.indices = np.asarray(indices, np.int64)
        self.batch_size = min(batch_size, len(self.indices)) if drop_last else batch_size
        self.size_hw = size_hw
        self.seed = seed
        self.transform = transform
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.prefetch = prefetch
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

    def epoch(self, epoch: int = 0, start_batch: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Batch]:
        """Batches `start_batch`.. of one epoch: x (B, C, H, W), float32, channels_last, normalised; y (B,), int64.

        `size_hw` stands in for the batches' own size in this epoch.
        """
        order = self.indices
        if self.shuffle:
            order = order[np.random.default_rng([self.seed, epoch]).permutation(len(order))]
        numbers = range(start_batch, len(self))
        make = lambda number: self._make(order, epoch, number, size_hw or self.size_hw)  # noqa: E731
        if self.prefetch == 0:
            return map(make, numbers)
        return prefetched(make, numbers, self.prefetch)

    def _make(self, order: NDArray[np.int64], epoch: int, number: int, size_hw: tuple[int, int]) -> Batch:
        rows = order[number * self.batch_size : (number + 1) * self.batch_size]
        x = torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)  # channels_last in memory
        if self.transform is None:
            x = resize(x, size_hw)
        else:
            x = self.transform(x, np.random.default_rng([self.seed, epoch, number]), size_hw)
        x = x.to(torch.float32).mul_(self._scale).add_(self._offset).contiguous(memory_format=torch.channels_last)
        return x, torch.from_numpy(self.labels[rows])


class KeptBatches:
    """Batches made once and kept in memory, for what reads the same images again and again."""

    def __init__(self, batches: Iterable[tuple[Tensor, Any]]) -> None:
        self.batches = tuple(batches)
        self.num_images = sum(len(batch[0]) for batch in self.batches)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    def epoch(self, epoch: int = 0, start_batch: int = 0) -> Iterator[tuple[Tensor, Any]]:
        """The same batches at every epoch."""
        return iter(self.batches[start_batch:])


def eval_batches(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    indices: Sequence[int],
    *,
    batch_size: int,
    size_hw: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> Batches:
    """Batches in the order of `indices`, whole and without augmentation: what evaluation reads."""
    return Batches(
        images,
        labels,
        indices,
        batch_size=batch_size,
        size_hw=size_hw,
        mean=mean,
        std=std,
        shuffle=False,
        drop_last=False,
    )


def prefetched(make: Callable[[int], T], numbers: range, depth: int) -> Iterator[T]:
    """Results of `make`, prepared in a thread at most `depth` ahead. Its error is raised here; closing ends the
    thread."""
    results: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    is_closed = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not is_closed.is_set():
            try:
                results.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for number in numbers:
                if is_closed.is_set():
                    return
                put(make(number))
            put(None)
        except BaseException as error:  # noqa: BLE001 - crosses to the reader
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_closed.set()
        thread.join()

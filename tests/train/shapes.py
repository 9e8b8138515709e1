"""Images of coloured squares and discs with their boxes, masks and class maps: dense labels that a test can draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ghostfit.train.task import Batch

NUM_CLASSES = 2  # 0: square, 1: disc; in class maps one more, 0 the ground


@dataclass(frozen=True)
class Shapes:
    """Batches of drawn images, all in one order: the same in every epoch."""

    task: str
    num_images: int = 8
    size: int = 96
    batch_size: int = 8
    most: int = 3  # objects of an image
    seed: int = 0

    def __len__(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def epoch(self, epoch: int = 0, start_batch: int = 0) -> Iterator[Batch]:
        x, y = self.drawn()
        for begin in range(start_batch * self.batch_size, self.num_images, self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            yield x[rows], {name: value[rows] for name, value in y.items()}

    def drawn(self) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng(self.seed)
        images = [draw(rng, self.size, self.most) for _ in range(self.num_images)]
        x = torch.stack([image for image, _, _, _ in images])
        boxes, classes = (torch.stack([image[index] for image in images]) for index in (1, 2))
        masks = torch.stack([image[3] for image in images])
        y = {"index": torch.arange(self.num_images)}
        if self.task == "segment":
            labels = (masks * (classes + 1)[..., None, None]).amax(1)
            return x, {**y, "classes": labels}
        quarter = torch.nn.functional.avg_pool2d(masks.float(), 4) > 0.5  # so that it lies within the box
        return x, {**y, "boxes": boxes, "classes": classes, **({"masks": quarter} if self.task == "instance" else {})}


def draw(rng: np.random.Generator, size: int, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An image (3, S, S), boxes (M, 4), classes (M,), -1 where there is none, masks (M, S, S); shapes don't overlap."""
    image = torch.from_numpy(rng.normal(0, 0.1, (3, size, size)).astype(np.float32))
    boxes, classes = torch.zeros(most, 4), torch.full((most,), -1)
    masks = torch.zeros(most, size, size, dtype=torch.bool)
    ys, xs = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    for slot in range(int(rng.integers(1, most + 1))):
        for _ in range(50):
            half = float(rng.integers(size // 12, size // 5))
            x, y = (float(value) for value in rng.integers(int(half), int(size - half) + 1, 2))
            kind = int(rng.integers(NUM_CLASSES))
            square = ((xs - x).abs() <= half) & ((ys - y).abs() <= half)
            if not (square & masks.any(0)).any():
                break
        else:
            continue
        masks[slot] = ((xs - x) ** 2 + (ys - y) ** 2 <= half**2) if kind else square
        boxes[slot], classes[slot] = torch.tensor([x - half, y - half, x + half, y + half]), kind
        colour = torch.from_numpy(rng.uniform(0.5, 1.5, 3).astype(np.float32))
        image = torch.where(masks[slot], colour[:, None, None], image)
    return image, boxes, classes, masks

"""A small network and small data that trainings in the tests share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ghostfit.data.loader import Batches, eval_batches

NUM_CLASSES, SIZE = 3, 8


def small_network(seed: int = 0) -> nn.Module:
    """Convolution, norm, dropout, classifier: everything with state that a resumed run must carry."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32, NUM_CLASSES),
    )


def small_images(num_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose colour tells the class: images (N, 8, 8, 3) uint8, labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, num_images)
    images = rng.integers(0, 200, (num_images, SIZE, SIZE, 3), dtype=np.uint8)
    images[np.arange(num_images), :, :, labels] += 50
    return images, labels


def small_batches(num_images: int = 96, batch_size: int = 16, prefetch: int = 0) -> Batches:
    images, labels = small_images(num_images)
    return Batches(
        images,
        labels,
        range(num_images),
        batch_size=batch_size,
        size_hw=(SIZE, SIZE),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=1,
        transform=lambda x, rng, size_hw: x.flip(3) if rng.random() < 0.5 else x,
        drop_last=True,
        prefetch=prefetch,
    )


def small_val(num_images: int = 48) -> Batches:
    images, labels = small_images(num_images, seed=1)
    return eval_batches(
        images, labels, range(num_images), batch_size=24, size_hw=(SIZE, SIZE), mean=(0.5,) * 3, std=(0.25,) * 3
    )


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def are_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

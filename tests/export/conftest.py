"""Networks whose norms fit their maps, as training leaves them: with invented statistics, DFC attention is chaotic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ghostfit.arch import Arch
from ghostfit.nn.build import Network, build


@torch.no_grad()
def _settled(arch: Arch, seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = build(arch).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # statistics of all that it sees
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
    network(torch.randn(8, arch.in_channels, *arch.size_hw, generator=generator))
    return network.eval()


@pytest.fixture
def settled() -> Callable[..., Network]:
    return _settled


@pytest.fixture
def photos() -> list[np.ndarray]:
    """Smooth pictures of several sizes."""
    random = np.random.default_rng(0)
    pictures = []
    for height, width in ((40, 60), (50, 50), (33, 47)):
        y, x = np.indices((height, width, 1))[:2]
        waves = np.sin(x / random.uniform(3, 9, 3) + y / random.uniform(3, 9, 3) + random.uniform(0, 6, 3))
        pictures.append((127 + 120 * waves).astype(np.uint8))
    return pictures

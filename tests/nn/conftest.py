"""Networks with statistics that hide no mistake: every norm scales, shifts and centres differently."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@torch.no_grad()
def _randomise_norms(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.uniform_(0.3, 0.8, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
    return network.eval()


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    torch.manual_seed(0)


@pytest.fixture
def randomise_norms():
    return _randomise_norms


@pytest.fixture
def assert_close():
    def check(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> None:
        spread = (wanted.max() - wanted.min()).item()
        assert spread > 0
        assert (found - wanted).abs().max().item() <= tolerance * spread

    return check

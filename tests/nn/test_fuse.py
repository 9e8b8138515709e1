"""Equal outputs after every rewriting, over all presets, in deployed and in training form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostfit.nn.build import Network, build
from ghostfit.nn.fuse import add_branches, deploy, fuse
from ghostfit.nn.ghost import TrainingConv
from ghostfit.presets import list_presets, preset

# One of each structure; GhostNetV3's training form is compared with timm's, fused and deployed, in test_pretrained.py.
FAMILIES = ["ghostnet_050", "ghostnetv3_050", "mobilenetv3_small_100", "mobilenetv4_conv_small", "efficientnet_lite0"]


def image() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def network_of(name: str, branches: int = 0) -> Network:
    """In double precision: fresh training forms have outputs of any size, in which float32 loses digits."""
    return build(preset(name, num_classes=10).replace(branches=branches)).double()


@pytest.mark.parametrize(
    ("name", "branches"), [(name, 0) for name in list_presets()] + [(name, 2) for name in FAMILIES]
)
@torch.no_grad()
def test_fused_equals_plain(name, branches, randomise_norms, assert_close):
    network = randomise_norms(network_of(name, branches))
    fused = fuse(network)
    assert_close(fused(image()), network(image()), 1e-7)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | TrainingConv) for module in fused.modules())
    assert fused.arch == network.arch.deployed() and not fused.training


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_deployed_equals_training_form(name, randomise_norms, assert_close):
    network = randomise_norms(network_of(name, 3))
    deployed = deploy(network)
    assert_close(deployed(image()), network(image()), 1e-7)
    assert set(deployed.state_dict()) == set(build(preset(name, num_classes=10), device="meta").state_dict())


@pytest.mark.parametrize("name", ["ghostnetv3_050", "efficientnet_lite0"])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_added_branches_change_nothing_at_first(name, training, randomise_norms, assert_close):
    network = randomise_norms(network_of(name)).train(training)
    wide = add_branches(network, 3)
    assert wide.training is training
    assert_close(wide(image()), network(image()), 1e-7)
    assert wide.arch.branches == 3


def test_added_branches_learn():
    wide = add_branches(network_of("ghostnetv3_050"), 2)
    optimizer = torch.optim.SGD(wide.parameters(), lr=0.1)
    for _ in range(2):  # the first step moves the scales away from 0, the second reaches the convolutions
        optimizer.zero_grad()
        wide(image()).square().mean().backward()
        optimizer.step()
    second = wide.stages[2][0].expand.primary.branches[1]
    assert second.conv.weight.grad.abs().max() > 0


@torch.no_grad()
def test_the_given_network_stays_as_it_was(randomise_norms):
    network = randomise_norms(build(preset("ghostnetv3_050", num_classes=4).replace(branches=2)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fuse(network), deploy(network), add_branches(deploy(network))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_branches_are_added_once():
    network = build(preset("ghostnet_050", num_classes=4))
    with pytest.raises(ValueError, match="branches=2 for a network with branches=2"):
        add_branches(add_branches(network, 2), 2)
    with pytest.raises(ValueError, match="is_fused=True"):
        add_branches(fuse(network), 2)


def test_number_type_is_kept():
    assert next(fuse(build(preset("ghostnet_050", num_classes=4)).double()).parameters()).dtype is torch.double

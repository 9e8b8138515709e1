"""Networks rewritten with equal outputs: norms folded, training branches merged or added.

`fuse` for export, `deploy` and `add_branches` between the training form of GhostNetV3 (arXiv 2404.11202, section 3.1)
and the form that runs. All return a new network and leave the given one as it was.

>>> from ghostfit.presets import preset
>>> network = build(preset("ghostnetv3_050", size_hw=(32, 32)).replace(branches=3)).eval().double()
>>> image = torch.rand(1, 3, 32, 32, dtype=torch.double)
>>> torch.allclose(fuse(network)(image), network(image))
True
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.arch import Arch
from ghostfit.nn.build import Network, build
from ghostfit.nn.ghost import ConvBN, LinearBN, TrainingConv

__all__ = ["add_branches", "deploy", "fuse", "with_nms"]

Unit = ConvBN | LinearBN | TrainingConv


@torch.no_grad()
def fuse(network: Network) -> Network:
    """The network for running only: branches merged, every batch norm folded into its convolution; in eval mode."""
    fused = _built(network.arch.deployed(), network, is_fused=True)
    for target, source in _pairs(fused, network):
        assert not isinstance(target, TrainingConv)
        weight, bias = _merged(source)
        layer = target.conv if isinstance(target, ConvBN) else target.linear
        assert layer.bias is not None
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return fused.eval()


@torch.no_grad()
def deploy(network: Network) -> Network:
    """The network of ``arch.deployed()`` with each group of training branches as one convolution with batch norm.

    Outputs are equal in eval mode. The norm's statistics are those of the sum of the branches, taken as uncorrelated,
    so that training can go on; dropout and drop-path are left out.
    """
    deployed = _built(network.arch.deployed(), network, is_fused=network.is_fused)
    for target, source in _pairs(deployed, network):
        if isinstance(source, TrainingConv):
            assert isinstance(target, ConvBN)
            _absorb(target, source)
        else:
            target.load_state_dict(source.state_dict())
    return deployed.train(network.training)


@torch.no_grad()
def add_branches(network: Network, branches: int = 3) -> Network:
    """The training form of a deployed `network`, with equal outputs in eval and in train mode.

    The first branch of each group holds the weights that there are; the norms of the others start at scale 0, and
    their convolutions fresh. Raises ValueError for a fused network or one that has branches.
    """
    if network.arch.branches or network.is_fused or branches < 1:
        raise ValueError(
            f"branches={branches} for a network with branches={network.arch.branches}, is_fused={network.is_fused}; "
            "allowed: 1 or more, for a network that has norms and no branches yet"
        )
    wide = _built(network.arch.replace(branches=branches), network)
    for target, source in _pairs(wide, network):
        if isinstance(target, TrainingConv):
            for norm in _norms(target):
                nn.init.zeros_(norm.weight)
            target = target.branches[0]  # type: ignore[assignment]
        target.load_state_dict(source.state_dict())
    return wide.train(network.training)


@torch.no_grad()
def with_nms(network: Network) -> Network:
    """The dense form of a network free of NMS: its guide runs, so that several anchors answer for one object."""
    dense = network.arch.dense
    assert dense is not None and dense.nms_free and not network.is_fused
    plain = _built(network.arch.replace(dense=dataclasses.replace(dense, nms_free=False)), network)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("head.levels.")}
    plain.load_state_dict({name.replace("head.guide.", "head.levels."): value for name, value in state.items()})
    return plain.train(network.training)


def _pairs(target: Network, source: Network) -> Iterator[tuple[Unit, Unit]]:
    """Units of the same name in both networks; the branches inside a `TrainingConv` are none of their own."""
    inside: tuple[str, ...] = ()
    for name, unit in target.named_modules():
        if isinstance(unit, ConvBN | LinearBN | TrainingConv) and not name.startswith(inside):
            if isinstance(unit, TrainingConv):
                inside = (*inside, f"{name}.")
            other = source.get_submodule(name)
            assert isinstance(other, ConvBN | LinearBN | TrainingConv)
            yield unit, other


def _merged(unit: Unit) -> tuple[Tensor, Tensor]:
    """Weight and bias, in double precision, of the one layer that equals `unit` before its activation."""
    if not isinstance(unit, TrainingConv):
        layer = unit.conv if isinstance(unit, ConvBN) else unit.linear
        if unit.bn is None:
            assert layer.bias is not None
            return layer.weight.double(), layer.bias.double()
        return _folded(layer.weight.double(), unit.bn)
    first = unit.branches[0]
    assert isinstance(first, ConvBN)
    margin = first.conv.kernel_size[0] // 2
    parts = [_merged(branch) for branch in unit.branches]  # type: ignore[arg-type]
    if unit.scale is not None:
        weight, bias = _merged(unit.scale)
        parts.append((F.pad(weight, [margin] * 4), bias))
    if unit.skip is not None:
        identity = F.pad(torch.ones_like(first.conv.weight[:, :, :1, :1], dtype=torch.double), [margin] * 4)
        parts.append(_folded(identity, unit.skip))
    return _sum([weight for weight, _ in parts]), _sum([bias for _, bias in parts])


def _folded(weight: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * scale
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias


def _absorb(target: ConvBN, source: TrainingConv) -> None:
    """Write the merged branches into `target`, whose norm is set to the statistics that the branches' sum has."""
    weight, bias = _merged(source)
    norm = target.bn
    assert norm is not None and norm.running_mean is not None and norm.running_var is not None
    norms = list(_norms(source))
    mean = _sum([branch.bias.double() for branch in norms])
    variance = _sum([branch.weight.double() ** 2 for branch in norms])
    target.conv.weight.copy_(weight)
    norm.running_mean.copy_(mean - bias)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)


def _norms(unit: TrainingConv) -> Iterator[nn.BatchNorm2d]:
    return (module for module in unit.modules() if isinstance(module, nn.BatchNorm2d))


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).sum(0)


def _built(arch: Arch, like: Network, *, is_fused: bool = False) -> Network:
    """A fresh network on the device and of the number type of another, with its preprocessing."""
    weight = next(like.parameters())
    network = build(arch, device=weight.device, is_fused=is_fused).to(weight.dtype)
    network.prepare = like.prepare
    return network

"""Optimizers, ours and timm's, over groups of parameters: no decay of norms and biases, lower rates of early layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from ghostfit.train.config import WEIGHT_DECAY, TrainConfig
from ghostfit.train.muon import Muon

# Peak rates at a batch of 128, for some hundred to some thousand steps (measured, docs/LOG.md; long recipes use less).
# They grow with the square root of the batch (arXiv 2205.10287), for SGD linearly (arXiv 1706.02677).
REFERENCE_LR = {"muon": 16e-3, "adamw": 4e-3, "lamb": 12e-3, "sgd": 0.2}
REFERENCE_BATCH = 128


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of `config`; each group holds ``lr_scale``, its share of the rate that the schedule sets."""
    groups = parameter_groups(network, weight_decay=weight_decay_of(config), layer_decay=config.layer_decay)
    if config.optimizer == "muon":
        return Muon(groups, lr=REFERENCE_LR["muon"])
    extra: dict[str, Any] = {"adamw": {"fused": True}, "sgd": {"fused": True}, "lamb": {}}[
        config.optimizer
    ]  # 1.4 ms for 7
    return create_optimizer_v2(groups, opt=config.optimizer, lr=REFERENCE_LR[config.optimizer], **extra)


def parameter_groups(network: nn.Module, *, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Groups of parameters that share decay and rate. Vectors (norms, biases) have no decay.

    The last layer's rate is whole; each layer before it has `layer_decay` of the next one's. A layer is a block
    ``stages.i.j``, the stem, or the head; in other networks a first-level module, or an indexed child of one.
    """
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    depths = _layer_depths(names) if layer_decay < 1 else dict.fromkeys(names, 0)
    last = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        is_decayed = parameter.ndim > 1
        key = (depths[name], is_decayed)
        if key not in groups:
            scale = layer_decay ** (last - depths[name])
            groups[key] = {"params": [], "weight_decay": weight_decay if is_decayed else 0.0, "lr_scale": scale}
        groups[key]["params"].append(parameter)
    return list(groups.values())


def clip_gradient(parameters: Sequence[nn.Parameter], most: float, device: torch.device) -> None:
    """Scale all gradients so that their norm is at most `most`.

    On a CPU the norm is looked at first, which halves the cost where nothing is clipped; a GPU would have to wait.
    """
    if device.type != "cpu":
        nn.utils.clip_grad_norm_(parameters, most)
        return
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if not norm <= most:  # also when it is not a number
        nn.utils.clip_grads_with_norm_(parameters, most, norm)


def reference_lr(optimizer: str, batch_size: float) -> float:
    """A peak rate that works for most networks: where a range test starts from, and what stands in for one.

    >>> reference_lr("adamw", 32), reference_lr("sgd", 256)
    (0.002, 0.4)
    """
    ratio = batch_size / REFERENCE_BATCH
    return REFERENCE_LR[optimizer] * (ratio if optimizer == "sgd" else ratio**0.5)


def weight_decay_of(config: TrainConfig) -> float:
    """The decay given, or the optimizer's usual one."""
    return WEIGHT_DECAY[config.optimizer] if config.weight_decay is None else config.weight_decay


def _layer_depths(names: list[str]) -> dict[str, int]:
    """Depth of each parameter's layer, counted by the order of the layers in the network."""
    layers: dict[str, int] = {}
    depths = {}
    for name in names:
        match = re.match(r"[^.]+(?:\.\d+)*", name)
        assert match, name
        depths[name] = layers.setdefault(match[0], len(layers))
    return depths

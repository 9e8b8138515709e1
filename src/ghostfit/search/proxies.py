"""Zero-cost proxies: guesses of a network's quality from one batch and fresh weights.

The parameter count is the baseline that each must beat (ZiCo's abstract says few do). NASWOT: arXiv 2006.04647; ZiCo:
arXiv 2301.11300, equation 14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostfit.nn.build import Network


def naswot(network: Network, x: Tensor) -> float:
    """Log-determinant of the agreement of ReLU patterns between the images of a batch; more is better.

    x: (B, C, H, W), normalised. Counts the sign pattern before every activation, of whatever kind.
    """
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        signs = (inputs[0].detach() > 0).flatten(1).double()
        kernel.add_(signs @ signs.T + (1 - signs) @ (1 - signs).T)

    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
    hooks = [module.register_forward_pre_hook(count) for module in network.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad():
            network.train()(x)
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.linalg.slogdet(kernel)[1])


def zico(
    network: Network,
    batches: Sequence[tuple[Tensor, Any]],
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
) -> float:
    """Sum over layers of the log of summed mean-over-deviation of the gradients' size across batches; more is better.

    `batches` are at least two of (x: (B, C, H, W), y: what `loss` takes beside outputs). The network's gradients are
    overwritten.
    """
    if len(batches) < 2:
        raise ValueError("ZiCo compares gradients of at least two batches")
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    gradients: list[list[Tensor]] = [[] for _ in layers]
    network.train()
    for x, y in batches:
        network.zero_grad(set_to_none=True)
        loss(network(x), y).backward()  # type: ignore[no-untyped-call]
        for collected, layer in zip(gradients, layers, strict=True):
            gradient = layer.weight.grad if layer.weight.grad is not None else torch.zeros_like(layer.weight)
            collected.append(gradient.abs().flatten().clone())
    network.zero_grad(set_to_none=True)
    score = 0.0
    for collected in gradients:
        sizes = torch.stack(collected)
        deviation = sizes.std(dim=0, unbiased=False)
        is_moving = deviation > 0
        total = float((sizes.mean(dim=0)[is_moving] / deviation[is_moving]).sum())
        if total > 0:
            score += float(torch.log(torch.tensor(total)))
    return score

"""Muon: each matrix follows its momentum made orthogonal; vectors, and what is no matrix to speak of, follow AdamW.

A network that sees its images a few times learns about three times as fast by it as by AdamW (measured, docs/LOG.md,
2026-12-01). Method: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; the length of a step, which is
AdamW's: arXiv 2502.16982, section 2.2. torch and timm have it too, in bfloat16 only, which with AVX2 alone takes
seventeen times as long as this (docs/design/optimizer.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

# Newton-Schulz steps (a, b, c): x becomes (a + b x x' + c (x x')^2) x. Singular values of 0.002 of the norm
# and more end within 0.85 and 1.15. Steps of https://leloykun.github.io/ponder/muon-opt-coeffs.
COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
LEAST_SIDE = 4  # of a matrix; thinner ones have no direction to share
MOST_SIDE = 512  # of a matrix's shorter side, whose third power is what a step costs: 55 ms for a square one, on a core
RMS = 0.2  # of an update of AdamW, so that rates and decays mean the same for both


class Muon(torch.optim.Optimizer):
    """Muon over matrices and convolutions, AdamW over the rest, at one learning rate."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(params, {**settings, "fused": True})  # torch reads it: a loaded `step` goes to the device

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along the gradients that are there; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            having = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in filter(is_matrix, having):
                self._follow_orthogonal(parameter, group)
            if others := [parameter for parameter in having if not is_matrix(parameter)]:
                self._follow_adamw(others, group)
        return loss

    def _follow_orthogonal(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov's
        matrix = ahead.flatten(1)
        length = RMS * max(matrix.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonal(matrix).view_as(ahead), alpha=-group["lr"] * length)

    def _follow_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight is made orthogonal: a matrix or convolution, not depthwise, of sides that can be.

    >>> [is_matrix(torch.empty(shape)) for shape in ((16, 3, 3, 3), (16, 1, 3, 3), (16,), (1000, 1280))]
    [True, False, False, False]
    """
    if weight.ndim < 2 or weight.shape[1] == 1:
        return False
    return LEAST_SIDE <= min(weight.shape[0], weight[0].numel()) <= MOST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor of `matrix` (M, N): its singular vectors, with singular values of about 1.

    Newton-Schulz steps on the Gram matrix of the shorter side; that is exact, as all factors are polynomials of it, and
    costs 0.4 of steps on a matrix nine times as long as wide.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide.float() / (torch.linalg.matrix_norm(wide.float()) + 1e-12)
    gram, factor, polynomial = wide @ wide.T, None, None
    for a, b, c in COEFFICIENTS:
        if polynomial is not None:
            gram = polynomial @ gram @ polynomial
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        factor = polynomial if factor is None else polynomial @ factor
    assert factor is not None
    made: Tensor = (factor @ wide).to(matrix.dtype)
    return made if matrix.shape[0] <= matrix.shape[1] else made.T

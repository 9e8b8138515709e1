"""Losses of the dense tasks, in float32, safe for boxes without area.

Sources: GIoU arXiv 1902.09630; varifocal loss arXiv 2008.13367, equation 2; Dice arXiv 1606.04797; hard pixels (OHEM)
arXiv 1604.03540, with the rule of BiSeNet (arXiv 1808.00897, section 4.1).

>>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
>>> float(overlap_of(a, a)), float(overlap_of(a, a + 1)), float(giou_of(a, a + 2))
(1.0, 0.1428571492433548, -0.5)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7  # of an area in square pixels: only boxes without any are touched
VARIFOCAL_ALPHA, VARIFOCAL_GAMMA = 0.75, 2.0  # varifocal loss, section 4.1
HARD_BELOW = 0.7  # probability of the right class; BiSeNet
HARD_SHARE = 1 / 16  # of the pixels are kept at least; BiSeNet


def overlap_of(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes_xyxy (..., 4), pair by pair: (...)."""
    intersection, union, _ = _areas(a, b)
    return intersection / union.clamp(min=EPSILON)


def giou_of(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union, -1..1, of boxes_xyxy (..., 4), pair by pair: (...)."""
    intersection, union, hull = _areas(a, b)
    return intersection / union.clamp(min=EPSILON) - (hull - union) / hull.clamp(min=EPSILON)


def varifocal_loss(
    scores: Tensor, where: tuple[Tensor, ...], targets: Tensor, is_ignored: Tensor | None = None
) -> Tensor:
    """Sum of cross entropies: wanted scores weigh by their target, others by how sure they are.

    scores: logits, (B, A, C); where: image, anchor and class of the P wanted ones; targets: (P,), 0..1; is_ignored:
    (B, A) bool, or None. The weights carry no gradient.
    """
    with torch.no_grad():
        weights = scores.sigmoid().square_().mul_(VARIFOCAL_ALPHA)
        if is_ignored is not None:
            weights.masked_fill_(is_ignored[..., None], 0.0)
        weights[where] = torch.where(targets > 0, targets, weights[where])
    # cross entropy = softplus(score) - target x score; the second term is sparse
    return torch.dot(weights.flatten(), F.softplus(scores).flatten()) - (targets.square() * scores[where]).sum()


def imitation_loss(scores: Tensor, wanted: Tensor) -> Tensor:
    """Sum of weighted divergences of the probabilities of `scores` from those of `wanted`, both logits.

    Places weigh by the wanted probability p and, as far as that is low, by how sure the scores are: p + 0.75 (1 - p)
    sigmoid(score)^2.
    """
    with torch.no_grad():
        targets = wanted.sigmoid()
        weights = torch.lerp(scores.sigmoid().square_().mul_(VARIFOCAL_ALPHA), torch.ones_like(targets), targets)
        floor = torch.dot(weights.flatten(), F.softplus(wanted).sub_(targets * wanted).flatten())
        pull = (weights * targets).flatten()
    return torch.dot(weights.flatten(), F.softplus(scores).flatten()) - torch.dot(pull, scores.flatten()) - floor


def dice_loss(both: Tensor, total: Tensor) -> Tensor:
    """1 - 2 |A and B| / (|A| + |B|) from the areas `both` = |A and B| and `total` = |A| + |B|, of the same shape.

    A pixel is added to both, so that nothing where nothing is wanted costs nothing.
    """
    return 1 - (2 * both + 1) / (total + 1)


def hard_mean(losses: Tensor, num_pixels: int) -> Tensor:
    """Mean over the hard ones of `losses` (N,): cross entropies above -log 0.7, but a 16th of `num_pixels` at least.

    0 when there is none.
    """
    least = min(max(int(num_pixels * HARD_SHARE), 1), len(losses))
    if not least:
        return losses.sum()
    is_hard = losses.detach() > -math.log(HARD_BELOW)
    return losses[is_hard].mean() if int(is_hard.sum()) >= least else losses.topk(least).values.mean()


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of the intersection, of the union, and of the smallest box around both."""
    sides_a, sides_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    intersection = common[..., 0] * common[..., 1]
    union = sides_a[..., 0] * sides_a[..., 1] + sides_b[..., 0] * sides_b[..., 1] - intersection
    return intersection, union, around[..., 0] * around[..., 1]

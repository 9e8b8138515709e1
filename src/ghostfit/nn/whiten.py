"""A stem that starts from the images: its filters are their principal components, of equal variance.

A network that sees its images a few times spends part of them on its first filters. Whitening ones are had from a
covariance of patches (Coates et al., AISTATS 2011, section 3.1.2; as fixed filters of a fast network: arXiv 2404.00498,
section 3.2). Of each component the stem takes the filter and its negative, since the activation after it cuts off one
half. With it CIFAR-10 is learnt 1 to 2 points better (measured, docs/LOG.md, 2026-12-01).

>>> from ghostfit.presets import preset
>>> from ghostfit.nn.build import build
>>> network = build(preset("mobilenetv3_small_100", num_classes=10, size_hw=(32, 32)))
>>> whiten_stem(network, [torch.randn(8, 3, 32, 32)])
True
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ghostfit.nn.build import Network
from ghostfit.nn.sharing import Supernet

FLOOR = 5e-4  # of the mean variance, added to each: what is below is noise, not to be blown up (arXiv 2404.00498)


@torch.no_grad()
def whiten_stem(network: Network | Supernet, images: Iterable[Tensor]) -> bool:
    """Set the weights of the stem, in place, from batches of images (B, C, H, W), normalised as in training.

    Slots hold the components in falling order of variance, so that a narrow stem of a store has the first ones. Those
    beyond twice the components keep their fresh weights. False, and nothing is changed, where all patches are alike.
    """
    if isinstance(network, Supernet):
        largest = network.extract(network.space.largest())
        has_changed = whiten_stem(largest, images)
        network.put(largest)
        return has_changed
    weight = network.stem.conv.weight
    filters = whitening_filters(images, (weight.shape[2], weight.shape[3]))
    if filters is None:
        return False
    filters = torch.stack([filters, -filters], 1).flatten(0, 1)
    for row, slot in enumerate(network.stem.out_slots):
        if slot < len(filters):
            weight[row] = filters[slot]
    return True


def whitening_filters(images: Iterable[Tensor], kernel_hw: tuple[int, int]) -> Tensor | None:
    """Principal components of the patches of `images`, each divided by its standard deviation: (N, C, kH, kW), float32.

    The one of most variance is first. None without images, and where patches have no variance.
    """
    total, products, num, channels = torch.zeros(()), torch.zeros(()), 0, 0
    for x in images:
        patches = F.unfold(x.double().cpu(), kernel_hw, stride=kernel_hw).transpose(1, 2).flatten(0, 1)
        total, products = total + patches.sum(0), products + patches.T @ patches
        num, channels = num + len(patches), x.shape[1]
    if not num:
        return None
    mean = total / num
    variances, components = torch.linalg.eigh(products / num - mean.outer(mean))
    variances, components = variances.flip(0).clamp(min=0), components.flip(1)
    if not variances.mean() > 1e-12:
        return None
    filters: Tensor = components.T / (variances + FLOOR * variances.mean()).sqrt()[:, None]
    return filters.float().view(-1, channels, *kernel_hw)

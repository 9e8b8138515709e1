"""Scores of a network over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ghostfit.train.task import Loader


def evaluate(
    network: nn.Module, batches: Loader, *, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Raw scores (N, num_classes) float32 and labels (N,) int64 of all images in `batches`, in their order.

    The network is put into evaluation mode and back. Raises ValueError when there are no batches.
    """
    was_training = network.training
    network.eval()
    device = device_of(network)
    scores, labels = [], []
    try:
        with torch.inference_mode(), autocast():
            for x, y in batches.epoch():
                assert isinstance(y, Tensor)  # classes; dense tasks evaluate by their own metrics
                scores.append(network(x.to(device, non_blocking=True)).float())
                labels.append(y)
    finally:
        network.train(was_training)
    if not scores:
        raise ValueError("there is no image to evaluate on; give a split that has some")
    return torch.cat(scores).cpu().numpy(), torch.cat(labels).cpu().numpy()


def device_of(network: nn.Module) -> torch.device:
    """Device of the network's first parameter; the CPU when it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))

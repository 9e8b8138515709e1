"""How large a network the time limit can train.

A large one that saw each image twice loses to a small one that learnt them.

The rate of training is measured here, on the kind of network that will be trained; the passes wanted are counted in
images of the found network's price.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import build

# What the found network and the store should see: so many passes over a small set, so many images of a large one.
# On TrashNet 20 passes of a network did no better than 72 of one five times smaller (docs/LOG.md, first whole runs).
FINAL_PASSES, FINAL_IMAGES = 60, 200_000
SUPERNET_PASSES, SUPERNET_IMAGES = 16, 80_000
# In steps of the largest network: a step of the store (the largest, a random and the smallest), of the found network.
SANDWICH_PRICE, FOUND_PRICE = 1.6, 0.6
BATCH, STEPS = 32, 3
LEAST_MACS = 2_000_000  # a network below it is no longer slowed down by arithmetic


def affordable_macs(arch: Arch, num_images: int, seconds: float, device: torch.device | str = "cpu") -> float:
    """Multiply-adds of the largest network, so that `seconds` suffice to train the store and what is found in it.

    `arch` is a network of its kind, trained on `device` for a few steps to see the rate.
    """
    final = min(FINAL_PASSES * num_images, FINAL_IMAGES)
    shared = min(SUPERNET_PASSES * num_images, SUPERNET_IMAGES)
    return max(LEAST_MACS, train_rate(arch, device) * seconds / (FOUND_PRICE * final + SANDWICH_PRICE * shared))


def train_rate(arch: Arch, device: torch.device | str = "cpu") -> float:
    """Multiply-adds (of the forward pass) that a training step works off a second on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(arch).train().to(memory_format=torch.channels_last)
        x = torch.randn(BATCH, arch.in_channels, *arch.size_hw).contiguous(memory_format=torch.channels_last)
        y = torch.zeros(BATCH, dtype=torch.long)
    network, x, y = network.to(device), x.to(device), y.to(device)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        loss = F.cross_entropy(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for a GPU
        network.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return count(arch).macs * BATCH / statistics.median(times[1:])

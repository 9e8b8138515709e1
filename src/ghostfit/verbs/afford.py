"""How large a network the time limit can train.

A large one that saw each image twice loses to a small one that learnt them.

The rate of training is measured here, on the kind of network that will be trained; the passes wanted are counted in
images of the found network's price.
"""

from __future__ import annotations

import statistics
import time

import torch

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import build

# What the found network and the store should see of a large set; of a small one so many passes as its task wants
# (`ghostfit.verbs.kinds`). On TrashNet 20 passes of a network did no better than 72 of one five times smaller
# (docs/LOG.md, first whole runs).
FINAL_IMAGES, SUPERNET_IMAGES = 200_000, 250_000
# In steps of the largest network: a step of the store (a random network, on small images first), of the found network.
STORE_PRICE, FOUND_PRICE = 0.5, 0.6
BATCH, STEPS = 32, 3
MOST_PIXELS = BATCH * 128 * 128  # of a batch: fewer images where they are large
LEAST_MACS = 2_000_000  # a network below it is no longer slowed down by arithmetic


def affordable_macs(
    arch: Arch, num_images: int, seconds: float, passes: tuple[int, int], device: torch.device | str = "cpu"
) -> float:
    """Multiply-adds of the largest network, so that `seconds` suffice to train the store and what is found in it.

    `passes` over `num_images` are what the found network and the store want; `arch` is a network of its kind, trained
    on `device` for a few steps to see the rate.
    """
    final = min(passes[0] * num_images, FINAL_IMAGES)
    shared = min(passes[1] * num_images, SUPERNET_IMAGES)
    return max(LEAST_MACS, train_rate(arch, device) * seconds / (FOUND_PRICE * final + STORE_PRICE * shared))


def train_rate(arch: Arch, device: torch.device | str = "cpu") -> float:
    """Multiply-adds (of the forward pass) that a training step works off a second on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(arch).train().to(memory_format=torch.channels_last)
        number = max(2, min(BATCH, MOST_PIXELS // (arch.size_hw[0] * arch.size_hw[1])))
        x = torch.randn(number, arch.in_channels, *arch.size_hw).contiguous(memory_format=torch.channels_last)
    network, x = network.to(device), x.to(device)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        outputs = network(x)
        flat = torch.cat([x.flatten() for x in (outputs if isinstance(outputs, tuple) else (outputs,))])
        loss = flat.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for a GPU
        network.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return count(arch).macs * number / statistics.median(times[1:])

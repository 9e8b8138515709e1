"""What a training step costs: our network against timm's, and a supernet step against its subnets trained plainly.

Forward and backward, fp32, channels_last, no optimizer; the two sides take turns in one run, medians and their ratio.
The subnets of the second part are the very ones that a sandwich step runs: largest, smallest and two random.

    pip install 'ghostfit[train]'
    python benchmarks/throughput.py
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from ghostfit.nn.build import build
from ghostfit.nn.sharing import Supernet
from ghostfit.presets import preset
from ghostfit.run import describe_machine, installed_versions
from ghostfit.search.start import plain_start
from ghostfit.space import Space

GOAL = 1.05  # of the plain subnets' time: what the project set out to reach for a supernet step
PRESETS = ("ghostnet_100", "mobilenetv3_small_100", "efficientnet_lite0")


def main() -> int:
    """Print both tables; exit status 1 when the supernet's goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=15, help="steps of each side")
    args = parser.parse_args()
    machine = describe_machine()
    print(
        f"{machine['processor']}, {machine['cores']} cores, {torch.get_num_threads()} threads, {installed_versions()}"
    )
    print(f"batch {args.batch}, {args.size} px; median ms of a forward and backward, in turns")
    x, y = images(args.batch, args.size)
    for name in PRESETS:
        ours = build(preset(name, 10, (args.size, args.size))).to(memory_format=torch.channels_last).train()
        theirs = timm.create_model(timm_name(name), num_classes=10).to(memory_format=torch.channels_last).train()
        ours_ms, theirs_ms = in_turns(lambda net=ours: step(net, x, y), lambda net=theirs: step(net, x, y), args.turns)
        print(
            f"{name:24} ours {ours_ms:7.1f}  timm {theirs_ms:7.1f}  ratio {ours_ms / theirs_ms:.3f}  "
            f"{1000 * args.batch / ours_ms:6.0f} images/s"
        )
    ratio = sharing(x, y, args.size, args.turns)
    return 0 if ratio <= GOAL else 1


def sharing(x: Tensor, y: Tensor, size: int, turns: int) -> float:
    """Time of a supernet step over that of its subnets as plain networks."""
    start = plain_start(10, (size, size), width=0.5)
    space = Space.around(start, widths=(0.5, 0.75, 1.0, 1.25), expands=(1 / 3, 2 / 3, 1.0), max_extra_depth=1)
    rng = random.Random(0)
    archs = [space.largest(), space.smallest(), space.sample(rng), space.sample(rng)]
    supernet = Supernet(space).to(memory_format=torch.channels_last).train()
    networks = [build(arch).to(memory_format=torch.channels_last).train() for arch in archs]

    def shared() -> None:
        for arch in archs:
            F.cross_entropy(supernet(x, arch), y).backward()
        supernet.zero_grad(set_to_none=True)

    def plain() -> None:
        for network in networks:
            step(network, x, y)

    shared_ms, plain_ms = in_turns(shared, plain, turns)
    print(
        f"supernet step of {len(archs)} subnets  shared {shared_ms:.1f}  plain {plain_ms:.1f}  "
        f"ratio {shared_ms / plain_ms:.3f} (goal: at most {GOAL})"
    )
    return shared_ms / plain_ms


def step(network: torch.nn.Module, x: Tensor, y: Tensor) -> None:
    """One forward and backward; gradients are dropped as a loop would."""
    F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
    network.zero_grad(set_to_none=True)


def in_turns(first: Callable[[], None], second: Callable[[], None], turns: int) -> tuple[float, float]:
    """Median milliseconds of each, after two turns of warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns + 2):
        for work, series in zip((first, second), times, strict=True):
            start = time.perf_counter()
            work()
            series.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[0][2:]), statistics.median(times[1][2:])


def images(batch: int, size: int) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    return x, torch.randint(0, 10, (batch,))


def timm_name(name: str) -> str:
    """Name of a preset in timm."""
    return f"tf_{name}" if name.startswith("efficientnet_lite") else name


if __name__ == "__main__":
    raise SystemExit(main())

"""What an architecture is worth and what it costs, each looked up or measured once.

>>> sorted(OBJECTIVES)
['loss', 'macs', 'metric', 'naswot', 'params', 'zico']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.data.loader import resize
from ghostfit.nn.build import Network, build
from ghostfit.nn.sharing import Supernet, recalibrate
from ghostfit.search.latency import LatencyStore
from ghostfit.search.limits import Costs
from ghostfit.search.proxies import naswot, zico
from ghostfit.train.evaluate import device_of
from ghostfit.train.task import Batch, Labels, Learner, Loader

NUM_PROXY_IMAGES = 32  # NASWOT's kernel and ZiCo's gradients; more changes their order little


@dataclass(frozen=True, kw_only=True)
class Score:
    """Quality of a network on the search split, with inherited weights and recalibrated batch norm."""

    metric: float  # the task's: accuracy, mean average precision, mean intersection over union; 0..1
    loss: float
    num_images: int
    standard_error: float = 0.0  # of the metric, from the images at hand


@dataclass
class Evaluator:
    """Measures architectures: costs by counting and by the latency store, quality by the supernet's weights.

    `calibration` are training images (B, C, H, W), normalised, without augmentation; `judged` the search split, both
    at the space's largest input size. `task` scores, and has the loss of the proxies that need one.
    """

    supernet: Supernet
    calibration: Sequence[Tensor]
    judged: Loader
    task: Learner
    latencies: LatencyStore
    _scores: dict[str, Score] = field(default_factory=dict, repr=False)

    def costs(self, arch: Arch) -> Costs:
        """Parameters, multiply-adds, memory, and size and measured latency of the exported file."""
        return costs_of(arch, self.latencies)

    def score(self, arch: Arch) -> Score:
        """Metric and loss with inherited weights; remembered until `forget`."""
        if arch.id not in self._scores:
            self._scores[arch.id] = self.score_network(self.network(arch))
        return self._scores[arch.id]

    def network(self, arch: Arch) -> Network:
        """The subnet as a standalone network with recalibrated batch norm."""
        network = self.supernet.extract(arch).to(memory_format=torch.channels_last)
        device = device_of(network)
        with torch.no_grad():
            recalibrate(network, (resize_to(x.to(device, non_blocking=True), arch) for x in self.calibration))
        return network.eval()

    def score_network(self, network: Network) -> Score:
        """Metric and loss of a network as it is, on the search split."""
        values = self.task.evaluate(Resizing(network).eval(), self.judged)
        return Score(
            metric=values[self.task.metric],
            loss=values["val_loss"],
            num_images=self.judged.num_images,
            standard_error=values.get("standard_error", 0.0),
        )

    def forget(self) -> None:
        """Drop remembered scores: the weights have changed."""
        self._scores.clear()


class Resizing(nn.Module):
    """A network that takes images of any size and brings them to its own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.arch = network.arch

    def forward(self, x: Tensor) -> Any:
        """Raw outputs of the network. x: (B, C, H, W)."""
        return self.network(resize_to(x, self.arch))


def costs_of(arch: Arch, latencies: LatencyStore) -> Costs:
    """All costs of an architecture; none depends on trained weights."""
    counts, latency = count(arch), latencies.measure(arch)
    return Costs(
        params=counts.params,
        macs=counts.macs,
        size_bytes=latencies.size_bytes(arch),
        memory_bytes=counts.peak_activation_bytes,
        latency_ms=latency.median_ms,
        latency_p90_ms=latency.p90_ms,
    )


def resize_to(x: Tensor, arch: Arch) -> Tensor:
    """Images at the input size of `arch`."""
    return resize(x, arch.size_hw).contiguous(memory_format=torch.channels_last)


Quality = Callable[[Evaluator, Arch], float]


def _zico(evaluator: Evaluator, arch: Arch) -> float:
    x, y = _proxy_batch(evaluator, arch)
    half = len(x) // 2
    batches = [(x[part], _rows(y, part)) for part in (slice(half), slice(half, None))]
    return zico(_fresh(arch), batches, lambda outputs, y: evaluator.task.loss(outputs, y)["loss"])


def _naswot(evaluator: Evaluator, arch: Arch) -> float:
    return naswot(_fresh(arch), _proxy_batch(evaluator, arch)[0])


def _proxy_batch(evaluator: Evaluator, arch: Arch) -> Batch:
    """The first images of the search split at the input size of `arch`, and their labels."""
    x, y = next(iter(evaluator.judged.epoch()))
    return resize_to(x[:NUM_PROXY_IMAGES], arch), _rows(y, slice(NUM_PROXY_IMAGES))


def _rows(y: Labels, part: slice) -> Labels:
    return y[part] if isinstance(y, Tensor) else {name: value[part] for name, value in y.items()}


def _fresh(arch: Arch) -> Network:
    """The network with weights that depend on the architecture alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(arch.id, 16) % 2**31)
        return build(arch)


# What a study maximises. `params` and `macs` stand for the belief that larger is better: baselines, not goals.
OBJECTIVES: dict[str, Quality] = {
    "metric": lambda evaluator, arch: evaluator.score(arch).metric,
    "loss": lambda evaluator, arch: -evaluator.score(arch).loss,
    "params": lambda evaluator, arch: float(count(arch).params),
    "macs": lambda evaluator, arch: float(count(arch).macs),
    "naswot": _naswot,
    "zico": _zico,
}

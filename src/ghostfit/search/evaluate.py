"""What an architecture is worth and what it costs, each looked up or measured once.

>>> sorted(OBJECTIVES)
['accuracy', 'loss', 'macs', 'naswot', 'params', 'zico']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.data.loader import resize
from ghostfit.nn.build import Network, build
from ghostfit.nn.sharing import Supernet, recalibrate
from ghostfit.search.latency import LatencyStore
from ghostfit.search.limits import Costs
from ghostfit.search.proxies import naswot, zico
from ghostfit.train.evaluate import device_of

NUM_PROXY_IMAGES = 32  # NASWOT's kernel and ZiCo's gradients; more changes their order little


@dataclass(frozen=True, kw_only=True)
class Score:
    """Quality of a network on the search split, with inherited weights and recalibrated batch norm."""

    accuracy: float
    loss: float
    num_images: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, from the number of images alone."""
        return float((self.accuracy * (1 - self.accuracy) / max(self.num_images, 1)) ** 0.5)


@dataclass
class Evaluator:
    """Measures architectures: costs by counting and by the latency store, quality by the supernet's weights.

    `calibration` are training images (B, C, H, W), normalised, without augmentation; `images` and `labels` the search
    split in batches, all at the space's largest input size, wherever they lie: each goes to the network's device.
    """

    supernet: Supernet
    calibration: Sequence[Tensor]
    images: Sequence[Tensor]
    labels: Sequence[Tensor]
    latencies: LatencyStore
    _scores: dict[str, Score] = field(default_factory=dict, repr=False)

    def costs(self, arch: Arch) -> Costs:
        """Parameters, multiply-adds, memory, and size and measured latency of the exported file."""
        return costs_of(arch, self.latencies)

    def score(self, arch: Arch) -> Score:
        """Accuracy and loss with inherited weights; remembered until `forget`."""
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
        """Accuracy and loss of a network as it is, on the search split."""
        network.eval()
        device = device_of(network)
        num_right, loss, num_images = 0, 0.0, 0
        with torch.inference_mode():
            for x, y in zip(self.images, self.labels, strict=True):
                x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
                logits = network(resize_to(x, network.arch))
                num_right += int((logits.argmax(1) == y).sum())
                loss += float(F.cross_entropy(logits, y, reduction="sum"))
                num_images += len(y)
        return Score(accuracy=num_right / num_images, loss=loss / num_images, num_images=num_images)

    def forget(self) -> None:
        """Drop remembered scores: the weights have changed."""
        self._scores.clear()


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
    half = NUM_PROXY_IMAGES // 2
    x, y = resize_to(evaluator.images[0][:NUM_PROXY_IMAGES], arch), evaluator.labels[0][:NUM_PROXY_IMAGES]
    return zico(_fresh(arch), [(x[:half], y[:half]), (x[half:], y[half:])])


def _naswot(evaluator: Evaluator, arch: Arch) -> float:
    return naswot(_fresh(arch), resize_to(evaluator.images[0][:NUM_PROXY_IMAGES], arch))


def _fresh(arch: Arch) -> Network:
    """The network with weights that depend on the architecture alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(arch.id, 16) % 2**31)
        return build(arch)


# What a study maximises. `params` and `macs` stand for the belief that larger is better: baselines, not goals.
OBJECTIVES: dict[str, Quality] = {
    "accuracy": lambda evaluator, arch: evaluator.score(arch).accuracy,
    "loss": lambda evaluator, arch: -evaluator.score(arch).loss,
    "params": lambda evaluator, arch: float(count(arch).params),
    "macs": lambda evaluator, arch: float(count(arch).macs),
    "naswot": _naswot,
    "zico": _zico,
}

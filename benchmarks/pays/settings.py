"""What is compared on which images, and the one recipe that every network is trained by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ghostfit.event import ignore
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit
from ghostfit.verbs.material import Material, read_material


@dataclass(frozen=True)
class Setting:
    """A data set with the peers whose latencies are the limits, and the budgets, all in training images."""

    name: str
    data: str  # below the folder of the sets
    size: int  # pixels
    limit_peers: tuple[str, ...]
    images: int  # of a final training
    store_images: int
    screen_images: int
    batch_size: int = 128
    num_ranked: int = 20
    rank_images: int = 200_000  # of a network alone, whose accuracy is held against the inherited one
    evaluations: int = 32
    flip: bool = True
    ahead: int = 5  # points above the best peer, at equal images, that are the goal
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float | Literal["auto"] = 0.004  # the best of 0.002, 0.004 and 0.006 for most peers, by AdamW
    main: Literal["ours", "largest"] = "ours"  # what is held against the peers: by the store, or as the command does it

    def limits_ms(self, latency_ms: Mapping[str, float]) -> tuple[float, ...]:
        """The limits on the machine where peers take `latency_ms`: with them, others find the same comparison."""
        return tuple(round(TOLERANCE * latency_ms[peer], 3) for peer in self.limit_peers)


RESNETS = ("resnet8", "resnet14", "resnet20")  # the best peers of a first comparison, and they span all others
TOLERANCE = 1.03  # of a latency: what two measurements of one file differ by
CIFAR10 = Setting("cifar10", "cifar10.zip", 32, RESNETS, 200_000, 360_000, 30_000)
MUON = replace(
    CIFAR10,
    name="cifar10-muon",
    optimizer="muon",
    lr="auto",
    store_images=120_000,
    main="largest",
    rank_images=100_000,  # which teach it more than twice as many by AdamW
)
SETTINGS = {
    "cifar10": CIFAR10,
    "cifar10-muon": MUON,
    "trashnet": Setting("trashnet", "trashnet", 128, RESNETS, 100_000, 100_000, 20_000, 64, 12, 100_000, ahead=2),
}
FULL = ("train", "search", "val")  # what a final training learns from; nothing is chosen by its own scores


def recipe(setting: Setting, seed: int, num_images: int, images: int) -> TrainConfig:
    """One optimizer with a cosine, as many images for all; the rate is one for all, or found for each network."""
    return TrainConfig(
        epochs=images / num_images,
        batch_size=setting.batch_size,
        optimizer=setting.optimizer,
        lr=setting.lr,
        augment="light",
        label_smoothing=0.1,
        ema=False,
        seed=seed,
    )


@cache
def material_of(setting: Setting, data: Path, division: int = 0) -> Material:
    """The images, divided with one seed whatever the training's seed is: one test split for all."""
    return read_material(
        str(data / setting.data), size_hw=(setting.size, setting.size), seed=division, run=None, on_event=ignore
    )


def train(
    setting: Setting,
    data: Path,
    make: Callable[[], nn.Module],
    *,
    seed: int,
    images: int,
    names: tuple[str, ...] = FULL,
    size: int | None = None,
    division: int = 0,
    probe: nn.Module | None = None,
    **changes: Any,
) -> nn.Module:
    """The network of `make`, trained by the recipe on `images` images. `changes` are a teacher and settings.

    The range test of the rate is made on `probe`, where the network has weights that know the images.
    """
    material = material_of(setting, data, division)
    teacher = changes.pop("teacher", None)
    size_hw = None if size is None else (size, size)
    batches = material.training(
        names, batch_size=setting.batch_size, augment="light", flip=setting.flip, seed=seed, size_hw=size_hw
    )
    torch.manual_seed(seed)
    network = make().to(memory_format=torch.channels_last)
    config = replace(recipe(setting, seed, batches.num_images, images), **changes)
    for _ in fit(network, batches, None, config, teacher=teacher, probe=probe):
        pass
    return network.eval()


def accuracy(
    setting: Setting, data: Path, network: nn.Module, split: str, size: int | None = None, division: int = 0
) -> float:
    """Share of right answers on a split."""
    from ghostfit.train.evaluate import evaluate

    material = material_of(setting, data, division)
    if size is not None:
        material = material.at(replace(material.prepare, size_hw=(size, size)), ignore)
    scores, labels = evaluate(network, material.evaluating([split]))
    return float((scores.argmax(axis=1) == labels).mean())

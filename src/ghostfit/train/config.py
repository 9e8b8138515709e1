"""How a network is trained: one frozen dataclass. No torch here, so that command-line flags are made without it.

>>> TrainConfig(time_s=600.0).schedule
'cosine'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ghostfit.config import option

DEFAULT_EPOCHS = 30.0  # without a time limit; a convention, not measured
MOST_EPOCHS = 300.0  # within a time limit alone: the length of published recipes (DeiT, ConvNeXt)

DEVICES = ("auto", "cpu", "cuda", "mps")

# Published: AdamW 0.05 (ConvNeXt, arXiv 2201.03545), LAMB 0.02 (arXiv 2110.00476), SGD 5e-4 (arXiv 1605.07146);
# a step of Muon is as long as one of AdamW.
WEIGHT_DECAY = {"muon": 0.05, "adamw": 0.05, "lamb": 0.02, "sgd": 5e-4}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training. ``None`` and ``"auto"`` are derived: see `ghostfit.train.plan`."""

    epochs: float | None = option(
        None, "passes over the training images (default: what --time allows; 30 without a time limit)"
    )
    time_s: float | None = option(None, "wall-clock limit of the training, such as 90s, 20m or 2h", unit="duration")
    batch_size: int | Literal["auto"] = option(
        "auto", "images in a step; auto: 64, 128 of many small images, or 16 where each place of an image has a label"
    )
    optimizer: Literal["muon", "adamw", "lamb", "sgd"] = option("muon", "how weights follow gradients")
    lr: float | Literal["auto"] = option("auto", "peak learning rate; auto finds it by a short range test")
    schedule: Literal["cosine", "onecycle", "plateau"] = option("cosine", "course of the learning rate after warm-up")
    warmup: float = option(0.05, "share of the steps over which the rate rises to its peak (onecycle: always 0.3)")
    lr_floor: float = option(0.01, "learning rate at the end, as a share of the peak")
    weight_decay: float | None = option(
        None, "decay of weights, never of norms and biases (default: 0.05 muon and adamw, 0.02 lamb, 5e-4 sgd)"
    )
    layer_decay: float = option(1.0, "factor of the learning rate from each layer to the one before; 1: none")
    clip_grad: float | None = option(5.0, "largest norm of the gradient; 0: no clipping")
    label_smoothing: float = option(0.1, "probability mass spread over all classes in the targets")
    mixup: float = option(0.0, "mix pairs of images, Beta(a, a) (arXiv 1710.09412); 0: off")
    cutmix: float = option(0.0, "paste boxes of other images, Beta(a, a) (arXiv 1905.04899); 0: off")
    drop_path: float = option(0.0, "chance of skipping a residual branch, rising with depth")
    dropout: float = option(0.0, "dropout before the classifier")
    branches: int = option(
        0, "train so many parallel convolutions for each, merged at the end (arXiv 2404.11202); 0: one, as it runs"
    )
    augment: Literal["auto", "none", "light", "medium", "strong"] = option(
        "auto", "strength of image augmentation; auto: light up to 48 pixels, else medium"
    )
    flip: bool = option(True, "mirror training images left to right; --no-flip for digits, text and signs")
    class_weights: Literal["none", "balanced"] = option("none", "balanced: rare classes weigh more in the loss")
    hard_pixels: bool = option(False, "segmentation: learn the hard pixels only (arXiv 1808.00897)")
    ema: bool = option(True, "average the weights over the last steps, validate and keep the average")
    amp: Literal["auto", "on", "off"] = option(
        "auto", "bfloat16 arithmetic; auto: on GPUs that have it, never on a CPU"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", "what networks are trained on; auto: a CUDA GPU where there is one, else the CPU"
    )
    teacher: str = option("", "learn from this network too: an earlier run's folder, or timm:NAME")
    distill_weight: float = option(0.5, "share of the teacher in the loss")
    distill_temperature: float = option(2.0, "softening of the teacher's and the student's scores")
    checkpoint_s: float = option(60.0, "seconds between checkpoints", unit="duration")
    trackers: tuple[str, ...] = option((), "where records go besides metrics.jsonl: tensorboard, wandb")
    seed: int = option(0, "seed of every random choice")

    def __post_init__(self) -> None:
        """Raise ValueError for a setting outside its range."""
        for name, value, is_right, allowed in self._ranges():
            if value is not None and not is_right:
                raise ValueError(f"{name}={value!r} is not allowed; give {allowed}")

    def _ranges(self) -> tuple[tuple[str, Any, bool, str], ...]:
        shares = {name: getattr(self, name) for name in ("label_smoothing", "drop_path", "dropout")}
        return (
            ("epochs", self.epochs, (self.epochs or 0) > 0, "a number above 0"),
            ("time_s", self.time_s, (self.time_s or 0) > 0, "seconds above 0"),
            ("batch_size", self.batch_size, self.batch_size == "auto" or self.batch_size >= 1, "auto, or 1 or more"),
            ("optimizer", self.optimizer, self.optimizer in WEIGHT_DECAY, f"one of {', '.join(WEIGHT_DECAY)}"),
            (
                "schedule",
                self.schedule,
                self.schedule in ("cosine", "onecycle", "plateau"),
                "cosine, onecycle or plateau",
            ),
            (
                "lr",
                self.lr,
                self.lr == "auto" or (not isinstance(self.lr, str) and self.lr > 0),
                "auto or a rate above 0",
            ),
            ("warmup", self.warmup, 0 <= self.warmup < 1, "a share from 0 to below 1"),
            ("lr_floor", self.lr_floor, 0 <= self.lr_floor <= 1, "a share from 0 to 1"),
            ("weight_decay", self.weight_decay, (self.weight_decay or 0) >= 0, "0 or more"),
            ("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "a factor above 0, at most 1"),
            ("clip_grad", self.clip_grad, (self.clip_grad or 0) >= 0, "0 or more"),
            ("branches", self.branches, self.branches >= 0, "0 or more"),
            ("mixup", self.mixup, self.mixup >= 0, "0 or more"),
            ("cutmix", self.cutmix, self.cutmix >= 0, "0 or more"),
            ("amp", self.amp, self.amp in ("auto", "on", "off"), "auto, on or off"),
            ("device", self.device, self.device in DEVICES, f"one of {', '.join(DEVICES)}"),
            ("distill_weight", self.distill_weight, 0 <= self.distill_weight <= 1, "a share from 0 to 1"),
            ("distill_temperature", self.distill_temperature, self.distill_temperature > 0, "a number above 0"),
            ("checkpoint_s", self.checkpoint_s, self.checkpoint_s >= 0, "seconds, 0 or more"),
            *((name, value, 0 <= value < 1, "a share from 0 to below 1") for name, value in shares.items()),
        )

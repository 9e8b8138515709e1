"""A data set made ready: read, divided, decoded at one size, served in batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ghostfit.data.cache import CachedImages, build_cache
from ghostfit.data.check import check
from ghostfit.data.dataset import Dataset, Splits
from ghostfit.data.duplicates import group_duplicates
from ghostfit.data.facts import OK, ImageFacts, measure_images, range_16_of
from ghostfit.data.labels import LabelFacts, measure_labels
from ghostfit.data.readers import read_dataset
from ghostfit.data.split import make_splits
from ghostfit.event import Event, OnEvent
from ghostfit.run import Run
from ghostfit.verbs.kinds import batch_size_of
from ghostfit.vision.prepare import Prepare, ResizeRule

if TYPE_CHECKING:
    from torch import Tensor

    from ghostfit.data.augment import Strength
    from ghostfit.data.dense_cache import CachedTargets
    from ghostfit.data.dense_loader import DenseBatches
    from ghostfit.data.loader import Batches

SMALL_INPUT = 48  # pixels: up to it images are shifted, not cropped, as He et al. do at 32 (arXiv 1512.03385)
SMALLEST_SIDE = 32  # pixels; below it five halvings leave nothing
LARGEST_SIDE = 224  # the size that published mobile networks are drawn for; larger on request
# Pixels of an input where every place has a label: those of 320 x 320, the size of the small published detectors, and
# of 480 x 360, since the class of a pixel is told no finer than the input shows it.
MOST_PIXELS = {"detect": 320 * 320, "instance": 320 * 320, "segment": 480 * 360}
EVAL_BATCH, DENSE_EVAL_BATCH = 128, 16
# ImageNet's for one channel: the luma of its mean colour (ITU-R BT.601), the mean of its deviations (as timm's).
GRAY_MEAN, GRAY_STD = (0.459,), (0.226,)
STEM_PIXELS = 2000 * 32 * 32  # of the images that a stem starts from: 70,000 patches of 5 x 5 tell 75 x 75 covariances
LEARNT = ("train", "search")  # splits that a final training learns from: the search is over by then


@dataclass(frozen=True)
class Material:
    """Images of a data set at the size of `prepare`, with the splits they belong to.

    `targets` are the labels of a dense task in pixels of `prepare`; None in a classification.
    """

    dataset: Dataset
    splits: Splits
    cached: CachedImages
    prepare: Prepare
    targets: CachedTargets | None = None

    @property
    def task(self) -> str:
        """``classify``, ``detect``, ``instance`` or ``segment``."""
        return self.dataset.task

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) class index of each image."""
        return self.dataset.labels

    def at(self, prepare: Prepare, on_event: OnEvent) -> Material:
        """The same images prepared in another way, say at another size."""
        if prepare == self.prepare:
            return self
        cached, targets = decode(self.dataset, prepare, on_event)
        return dataclasses.replace(self, cached=cached, targets=targets, prepare=prepare)

    def training(
        self,
        names: Sequence[str],
        *,
        batch_size: int | Literal["auto"],
        augment: Strength | Literal["auto"],
        flip: bool,
        seed: int,
        size_hw: tuple[int, int] | None = None,
    ) -> Batches | DenseBatches:
        """Shuffled, augmented batches of the splits called `names`, at `size_hw` pixels or the images' own size."""
        from ghostfit.data.augment import training_transform
        from ghostfit.data.dense_augment import dense_transform
        from ghostfit.data.dense_loader import DenseBatches
        from ghostfit.data.loader import Batches

        size_hw = size_hw or self.prepare.size_hw
        strength = strength_of(augment, size_hw)
        images, indices = self.cached.images, self.indices(names)
        if batch_size == "auto":
            batch_size = batch_size_of(self.task, len(indices), self.prepare.size_hw)
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "size_hw": size_hw,
            "mean": self.prepare.mean,
            "std": self.prepare.std,
            "seed": seed,
            "drop_last": True,
        }
        if self.targets is not None:
            transform = dense_transform(strength, flip=flip, mosaic=self.task != "segment")
            return DenseBatches(images, self.targets, indices, transform=transform, **settings)
        return Batches(images, self.labels, indices, transform=training_transform(strength, flip=flip), **settings)

    def evaluating(
        self, names: Sequence[str], *, most: int | None = None, seed: int | None = None
    ) -> Batches | DenseBatches:
        """Batches as evaluation sees them, in the order of the samples, or with `seed` in a random one.

        Batch norm is recalibrated on random ones: folders give one class after the other, and the statistics of
        batches of one class miss how the classes differ. `most` takes so many images, evenly spaced or random.
        """
        from ghostfit.data.dense_loader import dense_eval_batches
        from ghostfit.data.loader import eval_batches

        indices = self.indices(names)
        if seed is not None:
            indices = np.random.default_rng(seed).permutation(indices)[:most].tolist()
        if most is not None and len(indices) > most:
            indices = [indices[i] for i in np.linspace(0, len(indices) - 1, most).round().astype(int)]
        prepare, images = self.prepare, self.cached.images
        figures: dict[str, Any] = {"size_hw": prepare.size_hw, "mean": prepare.mean, "std": prepare.std}
        if self.targets is not None:
            return dense_eval_batches(images, self.targets, indices, batch_size=DENSE_EVAL_BATCH, **figures)
        return eval_batches(images, self.labels, indices, batch_size=EVAL_BATCH, **figures)

    def for_stem(self) -> Iterator[Tensor]:
        """Training images (B, C, H, W), random but always the same, for `ghostfit.nn.whiten.whiten_stem`."""
        height, width = self.prepare.size_hw
        most = max(32, STEM_PIXELS // (height * width))
        return (x for x, _ in self.evaluating(["train"], most=most, seed=0).epoch())

    def indices(self, names: Sequence[str]) -> list[int]:
        """Samples of the splits called `names` whose images, and whose labels for each place, could be read."""
        valid = self.cached.valid if self.targets is None else self.cached.valid & self.targets.valid
        return [index for name in names for index in getattr(self.splits, name) if valid[index]]


def strength_of(augment: Strength | Literal["auto"], size_hw: tuple[int, int]) -> Strength:
    """The augmentation that ``auto`` stands for at an input size: crops leave too little of a small image."""
    if augment != "auto":
        return augment
    return "light" if min(size_hw) <= SMALL_INPUT else "medium"


def material_of(config: Any, run: Run, on_event: OnEvent) -> Material:
    """What the data settings of a verb's `config` mean, for its `run`."""
    return read_material(
        config.data,
        size_hw=config.size_hw,
        seed=config.seed,
        run=run,
        on_event=on_event,
        format=config.format or None,
        task=config.task or None,
        resize=config.resize,
        channels=config.channels,
    )


def read_material(
    data: str,
    *,
    size_hw: tuple[int, int] | None,
    seed: int,
    run: Run | None,
    on_event: OnEvent,
    format: str | None = None,
    task: str | None = None,
    resize: ResizeRule = "squash",
    channels: int = 3,
) -> Material:
    """Read, check for identical and broken images and broken labels, divide and decode `data`.

    `task` is that of the labels, where they could serve several; `resize` the rule that brings images to one shape,
    `channels` 3 for colour or 1 for gray. What was found is written to ``data.json``. Raises ValueError for data that
    nothing can be learnt from.
    """
    began = time.perf_counter()
    on_event(Event("data", "start", f"reading {data}"))
    dataset = read_dataset(data, format=format, task=task)

    def telling(text: str) -> Callable[[int, int], None]:
        return lambda done, total: on_event(Event("data", "progress", text, done, total))

    facts = measure_images(dataset, progress=telling("checking"))
    labels = None if dataset.task == "classify" else measure_labels(dataset, progress=telling("checking labels"))
    broken = {**facts.broken(), **(labels.broken() if labels else {})}
    splits = _known_splits(run, dataset) or make_splits(
        dataset, seed=seed, groups=group_duplicates(facts), exclude=broken
    )
    prepare = dataclasses.replace(
        prepare_of(size_hw or natural_size_hw(facts, dataset.task), resize, channels),
        range_16=range_16_of(facts, [*splits.train, *splits.val, *splits.search]),
    )
    cached, targets = decode(dataset, prepare, on_event)
    material = Material(dataset, splits, cached, prepare, targets)
    if run is not None and not run.is_done("data"):
        describe_data(run, material, facts, labels)
        run.finish("data", seconds=round(time.perf_counter() - began, 1))
    counts = ", ".join(f"{name} {count}" for name, count in splits.counts().items())
    on_event(Event("data", "done", f"{len(dataset)} images of {len(dataset.class_names)} classes: {counts}"))
    return material


def prepare_of(size_hw: tuple[int, int], resize: ResizeRule = "squash", channels: int = 3) -> Prepare:
    """How images become input, normalised by ImageNet's figures.

    Raises ValueError for an unknown rule or channels other than 1 and 3.

    >>> prepare_of((32, 32), "letterbox", 1).mean
    (0.459,)
    """
    if channels not in (1, 3):
        raise ValueError(f"--channels {channels}; allowed: 3 (colour) or 1 (gray)")
    if channels == 1:
        return Prepare(size_hw=size_hw, resize=resize, mean=GRAY_MEAN, std=GRAY_STD, in_channels=1)
    return Prepare(size_hw=size_hw, resize=resize)


def _known_splits(run: Run | None, dataset: Dataset) -> Splits | None:
    """The splits that a run began with. Raises ValueError when its data has changed since."""
    if run is None or not run.is_done("data"):
        return None
    if run.read_json("data.json")["fingerprint"] != dataset.fingerprint:
        raise ValueError(
            f"{dataset.root} is not what the run in {run.path} began with: images or labels have changed, and former "
            "training images could end up in the test. Start a new run"
        )
    return Splits.from_dict(run.read_json("splits.json"))


def decode(dataset: Dataset, prepare: Prepare, on_event: OnEvent) -> tuple[CachedImages, CachedTargets | None]:
    """Decoded images from the cache, filling it where needed, and the labels of a dense task at their size."""
    cached = build_cache(
        dataset, prepare, progress=lambda done, total: on_event(Event("data", "progress", "decoding", done, total))
    )
    if dataset.task == "classify":
        return cached, None
    from ghostfit.data.dense_cache import build_targets

    return cached, build_targets(
        dataset, prepare, progress=lambda done, total: on_event(Event("data", "progress", "labels", done, total))
    )


def natural_size_hw(facts: ImageFacts, task: str = "classify") -> tuple[int, int]:
    """Input size that suits the images, in multiples of 32 pixels.

    Of a classification it is square, the median short side, from 32 to 224. Where every place has a label it has the
    images' median shape, and at most `MOST_PIXELS`.
    """
    is_ok = facts.table["problem"] == OK
    height, width = facts.table["height"][is_ok], facts.table["width"][is_ok]
    if not len(height):
        return SMALLEST_SIDE, SMALLEST_SIDE
    if task != "classify":
        sides = float(np.median(height)), float(np.median(width))
        scale = min(1.0, (MOST_PIXELS[task] / (sides[0] * sides[1])) ** 0.5)
        rows, columns = (max(2 * SMALLEST_SIDE, round(side * scale / 32) * 32) for side in sides)
        return rows, columns
    side = int(np.median(np.minimum(height, width))) // 32 * 32
    side = min(max(side, SMALLEST_SIDE), LARGEST_SIDE)
    return side, side


def describe_data(run: Run, material: Material, facts: ImageFacts, labels: LabelFacts | None) -> None:
    """Write ``data.json`` and ``splits.json``."""
    dataset, targets = material.dataset, material.targets
    counts: Sequence[int] = list(dataset.class_counts.values()) if labels is None else labels.images_of_class.tolist()
    skipped = (*dataset.skipped, *material.cached.skipped, *(targets.skipped if targets else ()))
    run.write_json(
        "data.json",
        {
            "root": dataset.root,
            "name": dataset.name,
            "task": dataset.task,
            "class_names": list(dataset.class_names),
            "num_images": len(dataset),
            "splits": material.splits.counts(),
            "class_counts": dict(zip(dataset.class_names, counts, strict=True)),  # images that show it
            "skipped": [entry.to_dict() for entry in skipped],
            "findings": [finding.to_dict() for finding in check(dataset, facts=facts, labels=labels).findings],
            "fingerprint": dataset.fingerprint,
            "size_hw": list(material.prepare.size_hw),
            "notes": list(material.splits.notes),
        },
    )
    run.write_json("splits.json", material.splits.to_dict())

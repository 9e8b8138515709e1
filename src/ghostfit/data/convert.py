"""Convert a labelled image set to another layout, between tasks too where that is well defined.

Objects with masks become a class map by painting: larger objects first, a crowd as no label, the rest background. A
class map becomes objects with masks: each connected region of a class but the background is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import Dataset
from ghostfit.data.outlines import box_of, split_regions
from ghostfit.data.targets import Target
from ghostfit.data.writers import WRITERS, Written
from ghostfit.vision.objects import IGNORE, Objects

BACKGROUND = "background"
BACKGROUND_NAMES = frozenset((BACKGROUND, "_background_", "bg"))


def convert(dataset: Dataset, out: Path, to: str) -> Written:
    """Write `dataset`, of a dense task, to the new folder `out` in the layout `to` of `WRITERS`.

    Images or labels that can't be read are left out and told. Raises ValueError for a layout that can't hold such
    labels, or a folder that holds something already.
    """
    if to not in WRITERS:
        raise ValueError(f"to={to!r}; allowed: {', '.join(WRITERS)}")
    if dataset.task == "classify":
        raise ValueError(f"{dataset.root} has a class for each image; layouts of objects or pixels don't hold that")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and not an empty folder; give a new one, so that nothing is mixed")
    suited = dataset if dataset.task in WRITERS[to].tasks else _translated(dataset, to)
    written = Written()
    WRITERS[to].write(suited, out, written)
    return written


@dataclass(frozen=True, slots=True, eq=False)
class PaintedObjects:
    """Objects with masks as a class map, in which a class has the number `numbers` of it; the rest is `rest`."""

    target: Target
    numbers: tuple[int, ...]
    rest: int

    def read(self) -> NDArray[np.uint8]:
        objects = self.target.read()
        assert isinstance(objects, Objects) and objects.masks is not None
        class_map = np.full(objects.masks.shape[1:], self.rest, np.uint8)
        for number in np.argsort(-objects.masks.sum(axis=(1, 2)), kind="stable").tolist():
            value = IGNORE if objects.is_crowd[number] else self.numbers[objects.class_ids[number]]
            class_map[objects.masks[number]] = value
        return class_map

    def class_ids(self) -> NDArray[np.int64]:
        return np.unique([self.rest, *(self.numbers[number] for number in self.target.class_ids().tolist())])

    def stamp(self) -> str:
        return f"painted {self.target.stamp()}"


@dataclass(frozen=True, slots=True, eq=False)
class RegionsOf:
    """The connected regions of a class map as objects; a class has the number `numbers` of it, -1 for none."""

    target: Target
    numbers: tuple[int, ...]

    def read(self) -> Objects:
        class_map = self.target.read()
        assert isinstance(class_map, np.ndarray)
        masks: list[NDArray[np.bool_]] = []
        class_ids: list[int] = []
        for value, number in enumerate(self.numbers):
            regions = split_regions(class_map == value) if number >= 0 else []
            masks += regions
            class_ids += [number] * len(regions)
        boxes = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
        stacked = np.stack(masks) if masks else np.zeros((0, *class_map.shape), np.bool_)
        return Objects(boxes, np.array(class_ids, np.int64), masks=stacked)

    def class_ids(self) -> NDArray[np.int64]:
        return self.read().class_ids

    def stamp(self) -> str:
        return f"regions {self.target.stamp()}"


def _translated(dataset: Dataset, to: str) -> Dataset:
    """The dataset with labels of a task that the layout holds."""
    if dataset.task == "segment":
        return _as_instances(dataset)
    if dataset.task == "instance":
        return _as_class_maps(dataset)
    raise ValueError(
        f"{dataset.root} has boxes without outlines, of which {to} can't be made; allowed: "
        f"{', '.join(name for name, writer in WRITERS.items() if dataset.task in writer.tasks)}"
    )


def _as_class_maps(dataset: Dataset) -> Dataset:
    names = list(dataset.class_names)
    rest = next((number for number, name in enumerate(names) if name.lower() in BACKGROUND_NAMES), -1)
    if rest < 0:
        names, rest = [BACKGROUND, *names], 0
    if len(names) > IGNORE:
        raise ValueError(f"{len(names)} classes; a class map holds {IGNORE} at most")
    numbers = tuple(names.index(name) for name in dataset.class_names)
    return _with_targets(dataset, lambda target: PaintedObjects(target, numbers, rest), names, "segment")


def _as_instances(dataset: Dataset) -> Dataset:
    names = [name for name in dataset.class_names if name.lower() not in BACKGROUND_NAMES]
    numbers = tuple(names.index(name) if name in names else -1 for name in dataset.class_names)
    return _with_targets(dataset, lambda target: RegionsOf(target, numbers), names, "instance")


def _with_targets(dataset: Dataset, make: Callable[[Target], Target], names: Sequence[str], task: str) -> Dataset:
    samples = tuple(
        replace(sample, target=make(sample.target) if sample.target else None) for sample in dataset.samples
    )
    return replace(dataset, samples=samples, class_names=tuple(names), task=task)

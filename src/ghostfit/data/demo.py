"""The built-in data set of the dense tasks, ``demo:parts``: painted when it is read, nothing to download.

>>> dataset = read_demo("instance")
>>> {name: len(indices) for name, indices in dataset.given.items()}
{'train': 400, 'val': 100, 'test': 100}
>>> dataset.samples[1].source.read().shape
(256, 256, 3)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import Dataset, Sample
from ghostfit.data.demo_scene import DEFECTS, PARTS, SIZE, layers_of, paint, plan_scene, visible_masks
from ghostfit.data.outlines import box_of
from ghostfit.data.targets import Target
from ghostfit.vision.objects import Objects

DEMO = "demo:parts"
COUNTS = {"train": 400, "val": 100, "test": 100}
SEED = 0
VERSION = 1  # of the pictures; caches are keyed by it
OBJECT_NAMES = (*PARTS, *DEFECTS)
PIXEL_NAMES = ("background", "part", *DEFECTS)
LEAST_PIXELS = {**dict.fromkeys(PARTS, 60), **dict.fromkeys(DEFECTS, 6)}  # fewer can't be told: a crowd, not an object


def read_demo(task: str) -> Dataset:
    """Machined parts on a conveyor, 600 images of 256 x 256 pixels, with scratches, dents and stains.

    For ``detect`` and ``instance`` parts and defects are objects; what is nearly hidden is marked as crowd. For
    ``segment`` the classes are background, part and the defects.
    """
    samples: list[Sample] = []
    given: dict[str, tuple[int, ...]] = {}
    for split, count in COUNTS.items():
        first = len(samples)
        for number in range(first, first + count):
            target: Target = DemoMap(number) if task == "segment" else DemoObjects(number)
            samples.append(Sample(f"{split}/{number:04d}", DemoImage(number), 0, SIZE * SIZE * 3, target))
        given[split] = tuple(range(first, len(samples)))
    names = PIXEL_NAMES if task == "segment" else OBJECT_NAMES
    return Dataset(f"demo-parts-{task}", DEMO, names, tuple(samples), given, task=task)


@dataclass(frozen=True, slots=True)
class DemoImage:
    """A picture; a `Source`."""

    number: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """What `read` gives, without painting."""
        return SIZE, SIZE

    def read(self) -> NDArray[np.uint8]:
        return paint(plan_scene(SEED, self.number))

    def stamp(self) -> str:
        return _stamp(self.number)


@dataclass(frozen=True, slots=True)
class DemoObjects:
    """The parts and defects that can be seen, with masks; a `Target`."""

    number: int

    def read(self) -> Objects:
        seen = [(kind, mask) for kind, mask in _seen(self.number) if mask.any()]
        masks = np.array([mask for _, mask in seen], np.bool_).reshape(-1, SIZE, SIZE)
        return Objects(
            np.array([box_of(mask) for mask in masks], np.float32),
            np.array([OBJECT_NAMES.index(kind) for kind, _ in seen], np.int64),
            np.array([mask.sum() < LEAST_PIXELS[kind] for kind, mask in seen], np.bool_),
            masks,
        )

    def class_ids(self) -> NDArray[np.int64]:
        return self.read().class_ids

    def stamp(self) -> str:
        return _stamp(self.number)


@dataclass(frozen=True, slots=True)
class DemoMap:
    """The class of each pixel; a `Target`."""

    number: int

    def read(self) -> NDArray[np.uint8]:
        class_map = np.zeros((SIZE, SIZE), np.uint8)
        for kind, mask in _seen(self.number):
            class_map[mask] = PIXEL_NAMES.index(kind if kind in DEFECTS else "part")
        return class_map

    def class_ids(self) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = np.unique(self.read()).astype(np.int64)
        return classes

    def stamp(self) -> str:
        return _stamp(self.number)


def _seen(number: int) -> list[tuple[str, NDArray[np.bool_]]]:
    return visible_masks(layers_of(plan_scene(SEED, number)))


def _stamp(number: int) -> str:
    return f"{DEMO} {VERSION} {SEED} {number}"

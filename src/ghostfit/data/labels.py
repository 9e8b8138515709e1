"""Read every label of a dense task once and note what it holds: objects and their sizes, pixels of each class, damage.

>>> from ghostfit.data.dataset import ArraySource, Dataset, Sample
>>> from ghostfit.data.targets import KnownObjects
>>> from ghostfit.vision.objects import Objects
>>> target = KnownObjects(Objects(np.array([[0, 0, 4, 2]]), np.array([0])))
>>> image = Sample("a", ArraySource(np.zeros((8, 8, 3), np.uint8)), 0, 64, target)
>>> facts = measure_labels(Dataset("demo", "demo", ("cat",), (image,), {"all": (0,)}, task="detect"))
>>> facts.objects["area"].tolist(), facts.images_of_class.tolist(), facts.broken()
([8.0], [1], {})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.cache import Progress
from ghostfit.data.dataset import Dataset, Sample
from ghostfit.data.label_images import LabelError
from ghostfit.data.parallel import map_samples
from ghostfit.vision.objects import IGNORE, Objects

Table: TypeAlias = NDArray[Any]  # (M,) of OBJECT
OBJECT = np.dtype(
    [
        ("sample", "i8"),  # index of its image
        ("class_id", "i4"),
        ("box_xyxy", "f4", (4,)),
        ("area", "f8"),  # pixels of the mask, or of the box where there is none
        ("is_crowd", "?"),
    ]
)


@dataclass(frozen=True)
class LabelFacts:
    """What the labels of a dataset of N images and C classes hold.

    `objects` (M,) of `OBJECT`, the objects of all images. `pixels` (N, C + 1) counts the pixels of each class, the last
    column those without a label; it has no rows where the labels are objects. `is_present` (N, C): whether the class
    occurs in the image. `reasons` has the finding and the reason of each label that can't be read.
    """

    objects: Table
    pixels: NDArray[np.int64]
    is_present: NDArray[np.bool_]
    reasons: Mapping[int, tuple[str, str]]

    @property
    def images_of_class(self) -> NDArray[np.int64]:
        """(C,) number of images in which each class occurs."""
        counts: NDArray[np.int64] = self.is_present.sum(axis=0, dtype=np.int64)
        return counts

    def broken(self) -> dict[int, str]:
        """Index -> reason of the samples whose label can't be read; leave them out of the splits."""
        return {index: reason for index, (_, reason) in self.reasons.items()}


def measure_labels(dataset: Dataset, *, num_threads: int | None = None, progress: Progress | None = None) -> LabelFacts:
    """Facts of every label of `dataset`, of a dense task. A broken label is a fact, never an error."""
    num_classes = len(dataset.class_names)
    tables: list[Table] = []
    pixels = np.zeros((len(dataset) if dataset.task == "segment" else 0, num_classes + 1), np.int64)
    is_present = np.zeros((len(dataset), num_classes), np.bool_)
    reasons: dict[int, tuple[str, str]] = {}
    for index, (label, kind, reason) in enumerate(map_samples(_measure, dataset.samples, num_threads)):
        if reason:
            reasons[index] = (kind, reason)
        elif dataset.task == "segment":
            pixels[index] = [*label[:num_classes], label[IGNORE]]
            is_present[index] = label[:num_classes] > 0
        else:
            label["sample"] = index
            tables.append(label)
            is_present[index, label["class_id"]] = True
        if progress and (index % 256 == 255 or index + 1 == len(dataset)):
            progress(index + 1, len(dataset))
    objects = np.concatenate(tables) if tables else np.zeros(0, OBJECT)
    return LabelFacts(objects, pixels, is_present, reasons)


def _measure(sample: Sample) -> tuple[Any, str, str]:
    """The objects of a label as a table, or its pixels of each value (256,); and finding and reason if broken."""
    try:
        if sample.target is None:
            raise LabelError("GF611", "it has none")
        label = sample.target.read()
    except LabelError as error:
        return None, error.kind, str(error)
    except (ValueError, OSError, MemoryError) as error:
        return None, "GF611", str(error) or type(error).__name__
    if isinstance(label, Objects):
        return _table_of(label), "", ""
    return np.bincount(label.ravel(), minlength=IGNORE + 1), "", ""


def _table_of(objects: Objects) -> Table:
    table = np.zeros(len(objects), OBJECT)
    table["class_id"], table["box_xyxy"], table["is_crowd"] = objects.class_ids, objects.boxes_xyxy, objects.is_crowd
    if objects.masks is not None:
        table["area"] = objects.masks.sum(axis=(1, 2))
    else:
        sides = objects.boxes_xyxy[:, 2:].astype(np.float64) - objects.boxes_xyxy[:, :2]
        table["area"] = sides.prod(axis=1)
    return table

"""What is wrong with the labels of a dense task, and their numbers for the check's report.

>>> summarise(LabelFacts(np.zeros(0, OBJECT), np.zeros((0, 2), np.int64), np.zeros((3, 1), bool), {}), ("cat",)).sizes
{'small': 0, 'medium': 0, 'large': 0}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import Dataset, Skipped
from ghostfit.data.fact_table import OK, ImageFacts
from ghostfit.data.findings import Finding, make_finding
from ghostfit.data.labels import OBJECT, LabelFacts

__all__ = ["OBJECT", "LabelSummary", "find_in_labels", "find_passed_over", "summarise"]

SMALL_AREA, LARGE_AREA = 32**2, 96**2  # pixels: COCO's bounds, https://cocodataset.org/#detection-eval
TINY_SIDE = 8  # pixels: a cell of the finest map of the detector, stride 8 (docs/design/dense.md)


@dataclass(frozen=True)
class LabelSummary:
    """Numbers of the labels. The last four are empty or zero where labels are maps, `pixel_shares` where objects."""

    num_broken: int
    image_counts: Mapping[str, int]  # class -> images in which it occurs
    pixel_shares: Mapping[str, float]  # class -> share of the labelled pixels
    share_without_label: float
    object_counts: Mapping[str, int]  # class -> objects, crowds not counted
    sizes: Mapping[str, int]  # small, medium, large -> objects, by COCO's bounds
    num_crowds: int
    most_in_an_image: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return asdict(self)

    def to_lines(self) -> list[str]:
        """For a terminal."""
        if self.pixel_shares:
            return [f"pixels without a label: {self.share_without_label:.1%}"]
        total = sum(self.object_counts.values())
        sizes = ", ".join(f"{count} {name}" for name, count in self.sizes.items())
        crowds = f", and {self.num_crowds} crowds" if self.num_crowds else ""
        return [f"objects: {total} ({sizes}), at most {self.most_in_an_image} in an image{crowds}"]


def summarise(labels: LabelFacts, class_names: Sequence[str]) -> LabelSummary:
    """The numbers of the labels."""
    objects = labels.objects[~labels.objects["is_crowd"]]
    counts = np.bincount(objects["class_id"], minlength=len(class_names))
    pixels = labels.pixels.sum(axis=0)
    labelled, is_small = max(1, int(pixels[:-1].sum())), objects["area"] < SMALL_AREA
    is_large = objects["area"] >= LARGE_AREA
    sizes = {"small": is_small.sum(), "medium": (~is_small & ~is_large).sum(), "large": is_large.sum()}
    shares = pixels[:-1] / labelled if len(labels.pixels) else []
    return LabelSummary(
        num_broken=len(labels.reasons),
        image_counts=dict(zip(class_names, labels.images_of_class.tolist(), strict=True)),
        pixel_shares={name: float(share) for name, share in zip(class_names, shares, strict=False)},
        share_without_label=float(pixels[-1] / max(1, pixels.sum())),
        object_counts={} if len(labels.pixels) else dict(zip(class_names, counts.tolist(), strict=True)),
        sizes={name: int(count) for name, count in sizes.items()},
        num_crowds=len(labels.objects) - len(objects),
        most_in_an_image=int(np.bincount(objects["sample"]).max()) if len(objects) else 0,
    )


def find_passed_over(skipped: Sequence[Skipped]) -> Iterator[Finding]:
    """What the reader passed over or mended, by kind."""
    kinds: dict[str, list[Skipped]] = {}
    for entry in skipped:
        kinds.setdefault(entry.kind, []).append(entry)
    for kind, entries in kinds.items():
        items = tuple(entry.id for entry in entries)
        if kind == "GF105":
            reasons = Counter(entry.reason for entry in entries).most_common(3)
            yield make_finding(kind, items, "; ".join(f"{count} {reason}" for reason, count in reasons) + ".")
        else:
            yield make_finding(kind, items, f"Such as {entries[0].id}: {entries[0].reason}.")


def find_in_labels(
    dataset: Dataset, facts: ImageFacts, labels: LabelFacts, size_hw: tuple[int, int] | None
) -> Iterator[Finding]:
    """Findings in the labels themselves. `size_hw` is the network's input, if it is known."""
    yield from _find_broken(dataset, facts, labels)
    is_readable = np.ones(len(dataset), np.bool_)
    is_readable[list(labels.reasons)] = False
    if dataset.task == "segment":
        empty = np.flatnonzero(is_readable & ~labels.is_present.any(axis=1))
        if len(empty):
            yield make_finding("GF616", _ids(dataset, empty))
        return
    counts = np.bincount(labels.objects["sample"], minlength=len(dataset))
    empty = np.flatnonzero(is_readable & (counts == 0))
    if len(empty):
        yield make_finding("GF613", _ids(dataset, empty), f"{len(empty) / len(dataset):.0%} of the images.")
    yield from _find_tiny(dataset, facts, labels, size_hw)
    yield from _find_twice(dataset, labels)


def _find_broken(dataset: Dataset, facts: ImageFacts, labels: LabelFacts) -> Iterator[Finding]:
    """Labels that can't be read; those of images that can't be read either are told with the image."""
    kinds: dict[str, list[int]] = {}
    for index, (kind, _) in labels.reasons.items():
        if facts.table["problem"][index] == OK:
            kinds.setdefault(kind, []).append(index)
    for kind, indices in kinds.items():
        text = f"Such as {dataset.samples[indices[0]].id}: {labels.reasons[indices[0]][1]}."
        yield make_finding(kind, _ids(dataset, indices), text)


def _find_tiny(
    dataset: Dataset, facts: ImageFacts, labels: LabelFacts, size_hw: tuple[int, int] | None
) -> Iterator[Finding]:
    """Objects of less than a cell of the finest map, at the size that the network sees."""
    objects = labels.objects[~labels.objects["is_crowd"]]
    if not len(objects):
        return
    areas = objects["area"].copy()
    if size_hw is not None:  # squashed to it, as images are
        rows = facts.table[objects["sample"]]
        areas *= size_hw[0] * size_hw[1] / np.maximum(1, rows["height"].astype(np.float64) * rows["width"])
    is_tiny = areas < TINY_SIDE**2
    if not is_tiny.any():
        return
    worst = Counter(objects["sample"][is_tiny].tolist()).most_common()
    text = f"{is_tiny.sum()} of {len(objects)} objects ({is_tiny.mean():.0%})."
    items = tuple(f"{dataset.samples[index].id}: {count}" for index, count in worst)
    yield make_finding("GF614", items, text, count=int(is_tiny.sum()))


def _find_twice(dataset: Dataset, labels: LabelFacts) -> Iterator[Finding]:
    objects = labels.objects[~labels.objects["is_crowd"]]
    keys = np.column_stack(
        [objects["sample"], objects["class_id"], objects["box_xyxy"].reshape(-1, 4), objects["area"]]
    )
    if not len(keys):
        return
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    twice = first[counts > 1]
    if len(twice):
        items = tuple(
            f"{dataset.samples[objects['sample'][row]].id}: {dataset.class_names[objects['class_id'][row]]} at "
            f"{_box_text(objects['box_xyxy'][row])}"
            for row in np.sort(twice)
        )
        yield make_finding("GF615", items)


def _box_text(box_xyxy: NDArray[np.float32]) -> str:
    return ", ".join(f"{edge:.6g}" for edge in box_xyxy)


def _ids(dataset: Dataset, indices: Any) -> tuple[str, ...]:
    return tuple(dataset.samples[int(index)].id for index in indices)

"""Results of peers scored by the engine that scores our bundles, on the same images and labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dense_peers.material import size_of
from ghostfit.data.dataset import Sample
from ghostfit.vision.decode import decode_class_map
from ghostfit.vision.detection_metrics import detection_report
from ghostfit.vision.prepare import Prepare, read_image
from ghostfit.vision.results import ClassMap, Detections
from ghostfit.vision.segmentation_metrics import segmentation_report

KEPT = ("map", "map50", "map75", "miou", "pixel_accuracy", "standard_error", "num_images", "num_objects")


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a report that the page and its readers want."""
    return {name: report[name] for name in KEPT if name in report}


def score_objects(
    results: Path, samples: Sequence[Sample], class_names: Sequence[str], *, masks: bool
) -> dict[str, Any]:
    """Figures of COCO results, whose ``image_id`` is the name of the image's file and ``category_id`` our class.

    Raises ValueError for results of images that are not among the samples: they were made from another division.
    """
    by_image: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(results.read_text(encoding="utf-8")):
        by_image.setdefault(Path(entry["image_id"]).stem, []).append(entry)
    names = {Path(sample.id).stem for sample in samples}
    if len(names) < len(samples) or by_image.keys() - names:
        raise ValueError(f"{results} tells of images that are not in the test split, or names are not unique")

    def found() -> Iterator[Detections]:
        for sample in samples:
            yield _detections(by_image.get(Path(sample.id).stem, []), size_of(sample), tuple(class_names), masks)

    truths = (sample.target.read() for sample in samples if sample.target is not None)
    return summary(detection_report(found(), truths, class_names, kind="masks" if masks else "boxes"))  # type: ignore[arg-type]


def score_maps(session: Any, prepare: Prepare, samples: Sequence[Sample], class_names: Sequence[str]) -> dict[str, Any]:
    """Figures of a backend whose output ``classes`` are logits, decoded as ours are."""

    def found() -> Iterator[ClassMap]:
        for sample in samples:
            image = read_image(sample.source.read())
            placement = prepare.placement((image.shape[0], image.shape[1]))
            outputs = session.run(prepare(image)[None])
            yield decode_class_map(outputs, placements=[placement], class_names=tuple(class_names))[0]

    truths = (sample.target.read() for sample in samples if sample.target is not None)
    return summary(segmentation_report(found(), truths, class_names))  # type: ignore[arg-type]


def _detections(
    entries: Sequence[Mapping[str, Any]], size_hw: tuple[int, int], class_names: tuple[str, ...], with_masks: bool
) -> Detections:
    entries = sorted(entries, key=lambda entry: -entry["score"])
    corners = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    masks = None
    if with_masks:
        drawn = [_filled(entry["segmentation"], size_hw) for entry in entries]
        masks = np.stack(drawn) if drawn else np.zeros((0, *size_hw), np.bool_)
    scores = np.array([entry["score"] for entry in entries])
    class_ids = np.array([entry["category_id"] for entry in entries], np.int64)
    return Detections(boxes, scores, class_ids, class_names, size_hw, masks)


def _filled(runs: Mapping[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of COCO's uncompressed run lengths. Raises ValueError when it is not of the image's size."""
    counts = np.array(runs["counts"], np.int64)
    if tuple(runs["size"]) != size_hw or counts.sum() != size_hw[0] * size_hw[1]:
        raise ValueError(f"a mask of {runs['size']} for an image of {size_hw}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size_hw[1], size_hw[0]).T

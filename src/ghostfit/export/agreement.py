"""Whether two sets of raw outputs mean the same: labels, objects or class maps, decoded as prediction decodes them.

Rounding may turn a tie either way: another label, an object just below the threshold, a pixel on a border. Such ties
are not counted as differences; anything else is, image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ghostfit.vision.boxes import iou
from ghostfit.vision.decode import MOST, decode_class_map, decode_classification, decode_detections
from ghostfit.vision.placement import Placement
from ghostfit.vision.results import Detections

__all__ = ["Compare", "compare_class_maps", "compare_labels", "compare_objects"]

Outputs = Mapping[str, np.ndarray]
# torch's outputs, the file's, the tolerated share of an output's range -> figures, among them "num_different" images
Compare = Callable[[Outputs, Outputs, float], dict[str, Any]]

SAME_IOU = 0.5  # of an object and its counterpart; those that suppress each other overlap more (decode's iou_threshold)
BORDER_SHARE = 1e-3  # of an image's pixels that may lie so close to a border between classes that rounding decides


def compare_labels(class_names: Sequence[str], temperature: float = 1.0, threshold: float = 0.0) -> Compare:
    """Labels and probabilities; another label counts where torch's two best outputs are not a tie."""
    settings: dict[str, Any] = {"class_names": class_names, "temperature": temperature, "threshold": threshold}

    def compare(wanted: Outputs, got: Outputs, tolerance: float) -> dict[str, Any]:
        logits = wanted["logits"]
        ours, theirs = decode_classification(logits, **settings), decode_classification(got["logits"], **settings)
        num_different = 0
        for row, one, other in zip(logits, ours, theirs, strict=True):
            margin = row[one.index] - row[other.index]
            num_different += one.label != other.label and margin > 2 * tolerance * np.ptp(logits)
        gaps = [float(np.abs(one.scores - other.scores).max()) for one, other in zip(ours, theirs, strict=True)]
        return {"num_different": int(num_different), "max_probability_gap": max(gaps)}

    return compare


def compare_objects(
    class_names: Sequence[str],
    placements: Sequence[Placement],
    *,
    strides: Sequence[int],
    size_hw: tuple[int, int],
    score_threshold: float,
    iou_threshold: float,
    nms: bool = True,
) -> Compare:
    """Objects above the threshold that the other side doesn't find, of the same class and about the same place."""

    def compare(wanted: Outputs, got: Outputs, tolerance: float) -> dict[str, Any]:
        margin = tolerance * float(np.ptp(wanted["scores"])) / 4  # a sigmoid rises by at most a quarter
        found = {
            side: decode_detections(
                outputs, strides=strides, size_hw=size_hw, placements=placements, class_names=class_names,
                score_threshold=max(score_threshold - margin, 0.0), iou_threshold=iou_threshold, most=2 * MOST, nms=nms,
            )
            for side, outputs in (("ours", wanted), ("theirs", got))
        }  # fmt: skip
        num_different, num_objects, gaps = 0, 0, [0.0]
        for ours, theirs in zip(found["ours"], found["theirs"], strict=True):
            counted = [_first(side.at_least(score_threshold + margin)) for side in (ours, theirs)]
            is_found = [*_matches(counted[0], theirs, gaps), *_matches(counted[1], ours, gaps)]
            num_different += not all(is_found)
            num_objects += len(counted[0])
        return {"num_different": num_different, "num_objects": num_objects, "max_score_gap": max(gaps)}

    return compare


def compare_class_maps(class_names: Sequence[str], placements: Sequence[Placement]) -> Compare:
    """The share of an image's pixels that have another class; a thousandth may be ties."""

    def compare(wanted: Outputs, got: Outputs, tolerance: float) -> dict[str, Any]:
        ours, theirs = (
            decode_class_map(outputs, placements=placements, class_names=class_names) for outputs in (wanted, got)
        )
        shares = [float((a.class_map != b.class_map).mean()) for a, b in zip(ours, theirs, strict=True)]
        return {"num_different": sum(share > BORDER_SHARE for share in shares), "max_pixel_share": max(shares)}

    return compare


def _first(objects: Detections) -> Detections:
    """Those that prediction would keep."""
    return objects.pick(np.arange(min(len(objects), MOST)))


def _matches(objects: Detections, others: Detections, gaps: list[float]) -> list[bool]:
    """For each of `objects`, whether `others` hold it; the difference of their scores joins `gaps`."""
    if not len(objects) or not len(others):
        return [False] * len(objects)
    overlaps = iou(objects.boxes_xyxy, others.boxes_xyxy)
    overlaps[objects.class_ids[:, None] != others.class_ids[None]] = 0
    if objects.masks is not None and others.masks is not None:
        overlaps = np.minimum(overlaps, _mask_overlaps(objects.masks, others.masks, overlaps))
    is_found = overlaps.max(1) >= SAME_IOU
    gaps += np.abs(objects.scores - others.scores[overlaps.argmax(1)])[is_found].tolist()
    return [bool(found) for found in is_found]


def _mask_overlaps(masks: np.ndarray, others: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of the masks whose boxes overlap enough, and 1 where both are empty."""
    found = np.zeros_like(boxes)
    for i, j in np.argwhere(boxes >= SAME_IOU):
        union = (masks[i] | others[j]).sum()
        found[i, j] = (masks[i] & others[j]).sum() / union if union else 1.0
    return found

"""Which detection is which object of an image, and what is left over on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ghostfit.vision.boxes import area_of
from ghostfit.vision.coco import Code
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections

NUM_WORST = 24


@dataclass(frozen=True, eq=False)
class Match:
    """Detections (N) and objects (M) of one image, compared. No masks are kept.

    `is_right` (N,): it has an object of its class for itself, the best detections choosing first. `is_ignored` (N,): it
    lies on a crowd of its class and counts nowhere. `overlaps` (N, M): IoU; for a crowd the share of the detection that
    lies on it. `found_of` (M,): the detection that is right about it, or -1.
    """

    found_ids: np.ndarray
    scores: np.ndarray
    found_boxes: np.ndarray
    true_ids: np.ndarray
    true_boxes: np.ndarray
    is_crowd: np.ndarray
    overlaps: np.ndarray
    is_right: np.ndarray
    is_ignored: np.ndarray
    found_of: np.ndarray
    threshold: float


def match_image(
    found: Detections, truth: Objects, found_codes: list[Code] | None, true_codes: list[Code] | None, threshold: float
) -> Match:
    """`found` matched with `truth` at an IoU of `threshold` within classes, by boxes or, with codes, by masks."""
    overlaps = _overlaps(found, truth, found_codes, true_codes)
    is_same = found.class_ids[:, None] == truth.class_ids[None, :]
    usable = np.where(is_same & ~truth.is_crowd, overlaps, -1)
    found_of = _greedy(usable, np.argsort(-found.scores, kind="stable"), threshold)
    is_right = np.zeros(len(found), np.bool_)
    is_right[found_of[found_of >= 0]] = True
    on_crowd = (is_same & truth.is_crowd & (overlaps >= threshold)).any(axis=1)
    return Match(
        found_ids=found.class_ids,
        scores=found.scores.astype(np.float64),
        found_boxes=found.boxes_xyxy,
        true_ids=truth.class_ids,
        true_boxes=truth.boxes_xyxy,
        is_crowd=truth.is_crowd,
        overlaps=overlaps,
        is_right=is_right,
        is_ignored=on_crowd & ~is_right,
        found_of=found_of,
        threshold=threshold,
    )


def confusion_of(matches: Sequence[Match], score: float | None, num_classes: int) -> np.ndarray:
    """(C + 1, C + 1) counts of the answers of at least `score`: row the true class, column the answer.

    The last row are answers where nothing is, the last column objects without an answer. Right pairs are taken first;
    what is left is paired by overlap whatever its class.
    """
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for match in matches:
        taken = match.scores >= (2 if score is None else score)
        rows, columns = _right_pairs(match, taken)
        np.add.at(confusion, (match.true_ids[rows], match.found_ids[columns]), 1)
        lone_true = _without(np.flatnonzero(~match.is_crowd), rows)
        lone_found = _without(np.flatnonzero(taken & ~match.is_ignored), columns)
        order = np.argsort(-match.scores[lone_found], kind="stable")
        of_lone = _greedy(match.overlaps[np.ix_(lone_found, lone_true)], order, match.threshold)
        for true, found in zip(lone_true, of_lone, strict=True):
            confusion[match.true_ids[true], num_classes if found < 0 else match.found_ids[lone_found[found]]] += 1
        alarms = _without(lone_found, lone_found[of_lone[of_lone >= 0]])
        alarms = alarms[~(match.overlaps[alarms][:, match.is_crowd] >= match.threshold).any(axis=1)]
        np.add.at(confusion, (num_classes, match.found_ids[alarms]), 1)
    return confusion


def worst_errors(matches: Sequence[Match], score: float | None, class_names: Sequence[str]) -> dict[str, Any]:
    """The largest objects that were missed and the surest false alarms, with the indices of image and object."""
    misses, alarms = [], []
    for index, match in enumerate(matches):
        taken = match.scores >= (2 if score is None else score)
        rows, columns = _right_pairs(match, taken)
        areas = area_of(match.true_boxes)
        for number in _without(np.flatnonzero(~match.is_crowd), rows):
            entry = _entry(index, class_names[match.true_ids[number]], match.true_boxes[number])
            misses.append((float(areas[number]), {**entry, "object": int(number)}))
        for number in _without(np.flatnonzero(taken & ~match.is_ignored), columns):
            entry = _entry(index, class_names[match.found_ids[number]], match.found_boxes[number])
            sure = float(match.scores[number])
            alarms.append((sure, {**entry, "detection": int(number), "score": round(sure, 6)}))
    return {
        name: [entry for _, entry in sorted(entries, key=lambda pair: -pair[0])[:NUM_WORST]]
        for name, entries in (("misses", misses), ("false_alarms", alarms))
    }


def _entry(image: int, label: str, box: np.ndarray) -> dict[str, Any]:
    return {"image": image, "label": label, "box_xyxy": [round(float(edge), 2) for edge in box]}


def _right_pairs(match: Match, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Objects, and the taken detections that are right about them. Greedy from the best on, so a cut changes none."""
    rows = np.flatnonzero(match.found_of >= 0)
    rows = rows[taken[match.found_of[rows]]]
    return rows, match.found_of[rows]


def _without(indices: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return indices[~np.isin(indices, taken)]


def _greedy(overlaps: np.ndarray, order: np.ndarray, threshold: float) -> np.ndarray:
    """For each column (M,) the row that takes it, or -1: rows in `order` each take the best free column that fits."""
    taken_by = np.full(overlaps.shape[1], -1, np.int64)
    if not overlaps.shape[1]:
        return taken_by
    for row in order[(overlaps[order] >= threshold).any(axis=1)]:
        free = np.where(taken_by < 0, overlaps[row], -1)
        best = int(free.argmax())
        if free[best] >= threshold:
            taken_by[best] = row
    return taken_by


def _overlaps(
    found: Detections, truth: Objects, found_codes: list[Code] | None, true_codes: list[Code] | None
) -> np.ndarray:
    """(N, M), float64, by COCO's rule: a crowd is measured by the share of the detection that lies on it."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    from faster_coco_eval.core import mask

    def xywh(boxes: np.ndarray) -> np.ndarray:
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)

    crowd = [int(is_crowd) for is_crowd in truth.is_crowd]
    if found_codes is not None and true_codes is not None:
        return np.asarray(mask.iou(found_codes, true_codes, crowd), np.float64)
    return np.asarray(mask.iou(xywh(found.boxes_xyxy), xywh(truth.boxes_xyxy), crowd), np.float64)

"""How good are these class maps? Figures of a semantic segmentation, gathered image by image.

The mean intersection over union is that of the whole set (one confusion matrix over all pixels), as Pascal VOC and
Cityscapes count it; the boundary score is that of Csurka et al. 2013, "What is a good evaluation measure for semantic
segmentation?", section 3.2.

>>> truth = np.array([[0, 0, 1, 255]], np.uint8)
>>> report = segmentation_report([np.array([[0, 1, 1, 1]], np.uint8)], [truth], ("sky", "road"))
>>> report["miou"], report["pixel_accuracy"]
(0.5, 0.6666666666666666)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.results import ClassMap

TOLERANCE = 0.0075  # of the image's diagonal: Csurka et al. 2013, section 4
RESAMPLES = 200  # of the images, for the standard error
NUM_WORST = 24


def segmentation_report(
    maps: Iterable[ClassMap | np.ndarray],
    truths: Iterable[np.ndarray],
    class_names: Sequence[str],
    *,
    with_boundaries: bool = True,
) -> dict[str, Any]:
    """All figures of a segmentation, ready for JSON, of predicted `maps` and `truths`, (H, W) uint8 each, in pairs.

    Shares lie in 0..1; pixels whose truth is `IGNORE` (255) count nowhere. ``miou`` is the mean over the classes that
    occur in truths or predictions; a class that doesn't has None. ``standard_error`` is that of ``miou``, by drawing
    the images anew (bootstrap). ``boundary_f`` is the mean over images and classes of the boundary F-score within
    0.75 % of the diagonal. ``worst`` are the indices of the images with the lowest pixel accuracy. `with_boundaries`
    False leaves the boundary score out, which takes most of the time. Raises ValueError when there are no images, or
    a map is not of its truth's size or has a class that isn't named.
    """
    confusions: list[np.ndarray] = []
    boundaries: list[np.ndarray] = []
    for found, truth in zip(maps, truths, strict=True):
        predicted = found.class_map if isinstance(found, ClassMap) else found
        confusions.append(_confusion(predicted, truth, len(class_names)))
        if with_boundaries:
            boundaries.append(boundary_scores(predicted, truth, len(class_names)))
    if not confusions:
        raise ValueError("no images to score")
    stacked = np.stack(confusions)
    total = stacked.sum(axis=0)
    ious = _ratio(*_overlaps(total))
    boundary = np.stack(boundaries) if boundaries else np.full((1, len(class_names)), np.nan)
    return {
        "num_images": len(confusions),
        "num_pixels": int(total.sum()),
        "miou": _mean(ious),
        "standard_error": _standard_error(stacked),
        "pixel_accuracy": float(np.trace(total) / total.sum()) if total.sum() else None,
        "dice": _mean(_dice(total)),
        "boundary_f": _mean(boundary),
        "per_class": _per_class(total, boundary, class_names),
        "confusion": total.tolist(),
        "class_names": list(class_names),
        "worst": _worst(stacked),
    }


def boundary_scores(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """(num_classes,), float64: the boundary F-score of each class in one image; NaN for a class without boundary.

    A boundary pixel is right when the other map has one of its class within 0.75 % of the diagonal.
    """
    known = truth != IGNORE
    predicted = np.where(known, predicted, IGNORE)
    reach = max(1, round(TOLERANCE * math.hypot(*truth.shape)))
    edges = _edge_pixels(predicted), _edge_pixels(truth)
    scores = np.full(num_classes, np.nan)
    for class_id in range(num_classes):
        own, true = edges[0] & (predicted == class_id), edges[1] & (truth == class_id)
        if own.any() or true.any():
            precision, recall = _share_near(own, true, reach), _share_near(true, own, reach)
            scores[class_id] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def _confusion(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C) counts of pixels, int64: row the true class, column the predicted one."""
    if predicted.shape != truth.shape:
        raise ValueError(f"a map of {predicted.shape} for a truth of {truth.shape}; both must be of the image's size")
    known = truth != IGNORE
    rows, columns = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    for values in (rows, columns):
        if values.max(initial=0) >= num_classes or values.min(initial=0) < 0:
            raise ValueError(f"classes {values.min()}..{values.max()}; there are {num_classes}, and {IGNORE} for none")
    return np.bincount(rows * num_classes + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


def _overlaps(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union (..., C) of confusion matrices (..., C, C)."""
    shared = np.diagonal(confusion, axis1=-2, axis2=-1)
    return shared, confusion.sum(axis=-1) + confusion.sum(axis=-2) - shared


def _dice(confusion: np.ndarray) -> np.ndarray:
    shared, union = _overlaps(confusion)
    return _ratio(2 * shared, union + shared)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return shares


def _mean(values: np.ndarray) -> float | None:
    """Mean of what is no NaN; None where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _standard_error(confusions: np.ndarray) -> float | None:
    """Deviation of the mean intersection over union when the images (N, C, C) are drawn anew, with replacement."""
    num_images = len(confusions)
    if num_images < 2:
        return None
    draws = np.random.default_rng(0).multinomial(num_images, np.full(num_images, 1 / num_images), RESAMPLES)
    shared, union = (draws @ part for part in _overlaps(confusions))
    means = [_mean(ious) for ious in _ratio(shared, union)]
    known = [mean for mean in means if mean is not None]
    return float(np.std(known)) if len(known) > 1 else None


def _per_class(total: np.ndarray, boundary: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    shared = np.diagonal(total)
    columns = {
        "iou": _ratio(*_overlaps(total)),
        "dice": _dice(total),
        "precision": _ratio(shared, total.sum(axis=0)),
        "recall": _ratio(shared, total.sum(axis=1)),
    }
    return [
        {
            "name": name,
            **{key: None if np.isnan(values[index]) else float(values[index]) for key, values in columns.items()},
            "boundary_f": _mean(boundary[:, index]),
            "num_pixels": int(total[index].sum()),
        }
        for index, name in enumerate(class_names)
    ]


def _worst(confusions: np.ndarray) -> list[dict[str, Any]]:
    right, known = np.trace(confusions, axis1=1, axis2=2), confusions.sum(axis=(1, 2))
    shares = _ratio(right, known)
    order = np.argsort(shares, kind="stable")[: min(NUM_WORST, int((~np.isnan(shares)).sum()))]  # NaN sorts last
    return [{"image": int(index), "pixel_accuracy": float(shares[index])} for index in order]


def _edge_pixels(classes: np.ndarray) -> np.ndarray:
    """(H, W), bool: the pixels beside one of another class; that of an `IGNORE` pixel is not known, so no edge."""
    edges = np.zeros(classes.shape, np.bool_)
    for here, there in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = (classes[here] != classes[there]) & (classes[here] != IGNORE) & (classes[there] != IGNORE)
        edges[here] |= differs
        edges[there] |= differs
    return edges


def _share_near(points: np.ndarray, others: np.ndarray, reach: int) -> float:
    """Share of the marked pixels of `points` (H, W) with a marked pixel of `others` within `reach` pixels; 0 of none.

    Offsets from near to far, and only for the points that have found none yet: boundaries are few pixels.
    """
    width = points.shape[1] + 2 * reach
    flat = np.pad(others, reach).ravel()
    y, x = np.nonzero(points)
    left = (y + reach) * width + x + reach
    for offset in _disc(reach, width):
        if not len(left):
            break
        left = left[~flat[left + offset]]
    return 1 - len(left) / len(y) if len(y) else 0.0


def _disc(reach: int, width: int) -> list[int]:
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distances = (y**2 + x**2).ravel()
    order = np.argsort(distances, kind="stable")
    return [int(offset) for offset in (y * width + x).ravel()[order[: (distances <= reach**2).sum()]]]

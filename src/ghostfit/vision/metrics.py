"""How good are these outputs? Figures of a classifier from its raw outputs and the true labels.

>>> logits, labels = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
>>> round(accuracy(logits, labels), 3)
0.667
>>> confusion_matrix(logits.argmax(1), labels, 2).tolist()
[[1, 0], [1, 1]]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostfit.vision.calibrate import expected_calibration_error, negative_log_likelihood, reliability_bins
from ghostfit.vision.decode import softmax


def classification_report(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    temperature: float = 1.0,
    threshold: float = 0.0,
) -> dict[str, Any]:
    """All figures of a classifier, ready for JSON, of `logits` (N, C) and `labels` (N,).

    Shares lie in 0..1. ``loss`` (nats), ``ece`` and ``reliability`` are of the calibrated probabilities.
    ``standard_error`` is that of the accuracy, from the number of images alone (binomial); it says nothing of the
    spread over seeds. A figure that has no images to stand on is None. Raises ValueError when there are no images.
    """
    labels = np.asarray(labels, np.int64)
    _check(logits, labels, class_names)
    probabilities = softmax(logits, temperature)
    is_right = logits.argmax(axis=1) == labels
    is_sure = probabilities.max(axis=1) >= threshold
    confusion = confusion_matrix(logits.argmax(axis=1), labels, len(class_names))
    recalls = [entry["recall"] for entry in per_class(confusion, class_names) if entry["recall"] is not None]
    share = float(is_right.mean())
    return {
        "num_images": len(labels),
        "accuracy": share,
        "standard_error": math.sqrt(share * (1 - share) / len(labels)),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "top5": topk(logits, labels, 5),
        "loss": negative_log_likelihood(logits, labels, temperature),
        "per_class": per_class(confusion, class_names),
        "confusion": confusion.tolist(),
        "class_names": list(class_names),
        "ece": expected_calibration_error(probabilities, labels),
        "reliability": reliability_bins(probabilities, labels),
        "temperature": temperature,
        "threshold": threshold,
        "unsure_fraction": float(1 - is_sure.mean()),
        "accuracy_when_sure": float(is_right[is_sure].mean()) if is_sure.any() else None,
    }


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share (0..1) of rows whose largest output is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def topk(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share (0..1) of rows where fewer than `k` classes stand before the label; 1 where there are at most `k`."""
    own = np.take_along_axis(logits, np.asarray(labels)[:, None], axis=1)
    columns = np.arange(logits.shape[1])
    stands_before = (logits > own) | ((logits == own) & (columns < np.asarray(labels)[:, None]))
    return float((stands_before.sum(axis=1) < k).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C) counts, int64: row the true class, column the predicted one."""
    cells = np.asarray(labels) * num_classes + np.asarray(predicted)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 (0..1) and number of images of each class; None where a figure is undefined."""
    rows = []
    for index, name in enumerate(class_names):
        right, support, answers = (
            int(confusion[index, index]),
            int(confusion[index].sum()),
            int(confusion[:, index].sum()),
        )
        rows.append(
            {
                "name": name,
                "precision": right / answers if answers else None,
                "recall": right / support if support else None,
                "f1": 2 * right / (support + answers) if support + answers else None,
                "num_images": support,
            }
        )
    return rows


def _check(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
    if not len(labels):
        raise ValueError("no images to score")
    if logits.shape != (len(labels), len(class_names)):
        raise ValueError(f"outputs of shape {logits.shape} for {len(labels)} labels and {len(class_names)} class names")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(f"labels {labels.min()}..{labels.max()}; there are {len(class_names)} classes")

"""Probabilities that mean what they say, and when to answer "unsure". Fitted on validation outputs only.

Temperature scaling and the expected calibration error follow Guo et al. 2017, "On Calibration of Modern Neural
Networks" (arXiv 1706.04599, sections 2 and 4.2).

>>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [9.0, 0.0]])  # very sure, and wrong one time in four
>>> fit_temperature(logits, np.array([0, 0, 0, 1])) > 5
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypedDict

import numpy as np

BINS = 15  # arXiv 1706.04599, section 5
TEMPERATURES = (0.05, 20.0)  # wider than any network needs; at the ends the data say little


class ReliabilityBin(TypedDict):
    """One bin of a reliability diagram: confidences in `low`..`high`, their mean and the accuracy they had."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature (above 0) that gives `logits` (N, C) the least negative log-likelihood of `labels` (N,).

    The labels are smoothed by 1 / (N + 1), so that a few answers which are all right don't count as certainty (Platt
    1999, "Probabilistic Outputs for Support Vector Machines", section 2.2). 1.0 when there are no images.
    """
    if not len(labels):
        return 1.0
    smoothing = 1 / (len(labels) + 1)

    def loss(inverse: float) -> float:  # has one minimum: it is convex in 1 / temperature
        return negative_log_likelihood(logits, labels, 1 / inverse, smoothing)

    return 1 / _golden_section(loss, 1 / TEMPERATURES[1], 1 / TEMPERATURES[0])


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, smoothing: float = 0.0
) -> float:
    """Mean -log p(label), in nats, of `logits` (N, C) and `labels` (N,), these smoothed to uniform by `smoothing`."""
    scaled = logits.astype(np.float64) / temperature
    peaks = scaled.max(axis=1)
    log_sums = peaks + np.log(np.exp(scaled - peaks[:, None]).sum(axis=1))
    own = scaled[np.arange(len(labels)), labels]
    return float((log_sums - (1 - smoothing) * own - smoothing * scaled.mean(axis=1)).mean())


def choose_threshold(probabilities: np.ndarray, labels: np.ndarray, target_accuracy: float | None = None) -> float:
    """The confidence (0..1) below which an answer is called unsure.

    It is the lowest at which the answers that remain are right with `target_accuracy` (0..1), by default that of half
    the present error rate: of 90 % right, 95 %. Where no threshold reaches the target, the one whose answers are right
    most often. 0.0, never unsure, when the target is met without one or there are no images.
    """
    if not len(labels):
        return 0.0
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    target = (1 + is_right.mean()) / 2 if target_accuracy is None else target_accuracy
    if is_right.mean() >= target:
        return 0.0
    order = np.argsort(-confidence, kind="stable")
    confidence, is_right = confidence[order], is_right[order]
    is_cut = np.append(confidence[1:] < confidence[:-1], True)  # equal confidences stay together
    accuracies = (np.cumsum(is_right) / np.arange(1, len(labels) + 1))[is_cut]
    cuts = np.append(confidence[is_cut], 0.0)
    reached = np.flatnonzero(accuracies >= target)
    best = int(reached[-1]) if len(reached) else int(accuracies.argmax())
    return float(cuts[best] + cuts[best + 1]) / 2


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = BINS) -> float:
    """Mean distance (0..1) between confidence and accuracy over equal-width bins, weighted by their counts."""
    bins = reliability_bins(probabilities, labels, num_bins)
    total = sum(entry["count"] for entry in bins)
    return sum(entry["count"] * abs(entry["confidence"] - entry["accuracy"]) for entry in bins) / max(1, total)


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = BINS) -> list[ReliabilityBin]:
    """Confidence against accuracy of `probabilities` (N, C) and `labels` (N,), in all bins of equal width."""
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    numbers = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    counts = np.bincount(numbers, minlength=num_bins)
    shares = np.maximum(counts, 1)
    confidences = np.bincount(numbers, confidence, num_bins) / shares
    accuracies = np.bincount(numbers, is_right, num_bins) / shares
    return [
        ReliabilityBin(
            low=number / num_bins,
            high=(number + 1) / num_bins,
            count=int(counts[number]),
            confidence=float(confidences[number]),
            accuracy=float(accuracies[number]),
        )
        for number in range(num_bins)
    ]


def _golden_section(loss: Callable[[float], float], low: float, high: float, tolerance: float = 1e-5) -> float:
    """Where `loss`, which has one minimum in `low`..`high`, is least (Kiefer 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2

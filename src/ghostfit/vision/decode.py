"""Raw outputs to results: used for training metrics, for scoring an exported file and for prediction alike.

>>> results = decode_classification(np.array([[2.0, 0.0]]), class_names=("cat", "dog"), threshold=0.5)
>>> results[0].label, round(results[0].confidence, 3), results[0].is_unsure
('cat', 0.881, False)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ghostfit.vision.results import Classification

TOP = 5


def decode_classification(
    logits: np.ndarray, *, class_names: Sequence[str], temperature: float = 1.0, threshold: float = 0.0
) -> list[Classification]:
    """One result for each row of `logits` (N, C).

    Probabilities are softmax(logits / temperature); a result is unsure when its best is below `threshold` (0..1).
    Raises ValueError when the number of columns isn't that of `class_names`, or an output isn't finite.
    """
    if logits.ndim != 2 or logits.shape[1] != len(class_names):
        raise ValueError(
            f"outputs of shape {logits.shape} for {len(class_names)} class names; wanted (N, {len(class_names)})"
        )
    probabilities = softmax(logits, temperature)
    return [_decode_row(scores, class_names, threshold) for scores in probabilities]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, C), float64, of `logits` (N, C) / `temperature`. Raises ValueError on NaN and infinity."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; it must be above zero")
    if not np.isfinite(logits).all():
        raise ValueError("the network's output is not finite: its weights are damaged or its training diverged")
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _decode_row(scores: np.ndarray, class_names: Sequence[str], threshold: float) -> Classification:
    order = np.argsort(-scores, kind="stable")[:TOP]  # stable: of equal scores the first class wins, as argmax says
    top = tuple((class_names[index], float(scores[index])) for index in order)
    return Classification(
        label=top[0][0],
        index=int(order[0]),
        confidence=top[0][1],
        is_unsure=top[0][1] < threshold,
        top=top,
        scores=scores,
    )

"""Score a bundle on labelled images: the same figures as after training, from the file that ships."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.runtime.predict import Model, load
from ghostfit.vision.metrics import classification_report
from ghostfit.vision.prepare import ImageError, ImageSource


def score_bundle(
    bundle: str | Path | Model, samples: Iterable[tuple[ImageSource, int]], *, batch: int = 16
) -> dict[str, Any]:
    """`classification_report` of a bundle over `samples`, pairs of image and class index; ready for JSON.

    An image that can't be read is left out and listed under ``skipped`` with its place and the reason. Raises
    ValueError when none is left.
    """
    model = bundle if isinstance(bundle, Model) else load(bundle)
    logits, labels, skipped = collect_logits(model, samples, batch=batch)
    rule = model.manifest.decode
    report = classification_report(
        logits, labels, model.manifest.class_names, temperature=rule.temperature, threshold=rule.threshold
    )
    return {**report, "skipped": skipped}


def collect_logits(
    model: Model, samples: Iterable[tuple[ImageSource, int]], *, batch: int = 16
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """Raw outputs (N, num_classes), labels (N,) and the samples left out, each with ``index`` and ``reason``."""
    outputs, labels, skipped = [model.logits([])], [], []
    numbered = enumerate(samples)
    while chunk := list(islice(numbered, batch)):
        images = []
        for index, (source, label) in chunk:
            try:
                images.append(model.pixels(source))
                labels.append(label)
            except ImageError as error:
                skipped.append({"index": index, "reason": str(error)})
        outputs.append(model.logits(images))
    return np.concatenate(outputs), np.array(labels, np.int64), skipped

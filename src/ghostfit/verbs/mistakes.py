"""The worst mistakes of a classifier, with small pictures, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ghostfit.vision.prepare import read_image

NUM_MISTAKES = 24
THUMBNAIL = 96  # pixels


def mistakes_of(
    samples: Sequence[Any], probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """The most confident wrong answers. `probabilities` (N, C), `labels` (N,) of the N samples."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:NUM_MISTAKES]
    return [
        {
            "id": samples[i].id,
            "truth": class_names[int(labels[i])],
            "predicted": class_names[int(predicted[i])],
            "confidence": float(probabilities[i, predicted[i]]),
            "thumbnail_jpeg_base64": _thumbnail(samples[i]),
        }
        for i in wrong.tolist()
    ]


def _thumbnail(sample: Any) -> str:
    image = Image.fromarray(read_image(sample.source.read()))
    if max(image.size) < THUMBNAIL:
        factor = THUMBNAIL / max(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()

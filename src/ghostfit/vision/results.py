"""What a model says about an image, as plain values.

>>> result = Classification("cat", 0, 0.9, False, (("cat", 0.9), ("dog", 0.1)), np.array([0.9, 0.1]))
>>> result.to_dict()["label"]
'cat'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Classification:
    """The class of one image.

    `label` and `index` are the likeliest class, also when `is_unsure`: it says that `confidence` (0..1) is below the
    bundle's threshold and that a person, or another rule, should decide. `top` holds up to five (label, probability)
    pairs, best first; `scores`: (num_classes,), float64, calibrated probabilities that sum to 1.
    """

    label: str
    index: int
    confidence: float
    is_unsure: bool
    top: tuple[tuple[str, float], ...]
    scores: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON, with `top` but without all `scores`."""
        return {
            "label": self.label,
            "index": self.index,
            "confidence": round(self.confidence, 6),
            "is_unsure": self.is_unsure,
            "top": [{"label": label, "probability": round(probability, 6)} for label, probability in self.top],
        }

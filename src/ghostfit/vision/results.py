"""What a model says about an image, as plain values.

>>> result = Classification("cat", 0, 0.9, False, (("cat", 0.9), ("dog", 0.1)), np.array([0.9, 0.1]))
>>> result.to_dict()["label"]
'cat'
>>> found = Detections(np.array([[1, 2, 5, 4]]), np.array([0.9]), np.array([1]), ("cat", "dog"), (8, 8))
>>> found.to_dict()["objects"][0]
{'label': 'dog', 'class_id': 1, 'score': 0.9, 'box_xyxy': [1.0, 2.0, 5.0, 4.0]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.rle import encode_mask


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


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image of `size_hw` pixels, N of them, best first.

    `boxes_xyxy` (N, 4) float32: left, top, right, bottom edges in pixels of the image. `scores` (N,) float32, 0..1.
    `class_ids` (N,) int64, indices into `class_names`. `masks` (N, H, W) bool, or None when only boxes are sought.
    Raises ValueError when the parts are not of one length, or a class has no name.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    size_hw: tuple[int, int]
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes_xyxy", np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float32))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64))
        num = len(self.scores)
        if not len(self.boxes_xyxy) == len(self.class_ids) == num:
            raise ValueError(
                f"{len(self.boxes_xyxy)} boxes, {num} scores and {len(self.class_ids)} classes; give one for each box"
            )
        if num and not 0 <= self.class_ids.min() <= self.class_ids.max() < len(self.class_names):
            raise ValueError(f"class {self.class_ids.max()} of {len(self.class_names)} class names")
        if self.masks is not None and self.masks.shape != (num, *self.size_hw):
            raise ValueError(f"masks of shape {self.masks.shape}; wanted {(num, *self.size_hw)}")

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, chosen: np.ndarray) -> Detections:
        """Those at the indices, or where the bool array (N,), `chosen` says so."""
        masks = None if self.masks is None else self.masks[chosen]
        return Detections(
            self.boxes_xyxy[chosen], self.scores[chosen], self.class_ids[chosen], self.class_names, self.size_hw, masks
        )

    def at_least(self, score: float) -> Detections:
        """Those of at least this score (0..1)."""
        return self.pick(self.scores >= score)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON; a mask as COCO's run-length encoding."""
        objects = []
        for number, (box, score, class_id) in enumerate(zip(self.boxes_xyxy, self.scores, self.class_ids, strict=True)):
            entry: dict[str, Any] = {
                "label": self.class_names[class_id],
                "class_id": int(class_id),
                "score": round(float(score), 6),
                "box_xyxy": [round(float(edge), 2) for edge in box],
            }
            if self.masks is not None:
                entry["mask"] = encode_mask(self.masks[number])
            objects.append(entry)
        return {"size_hw": list(self.size_hw), "objects": objects}


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The class of each pixel: `class_map` (H, W) uint8, indices into `class_names`, of the image's own size.

    Raises ValueError when a pixel's class has no name.
    """

    class_map: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.class_map.ndim != 2 or self.class_map.dtype != np.uint8 or len(self.class_names) > IGNORE:
            raise ValueError(
                f"a class map of shape {self.class_map.shape}, {self.class_map.dtype}, and {len(self.class_names)} "
                f"class names; wanted (H, W), uint8, and at most {IGNORE} names"
            )
        if self.class_map.max(initial=0) >= len(self.class_names):
            raise ValueError(f"a pixel of class {self.class_map.max()}; there are {len(self.class_names)} classes")

    @property
    def shares(self) -> np.ndarray:
        """(num_classes,), float64: the share (0..1) of the image that each class covers."""
        counts = np.bincount(self.class_map.ravel(), minlength=len(self.class_names))
        shares: np.ndarray = counts / max(1, self.class_map.size)
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON: of each class that is there its share, and where, as COCO's run lengths."""
        return {
            "size_hw": list(self.class_map.shape),
            "classes": [
                {
                    "label": self.class_names[class_id],
                    "class_id": int(class_id),
                    "share": round(float(self.shares[class_id]), 6),
                    "mask": encode_mask(self.class_map == class_id),
                }
                for class_id in np.unique(self.class_map)
            ],
        }


Result: TypeAlias = "Classification | Detections | ClassMap"

"""Objects and detections in COCO's own form (cocodataset.org, format-data and format-results)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostfit.vision.boxes import area_of
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections
from ghostfit.vision.rle import encode_mask

Code = dict[str, Any]  # the run lengths of one mask


def as_annotations(
    objects: Objects | Detections, image_id: int, first_id: int, codes: Sequence[Code] | None
) -> list[dict[str, Any]]:
    """Annotations with ids from `first_id` on and categories from 1 on; `codes` are the masks, for scoring by masks.

    The area is that of the mask where masks are known, as in COCO's own files, else that of the box.
    """
    boxes = objects.boxes_xyxy.astype(np.float64)
    areas = area_of(boxes) if objects.masks is None else objects.masks.sum(axis=(1, 2)).astype(np.float64)
    entries = []
    for number, (box, class_id, area) in enumerate(zip(boxes.tolist(), objects.class_ids, areas, strict=True)):
        entry: dict[str, Any] = {
            "id": first_id + number,
            "image_id": image_id,
            "category_id": int(class_id) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": float(area),
            "iscrowd": int(objects.is_crowd[number]) if isinstance(objects, Objects) else 0,
        }
        if isinstance(objects, Detections):
            entry["score"] = float(objects.scores[number])
            if codes is None:  # COCO's tools measure a found box by itself
                entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        if codes is not None:
            entry["segmentation"] = codes[number]
        entries.append(entry)
    return entries


def mask_codes(masks: np.ndarray | None) -> list[Code]:
    """The run lengths of masks (N, H, W)."""
    return [] if masks is None else [encode_mask(mask) for mask in masks]

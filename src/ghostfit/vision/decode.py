"""Raw outputs to results: used for training metrics, for scoring an exported file and for prediction alike.

>>> results = decode_classification(np.array([[2.0, 0.0]]), class_names=("cat", "dog"), threshold=0.5)
>>> results[0].label, round(results[0].confidence, 3), results[0].is_unsure
('cat', 0.881, False)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ghostfit.vision.boxes import anchor_points, area_of, suppress, top_scores
from ghostfit.vision.placement import Placement
from ghostfit.vision.results import Classification, ClassMap, Detections
from ghostfit.vision.upsample import grid_axes, upsample

TOP = 5
MOST = 100  # objects of an image that are kept: what COCO's metric counts (cocoapi, maxDets)
CANDIDATES = 3000  # of an image, before suppression: torchvision's RetinaNet takes 1000 from each of three levels
SCORE_FLOOR = 0.001  # from here on objects are scored: mAP reads the whole curve, and COCO's tools cut nowhere above
STRIP = 1 << 21  # pixels of an image whose logits are upsampled at once: 8 MiB


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


def decode_detections(
    outputs: Mapping[str, np.ndarray],
    *,
    strides: Sequence[int],
    size_hw: tuple[int, int],
    placements: Sequence[Placement],
    class_names: Sequence[str],
    score_threshold: float,
    iou_threshold: float = 0.6,
    most: int = MOST,
    nms: bool = True,
) -> list[Detections]:
    """The objects of each image, best first and at most `most`, in pixels of the image that its placement tells of.

    `outputs`: ``scores`` (B, A, C) logits, ``boxes`` (B, A, 4) distances left, top, right, bottom from the anchors of
    `strides` in an input of `size_hw`; with ``coefficients`` (B, A, P) and ``prototypes`` (B, P, h, w) also masks:
    sigmoid(coefficients . prototypes) >= 0.5 within the box (YOLACT, Bolya et al. 2019, section 3.1). An anchor may
    give an object of each class whose score reaches `score_threshold`; `nms` suppresses within a class.
    Raises ValueError for shapes that don't fit each other, and for an output that isn't finite.
    """
    check_detection_shapes(
        {name: value.shape for name, value in outputs.items()},
        strides=strides, size_hw=size_hw, num_images=len(placements), num_classes=len(class_names),
    )  # fmt: skip
    _check_finite(outputs)
    anchors = anchor_points(size_hw, tuple(strides))
    results = []
    for number, placement in enumerate(placements):
        chosen, class_ids, scores = _candidates(outputs["scores"][number], score_threshold, CANDIDATES if nms else most)
        boxes = placement.to_image(_boxes(anchors[chosen], outputs["boxes"][number][chosen]))
        kept = _keep(boxes, scores, class_ids, iou_threshold if nms else None, most)
        masks = None
        if "prototypes" in outputs:
            coefficients = outputs["coefficients"][number][chosen[kept]]
            masks = _masks(coefficients, outputs["prototypes"][number], boxes[kept], placement)
        results.append(
            Detections(boxes[kept], scores[kept], class_ids[kept], tuple(class_names), placement.image_hw, masks)
        )
    return results


def decode_class_map(
    outputs: Mapping[str, np.ndarray], *, placements: Sequence[Placement], class_names: Sequence[str]
) -> list[ClassMap]:
    """The likeliest class of each pixel of each image: ``classes`` (B, C, h, w), logits, upsampled, then compared.

    Of equal logits the first class wins. Raises ValueError for shapes that don't fit each other, and for an output
    that isn't finite.
    """
    logits = outputs["classes"]
    if logits.ndim != 4 or logits.shape[:2] != (len(placements), len(class_names)) or 0 in logits.shape[2:]:
        raise ValueError(
            f"classes of shape {logits.shape} for {len(placements)} images and {len(class_names)} class names; "
            f"wanted ({len(placements)}, {len(class_names)}, height, width)"
        )
    _check_finite({"classes": logits})
    return [
        ClassMap(_likeliest(planes, placement), tuple(class_names))
        for planes, placement in zip(logits, placements, strict=True)
    ]


def check_detection_shapes(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    strides: Sequence[int],
    size_hw: tuple[int, int],
    num_images: int,
    num_classes: int,
) -> None:
    """Raises ValueError when the `shapes` of a detector's outputs, by name, don't fit its anchors and classes."""
    num_anchors = sum(math.prod(-(-side // stride) for side in size_hw) for stride in strides)
    wanted: dict[str, tuple[int, ...]] = {
        "scores": (num_images, num_anchors, num_classes),
        "boxes": (num_images, num_anchors, 4),
    }
    if "prototypes" in shapes or "coefficients" in shapes:
        given = shapes.get("prototypes", ())
        num_prototypes = given[1] if len(given) == 4 else 0
        wanted["coefficients"] = (num_images, num_anchors, num_prototypes)
        wanted["prototypes"] = (num_images, max(1, num_prototypes), *(max(1, side) for side in given[2:4]))
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise ValueError(
                f"output {name!r} of shape {shapes.get(name)}; {num_images} images of {size_hw[1]} x {size_hw[0]} "
                f"pixels, strides {', '.join(map(str, strides))} and {num_classes} classes give {shape}"
            )


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, C), float64, of `logits` (N, C) / `temperature`. Raises ValueError on NaN and infinity."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; it must be above zero")
    _check_finite({"logits": logits})
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    values: np.ndarray = 0.5 * (1 + np.tanh(0.5 * logits))
    return values


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


def _candidates(logits: np.ndarray, threshold: float, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors, classes and scores of the `most` best pairs of `logits` (A, C) that reach the threshold, best first."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"score_threshold={threshold}; it must lie in 0..1")
    values = logits.ravel()
    limit = math.log(threshold / (1 - threshold)) - 1e-6 if 0 < threshold < 1 else -math.inf  # then exactly, below
    pairs = np.flatnonzero(values >= limit)
    pairs = pairs[top_scores(values[pairs], most)]
    scores = sigmoid(values[pairs].astype(np.float64))
    pairs, scores = pairs[scores >= threshold], scores[scores >= threshold]
    return pairs // logits.shape[1], pairs % logits.shape[1], scores


def _boxes(anchors: np.ndarray, distances: np.ndarray) -> np.ndarray:
    corners = anchors - distances[:, :2], anchors + distances[:, 2:]
    return np.concatenate(corners, axis=1)


def _keep(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, iou_threshold: float | None, most: int
) -> np.ndarray:
    """Indices of the boxes to keep; one without area, as in the bars beside the image, is none."""
    real = np.flatnonzero(area_of(boxes) > 0)
    if iou_threshold is None:
        return real[:most]
    kept = suppress(boxes[real], scores[real], iou_threshold=iou_threshold, class_ids=class_ids[real], most=most)
    best: np.ndarray = real[kept]
    return best


def _masks(coefficients: np.ndarray, prototypes: np.ndarray, boxes: np.ndarray, placement: Placement) -> np.ndarray:
    """(N, H, W), bool; one object's floats at a time, and only those of its box."""
    grid_hw = (int(prototypes.shape[1]), int(prototypes.shape[2]))
    planes = sigmoid(coefficients.astype(np.float32) @ prototypes.reshape(len(prototypes), -1).astype(np.float32))
    masks = np.zeros((len(boxes), *placement.image_hw), np.bool_)
    for mask, plane, box in zip(masks, planes.reshape(-1, *grid_hw), boxes, strict=True):
        # A pixel belongs to the box that its centre lies in.
        left, top, right, bottom = (int(edge) for edge in np.ceil(box.astype(np.float64) - 0.5))
        values = upsample(plane, *grid_axes(grid_hw, placement, (left, top, right, bottom)))
        np.greater_equal(values, 0.5, out=mask[top:bottom, left:right])
    return masks


def _likeliest(planes: np.ndarray, placement: Placement) -> np.ndarray:
    """(H, W), uint8, of logits (C, h, w); strip by strip and class by class, so that C x H x W floats never exist."""
    height, width = placement.image_hw
    grid_hw = (int(planes.shape[1]), int(planes.shape[2]))
    found = np.zeros((height, width), np.uint8)
    step = max(1, STRIP // width)
    for top in range(0, height, step):
        strip = found[top : top + step]
        rows, columns = grid_axes(grid_hw, placement, (0, top, width, top + len(strip)))
        best = upsample(planes[0], rows, columns)
        for class_id, plane in enumerate(planes[1:], start=1):
            values = upsample(plane, rows, columns)
            np.copyto(strip, class_id, where=values > best)
            np.maximum(best, values, out=best)
    return found


def _check_finite(outputs: Mapping[str, np.ndarray]) -> None:
    if not all(np.isfinite(value).all() for value in outputs.values()):
        raise ValueError("the network's output is not finite: its weights are damaged or its training diverged")

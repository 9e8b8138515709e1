"""Boxes as arrays: anchors, overlap, and the suppression of boxes that say the same thing twice.

A box is (left, top, right, bottom), the edges in pixels, so that width = right - left.

>>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)
>>> suppress(boxes, np.array([0.8, 0.9, 0.3]), iou_threshold=0.5).tolist()
[1, 2]
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=16)
def anchor_points(size_hw: tuple[int, int], strides: tuple[int, ...]) -> np.ndarray:
    """Centres (A, 2), float32, x and y in pixels, of the cells of every level of an input of `size_hw`.

    Levels in the order of `strides`, each by rows; a level has ceil(size / stride) cells a side. Read-only.
    """
    levels = []
    for stride in strides:
        rows, columns = (-(-side // stride) for side in size_hw)
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        levels.append(np.stack([x.ravel(), y.ravel()], axis=1) * stride)
    points = np.concatenate(levels).astype(np.float32)
    points.flags.writeable = False
    return points


def area_of(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4); 0 for one whose edges are crossed."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    areas: np.ndarray = sides[:, 0] * sides[:, 1]
    return areas


def iou(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M), 0..1, of boxes (N, 4) and others (M, 4); 0 where both are empty."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = area_of(boxes_xyxy)[:, None] + area_of(others_xyxy)[None, :] - shared
    shares: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared, dtype=np.float64), where=union > 0)
    return shares


def suppress(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    *,
    iou_threshold: float,
    class_ids: np.ndarray | None = None,
    most: int | None = None,
) -> np.ndarray:
    """Indices, best first, of the boxes (N, 4) that no better box of their class overlaps by more than `iou_threshold`.

    Greedy non-maximum suppression; without `class_ids` (N,) all are of one class. Of equal scores the first wins. It
    ends at `most` boxes, so that it costs at most that many passes over the candidates.
    """
    order = np.argsort(-scores, kind="stable")
    edges = np.ascontiguousarray(boxes_xyxy[order].T, dtype=np.float64)
    if class_ids is not None and len(order):  # classes lie side by side, where they can't overlap
        edges += (class_ids[order] * (edges.max() - edges.min() + 1)).astype(np.float64)
    kept: list[int] = []
    while len(order) and (most is None or len(kept) < most):
        kept.append(int(order[0]))
        stays = _overlap_of_first(edges) <= iou_threshold
        order, edges = order[1:][stays], edges[:, 1:][:, stays]
    return np.array(kept, np.int64)


def top_scores(scores: np.ndarray, most: int) -> np.ndarray:
    """Indices of the `most` best of `scores` (N,), best first; of equal scores the first wins.

    >>> top_scores(np.array([0.1, 0.9, 0.9, 0.5]), 2).tolist()
    [1, 2]
    """
    if len(scores) > most:
        limit = np.partition(scores, len(scores) - most)[len(scores) - most]
        better, equal = np.flatnonzero(scores > limit), np.flatnonzero(scores == limit)
        chosen = np.sort(np.concatenate([better, equal[: most - len(better)]]))
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _overlap_of_first(edges: np.ndarray) -> np.ndarray:
    """Intersection over union (N - 1,) of the first of the boxes, `edges` (4, N), with each other one."""
    left, top, right, bottom = edges[:, 1:]
    width = np.minimum(right, edges[2, 0]) - np.maximum(left, edges[0, 0])
    height = np.minimum(bottom, edges[3, 0]) - np.maximum(top, edges[1, 0])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    own = (edges[2, 0] - edges[0, 0]) * (edges[3, 0] - edges[1, 0])
    union = own + (right - left) * (bottom - top) - shared
    shares: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares

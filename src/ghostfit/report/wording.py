"""How the report speaks of each task: by which figure it is judged, under which names, and what was asked for.

>>> wording_of("segment").metric, wording_of("another task").metric
('mIoU', 'accuracy')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Words and names of one task."""

    metric: str  # the figure inside a sentence
    title: str  # the figure at the head of a sentence or tile
    test_key: str  # of test.json
    val_key: str  # of a record of metrics.jsonl
    asked: str  # what the network is to do, after "Asked:", with the number of classes
    judged: str  # what a point of the trade-off says of a network
    validates: str  # what the validation split is for, beside checks during training


_SCORE = ", and the score from which on an answer counts"
WORDINGS: Mapping[str, Wording] = {
    "classify": Wording(
        metric="accuracy",
        title="Accuracy",
        test_key="accuracy",
        val_key="val_accuracy",
        asked="tell {} classes apart",
        judged="how many images of the search split it gets right",
        validates=", calibration, the “unsure” threshold",
    ),
    "detect": Wording(
        metric="mAP 50-95 of boxes",
        title="mAP 50-95 of boxes",
        test_key="map",
        val_key="val_map",
        asked="find the objects of {} classes",
        judged="its mAP 50-95 of boxes on the search split",
        validates=_SCORE,
    ),
    "instance": Wording(
        metric="mAP 50-95 of masks",
        title="mAP 50-95 of masks",
        test_key="map",
        val_key="val_map",
        asked="find and outline the objects of {} classes",
        judged="its mAP 50-95 of masks on the search split",
        validates=_SCORE,
    ),
    "segment": Wording(
        metric="mIoU",
        title="mIoU",
        test_key="miou",
        val_key="val_miou",
        asked="give every pixel one of {} classes",
        judged="its mIoU on the search split",
        validates="",
    ),
}


def wording_of(task: str) -> Wording:
    """The words of a task; those of a classification for one that is not known."""
    return WORDINGS.get(task, WORDINGS["classify"])

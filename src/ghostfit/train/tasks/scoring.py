"""Validation of detectors: results by `ghostfit.vision.decode` in pixels of the input, scored like an exported file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from ghostfit.train.task import Loader
from ghostfit.train.tasks.assign import CROWD, grid_of
from ghostfit.train.tasks.dense import Outputs, passes
from ghostfit.vision.decode import SCORE_FLOOR, decode_detections
from ghostfit.vision.detection_metrics import detection_report
from ghostfit.vision.objects import Objects
from ghostfit.vision.placement import Placement

NOTHING = {"map": 0.0, "map50": 0.0, "standard_error": None, "operating_point": {"score": None}}
OUTPUTS = ("scores", "boxes", "coefficients", "prototypes")


def score_objects(
    network: nn.Module,
    batches: Loader,
    loss: Callable[[Outputs, Mapping[str, Tensor]], Tensor],
    *,
    autocast: Callable[[], AbstractContextManager[object]],
    sizes_hw: Sequence[tuple[int, int]],
    strides: tuple[int, ...],
    kind: Literal["boxes", "masks"],
    nms: bool = True,
    wanted_recall: float | None = None,
    wanted_precision: float | None = None,
) -> dict[str, Any]:
    """The `detection_report` on all images of `batches`, in pixels of the input, and the mean ``loss``.

    `sizes_hw` are the input sizes that outputs may come from, that of the labels first. Masks are compared at the size
    at which they are labelled. A network whose outputs are not finite scores 0. Raises
    ValueError when there are no batches.
    """
    results, truths, losses, num_classes, size_hw = [], [], [], 1, sizes_hw[0]
    for outputs, y in passes(network, batches, autocast):
        if not all(bool(output.isfinite().all()) for output in outputs):
            return {**NOTHING, "loss": math.inf}
        losses += [float(loss(outputs, y))] * len(y["classes"])
        num_classes = outputs[0].shape[2]
        names = tuple(str(index) for index in range(num_classes))
        image_hw = (y["masks"].shape[2], y["masks"].shape[3]) if kind == "masks" else size_hw
        scale_xy = (image_hw[1] / size_hw[1], image_hw[0] / size_hw[0])
        own_hw = grid_of(outputs[0].shape[1], sizes_hw, strides, outputs[0].device).size_hw
        truths += list(objects_of(y, num_classes, scale_xy))
        results += decode_detections(
            {name: output.cpu().numpy() for name, output in zip(OUTPUTS, outputs, strict=False)},
            strides=strides,
            size_hw=own_hw,
            placements=[_placement(image_hw, own_hw)] * len(y["classes"]),
            class_names=names,
            score_threshold=SCORE_FLOOR,
            nms=nms,
        )
    report = detection_report(
        results, truths, names, kind=kind, wanted_recall=wanted_recall, wanted_precision=wanted_precision
    )
    return {**report, "loss": float(np.mean(losses))}


def figures_of(report: Mapping[str, Any]) -> dict[str, float]:
    """``val_map``, ``val_map50`` and ``val_loss`` of a report, and ``standard_error`` where it is known."""
    values = {"val_map": report["map"] or 0.0, "val_map50": report["map50"] or 0.0, "val_loss": report["loss"]}
    error = report["standard_error"]
    return values if error is None else {**values, "standard_error": error}


def objects_of(y: Mapping[str, Tensor], num_classes: int, scale_xy: tuple[float, float]) -> Iterator[Objects]:
    """The labelled objects of each image of a batch, boxes times `scale_xy`.

    A crowd has lost its class: it is given to every class, so that nothing found in it is wrong.
    """
    arrays = {name: value.cpu().numpy() for name, value in y.items()}
    boxes = arrays["boxes"] * np.array([*scale_xy, *scale_xy], np.float32)
    for number, classes in enumerate(arrays["classes"]):
        rows, crowds = np.flatnonzero(classes >= 0), np.flatnonzero(classes == CROWD)
        chosen = np.concatenate([rows, np.repeat(crowds, num_classes)])
        class_ids = np.concatenate([classes[rows], np.tile(np.arange(num_classes), len(crowds))])
        yield Objects(
            boxes[number][chosen],
            class_ids,
            np.arange(len(chosen)) >= len(rows),
            arrays["masks"][number][chosen] if "masks" in arrays else None,
        )


def _placement(image_hw: tuple[int, int], size_hw: tuple[int, int]) -> Placement:
    """An image that fills the input, be it smaller."""
    scale_xy = (size_hw[1] / image_hw[1], size_hw[0] / image_hw[0])
    return Placement(image_hw=image_hw, input_hw=size_hw, scale_xy=scale_xy, offset_xy=(0.0, 0.0))

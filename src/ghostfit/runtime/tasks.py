"""What a bundle's task changes between raw outputs and results: one row of `WAYS` for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ghostfit.runtime.manifest import Manifest
from ghostfit.vision.decode import (
    check_detection_shapes,
    decode_class_map,
    decode_classification,
    decode_detections,
)
from ghostfit.vision.placement import Placement
from ghostfit.vision.results import Result

Outputs: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """How the outputs of one task are taken.

    `check` raises ValueError when the outputs of one image don't fit the manifest. `decode` gives the results of a
    batch, each in pixels of the image that its placement tells of; objects from a score on, the bundle's where None.
    """

    check: Callable[[Manifest, Outputs], None]
    decode: Callable[[Manifest, Outputs, Sequence[Placement], float | None], list[Result]]


def _check_logits(manifest: Manifest, outputs: Outputs) -> None:
    shape, wanted = outputs[manifest.outputs[0]].shape, len(manifest.class_names)
    if shape != (1, wanted):
        raise ValueError(f"the network gives {shape}, its manifest names {wanted} classes")


def _decode_logits(
    manifest: Manifest, outputs: Outputs, placements: Sequence[Placement], score_from: float | None
) -> list[Result]:
    rule = manifest.decode
    return [
        *decode_classification(
            outputs[manifest.outputs[0]],
            class_names=manifest.class_names,
            temperature=rule.temperature,
            threshold=rule.threshold,
        )
    ]


def _check_objects(manifest: Manifest, outputs: Outputs) -> None:
    check_detection_shapes(
        {name: outputs[name].shape for name in manifest.outputs},
        strides=manifest.decode.strides,
        size_hw=manifest.prepare.size_hw,
        num_images=1,
        num_classes=len(manifest.class_names),
    )


def _decode_objects(
    manifest: Manifest, outputs: Outputs, placements: Sequence[Placement], score_from: float | None
) -> list[Result]:
    rule = manifest.decode
    return [
        *decode_detections(
            outputs,
            strides=rule.strides,
            size_hw=manifest.prepare.size_hw,
            placements=placements,
            class_names=manifest.class_names,
            score_threshold=rule.score_threshold if score_from is None else score_from,
            iou_threshold=rule.iou_threshold,
            nms=rule.nms,
        )
    ]


def _check_class_map(manifest: Manifest, outputs: Outputs) -> None:
    shape, wanted = outputs["classes"].shape, len(manifest.class_names)
    if len(shape) != 4 or shape[:2] != (1, wanted) or 0 in shape:
        raise ValueError(f"output 'classes' of shape {shape}; {wanted} classes give (1, {wanted}, height, width)")


def _decode_class_map(
    manifest: Manifest, outputs: Outputs, placements: Sequence[Placement], score_from: float | None
) -> list[Result]:
    return [*decode_class_map(outputs, placements=placements, class_names=manifest.class_names)]


_OBJECTS = Way(_check_objects, _decode_objects)
WAYS: Mapping[str, Way] = {
    "classify": Way(_check_logits, _decode_logits),
    "detect": _OBJECTS,
    "instance": _OBJECTS,
    "segment": Way(_check_class_map, _decode_class_map),
}

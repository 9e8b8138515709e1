"""Score a bundle on labelled images: the same figures as after training, from the file that ships."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, tee
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ghostfit.runtime.predict import Model, load
from ghostfit.vision.decode import SCORE_FLOOR
from ghostfit.vision.detection_metrics import Kind, detection_report
from ghostfit.vision.metrics import classification_report
from ghostfit.vision.objects import Objects
from ghostfit.vision.prepare import ImageError, ImageSource
from ghostfit.vision.segmentation_metrics import segmentation_report

MAIN_METRIC: Mapping[str, str] = {"classify": "accuracy", "detect": "map", "instance": "map", "segment": "miou"}


@runtime_checkable
class Readable(Protocol):
    """A label that is read when it is needed, such as the target of a data set's sample."""

    def read(self) -> Any:
        """The label. Raises ValueError or OSError when it is damaged."""
        ...


Samples: TypeAlias = "Iterable[tuple[ImageSource, int | Objects | np.ndarray | Readable]]"
Skipped: TypeAlias = "list[dict[str, Any]]"


def score_bundle(bundle: str | Path | Model, samples: Samples, *, batch: int = 16) -> dict[str, Any]:
    """All figures of a bundle over `samples`, pairs of image and label; ready for JSON.

    A label is what the task has: a class index, `Objects` or a class map (H, W), in the bundle's classes and the
    image's pixels, or what reads one. The figures are those of `classification_report`, `detection_report` or
    `segmentation_report`; the main one is named in `MAIN_METRIC`. A sample that can't be read is left out and listed
    under ``skipped`` with its place and the reason. Raises ValueError when none is left.
    """
    model = bundle if isinstance(bundle, Model) else load(bundle)
    skipped: Skipped = []
    report = SCORES[model.manifest.task](model, samples, batch, skipped)
    return {**report, "skipped": skipped}


def collect_logits(
    model: Model, samples: Iterable[tuple[ImageSource, int]], *, batch: int = 16
) -> tuple[np.ndarray, np.ndarray, Skipped]:
    """Raw outputs (N, num_classes), labels (N,) and the samples left out, each with ``index`` and ``reason``."""
    outputs, labels = [model.logits([])], []
    skipped: Skipped = []
    for images, own in _batches(model, samples, batch, skipped):
        outputs.append(model.logits([pixels for pixels, _ in images]))
        labels += own
    return np.concatenate(outputs), np.array(labels, np.int64), skipped


def _score_classes(model: Model, samples: Samples, batch: int, skipped: Skipped) -> dict[str, Any]:
    logits, labels, left_out = collect_logits(model, samples, batch=batch)  # type: ignore[arg-type]
    skipped += left_out
    rule, names = model.manifest.decode, model.manifest.class_names
    return classification_report(logits, labels, names, temperature=rule.temperature, threshold=rule.threshold)


def _score_objects(kind: Kind) -> Score:
    def score(model: Model, samples: Samples, batch: int, skipped: Skipped) -> dict[str, Any]:
        found, truths = _decoded(model, samples, batch, skipped)
        score = model.manifest.decode.score_threshold
        return detection_report(found, truths, model.manifest.class_names, kind=kind, at_score=score)

    return score


def _score_maps(model: Model, samples: Samples, batch: int, skipped: Skipped) -> dict[str, Any]:
    maps, truths = _decoded(model, samples, batch, skipped)
    return segmentation_report(maps, truths, model.manifest.class_names)


Score: TypeAlias = "Callable[[Model, Samples, int, Skipped], dict[str, Any]]"
SCORES: Mapping[str, Score] = {
    "classify": _score_classes,
    "detect": _score_objects("boxes"),
    "instance": _score_objects("masks"),
    "segment": _score_maps,
}


def _decoded(model: Model, samples: Samples, batch: int, skipped: Skipped) -> tuple[Iterator[Any], Iterator[Any]]:
    """Results and labels of the same images, a batch at a time as long as both are read in step."""
    pairs = (
        pair
        for images, labels in _batches(model, samples, batch, skipped)
        for pair in zip(model.results(images, score_from=SCORE_FLOOR), labels, strict=True)
    )
    found, truths = tee(pairs)
    return (result for result, _ in found), (label for _, label in truths)


def _batches(
    model: Model, samples: Samples, batch: int, skipped: Skipped
) -> Iterator[tuple[list[tuple[np.ndarray, tuple[int, int]]], list[Any]]]:
    """Images as `Model.read` gives them, and their labels, `batch` samples at a time; notes what can't be read."""
    numbered = enumerate(samples)
    while chunk := list(islice(numbered, batch)):
        images: list[tuple[np.ndarray, tuple[int, int]]] = []
        labels: list[Any] = []
        for index, (source, label) in chunk:
            try:
                image = model.read(source)
                labels.append(label.read() if isinstance(label, Readable) else label)
                images.append(image)
            except (ImageError, OSError, ValueError) as error:
                skipped.append({"index": index, "reason": str(error)})
        if images:
            yield images, labels

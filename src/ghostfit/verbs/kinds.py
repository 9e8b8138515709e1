"""What the verbs need to know of each task: one row in `KINDS`.

>>> {task: kind.metric_name for task, kind in KINDS.items()}["segment"]
'mIoU'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ghostfit.runtime.score import MAIN_METRIC, collect_logits, score_bundle
from ghostfit.verbs.mistakes import mistakes_of
from ghostfit.vision.calibrate import choose_threshold, fit_temperature
from ghostfit.vision.decode import softmax
from ghostfit.vision.metrics import classification_report

if TYPE_CHECKING:
    from ghostfit.data.dataset import Sample
    from ghostfit.nn.build import Network
    from ghostfit.runtime.predict import Model
    from ghostfit.verbs.material import Material

Report = dict[str, Any]
Wanted = Mapping[str, float | None]  # ``wanted_recall`` and ``wanted_precision`` of a detector
SUMMARY = (
    "accuracy", "balanced_accuracy", "loss", "ece", "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "miou", "pixel_accuracy", "dice", "boundary_f", "standard_error", "num_images", "num_objects",
)  # fmt: skip
MANY_IMAGES, SMALL_SIDE = 10_000, 48  # from so many images of at most so many pixels a side, steps are larger


@dataclass(frozen=True)
class Kind:
    """How the verbs treat networks of one task.

    `batch_size` images make a step unless the user says otherwise; `passes` over a small set are what a final network
    and a store should see. `calibrate` gives, for a network and its images, the settings of its decoding chosen on the
    validation split, and the report they were chosen by. `score` is the report of a bundle on samples, with pictures
    of its worst answers.
    """

    metric_name: str
    batch_size: int
    passes: tuple[int, int]
    calibrate: Callable[[Network, Material, Wanted], tuple[dict[str, Any], Report]]
    score: Callable[[Model, Sequence[Sample]], Report]


def kind_of(task: str) -> Kind:
    """The row of a task."""
    return KINDS[task]


def batch_size_of(task: str, num_images: int, size_hw: tuple[int, int]) -> int:
    """Images in a step of a training on `num_images` images, unless the user says otherwise.

    Many small images go in larger steps: they need no more of them, and a step's fixed cost, the optimizer's, is as
    high as that of 128 small images (measured, docs/LOG.md, 2026-12-01).

    >>> batch_size_of("classify", 50_000, (32, 32)), batch_size_of("classify", 2_000, (32, 32))
    (128, 64)
    """
    usual = kind_of(task).batch_size
    is_light = task == "classify" and num_images >= MANY_IMAGES and max(size_hw) <= SMALL_SIDE
    return 2 * usual if is_light else usual


def main_figure(task: str, report: Mapping[str, Any]) -> float:
    """The figure of a report that its task is judged by, 0..1; 0 where it has nothing to stand on."""
    return float(report[MAIN_METRIC[task]] or 0.0)


def summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a report that a manifest keeps."""
    return {name: report[name] for name in SUMMARY if name in report}


def check_wanted(recall: float | None, precision: float | None) -> None:
    """Raise ValueError for an operating point that can't be."""
    if recall is not None and precision is not None:
        raise ValueError("--recall and --precision are both given; one of them decides the score")
    for name, share in (("recall", recall), ("precision", precision)):
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"--{name} {share:g} is not allowed; give a share above 0, up to 1")


def content_of(sample: Any) -> Any:
    """The image of a sample; empty bytes, which count as an image that can't be read, where it has vanished."""
    try:
        return sample.source.read()
    except (OSError, ValueError):
        return b""


def _calibrate_classes(network: Network, material: Material, wanted: Wanted) -> tuple[dict[str, Any], Report]:
    from ghostfit.train.evaluate import evaluate

    logits, labels = evaluate(network, material.evaluating(["val"]))
    temperature = fit_temperature(logits, labels)
    rule = {"temperature": temperature, "threshold": choose_threshold(softmax(logits, temperature), labels)}
    return rule, classification_report(logits, labels, material.dataset.class_names, **rule)


def _calibrate_objects(network: Network, material: Material, wanted: Wanted) -> tuple[dict[str, Any], Report]:
    from ghostfit.verbs.training import task_of

    batches = material.evaluating(["val"])
    report = task_of(network, batches).report(network, batches, **wanted)
    score = report["operating_point"]["score"]
    return {} if score is None else {"score_threshold": score}, report


def _calibrate_maps(network: Network, material: Material, wanted: Wanted) -> tuple[dict[str, Any], Report]:
    from ghostfit.verbs.training import task_of

    batches = material.evaluating(["val"])
    return {}, task_of(network, batches).report(network, batches)


def _score_classes(model: Model, samples: Sequence[Sample]) -> Report:
    logits, labels, skipped = collect_logits(model, ((content_of(sample), sample.label) for sample in samples))
    lost = {entry["index"] for entry in skipped}
    rule, names = model.manifest.decode, model.manifest.class_names
    report = classification_report(logits, labels, names, temperature=rule.temperature, threshold=rule.threshold)
    kept = [sample for number, sample in enumerate(samples) if number not in lost]
    return {
        **report,
        "skipped": skipped,
        "mistakes": mistakes_of(kept, softmax(logits, rule.temperature), labels, names),
    }


def _score_places(model: Model, samples: Sequence[Sample]) -> Report:
    from ghostfit.verbs.pictures import pictures_of

    report = score_bundle(model, ((content_of(sample), sample.target) for sample in samples))  # type: ignore[misc]
    return {**report, "pictures": pictures_of(model, samples, report)}


_OBJECT_PASSES = (120, 120)  # detectors learn from scratch on few images; YOLO's recipes have 100 to 600 (dense.md)
KINDS: Mapping[str, Kind] = {
    "classify": Kind("accuracy", 64, (60, 50), _calibrate_classes, _score_classes),
    "detect": Kind("mAP 50-95", 16, _OBJECT_PASSES, _calibrate_objects, _score_places),
    "instance": Kind("mask mAP 50-95", 16, _OBJECT_PASSES, _calibrate_objects, _score_places),
    "segment": Kind("mIoU", 16, (60, 50), _calibrate_maps, _score_places),
}

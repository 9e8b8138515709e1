"""How good are these detections? COCO's mean average precision, and what a person needs besides it.

The average precisions are faster-coco-eval's, which are those of COCO's own tools (Lin et al. 2014; cocodataset/
cocoapi, cocoeval.py): mean over IoU 0.50 to 0.95, 101 recalls, at most 100 objects an image. The rest is counted at
IoU 0.5: an operating point, a confusion matrix with the background as a class, and the worst errors.

>>> from ghostfit.vision.objects import Objects
>>> truth = Objects(np.array([[0, 0, 40, 40]]), np.array([0]))
>>> found = Detections(truth.boxes_xyxy, np.array([0.9]), np.array([0]), ("cell",), (50, 50))
>>> report = detection_report([found], [truth], ("cell",))
>>> round(report["map"], 3), report["operating_point"]["f1"]
(1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ghostfit.vision.coco import as_annotations, mask_codes
from ghostfit.vision.matching import Match, confusion_of, match_image, worst_errors
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections

Kind = Literal["boxes", "masks"]

IOU = 0.5  # of the operating point and the confusion: Pascal VOC's, Everingham et al. 2010, section 4.2
AREAS = ("all", "small", "medium", "large")  # below 32 x 32 pixels, below 96 x 96, above: cocoeval.py
RESAMPLES = 100  # of the images, for the standard error
RESAMPLING_WORK = 1_500_000  # detections and pairs of image and class that are gone through for it: about 3 s


def detection_report(
    results: Iterable[Detections],
    truths: Iterable[Objects],
    class_names: Sequence[str],
    *,
    kind: Kind = "boxes",
    wanted_recall: float | None = None,
    wanted_precision: float | None = None,
    at_score: float | None = None,
) -> dict[str, Any]:
    """All figures of a detector, ready for JSON, of `results` and `truths` in pairs; they are gone through once.

    `kind` says what must overlap. Give results down to a low score, as the whole curve is read. Shares lie in 0..1;
    a figure that has no objects to stand on is None. ``map`` is COCO's; ``standard_error`` is that of ``map``, by
    drawing the images anew (bootstrap), None for sets too large to do so cheaply. ``operating_point`` is the score
    from which on an answer is taken: `at_score`, chosen on other images; or, chosen on these, the best F1, the
    highest score that reaches `wanted_recall`, or the lowest that keeps `wanted_precision`; ``per_class`` precision
    and recall, ``confusion`` (row the true class, column the answer, the last of each the background) and ``worst``
    are at that score. Regions marked as crowd are neither wanted nor wrong to find. Raises ValueError when there
    are no images or a result lacks masks, ImportError without faster-coco-eval.
    """
    if kind not in ("boxes", "masks"):
        raise ValueError(f"kind={kind!r}; allowed: boxes, masks")
    if sum(wish is not None for wish in (wanted_recall, wanted_precision, at_score)) > 1:
        raise ValueError("of wanted_recall, wanted_precision and at_score several are given; one decides the score")
    content: dict[str, list[Any]] = {"images": [], "truths": [], "found": []}
    matches: list[Match] = []
    for index, (found, truth) in enumerate(zip(results, truths, strict=True)):
        _check(found, truth, len(class_names), kind)
        codes = [mask_codes(part.masks) if kind == "masks" else None for part in (found, truth)]
        content["images"].append({"id": index + 1, "height": found.size_hw[0], "width": found.size_hw[1]})
        content["found"] += as_annotations(found, index + 1, len(content["found"]) + 1, codes[0])
        content["truths"] += as_annotations(truth, index + 1, len(content["truths"]) + 1, codes[1])
        matches.append(match_image(found, truth, codes[0], codes[1], IOU))
    if not matches:
        raise ValueError("no images to score")
    evaluator = _evaluate(content, class_names, kind)
    point = _operating_point(matches, wanted_recall, wanted_precision, at_score)
    return {
        "kind": kind,
        "num_images": len(matches),
        "num_objects": sum(int((~match.is_crowd).sum()) for match in matches),
        **_averages(evaluator),
        "standard_error": _standard_error(evaluator, len(matches), len(content["found"])),
        "operating_point": point,
        "per_class": _per_class(evaluator, matches, point["score"], class_names),
        "precision_recall": _curves(evaluator, class_names),
        "confusion": confusion_of(matches, point["score"], len(class_names)).tolist(),
        "class_names": list(class_names),
        "worst": worst_errors(matches, point["score"], class_names),
    }


def _check(found: Detections, truth: Objects, num_classes: int, kind: Kind) -> None:
    if len(truth) and not 0 <= truth.class_ids.min() <= truth.class_ids.max() < num_classes:
        raise ValueError(f"an object of class {truth.class_ids.max()}; there are {num_classes} classes")
    if len(found) and found.class_ids.max() >= num_classes:
        raise ValueError(f"a detection of class {found.class_ids.max()}; there are {num_classes} classes")
    for part, name in ((found, "results"), (truth, "truths")):
        if kind == "masks" and len(part) and part.masks is None:
            raise ValueError(f"the {name} have no masks; score them with kind='boxes'")
        if kind == "masks" and part.masks is not None and part.masks.shape[1:] != found.size_hw and len(part):
            raise ValueError(f"masks of {part.masks.shape[1:]} for an image of {found.size_hw}")


def _evaluate(content: dict[str, list[Any]], class_names: Sequence[str], kind: Kind) -> Any:
    """COCO's evaluation, gone through; it prints nothing."""
    from faster_coco_eval import COCO, COCOeval_faster

    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    sides = [
        COCO({"images": content["images"], "annotations": content[part], "categories": categories})
        for part in ("truths", "found")
    ]
    evaluator = COCOeval_faster(
        *sides, "bbox" if kind == "boxes" else "segm", print_function=_silent, separate_eval=True
    )
    evaluator.params.maxDets = [100]
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def _silent(*_: object) -> None:
    """Where faster-coco-eval may print to."""


def _precision(evaluator: Any, iou: float | None = None, area: str = "all") -> np.ndarray:
    """Precisions (T, 101, C) at the IoU, or at all of them; -1 where there are no objects."""
    precision: np.ndarray = evaluator.eval["precision"][..., AREAS.index(area), -1]
    return precision if iou is None else precision[[round((iou - 0.5) / 0.05)]]


def _mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if len(known) else None


def _averages(evaluator: Any) -> dict[str, float | None]:
    return {
        "map": _mean(_precision(evaluator)),
        "map50": _mean(_precision(evaluator, 0.5)),
        "map75": _mean(_precision(evaluator, 0.75)),
        **{f"map_{area}": _mean(_precision(evaluator, area=area)) for area in AREAS[1:]},
        "average_recall": _mean(evaluator.eval["recall"][..., 0, -1]),
    }


def _standard_error(evaluator: Any, num_images: int, num_found: int) -> float | None:
    """Deviation of the mean average precision when the images are drawn anew; the matching is done already."""
    num_classes = len(evaluator.params.catIds)
    num_resamples = min(RESAMPLES, RESAMPLING_WORK // (num_found + num_images * num_classes))
    if num_images < 2 or num_resamples < RESAMPLES // 5:
        return None
    # One entry for each class, area and image, in this order; only those of all areas are drawn.
    entries = np.array(evaluator._evalImgs_cpp, dtype=object).reshape(num_classes, len(AREAS), num_images)[:, 0]
    kept = evaluator._paramsEval, evaluator._evalImgs_cpp, evaluator.eval
    evaluator._paramsEval.areaRng, evaluator._paramsEval.areaRngLbl = evaluator.params.areaRng[:1], ["all"]
    rng, means = np.random.default_rng(0), []
    for _ in range(num_resamples):
        evaluator._evalImgs_cpp = entries[:, rng.integers(num_images, size=num_images)].ravel().tolist()
        evaluator.accumulate()
        means.append(_mean(_precision(evaluator)))
    evaluator._paramsEval, evaluator._evalImgs_cpp, evaluator.eval = kept
    known = [mean for mean in means if mean is not None]
    return float(np.std(known)) if len(known) > 1 else None


def _operating_point(
    matches: Sequence[Match], wanted_recall: float | None, wanted_precision: float | None, at_score: float | None
) -> dict[str, Any]:
    """The score from which on answers are taken, by the wish or the best F1, and what it gives over all classes."""
    scores = np.concatenate([match.scores for match in matches])
    is_right = np.concatenate([match.is_right for match in matches])
    counts = ~np.concatenate([match.is_ignored for match in matches])
    num_objects = sum(int((~match.is_crowd).sum()) for match in matches)
    order = np.argsort(-scores[counts], kind="stable")
    scores, right = scores[counts][order], np.cumsum(is_right[counts][order])
    # Equal scores stand or fall together: only the last of them is a place to cut.
    places = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    recall = right[places] / max(1, num_objects)
    precision = right[places] / (places + 1)
    f1 = 2 * right[places] / (places + 1 + num_objects) if num_objects else np.zeros(len(places))
    if at_score is not None:
        rule, reached = "given score", np.flatnonzero(scores[places] >= at_score)[-1:]
        if not len(reached):
            return {"rule": rule, "score": at_score, "precision": None, "recall": 0.0, "f1": 0.0}
    elif wanted_recall is not None:
        rule, reached = f"recall of at least {wanted_recall:g}", np.flatnonzero(recall >= wanted_recall)[:1]
    elif wanted_precision is not None:
        rule, reached = (
            f"precision of at least {wanted_precision:g}",
            np.flatnonzero(precision >= wanted_precision)[-1:],
        )
    else:
        rule, reached = "best F1", np.flatnonzero(f1 > 0)[:1] if not len(f1) else np.array([f1.argmax()])
    if not num_objects or not len(reached):
        return {"rule": rule, "score": None, "precision": None, "recall": None, "f1": None}
    place = int(reached[0])
    return {
        "rule": rule,
        "score": float(scores[places[place]]) if at_score is None else at_score,
        "precision": float(precision[place]),
        "recall": float(recall[place]),
        "f1": float(f1[place]),
    }


def _per_class(
    evaluator: Any, matches: Sequence[Match], score: float | None, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for class_id, name in enumerate(class_names):
        precision = _precision(evaluator)[..., class_id]
        right = wrong = objects = images = 0
        for match in matches:
            own = (match.found_ids == class_id) & ~match.is_ignored & (match.scores >= (2 if score is None else score))
            right += int((own & match.is_right).sum())
            wrong += int((own & ~match.is_right).sum())
            there = int(((match.true_ids == class_id) & ~match.is_crowd).sum())
            objects, images = objects + there, images + bool(there)
        rows.append(
            {
                "name": name,
                "map": _mean(precision),
                "map50": _mean(precision[0]),
                "precision": right / (right + wrong) if right + wrong else None,
                "recall": right / objects if objects else None,
                "f1": 2 * right / (right + wrong + objects) if right + wrong + objects else None,
                "num_objects": objects,
                "num_images": images,
            }
        )
    return rows


def _curves(evaluator: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """Precision of each class at 101 recalls, IoU 0.5, and the score it takes; None for a class without objects."""
    precision, scores = _precision(evaluator, 0.5)[0], evaluator.eval["scores"][0, :, :, 0, -1]
    return {
        "recall": [round(float(recall), 2) for recall in evaluator.params.recThrs],
        "classes": [
            {
                "name": name,
                "precision": None if column[0] < 0 else [round(float(value), 4) for value in column],
                "score": None if column[0] < 0 else [round(float(value), 4) for value in scores[:, index]],
            }
            for index, (name, column) in enumerate(zip(class_names, precision.T, strict=True))
        ],
    }

import contextlib
import io
import json

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval")

from ghostfit.vision.detection_metrics import detection_report
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections
from ghostfit.vision.rle import encode_mask

NAMES = ("ant", "bee", "cat", "none of these")
SIDE = 210


def blobs(boxes):
    """Masks that fill the boxes but for a corner."""
    masks = np.zeros((len(boxes), SIDE, SIDE), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top : bottom + 1, left : right + 1] = True
        mask[top, left] = False
    return masks


def make_set(num_images, seed, *, with_masks):
    """Objects, some of them crowds, and three shaken answers to each, some of another class, with equal scores."""
    rng, results, truths = np.random.default_rng(seed), [], []
    for _ in range(num_images):
        corners = rng.random((int(rng.integers(0, 8)), 2)) * 100
        boxes = np.clip(np.concatenate([corners, corners + 5 + rng.random(corners.shape) * 120], axis=1), 0, 200)
        classes, crowd = rng.integers(0, 3, len(boxes)), rng.random(len(boxes)) < 0.15
        near = np.repeat(np.arange(len(boxes)), 3)
        found = boxes[near] + rng.normal(size=(len(near), 4)) * 6
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        found = np.clip(found, 0, 201)
        named = np.where(rng.random(len(near)) < 0.1, rng.integers(0, 3, len(near)), classes[near])
        scores = np.round(rng.random(len(near)), 2)
        truths.append(Objects(boxes, classes, crowd, blobs(boxes) if with_masks else None))
        masks = blobs(found) if with_masks else None
        results.append(Detections(found, scores, named, NAMES, (SIDE, SIDE), masks))
    return results, truths


def coco_entries(objects, image_id, kind):
    for number, (left, top, right, bottom) in enumerate(objects.boxes_xyxy.astype(float).tolist()):
        entry = {
            "image_id": image_id,
            "category_id": int(objects.class_ids[number]) + 1,
            "bbox": [left, top, right - left, bottom - top],
        }
        if kind == "masks":
            entry["segmentation"] = encode_mask(objects.masks[number])
            del entry["bbox"]
        yield number, entry


def pycocotools_stats(results, truths, kind):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, found = [], []
    for image_id, (result, truth) in enumerate(zip(results, truths, strict=True), start=1):
        for number, entry in coco_entries(truth, image_id, kind):
            left, top, right, bottom = truth.boxes_xyxy[number].astype(float)
            area = (right - left) * (bottom - top) if kind == "boxes" else int(truth.masks[number].sum())
            crowd = int(truth.is_crowd[number])
            annotations.append({**entry, "id": len(annotations) + 1, "area": area, "iscrowd": crowd})
        found += [
            {**entry, "score": float(result.scores[number])} for number, entry in coco_entries(result, image_id, kind)
        ]
    truth_side = COCO()
    truth_side.dataset = {
        "info": {},
        "images": [{"id": number + 1, "height": SIDE, "width": SIDE} for number in range(len(truths))],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth_side.createIndex()
        evaluation = COCOeval(truth_side, truth_side.loadRes(found), "bbox" if kind == "boxes" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize("seed", range(3))
def test_average_precisions_are_those_of_cocos_own_tools(kind, seed, capfd):
    results, truths = make_set(25, seed, with_masks=kind == "masks")
    report = detection_report(iter(results), iter(truths), NAMES, kind=kind)
    assert capfd.readouterr().out == ""
    stats = pycocotools_stats(results, truths, kind)
    for name, value in zip(("map", "map50", "map75", "map_small", "map_medium", "map_large"), stats[:6], strict=True):
        assert report[name] == pytest.approx(value, abs=1e-9), name
    assert report["average_recall"] == pytest.approx(stats[8], abs=1e-9)
    assert 0 < report["standard_error"] < 0.1
    assert report["per_class"][3]["map"] is None
    known = [row["map"] for row in report["per_class"][:3]]
    assert np.mean(known) == pytest.approx(report["map"])
    json.dumps(report, allow_nan=False)


def cell(*boxes, classes=None, scores=None, crowd=()):
    classes = [0] * len(boxes) if classes is None else classes
    if scores is None:
        return Objects(np.array(boxes), np.array(classes), np.array(crowd, bool))
    return Detections(np.array(boxes), np.array(scores), np.array(classes), NAMES, (100, 100))


A, B, C = (0, 0, 10, 10), (50, 50, 60, 60), (80, 0, 100, 40)


def test_a_case_worked_by_hand():
    """Answers by score: right, a second time the same, right, nothing there. Three objects."""
    found = cell(A, A, B, (20, 80, 30, 90), scores=[0.9, 0.8, 0.7, 0.6])
    report = detection_report([found], [cell(A, B, C)], NAMES)
    # Precision at the recalls 0..1/3 is 1, up to 2/3 it is 2/3, then 0: 34 and 33 of the 101 places.
    assert report["map50"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert report["operating_point"] == {
        "rule": "best F1", "score": pytest.approx(0.7), "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3,
    }  # fmt: skip
    assert report["confusion"][0] == [2, 0, 0, 0, 1] and report["confusion"][4] == [1, 0, 0, 0, 0]
    assert report["worst"]["misses"] == [{"image": 0, "label": "ant", "box_xyxy": list(C), "object": 2}]
    assert [entry["detection"] for entry in report["worst"]["false_alarms"]] == [1]
    assert report["per_class"][0]["precision"] == pytest.approx(2 / 3)
    assert report["standard_error"] is None  # of one image


def test_a_wanted_recall_or_precision_moves_the_point():
    found = [cell(A, A, B, (20, 80, 30, 90), C, scores=[0.9, 0.8, 0.7, 0.6, 0.5])]
    truths = [cell(A, B, C)]
    points = [
        detection_report(found, truths, NAMES, **wish)["operating_point"]
        for wish in ({"wanted_recall": 1.0}, {"wanted_precision": 1.0}, {"wanted_precision": 0.66})
    ]
    assert [point["score"] for point in points] == pytest.approx([0.5, 0.9, 0.7])
    never = detection_report([cell(A, scores=[0.9])], truths, NAMES, wanted_recall=0.9)
    assert never["operating_point"]["score"] is None and never["confusion"][0][4] == 3
    with pytest.raises(ValueError, match="one decides"):
        detection_report(found, truths, NAMES, wanted_recall=0.5, wanted_precision=0.5)


def test_a_score_chosen_on_other_images_is_kept():
    found = [cell(A, A, B, (20, 80, 30, 90), C, scores=[0.9, 0.8, 0.7, 0.6, 0.5])]
    report = detection_report(found, [cell(A, B, C)], NAMES, at_score=0.65)
    assert report["operating_point"] == {
        "rule": "given score", "score": 0.65, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3,
    }  # fmt: skip
    assert report["confusion"][0] == [2, 0, 0, 0, 1]
    nothing = detection_report(found, [cell(A, B, C)], NAMES, at_score=0.95)
    assert nothing["operating_point"]["recall"] == 0 and nothing["operating_point"]["precision"] is None
    assert nothing["map"] == report["map"], "the average reads the whole curve"


def test_equal_scores_stand_or_fall_together():
    found = [cell(A, (20, 80, 30, 90), scores=[0.5, 0.5])]
    point = detection_report(found, [cell(A)], NAMES)["operating_point"]
    assert point["precision"] == 0.5 and point["recall"] == 1


def test_an_answer_of_another_class_is_a_confusion_and_not_two_errors():
    found = [cell(A, B, classes=[1, 0], scores=[0.9, 0.9])]
    confusion = detection_report(found, [cell(A, B, classes=[0, 0])], NAMES)["confusion"]
    assert confusion[0] == [1, 1, 0, 0, 0] and sum(map(sum, confusion)) == 2


def test_crowds_are_neither_missed_nor_false_alarms():
    truth = cell((0, 0, 50, 50), C, crowd=[True, False])
    found = cell(A, (20, 20, 30, 30), C, scores=[0.9, 0.8, 0.7])
    report = detection_report([found], [truth], NAMES)
    assert report["map"] == pytest.approx(1) and report["num_objects"] == 1
    assert report["operating_point"]["precision"] == 1
    assert np.sum(report["confusion"]) == 1 and report["worst"] == {"misses": [], "false_alarms": []}


def test_images_without_objects_or_answers_count():
    nothing, none_found = cell(), Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), NAMES, (9, 9))
    report = detection_report([none_found, cell(A, scores=[0.9])], [cell(A), nothing], NAMES)
    assert report["map"] == 0 and report["operating_point"]["f1"] == 0
    empty = detection_report([none_found], [nothing], NAMES)
    assert empty["map"] is None and empty["operating_point"]["score"] is None
    missed = detection_report([none_found], [cell(A)], NAMES)
    assert missed["map"] == 0 and missed["confusion"][0][4] == 1


@pytest.mark.parametrize(
    ("results", "truths", "settings", "message"),
    [
        ([], [], {}, "no images"),
        ([cell(A, scores=[1])], [cell(A)], {"kind": "masks"}, "no masks"),
        ([cell(A, scores=[1])], [cell(A)], {"kind": "points"}, "allowed"),
        ([cell(A, scores=[1])], [cell(A, classes=[4])], {}, "4 classes"),
        ([cell(A, scores=[1])], [], {}, "shorter"),
    ],
)
def test_what_does_not_fit_is_refused(results, truths, settings, message):
    with pytest.raises(ValueError, match=message):
        detection_report(results, truths, NAMES, **settings)

import json
import math

import numpy as np
import pytest

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.results import ClassMap
from ghostfit.vision.segmentation_metrics import boundary_scores, segmentation_report

NAMES = ("sky", "road", "car")
RANDOM = np.random.default_rng(0)


def test_a_case_worked_by_hand():
    truth = np.array([[0, 0, 0, 0], [1, 1, 1, 255]], np.uint8)
    found = np.array([[0, 0, 0, 1], [1, 1, 0, 2]], np.uint8)
    report = segmentation_report([ClassMap(found, NAMES)], [truth], NAMES)
    assert report["confusion"] == [[3, 1, 0], [1, 2, 0], [0, 0, 0]]  # the pixel without a label counts nowhere
    assert report["num_pixels"] == 7
    sky, road, car = report["per_class"]
    assert sky["iou"] == pytest.approx(3 / 5) and road["iou"] == pytest.approx(2 / 4)
    assert sky["dice"] == pytest.approx(6 / 8) and road["precision"] == pytest.approx(2 / 3)
    assert car["iou"] is None and car["recall"] is None  # it is neither there nor said
    assert report["miou"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert report["pixel_accuracy"] == pytest.approx(5 / 7)
    json.dumps(report, allow_nan=False)


def test_many_images_are_one_confusion_matrix():
    truths = [RANDOM.integers(0, 3, (9, 7)).astype(np.uint8) for _ in range(6)]
    maps = [np.where(RANDOM.random((9, 7)) < 0.3, 1, truth).astype(np.uint8) for truth in truths]
    report = segmentation_report(iter(maps), iter(truths), NAMES)
    whole = segmentation_report([np.concatenate(maps)], [np.concatenate(truths)], NAMES)
    assert report["miou"] == whole["miou"] and report["confusion"] == whole["confusion"]
    assert 0 < report["standard_error"] < 0.2 and whole["standard_error"] is None
    assert [entry["image"] for entry in report["worst"]] == sorted(
        range(6), key=lambda index: (maps[index] == truths[index]).mean()
    )


def test_a_class_that_is_only_said_counts_as_missed():
    report = segmentation_report([np.full((2, 2), 2, np.uint8)], [np.zeros((2, 2), np.uint8)], NAMES)
    assert report["miou"] == 0 and report["per_class"][1]["iou"] is None


@pytest.mark.parametrize(("shift", "score"), [(0, 1.0), (2, 1.0), (3, 0.0)])
def test_boundaries_may_lie_a_little_beside(shift, score):
    """The diagonal of 200 x 200 pixels is 283: boundaries may be 2 pixels off."""
    truth, found = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 1
    found[:, 100 + shift :] = 1
    # A boundary is two pixels wide, one on each side; so is what the shift is measured between.
    scores = boundary_scores(found, truth, 3)
    assert scores[:2].tolist() == [score, score] and math.isnan(scores[2])


def test_the_reach_is_a_disc():
    truth, found = np.zeros((400, 400), np.uint8), np.zeros((400, 400), np.uint8)  # reach 4
    truth[200, 200] = 1
    for offset, is_near in [((0, 4), True), ((2, 3), True), ((3, 3), False), ((4, 4), False)]:
        found[:] = 0
        found[200 + offset[0], 200 + offset[1]] = 1
        assert boundary_scores(found, truth, 2)[1] == is_near, offset


def test_no_boundary_runs_along_unlabelled_pixels():
    truth = np.zeros((20, 20), np.uint8)
    truth[8:12] = IGNORE
    assert np.isnan(boundary_scores(np.zeros_like(truth), truth, 2)).all()
    report = segmentation_report([np.zeros_like(truth)], [truth], ("a", "b"))
    assert report["boundary_f"] is None and report["miou"] == 1


def test_wholly_unlabelled_images_have_no_figures():
    blank = np.full((4, 4), IGNORE, np.uint8)
    report = segmentation_report([np.zeros_like(blank)], [blank], NAMES)
    assert report["miou"] is None and report["pixel_accuracy"] is None and report["worst"] == []


@pytest.mark.parametrize(
    ("maps", "truths", "message"),
    [
        ([], [], "no images"),
        ([np.zeros((2, 2), np.uint8)], [np.zeros((2, 3), np.uint8)], "size"),
        ([np.full((2, 2), 3, np.uint8)], [np.zeros((2, 2), np.uint8)], "there are 3"),
        ([np.zeros((2, 2), np.uint8)], [np.full((2, 2), 7, np.uint8)], "there are 3"),
        ([np.zeros((2, 2), np.uint8)], [], "shorter"),
    ],
)
def test_what_does_not_fit_is_refused(maps, truths, message):
    with pytest.raises(ValueError, match=message):
        segmentation_report(maps, truths, NAMES)

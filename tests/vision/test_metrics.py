import json

import numpy as np
import pytest

from ghostfit.vision.metrics import accuracy, classification_report, confusion_matrix, per_class, topk

NAMES = ("a", "b", "c", "d", "e", "f")


def test_figures_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, 300)
    logits = random.normal(size=(300, 6)) + 2 * np.eye(6)[labels]
    predicted = logits.argmax(1)
    report = classification_report(logits, labels, NAMES)
    expected = metrics.classification_report(labels, predicted, target_names=NAMES, output_dict=True)
    assert report["accuracy"] == pytest.approx(expected["accuracy"])
    assert report["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert report["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert report["top5"] == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=5))
    for row in report["per_class"]:
        assert row["precision"] == pytest.approx(expected[row["name"]]["precision"])
        assert row["recall"] == pytest.approx(expected[row["name"]]["recall"])
        assert row["f1"] == pytest.approx(expected[row["name"]]["f1-score"])
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_top1_is_the_accuracy_even_with_ties():
    logits = np.random.default_rng(0).integers(0, 3, (200, 6))
    labels = np.random.default_rng(1).integers(0, 6, 200)
    assert topk(logits, labels, 1) == accuracy(logits, labels)
    assert topk(logits, labels, 6) == 1.0


def test_a_class_without_images_has_no_figures_and_does_not_count():
    report = classification_report(np.eye(6)[[0, 1, 0]] * 9, np.array([0, 1, 1]), NAMES)
    assert report["balanced_accuracy"] == pytest.approx(0.75)
    assert report["per_class"][5] == {"name": "f", "precision": None, "recall": None, "f1": None, "num_images": 0}
    assert per_class(confusion_matrix(np.array([1]), np.array([0]), 2), "ab")[1]["precision"] == 0.0


def test_unsure_answers_are_counted_apart():
    logits = np.array([[4.0, 0.0], [0.1, 0.0], [3.0, 0.0]])
    report = classification_report(logits, np.array([0, 1, 0]), "ab", threshold=0.9)
    assert report["unsure_fraction"] == pytest.approx(1 / 3)
    assert report["accuracy_when_sure"] == 1.0
    assert classification_report(logits, np.array([0, 1, 0]), "ab", threshold=1.0)["accuracy_when_sure"] is None


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 6)), [], "no images"),
        (np.zeros((2, 6)), [0], "1 labels"),
        (np.zeros((1, 6)), [6], "6 classes"),
        (np.zeros((1, 6)), [-1], "labels -1"),
    ],
)
def test_wrong_inputs_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_report(logits, np.array(labels), NAMES)

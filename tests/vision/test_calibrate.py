import numpy as np
import pytest

from ghostfit.vision.calibrate import (
    choose_threshold,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
)
from ghostfit.vision.decode import softmax


def drawn(num: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs, and labels drawn from exactly the probabilities that they state."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (num, 5))
    labels = (softmax(logits).cumsum(1) < random.random((num, 1))).sum(1)
    return logits, labels


@pytest.mark.parametrize("stretch", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_stretch(stretch):
    logits, labels = drawn()
    assert fit_temperature(logits * stretch, labels) == pytest.approx(stretch, rel=0.05)


def test_no_other_temperature_has_less_loss():
    logits, labels = drawn(500)
    best = fit_temperature(logits * 3, labels)
    losses = [negative_log_likelihood(logits * 3, labels, best * factor, 1 / 501) for factor in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_few_right_answers_are_no_certainty():
    logits = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 50
    labels = np.array([0, 1, 2, 0, 1, 2])
    assert softmax(logits, fit_temperature(logits, labels)).max() < 0.97
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_calibrated_probabilities_have_little_error_and_stretched_ones_much():
    logits, labels = drawn()
    assert expected_calibration_error(softmax(logits), labels) < 0.015
    assert expected_calibration_error(softmax(logits * 4), labels) > 0.1


def test_bins_hold_every_image_once():
    logits, labels = drawn(1000)
    bins = reliability_bins(softmax(logits), labels)
    assert sum(entry["count"] for entry in bins) == 1000
    for entry in bins:
        assert not entry["count"] or entry["low"] <= entry["confidence"] <= entry["high"]
    assert reliability_bins(np.array([[1.0, 0.0]]), np.array([0]))[-1]["count"] == 1


def kept_accuracy(probabilities, labels, threshold):
    is_sure = probabilities.max(1) >= threshold
    return (probabilities.argmax(1) == labels)[is_sure].mean(), is_sure.mean()


@pytest.mark.parametrize("target", [None, 0.9, 0.99])
def test_the_threshold_reaches_its_target_and_no_lower_one_does(target):
    logits, labels = drawn(2000)
    probabilities = softmax(logits)
    threshold = choose_threshold(probabilities, labels, target)
    wanted = target or (1 + (probabilities.argmax(1) == labels).mean()) / 2
    assert kept_accuracy(probabilities, labels, threshold)[0] >= wanted
    lower = [value for value in probabilities.max(1) if value < threshold]
    assert all(kept_accuracy(probabilities, labels, value)[0] < wanted for value in lower)


def test_thresholds_at_the_ends():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert choose_threshold(probabilities, np.array([0, 0, 0])) == 0.0
    assert choose_threshold(probabilities, np.array([0, 1, 1]), 0.3) == 0.0
    assert choose_threshold(probabilities[:0], np.zeros(0, int)) == 0.0
    assert choose_threshold(probabilities, np.array([0, 0, 1]), 0.9) == pytest.approx(0.75)  # ties stay together
    assert 0 < choose_threshold(probabilities, np.array([1, 0, 0]), 0.9) <= 1  # the surest is wrong: none reaches it

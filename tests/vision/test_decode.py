import json

import numpy as np
import pytest

from ghostfit.vision.decode import decode_classification, softmax

NAMES = tuple("abcdefg")


def test_probabilities_are_the_softmax_and_sorted():
    logits = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    for row, result in zip(logits, decode_classification(logits, class_names=NAMES, temperature=2.0), strict=True):
        expected = np.exp(row / 2) / np.exp(row / 2).sum()
        np.testing.assert_allclose(result.scores, expected, rtol=1e-6)
        assert result.index == row.argmax()
        assert result.label == NAMES[result.index]
        assert [name for name, _ in result.top] == [NAMES[i] for i in np.argsort(-row)[:5]]
        assert result.confidence == result.top[0][1] == result.scores.max()
        json.dumps(result.to_dict())


def test_huge_outputs_do_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e30, 0.0], [-1e30, 0.0]])), [[1, 0], [0, 1]])


def test_below_the_threshold_is_unsure_and_at_it_is_sure():
    even = np.zeros((1, 2))
    assert not decode_classification(even, class_names="ab", threshold=0.5)[0].is_unsure
    assert decode_classification(even, class_names="ab", threshold=0.500001)[0].is_unsure


def test_ties_go_to_the_first_class_and_one_class_works():
    assert decode_classification(np.zeros((1, 7)), class_names=NAMES)[0].label == "a"
    assert decode_classification(np.zeros((1, 1)), class_names=("only",))[0].top == (("only", 1.0),)
    assert decode_classification(np.zeros((0, 7)), class_names=NAMES) == []


@pytest.mark.parametrize(
    ("logits", "temperature", "message"),
    [
        (np.zeros((1, 6)), 1.0, "6"),
        (np.zeros(7), 1.0, "wanted"),
        (np.full((1, 7), np.nan), 1.0, "not finite"),
        (np.zeros((1, 7)), 0.0, "temperature"),
    ],
)
def test_wrong_outputs_are_refused(logits, temperature, message):
    with pytest.raises(ValueError, match=message):
        decode_classification(logits, class_names=NAMES, temperature=temperature)

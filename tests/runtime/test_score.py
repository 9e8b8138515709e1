import json

import numpy as np
import pytest

from ghostfit.runtime.predict import load
from ghostfit.runtime.score import collect_logits, score_bundle
from ghostfit.vision.metrics import classification_report

RANDOM = np.random.default_rng(0)
SAMPLES = [(RANDOM.integers(0, 256, (10, 12, 3), np.uint8), int(label)) for label in RANDOM.integers(0, 3, 20)]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_figures_are_those_of_the_outputs(bundle_path, batch):
    model = load(bundle_path)
    logits, labels, skipped = collect_logits(model, SAMPLES, batch=batch)
    assert skipped == []
    assert labels.tolist() == [label for _, label in SAMPLES]
    np.testing.assert_array_equal(logits, model.logits([model.pixels(image) for image, _ in SAMPLES]))
    expected = classification_report(logits, labels, ["ant", "bee", "cat"], temperature=1.5, threshold=0.4)
    for given in (model, bundle_path):
        assert score_bundle(given, iter(SAMPLES), batch=batch) == {**expected, "skipped": []}


def test_bad_images_are_left_out_and_listed(bundle_path):
    samples = [SAMPLES[0], (b"broken", 1), SAMPLES[1], ("none.jpg", 2)]
    report = score_bundle(bundle_path, samples, batch=2)
    assert report["num_images"] == 2
    assert [entry["index"] for entry in report["skipped"]] == [1, 3]
    assert "no such file" in report["skipped"][1]["reason"]
    json.dumps(report)


@pytest.mark.parametrize(
    ("samples", "message"), [([], "no images"), ([(b"x", 0)], "no images"), ([(SAMPLES[0][0], 3)], "3 classes")]
)
def test_nothing_to_score_and_foreign_labels_are_refused(bundle_path, samples, message):
    with pytest.raises(ValueError, match=message):
        score_bundle(bundle_path, samples)

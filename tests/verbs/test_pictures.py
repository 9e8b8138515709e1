"""Pictures for the report, made with a model whose answers are the truth, spoiled in known ways."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ghostfit.arch import Dense
from ghostfit.data.dataset import ArraySource, FileSource, Sample
from ghostfit.data.readers import read_dataset
from ghostfit.data.targets import KnownClassMap, KnownObjects
from ghostfit.export.export import export
from ghostfit.nn.build import build
from ghostfit.runtime.predict import Model, load
from ghostfit.runtime.score import score_bundle
from ghostfit.search.start import conv_start
from ghostfit.verbs.pictures import MOST_OF_IMAGE, NUM_WRONG, pictures_of
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.prepare import Prepare
from ghostfit.vision.results import ClassMap, Detections

NUM_IMAGES = 12
PREPARE = Prepare(size_hw=(64, 96), resize="letterbox")
WIDEST = 484
NAMES = tuple(read_dataset("demo:parts", task="detect").class_names)
PIXEL_NAMES = tuple(read_dataset("demo:parts", task="segment").class_names)


@dataclass(frozen=True)
class Pretend(Model):
    """A model that knows the truth of each image and spoils it by `answer`, for the n-th of them."""

    samples: Sequence[Sample] = ()
    answer: Callable[[int, Any], Any] = field(default=lambda number, truth: truth)

    def results(self, images: Sequence[Any], *, score_from: float | None = None) -> list[Any]:
        known = [self.read(sample.source.read())[0].tobytes() for sample in self.samples]
        numbers = [known.index(pixels.tobytes()) for pixels, _ in images]
        return [self.answer(number, self.samples[number].target.read()) for number in numbers]


@pytest.fixture(scope="module", params=["detect", "instance", "segment"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[Sample]]:
    """A model with fresh weights, and samples of the demo."""
    dataset = read_dataset("demo:parts", task=request.param)
    samples = [_kept(dataset.samples[index]) for index in dataset.given["test"][:NUM_IMAGES]]
    return _model(request.param, dataset.class_names, tmp_path_factory.mktemp("bundle")), samples


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return _model("detect", NAMES, tmp_path_factory.mktemp("detector"))


def _kept(sample: Sample) -> Sample:
    label = sample.target.read()
    target = KnownObjects(label) if isinstance(label, Objects) else KnownClassMap(label)
    return dataclasses.replace(sample, source=ArraySource(sample.source.read()), target=target)


def _model(task: str, names: Sequence[str], folder: Path) -> Model:
    torch.manual_seed(0)
    network = build(conv_start(len(names), PREPARE.size_hw, width=0.5, depth=1).as_dense(Dense(task, width=16))).eval()
    blank = [np.zeros((*PREPARE.size_hw, 3), np.uint8)]
    export(network, folder / "model.ghost", class_names=names, images=blank, prepare=PREPARE, lowering="plain")
    return load(folder / "model.ghost")


def _spoiled(number: int, truth: Any) -> Any:
    """Objects: the largest is missed, the second has a wrong class, one lies in the corner. Maps: a third is wrong."""
    if isinstance(truth, np.ndarray):
        spoiled = np.where(truth == IGNORE, 0, truth).astype(np.uint8)
        spoiled[: truth.shape[0] * (number + 1) // (3 * NUM_IMAGES)] = 1
        return ClassMap(spoiled, PIXEL_NAMES)
    size_hw = (256, 256)
    order = np.argsort([-np.prod(box[2:] - box[:2]) for box in truth.boxes_xyxy])
    boxes, classes = truth.boxes_xyxy[order][1:], truth.class_ids[order][1:].copy()
    classes[:1] = (classes[:1] + 1) % 3
    corner = np.array([[2, 2, 22, 22]], np.float32)
    masks = None
    if truth.masks is not None:
        masks = np.concatenate([truth.masks[order][1:], np.zeros((1, *size_hw), np.bool_)])
        masks[-1, 2:22, 2:22] = True
    scores = np.linspace(0.9, 0.6, len(boxes) + 1)
    return Detections(np.concatenate([boxes, corner]), scores, [*classes, 0], NAMES, size_hw, masks)


def scored(model: Model, samples: Sequence[Sample]) -> tuple[Model, dict[str, Any]]:
    pretend = Pretend(model.manifest, model.backend, samples, _spoiled)
    return pretend, score_bundle(pretend, ((sample.source.read(), sample.target) for sample in samples))


def opened(row: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(row["jpeg_base64"], validate=True)))


def test_every_kind_is_there_small_and_ready_for_json(known: tuple[Model, list[Sample]]) -> None:
    model, report = scored(*known)
    rows = pictures_of(model, known[1], report)
    json.dumps(rows)
    kinds = {"worst", "typical"} if model.manifest.task == "segment" else {"miss", "false_alarm", "mosaic"}
    assert {row["kind"] for row in rows} == kinds
    assert all(set(row) == {"id", "kind", "text", "jpeg_base64"} for row in rows)
    assert {row["id"] for row in rows} <= {sample.id for sample in known[1]}
    for row in rows:
        assert opened(row).width <= WIDEST and opened(row).format == "JPEG"
    assert sum(len(row["jpeg_base64"]) for row in rows) < 600_000


def test_no_image_fills_the_page(known: tuple[Model, list[Sample]]) -> None:
    model, report = scored(*known)
    rows = pictures_of(model, known[1], report)
    for kind in ("miss", "false_alarm", "worst"):
        own = [row["id"] for row in rows if row["kind"] == kind]
        assert len(own) <= NUM_WRONG and max(Counter(own).values(), default=0) <= MOST_OF_IMAGE
    wholes = [row["id"] for row in rows if row["kind"] in ("mosaic", "typical")]
    assert len(wholes) == len(set(wholes)) <= 5


def test_samples_left_out_before_or_since_do_no_harm(known: tuple[Model, list[Sample]], tmp_path: Path) -> None:
    model, samples = known
    broken = dataclasses.replace(samples[0], id="broken", source=FileSource(tmp_path / "none.png"))
    all_samples = [broken, *samples[:6]]
    pretend = Pretend(model.manifest, model.backend, samples[:6], _spoiled)
    given = ((b"" if sample is broken else sample.source.read(), sample.target) for sample in all_samples)
    report = score_bundle(pretend, given)
    assert [entry["index"] for entry in report["skipped"]] == [0]
    rows = pictures_of(pretend, all_samples, report)
    # the same images without the broken one: its place must not shift the others
    assert rows == pictures_of(pretend, samples[:6], {**report, "skipped": []})
    gone = [dataclasses.replace(sample, source=FileSource(tmp_path / "none.png")) for sample in samples[1:6]]
    rows = pictures_of(pretend, [broken, samples[0], *gone], report)
    assert {row["id"] for row in rows} == {samples[0].id}


def test_a_fresh_network_has_pictures_too(known: tuple[Model, list[Sample]]) -> None:
    model, samples = known
    report = score_bundle(model, ((sample.source.read(), sample.target) for sample in samples[:4]))
    rows = pictures_of(model, samples[:4], report)
    assert rows and all(opened(row).width <= WIDEST for row in rows)


SCENE = Objects(
    np.array([[10, 10, 50, 50], [60, 60, 90, 90], [5, 60, 40, 95]]), np.array([0, 1, 2]), [False, False, True]
)
REASONS = {  # an answer: box, score, class; what is said of the miss of the first object, and of the false alarm
    "nothing": (([70, 5, 95, 30], 0.9, 0), "not seen", "nothing there"),
    "class": (([10, 10, 50, 50], 0.9, 1), "called gear (0.90)", "is a disc"),
    "place": (([10, 10, 30, 50], 0.9, 0), None, None),  # IoU 0.5 just fits
    "badly": (([10, 10, 26, 50], 0.9, 0), "the answer fits badly (IoU 0.40)", "fits a disc badly (IoU 0.40)"),
    "score": (([10, 10, 50, 50], 0.2, 0), "seen, but with a score of 0.20 only", None),
    "crowd": (([5, 60, 40, 95], 0.9, 2), "not seen", None),
}


@pytest.mark.parametrize("case", REASONS)
def test_the_reason_is_told(case: str, detector: Model) -> None:
    (box, score, class_id), missed, alarmed = REASONS[case]
    # the gear is found with a score that stands or falls with the answer's, so that the operating point takes both
    boxes, scores, classes = [[60, 60, 90, 90], box], [0.9, score], [1, class_id]
    found = Detections(np.array(boxes), scores, classes, NAMES, (100, 100))
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    sample = Sample("one", ArraySource(pixels), 0, target=KnownObjects(SCENE))
    model = Pretend(detector.manifest, detector.backend, [sample], lambda number, truth: found)
    report = score_bundle(model, [(pixels, sample.target)])
    if case == "score":
        report = {**report, "operating_point": {**report["operating_point"], "score": 0.5}}
        report["worst"]["misses"] = [{"image": 0, "label": "disc", "box_xyxy": [10, 10, 50, 50], "object": 0}]
    texts = {row["kind"]: row["text"] for row in pictures_of(model, [sample], report)}
    assert texts.get("miss") == (None if missed is None else f"disc missed: {missed}")
    assert texts.get("false_alarm") == (None if alarmed is None else f"{NAMES[class_id]} {score:.2f}: {alarmed}")
    assert "objects found" in texts["mosaic"]


def test_nothing_found_and_nothing_there(detector: Model) -> None:
    pixels = np.zeros((40, 70), np.uint8)
    none = Detections(np.zeros((0, 4)), [], [], NAMES, (40, 70))
    targets = [KnownObjects(Objects(np.zeros((0, 4)), np.zeros(0, np.int64))), KnownObjects(SCENE)]
    samples = [Sample(str(k), ArraySource(pixels + 9 * k), 0, target=target) for k, target in enumerate(targets)]
    model = Pretend(detector.manifest, detector.backend, samples, lambda number, truth: none)
    report = score_bundle(model, ((sample.source.read(), sample.target) for sample in samples))
    assert report["operating_point"]["recall"] in (None, 0)
    kinds = Counter(row["kind"] for row in pictures_of(model, samples, report))
    assert kinds == {"miss": 2, "mosaic": 1}


def test_pixels_without_a_label_stay_as_they_are(tmp_path: Path) -> None:
    truth = np.full((40, 60), IGNORE, np.uint8)
    truth[:, :6] = 2
    pixels = np.full((40, 60, 3), 77, np.uint8)
    sample = Sample("one", ArraySource(pixels), 0, target=KnownClassMap(truth))
    made = _model("segment", PIXEL_NAMES, tmp_path)
    model = Pretend(made.manifest, made.backend, [sample], lambda number, truth: ClassMap(truth * 0 + 1, PIXEL_NAMES))
    report = score_bundle(model, [(pixels, sample.target)])
    (row,) = pictures_of(model, [sample], report)
    assert row["kind"] == "worst" and row["text"] == "0.0% of the pixels right; 100.0% is scratch, called part"
    strip = np.asarray(opened(row)).astype(int)
    middle = strip[:, 162:320]
    assert abs(middle[:, 40:] - 77).max() < 12 and abs(middle[:, :12] - 77).max() > 30
    assert abs(strip[:, 330:] - 77).max() > 30


def test_no_torch_is_needed() -> None:
    code = "import sys, ghostfit.verbs.pictures; print(*sorted({'torch', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""

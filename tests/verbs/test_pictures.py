"""Pictures for the report, made with a model whose answers are the truth, spoiled in known ways."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
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


@dataclass(frozen=True)
class Pretend(Model):
    """A model that knows the truth of each image and spoils it by `answer`, for the n-th of them."""

    samples: Sequence[Sample] = ()
    answer: Callable[[int, Any], Any] = field(default=lambda number, truth: truth)

    def results(self, images: Sequence[Any], *, score_from: float | None = None) -> list[Any]:
        known = [self.manifest.prepare.resized(sample.source.read()).tobytes() for sample in self.samples]
        numbers = [known.index(pixels.tobytes()) for pixels, _ in images]
        return [self.answer(number, self.samples[number].target.read()) for number in numbers]


@pytest.fixture(scope="module", params=["detect", "instance", "segment"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[Sample]]:
    """A model with fresh weights and samples of the demo."""
    dataset = read_dataset("demo:parts", task=request.param)
    samples = [_kept(dataset.samples[index]) for index in dataset.given["test"][:NUM_IMAGES]]
    return _model(request.param, dataset.class_names, tmp_path_factory.mktemp("bundle")), samples


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
        return ClassMap(spoiled, ("background", "part", "scratch", "dent", "stain"))
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


NAMES = tuple(read_dataset("demo:parts", task="detect").class_names)


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

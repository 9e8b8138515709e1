"""From a network to a bundle that predicts the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ghostfit.export import export as room
from ghostfit.export.export import export
from ghostfit.export.onnx import to_onnx
from ghostfit.export.parity import ParityError
from ghostfit.presets import preset
from ghostfit.runtime.bundle import open_bundle
from ghostfit.runtime.predict import load
from ghostfit.vision.prepare import Prepare, prepare_batch

NAMES = ("cat", "dog", "fox")
PREPARE = Prepare(size_hw=(32, 32))


@pytest.fixture
def network(settled):
    return settled(preset("ghostnetv3_050", num_classes=3, size_hw=(32, 32)))


@pytest.mark.parametrize("name", ["pets.ghost", "pets"])
def test_bundle_predicts_as_the_network(name, network, photos, tmp_path):
    path = export(
        network, tmp_path / name, class_names=NAMES, images=photos, prepare=PREPARE, temperature=1.5, threshold=0.4,
        lowering="split16", metrics={"accuracy": 0.9}, trained={"epochs": 3},
    )  # fmt: skip
    manifest = open_bundle(path).manifest
    assert manifest.class_names == NAMES and manifest.arch_id == network.arch.id
    assert manifest.decode.temperature == 1.5 and manifest.decode.threshold == 0.4
    assert manifest.parity["passed"] and manifest.metrics == {"accuracy": 0.9} and manifest.trained == {"epochs": 3}
    with torch.no_grad():
        wanted = network(torch.from_numpy(prepare_batch(photos, PREPARE))).numpy().argmax(1)
    model = load(path)
    assert [result.index for result in model(photos)] == wanted.tolist()


def test_lowering_is_measured_by_default(network, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        room.choose_lowering, "__kwdefaults__", {**room.choose_lowering.__kwdefaults__, "budget_s": 0.01}
    )
    path = export(network, tmp_path / "a.ghost", class_names=NAMES, images=photos, prepare=PREPARE)
    assert open_bundle(path).manifest.parity["passed"]


def test_preparation_travels_with_the_network(network, photos, tmp_path):
    network.prepare = Prepare(size_hw=(48, 40), resize="crop", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    manifest = open_bundle(
        export(network, tmp_path / "a.ghost", class_names=NAMES, images=photos, lowering="plain")
    ).manifest
    assert manifest.prepare == network.prepare
    assert manifest.input["shape"] == [1, 3, 48, 40] and manifest.arch["size_hw"] == [48, 40]


def test_gray_images(settled, tmp_path):
    network = settled(preset("mobilenetv3_small_100", num_classes=3, size_hw=(32, 32), in_channels=1))
    prepare = Prepare(size_hw=(32, 32), mean=(0.5,), std=(0.5,), in_channels=1)
    images = [np.random.default_rng(0).integers(0, 255, (30, 30, 1), np.uint8)]
    path = export(network, tmp_path / "a.ghost", class_names=NAMES, images=images, prepare=prepare, lowering="plain")
    assert load(path)(images[0]).label in NAMES


def test_a_file_that_differs_becomes_no_bundle(network, settled, photos, tmp_path, monkeypatch):
    other = settled(network.arch, seed=1)
    monkeypatch.setattr(room, "to_onnx", lambda *args, **kwargs: to_onnx(other))
    with pytest.raises(ParityError, match="differs from the network"):
        export(network, tmp_path / "a.ghost", class_names=NAMES, images=photos, prepare=PREPARE, lowering="plain")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_names": ("cat", "dog")}, "2 class names for a network of 3 classes"),
        ({"prepare": None}, "pass prepare="),
        ({"prepare": Prepare(size_hw=(32, 32), mean=(0.5,), std=(0.5,), in_channels=1)}, "1 channels"),
        ({"images": []}, "needs real images"),
        ({"lowering": "dense"}, "allowed: plain"),
    ],
)
def test_parts_that_do_not_fit_are_explained(given, message, network, photos, tmp_path):
    settings = {"class_names": NAMES, "images": photos, "prepare": PREPARE, "lowering": "plain", **given}
    with pytest.raises(ValueError, match=message):
        export(network, tmp_path / "a.ghost", **settings)

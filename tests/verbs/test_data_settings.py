"""The rule that gives images one shape, and gray or colour: from the flag to the bundle that predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ghostfit as gf
from ghostfit.event import ignore
from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from ghostfit.search.start import plain_start
from ghostfit.train.distill import load_teacher
from ghostfit.verbs.material import prepare_of, read_material
from ghostfit.vision.prepare import read_image

QUICK: dict[str, Any] = {"epochs": 3.0, "batch_size": 16, "augment": "medium"}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images twice as wide as high, bright at the left or at the right end."""
    folder, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    for kind in ("left", "right"):
        (folder / kind).mkdir()
        for number in range(24):
            image = rng.integers(0, 60, (32, 64, 3), np.uint8)
            image[:, slice(0, 16) if kind == "left" else slice(48, 64)] += 150
            Image.fromarray(image).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("start") / "start.json"
    path.write_text(plain_start(2, (32, 32), width=0.25, depth=1).to_json())
    return str(path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_images_are_decoded_by_the_rule(resize: Any, channels: int, wide: Path) -> None:
    material = read_material(
        str(wide), size_hw=(32, 32), seed=0, run=None, on_event=ignore, resize=resize, channels=channels
    )
    source = wide / "left" / "0.png"
    row = next(i for i, sample in enumerate(material.dataset.samples) if sample.id == "left/0.png")
    expected = prepare_of((32, 32), resize, channels).resized(read_image(source, in_channels=channels))
    assert material.cached.images.shape == (48, 32, 32, channels)
    assert np.array_equal(material.cached.images[row], expected)
    bright = expected.mean(axis=(0, 2))
    assert (bright[:8].mean() > 100) == (resize != "crop"), "what lies at the end is cut off by a crop alone"
    assert (expected[0].std(axis=0).max() < 1) == (resize == "letterbox"), "bars of one colour"


def test_the_bundle_prepares_images_as_training_did(wide: Path, start: str, tmp_path: Path) -> None:
    settings = {"resize": "letterbox", "channels": 1}
    trained = gf.train(wide, out=str(tmp_path / "run"), arch=start, size_hw=(32, 32), flip=False, **settings, **QUICK)
    bundle = gf.export(trained.run).bundle
    manifest = open_bundle(bundle).manifest
    assert (manifest.prepare.resize, manifest.prepare.in_channels) == ("letterbox", 1)
    assert manifest.input["shape"] == [1, 1, 32, 32] and manifest.parity["passed"]  # type: ignore[index]
    scored = gf.evaluate(trained.run, data=str(wide))
    assert scored.split == "test" and scored.report["num_images"] > 0
    assert gf.predict(bundle, images=(str(wide / "left" / "0.png"),)).rows


def test_a_search_keeps_to_them(wide: Path, start: str, tmp_path: Path) -> None:
    result = gf.search(
        wide, out=str(tmp_path / "run"), start=start, size_hw=(32, 32), search_epochs=1.0, evaluations=1, batch_size=16,
        augment="none", resize="crop", channels=1,
    )  # fmt: skip
    prepare = Run.open(result.run).read_json("prepare.json")
    assert (prepare["resize"], prepare["in_channels"], result.arch.in_channels) == ("crop", 1, 1)


@pytest.mark.parametrize("verb", [gf.train, gf.search, gf.fit])
@pytest.mark.parametrize(
    ("settings", "text"),
    [({"channels": 2}, r"--channels 2; allowed: 3"), ({"resize": "stretch"}, r"'stretch'; allowed: squash, crop")],
)
def test_what_is_not_there_is_refused_before_a_run_begins(
    verb: Any, settings: dict[str, Any], text: str, wide: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=text):
        verb(wide, out=str(tmp_path / "run"), **settings)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_channels_is_refused(wide: Path, start: str, tmp_path: Path) -> None:
    teacher = gf.train(wide, out=str(tmp_path / "run"), arch=start, **{**QUICK, "epochs": 1.0})
    with pytest.raises(ValueError, match=r"looks at 3 channels, the images here have 1"):
        load_teacher(teacher.run, num_classes=2, prepare=prepare_of((32, 32), channels=1))

"""Bundles of the dense tasks through predict and evaluate: one way for all tasks, no torch once they are written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ghostfit as gf
from ghostfit.arch import Dense
from ghostfit.data.readers import read_dataset
from ghostfit.export.export import export
from ghostfit.nn.build import build
from ghostfit.runtime.score import MAIN_METRIC
from ghostfit.search.start import conv_start
from ghostfit.vision.prepare import Prepare
from ghostfit.vision.rle import decode_mask

TASKS = ("detect", "segment", "instance")


@pytest.fixture(scope="module", params=TASKS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A detector or segmenter with fresh weights: what it says is nonsense, how it goes is not."""
    task = request.param
    dataset = read_dataset("demo:parts", task=task)
    arch = conv_start(len(dataset.class_names), (96, 128), width=0.5, depth=1).as_dense(Dense(task, width=16))
    torch.manual_seed(0)
    network = build(arch).eval()
    path = tmp_path_factory.mktemp(task) / "model.ghost"
    images = [dataset.samples[index].source.read() for index in range(2)]
    prepare = Prepare(size_hw=(96, 128), resize="letterbox")
    export(
        network,
        path,
        class_names=dataset.class_names,
        images=[prepare.resized(image) for image in images],
        prepare=prepare,
        lowering="plain",
    )
    return task, path


def test_predict_tells_draws_and_lists(bundle: tuple[str, Path], tmp_path: Path) -> None:
    task, path = bundle
    dataset = read_dataset("demo:parts", task=task)
    for index in range(2):
        Image.fromarray(dataset.samples[index].source.read()).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    result = gf.predict(str(path), images=(str(tmp_path),), draw=str(tmp_path / "drawn"))
    assert result.has_failed and len(result.rows) == 3 and result.rows[2].error
    entries = result.to_dict()["predictions"]
    assert all(("classes" if task == "segment" else "objects") in entry for entry in entries[:2])
    assert result.to_text().count("\n") == 2
    lines = list(csv.reader(io.StringIO(result.to_csv())))
    assert lines[0][:2] == ["image", "label"] and {len(line) for line in lines} == {len(lines[0])}
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "0.jpg"))
    assert drawn.shape[0] >= 256 and drawn.shape[1] == 256


def test_evaluate_scores_the_file_by_the_tasks_own_figure(bundle: tuple[str, Path]) -> None:
    task, path = bundle
    num_images = len(read_dataset("demo:parts", task=task).given["val"])
    result = gf.evaluate(str(path), data="demo:parts", split="val")
    figure = result.report[MAIN_METRIC[task]]
    assert result.report["num_images"] == num_images and 0 <= figure < 0.6
    assert result.to_text().splitlines()[0].startswith("mIoU" if task == "segment" else "mAP")


def test_data_of_another_task_is_refused(bundle: tuple[str, Path]) -> None:
    with pytest.raises(ValueError, match="classify"):
        gf.evaluate(str(bundle[1]), data="digits")


@pytest.fixture
def photos(bundle: tuple[str, Path], tmp_path: Path) -> Path:
    """Two images of one name in two folders, and a file that is none."""
    dataset = read_dataset("demo:parts", task=bundle[0])
    for folder, index in (("left", 0), ("right", 1)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.fromarray(dataset.samples[index].source.read()).save(tmp_path / "photos" / folder / "1.png")
    (tmp_path / "photos" / "left" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def test_predict_writes_what_it_says(bundle: tuple[str, Path], photos: Path, tmp_path: Path) -> None:
    task, path = bundle
    result = gf.predict(str(path), images=(str(photos),), draw=str(tmp_path / "drawn"), write=str(tmp_path / "out"))
    assert sorted(file.stem for file in (tmp_path / "drawn").iterdir()) == ["left__1", "right__1"]
    assert str(tmp_path / "out") in result.to_text().splitlines()[3] and "2 images" in result.notes[0]
    if task == "segment":
        with Image.open(tmp_path / "out" / "masks" / "left__1.png") as image:
            written = np.asarray(image)
        classes = result.to_dict()["predictions"][0]["classes"]
        assert np.unique(written).tolist() == [entry["class_id"] for entry in classes]
        for entry in classes:
            assert np.array_equal(written == entry["class_id"], decode_mask(entry["mask"]))
        return
    listed = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [Path(image["file_name"]) for image in listed["images"]] == [photos / "left/1.png", photos / "right/1.png"]
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    told = [entry for image in (0, 2) for entry in result.to_dict()["predictions"][image]["objects"]]
    assert len(rows) == len(told)
    for row, entry in zip(rows, told, strict=True):
        left, top, right, bottom = entry["box_xyxy"]
        assert row["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.02)
        assert (row["category_id"], row["score"]) == (entry["class_id"] + 1, entry["score"])
        assert row.get("segmentation") == entry.get("mask")


def test_objects_are_told_from_a_score_on(bundle: tuple[str, Path], photos: Path) -> None:
    task, path = bundle
    image = (str(photos / "left" / "1.png"),)
    if task == "segment":
        with pytest.raises(ValueError, match="this bundle is for segment"):
            gf.predict(str(path), images=image, score_from=0.5)
        return
    scores = [
        [entry["score"] for entry in gf.predict(str(path), images=image, score_from=least).rows[0].entry["objects"]]
        for least in (0.0, 1.0)
    ]
    assert len(scores[0]) > 1 and scores[1] == [] and min(scores[0]) < 0.2
    with pytest.raises(ValueError, match="scores of objects lie in"):
        gf.predict(str(path), images=image, score_from=1.5)


def test_settings_that_would_lose_something(bundle: tuple[str, Path], photos: Path, tmp_path: Path) -> None:
    task, path = bundle
    before = {file: file.read_bytes() for file in photos.rglob("*.png")}
    wrong = {"png": "detect", "coco": "segment", "yolo": "segment"}
    cases: list[tuple[dict[str, str], str]] = [
        ({"draw": str(photos / "left")}, "give another folder"),
        ({"write": str(photos)}, "not an empty folder"),
        ({"to": "png"}, "name the folder, --write FOLDER"),
        *(({"write": str(tmp_path / "out"), "to": to}, "can't hold") for to, of in wrong.items() if of == task),
    ]
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            gf.predict(str(path), images=(str(photos),), **settings)
    assert not (tmp_path / "out").exists() and before == {file: file.read_bytes() for file in photos.rglob("*.png")}

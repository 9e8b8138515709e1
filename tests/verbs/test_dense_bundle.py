"""Bundles of the dense tasks through predict and evaluate: one way for all tasks, no torch once they are written."""

from __future__ import annotations

import csv
import io
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
    assert result.has_failed and len(result.rows) == 3 and isinstance(result.rows[2][1], str)
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

"""The whole way for the tasks in which each place has a label: from a folder to a bundle that answers and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ghostfit as gf
from ghostfit.api import FitConfig
from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from ghostfit.runtime.score import MAIN_METRIC
from ghostfit.search.start import plain_start
from ghostfit.verbs.fit import FitResult, fit

SIDE = 64
COLOURS = {"brick": (200, 80, 40), "plate": (60, 120, 220)}
QUICK: dict[str, Any] = {
    "search_epochs": 3.0,
    "epochs": 40.0,
    "evaluations": 2,
    "batch_size": 8,
    "latency_ms": 20.0,
    "lr": 0.004,
}


def scene(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """A picture (SIDE, SIDE, 3) with one brick on the left and perhaps a plate on the right; classes and boxes."""
    image = rng.integers(0, 40, (SIDE, SIDE, 3), np.uint8)
    found = []
    for index, colour in enumerate(COLOURS.values()):
        if index and rng.random() < 0.3:
            continue
        left, top = int(rng.integers(2, 8)) + 32 * index, int(rng.integers(2, 36))
        right, bottom = left + int(rng.integers(16, 23)), top + int(rng.integers(16, 26))
        image[top:bottom, left:right] = colour
        found.append((index, (left, top, right, bottom)))
    return image, found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 48 pictures as YOLO polygons and as class maps (0 the ground); one label file of each is broken."""
    root, rng = tmp_path_factory.mktemp("blocks"), np.random.default_rng(0)
    yolo, maps = root / "yolo", root / "maps"
    for folder in (yolo / "images", yolo / "labels", maps / "images", maps / "masks"):
        folder.mkdir(parents=True)
    (yolo / "data.yaml").write_text("names: [brick, plate]\n")
    for number in range(48):
        image, found = scene(rng)
        lines, classes = [], np.zeros((SIDE, SIDE), np.uint8)
        for index, (left, top, right, bottom) in found:
            corners = ((left, top), (right, top), (right, bottom), (left, bottom))
            lines.append(" ".join([str(index), *(f"{value / SIDE:.6f}" for corner in corners for value in corner)]))
            classes[top:bottom, left:right] = index + 1
        for folder in (yolo, maps):
            Image.fromarray(image).save(folder / "images" / f"{number}.png")
        (yolo / "labels" / f"{number}.txt").write_text("\n".join(lines))
        Image.fromarray(classes).save(maps / "masks" / f"{number}.png")
    (yolo / "labels" / "7.txt").write_bytes(b"\xff\xfe\x00\x80 no text")
    (maps / "masks" / "7.png").write_bytes(b"no mask")
    return {"detect": yolo, "instance": yolo, "segment": maps}


@pytest.fixture(scope="module", params=("detect", pytest.param("instance", marks=pytest.mark.slow), "segment"))
def done(
    request: pytest.FixtureRequest, sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, FitResult]:
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    start = folder / "start.json"
    start.write_text(plain_start(2, (SIDE, SIDE), width=0.25, depth=1).to_json())
    config = FitConfig(data=str(sets[task]), task=task, start=str(start), out=str(folder / "run"), **QUICK)
    return task, sets[task], fit(config)


def test_the_bundle_has_learnt_and_says_what_it_is_worth(done: tuple[str, Path, FitResult]) -> None:
    task, _, result = done
    manifest = open_bundle(result.bundle).manifest
    assert manifest.task == task and manifest.parity["passed"]  # type: ignore[index]
    assert manifest.metrics["test"][MAIN_METRIC[task]] == pytest.approx(result.value)
    assert set(manifest.metrics["val"]) >= {MAIN_METRIC[task], "standard_error", "num_images"}
    assert result.value > 0.2 and not result.has_failed, "coloured blocks on a dark ground are found by any network"
    assert manifest.latency[0]["median_ms"] == result.latency["median_ms"] > 0
    if task != "segment":
        assert manifest.decode.score_threshold != 0.25, "chosen on the validation split"


def test_the_file_is_scored_as_in_the_run(done: tuple[str, Path, FitResult]) -> None:
    task, data, result = done
    again = gf.evaluate(str(result.run), data=str(data))
    assert again.split == "test" and again.report[MAIN_METRIC[task]] == pytest.approx(result.value)
    assert again.report["num_images"] == result.num_test_images


def test_broken_labels_are_left_out_and_told(done: tuple[str, Path, FitResult]) -> None:
    _, _, result = done
    data = Run.open(result.run).read_json("data.json")
    assert sum(data["splits"].values()) == 47 and any("7" in entry["id"] for entry in data["skipped"])


def test_the_report_names_the_metric_and_shows_pictures(done: tuple[str, Path, FitResult]) -> None:
    task, _, result = done
    text = result.report.read_text(encoding="utf-8")
    assert ("mIoU" if task == "segment" else "mAP") in text
    pictures = Run.open(result.run).read_json("test.json")["pictures"]
    assert pictures and all(row["jpeg_base64"] and row["kind"] for row in pictures)


def test_a_finished_run_ends_at_once_and_alike(done: tuple[str, Path, FitResult], sets: dict[str, Path]) -> None:
    task, data, result = done
    start = str(result.run.parent / "start.json")
    config = FitConfig(data=str(data), task=task, start=start, out=str(result.run), resume=True, **QUICK)  # type: ignore[arg-type]
    again = fit(config)
    assert (again.value, again.arch_id, again.latency) == (result.value, result.arch_id, result.latency)


def test_an_operating_point_can_be_asked_for(sets: dict[str, Path], tmp_path: Path) -> None:
    start = tmp_path / "start.json"
    start.write_text(plain_start(2, (SIDE, SIDE), width=0.25, depth=1).to_json())
    with pytest.raises(ValueError, match="one of them decides"):
        FitConfig(data=str(sets["detect"]), recall=0.9, precision=0.9)
    gf.train(
        str(sets["detect"]), arch=str(start), task="detect", out=str(tmp_path / "run"), epochs=12.0, recall=1.0,
        batch_size=8, lr=0.004,
    )  # fmt: skip
    eager = gf.export(str(tmp_path / "run")).bundle
    manifest = open_bundle(eager).manifest
    assert manifest.decode.score_threshold < 0.2, "to find all, low scores must count"


def test_labels_of_another_task_are_refused(sets: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't be used for segment"):
        gf.fit(str(sets["detect"]), task="segment", out=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="has no effect on the task"):
        gf.fit(str(sets["detect"]), mixup=0.2, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists(), "told before anything begins"


def test_a_network_free_of_nms_learns_and_says_so(sets: dict[str, Path], tmp_path: Path) -> None:
    """From the flag to the bundle, and from a run's architecture to the next run."""
    start, run = tmp_path / "start.json", tmp_path / "run"
    start.write_text(plain_start(2, (SIDE, SIDE), width=0.25, depth=1).to_json())
    settings: dict[str, Any] = {"task": "detect", "batch_size": 8, "lr": 0.004}
    trained = gf.train(str(sets["detect"]), arch=str(start), nms_free=True, out=str(run), epochs=40.0, **settings)
    bundle = gf.export(str(run)).bundle
    manifest = open_bundle(bundle).manifest
    assert manifest.decode.nms is False and manifest.parity["passed"]  # type: ignore[index]
    assert trained.value > 0.2, "nothing is suppressed, so each object that is said twice counts as a false alarm"
    again = gf.train(str(sets["detect"]), arch=str(run), out=str(tmp_path / "again"), epochs=1.0, **settings)
    assert again.arch_id == trained.arch_id
    assert Run.open(again.run).read_json("arch.json")["dense"]["nms_free"] is True


@pytest.mark.slow
def test_a_search_among_networks_free_of_nms(sets: dict[str, Path], tmp_path: Path) -> None:
    start = tmp_path / "start.json"
    start.write_text(plain_start(2, (SIDE, SIDE), width=0.25, depth=1).to_json())
    result = gf.fit(
        str(sets["instance"]), task="instance", start=str(start), out=str(tmp_path / "run"), nms_free=True, **QUICK
    )
    assert open_bundle(result.bundle).manifest.decode.nms is False and result.value > 0.2


def test_freedom_of_nms_means_nothing_to_other_tasks(sets: dict[str, Path], tmp_path: Path) -> None:
    for verb in (gf.train, gf.search, gf.fit):
        with pytest.raises(ValueError, match="--nms-free has no effect on the task 'segment'"):
            verb(str(sets["segment"]), nms_free=True, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()

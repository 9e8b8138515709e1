"""The search without a store: each of the largest networks is trained for a while, and the best is taken."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ghostfit.api import FitConfig, SearchConfig
from ghostfit.run import Run
from ghostfit.search.evaluate import Score
from ghostfit.search.limits import Costs
from ghostfit.search.start import conv_start
from ghostfit.search.study import Evaluation
from ghostfit.verbs.clock import Clock
from ghostfit.verbs.fit import FitResult, fit
from ghostfit.verbs.hunt import strategy_of
from ghostfit.verbs.largest import _score_small, is_enough, taken, wrong_of
from ghostfit.verbs.search import search

SETTINGS: dict[str, Any] = {
    "macs_m": 0.5,
    "epochs": 60.0,
    "batch_size": 16,
    "augment": "light",
    "strategy": "largest",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("start") / "start.json"
    path.write_text(conv_start(3, (32, 32), width=0.25, depth=2).to_json())
    return {**SETTINGS, "start": str(path)}


@pytest.fixture(scope="module")
def done(shapes: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(FitConfig(data=str(shapes), out=str(tmp_path_factory.mktemp("runs") / "run"), **settings))


def test_networks_are_trained_for_a_while_and_the_best_is_taken(done: FitResult) -> None:
    run = Run.open(done.run)
    rows = list(run.records("search.jsonl"))
    assert len(rows) > 1 and {row["origin"] for row in rows} <= {"largest", "width"}
    assert all(row["metric"] is not None and row["macs"] <= 0.5e6 for row in rows)
    first = max(rows, key=lambda row: row["metric"])
    least = first["metric"] - first["standard_error"]
    found = next(row for row in rows if row["arch_id"] == done.arch_id)
    assert found["metric"] >= least
    assert found["macs"] == max(row["macs"] for row in rows if row["metric"] >= least)
    trained = {row["phase"] for row in run.records("metrics.jsonl")}
    assert trained == {*(f"runoff:{row['arch_id']}" for row in rows), "train"}


def test_the_run_says_what_it_did(done: FitResult) -> None:
    run = Run.open(done.run)
    phases = run.read_json("run.json")["phases"]
    assert "supernet" not in phases and "search" in phases
    assert all(row["how"] == "after a short training of each" for row in run.read_json("paid.json")["rows"])
    page = done.report.read_text(encoding="utf-8")
    assert "after a short training" in page and "not finished" not in page and "inherited from the supernet" not in page


def test_it_has_learnt_what_is_easy(done: FitResult) -> None:
    assert done.value > 0.9


def test_a_killed_run_ends_as_an_unbroken_one(
    done: FitResult, shapes: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "ghostfit", "fit", str(shapes), "--out", str(out), *flags, "--json"]
    for name in ("search.jsonl", "plan-train.json"):
        resume = ["--resume"] if (out / "run.json").exists() else []
        process = subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / name).exists():
            time.sleep(0.02)
        process.kill()
        process.wait()
    result = subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=300)
    assert json.loads(result.stdout)["arch_id"] == done.arch_id
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (out, done.run))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_a_search_alone_keeps_the_weights_of_the_short_training(
    done: FitResult, shapes: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    own = {name: value for name, value in settings.items() if name != "epochs"}
    result = search(SearchConfig(data=str(shapes), out=str(tmp_path / "run"), **own))
    assert "after a short training" in result.to_text() and result.value > 0.4
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_the_training_goes_on_from_the_short_one_under_a_time_limit_too(
    shapes: Path, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostfit.verbs.largest.LEAST_TIME_S", 10.0)
    own = {name: value for name, value in settings.items() if name != "epochs"}
    result = fit(FitConfig(data=str(shapes), out=str(tmp_path / "run"), time_s=18.0, **own))
    run = Run.open(result.run)
    rows = list(run.records("search.jsonl"))
    assert len(rows) > 1 and all(row["metric"] is not None for row in rows)
    assert run.file("checkpoints", f"short-{result.arch_id}.safetensors").exists() and result.value > 0.5


def test_without_time_for_it_the_largest_is_taken(shapes: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    result = fit(FitConfig(data=str(shapes), out=str(tmp_path / "run"), time_s=12.0, **settings))
    rows = list(Run.open(result.run).records("search.jsonl"))
    assert [row["arch_id"] for row in rows] == [result.arch_id] and rows[0]["metric"] is None
    assert "not known" in result.sentence


def test_where_a_small_network_leaves_nothing_to_gain_it_is_taken(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostfit.verbs.largest.LEAST_JUDGED", 20)  # there are few shapes
    result = fit(FitConfig(data=str(shapes), out=str(tmp_path / "run"), **{**SETTINGS, "macs_m": 8.0, "epochs": 30.0}))
    run = Run.open(result.run)
    rows = list(run.records("search.jsonl"))
    assert {row["origin"] for row in rows} == {"small"} and rows[0]["macs"] <= 2e6
    assert result.arch_id in {row["arch_id"] for row in rows} and result.value > 0.9
    assert "small network is enough" in result.sentence
    assert {row["phase"] for row in run.records("metrics.jsonl")} == {
        *(f"runoff:{row['arch_id']}" for row in rows),
        "train",
    }


@pytest.mark.parametrize(
    ("wrong", "shares"),
    [([300, 0], [0.05]), ([134, 0], [0.05]), ([133, 3], [0.05, 0.2]), ([4], [0.05]), ([30, None], [0.05, 0.2])],
)
def test_a_small_network_far_from_enough_is_given_up_after_a_quarter_of_its_training(
    wrong: list[int | None], shares: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, answers = [], iter(wrong)

    def scored(hunt: Any, arch: Any, seconds: float | None, epochs_share: float, name: str) -> Score | None:
        asked.append(epochs_share)
        num = next(answers)
        return None if num is None else Score(metric=1 - num / 400, loss=0.1, num_images=400, standard_error=0.01)

    monkeypatch.setattr("ghostfit.verbs.largest._scored", scored)
    score = _score_small(_hunt(tmp_path), conv_start(3, (32, 32)), 0)
    assert asked == pytest.approx(shares)
    assert (None if score is None else wrong_of(score)) == wrong[len(shares) - 1]


@pytest.mark.parametrize(("num_images", "seconds"), [(3_000, None), (50_000, 120.0)])
def test_a_quarter_too_short_to_tell_is_left_out(
    num_images: int, seconds: float | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def scored(hunt: Any, arch: Any, seconds: float | None, epochs_share: float, name: str) -> Score:
        asked.append(epochs_share)
        return Score(metric=0.2, loss=0.1, num_images=400, standard_error=0.01)

    monkeypatch.setattr("ghostfit.verbs.largest._scored", scored)
    _score_small(_hunt(tmp_path, num_images, seconds), conv_start(3, (32, 32)), 0)
    assert asked == [0.2]


def _hunt(folder: Path, num_images: int = 4_000, seconds: float | None = None) -> Any:
    material = SimpleNamespace(indices=lambda names: range(num_images))
    return SimpleNamespace(clock=Clock(Run(folder), seconds), material=material, config=SimpleNamespace(epochs=None))


def test_the_smallest_that_is_enough_is_taken_else_of_what_is_alike_a_large_one() -> None:
    def evaluation(origin: str, width: float, right: float, macs: int) -> Evaluation:
        costs = Costs(latency_ms=1.0, latency_p90_ms=1.0, macs=macs, params=1, size_bytes=1, memory_bytes=1)
        arch = conv_start(3, (32, 32), width=width)
        score = Score(metric=right, loss=0.1, num_images=200, standard_error=0.01)
        return Evaluation(
            number=0, origin=origin, arch=arch, costs=costs, score=score, quality=right, is_feasible=True, seconds=1.0
        )

    large, alike = evaluation("largest", 1.0, 0.99, 100), evaluation("largest", 0.75, 0.985, 105)
    enough, less = evaluation("small", 0.5, 0.98, 25), evaluation("small", 0.25, 0.9, 6)
    assert taken([enough, less]) is enough and taken([large, less]) is large
    assert taken([large, alike]) is alike
    assert taken([large, evaluation("width", 0.8, 0.97, 120)]) is large


@pytest.mark.parametrize(
    ("right", "num_images", "expected"),
    [(1.0, 50, False), (1.0, 200, True), (0.99, 400, True), (0.98, 400, False), (0.999, 8000, False)],
)
def test_a_network_is_enough_where_its_errors_cannot_be_told_from_none(
    right: float, num_images: int, expected: bool
) -> None:
    assert is_enough(Score(metric=right, loss=0.1, num_images=num_images, standard_error=0.01)) == expected


@pytest.mark.parametrize(
    ("settings", "task", "expected"),
    [
        ({}, "classify", "largest"),
        ({}, "detect", "nsga2"),
        ({"weights": "package:x"}, "classify", "nsga2"),
        ({"store": "runs/a"}, "classify", "nsga2"),
        ({"start": "ghostnet_100"}, "classify", "nsga2"),
        ({"objective": "macs"}, "classify", "nsga2"),
        ({"evaluations": 8}, "classify", "nsga2"),
        ({"search_epochs": 3.0}, "classify", "nsga2"),
        ({"optimizer": "adamw"}, "classify", "nsga2"),
        ({"strategy": "largest"}, "detect", "largest"),
        ({"strategy": "random"}, "classify", "random"),
    ],
)
def test_a_store_is_made_where_something_asks_for_it(settings: dict[str, Any], task: str, expected: str) -> None:
    assert strategy_of(FitConfig(data="digits", **settings), task) == expected


@pytest.mark.parametrize("given", [{"objective": "loss"}, {"objective": "macs"}])
def test_settings_without_effect_are_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have no effect"):
        fit(FitConfig(data="digits", out=str(tmp_path / "run"), strategy="largest", **given))

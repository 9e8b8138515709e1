"""The whole way, from a folder of images to a bundle that answers, and every way to break it off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import ghostfit as gf
from ghostfit.api import FitConfig
from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.event import ignore
from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from ghostfit.verbs.fit import FitResult, fit
from ghostfit.verbs.material import read_material

QUICK: dict[str, Any] = {
    "latency_ms": 5.0,
    "search_epochs": 6.0,
    "epochs": 12.0,
    "evaluations": 3,
    "batch_size": 16,
    "augment": "light",
    "start": "start.json",
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run of seconds: a start network of a few thousand weights."""
    from ghostfit.search.start import plain_start

    path = tmp_path_factory.mktemp("start") / "start.json"
    path.write_text(plain_start(3, (32, 32), width=0.25, depth=1).to_json())
    return {**QUICK, "start": str(path)}


@pytest.fixture(scope="module")
def done(shapes: Path, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "cache")
    return fit(FitConfig(data=str(shapes), out=str(tmp_path_factory.mktemp("runs") / "run"), **quick))


def test_the_bundle_holds_what_was_measured(done: FitResult) -> None:
    manifest = open_bundle(done.bundle).manifest
    assert manifest.class_names == ("bar", "noise", "square")
    assert manifest.metrics["test"]["accuracy"] == done.value
    assert manifest.parity["passed"] and manifest.parity["num_images"] > 0  # type: ignore[index]
    assert manifest.latency[0]["median_ms"] == done.latency["median_ms"] > 0
    assert manifest.arch_id == done.arch_id and not done.has_failed
    assert gf.Arch.from_dict(manifest.arch).id == done.arch_id  # type: ignore[arg-type]


def test_what_was_measured_in_the_search_is_what_is_shipped(done: FitResult) -> None:
    run, bundle = Run.open(done.run), open_bundle(done.bundle)
    form = run.read_json("lowering.json")["name"]
    assert bundle.manifest.lowering["name"] == form  # type: ignore[index]
    records = [record for record in run.records("search.jsonl") if record["arch_id"] == done.arch_id]
    assert {record["size_bytes"] for record in records} == {len(bundle.network)}
    assert bundle.manifest.files["model.onnx"].bytes == len(bundle.network)


def test_it_has_learnt_what_is_easy(done: FitResult) -> None:
    assert done.value > 0.6


def test_the_run_folder_tells_everything(done: FitResult) -> None:
    run = Run.open(done.run)
    phases = run.read_json("run.json")["phases"]
    ends = ["train", "export", "test", "bench", "report"]
    assert list(phases) == ["data", "space", "supernet", "search", "runoff", *ends]
    data = run.read_json("data.json")
    assert data["num_images"] == 121 and sum(data["splits"].values()) == 120
    assert [skipped["id"] for skipped in data["skipped"]] == ["bar/notes.txt", "bar/broken.png"]
    assert {record["origin"] for record in run.records("search.jsonl")} >= {"nsga2", "random"}
    rows = run.read_json("paid.json")["rows"]
    assert rows[0]["name"] == "found" and len(rows) >= 3
    held = list(run.records("runoff.jsonl"))
    assert len(held) == phases["runoff"]["num_networks"] >= 2
    found = next(record for record in held if record["arch_id"] == done.arch_id)
    best = max(held, key=lambda record: record["metric"])
    macs = {record["arch_id"]: record["macs"] for record in run.records("search.jsonl")}
    alike = [record["arch_id"] for record in held if record["metric"] >= best["metric"] - best["standard_error"]]
    assert best["standard_error"] > 0 and macs[done.arch_id] == max(macs[arch_id] for arch_id in alike)
    assert done.arch_id in alike
    assert rows[0]["arch_id"] == done.arch_id and rows[0]["metric"] == found["metric"]
    assert run.read_json("gene_time.json") and run.read_json("block_time.json")
    assert "<svg" in done.report.read_text(encoding="utf-8")


def test_splits_do_not_overlap(done: FitResult) -> None:
    splits = Run.open(done.run).read_json("splits.json")
    indices = [index for name in ("train", "val", "search", "test") for index in splits[name]]
    assert len(indices) == len(set(indices)) == 120


def test_a_finished_run_resumed_is_the_same(done: FitResult, shapes: Path, quick: dict[str, Any]) -> None:
    again = fit(FitConfig(data=str(shapes), out=str(done.run), resume=True, **quick))
    assert again == done


def test_a_run_is_not_overwritten(done: FitResult, shapes: Path, quick: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        fit(FitConfig(data=str(shapes), out=str(done.run), **quick))


def test_a_run_does_not_go_on_with_other_settings(done: FitResult, shapes: Path, quick: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"can't go on with other settings: latency_ms was 5\.0, now 4\.0"):
        fit(FitConfig(data=str(shapes), out=str(done.run), resume=True, **{**quick, "latency_ms": 4.0}))


def test_batch_norm_is_calibrated_on_mixed_classes(shapes: Path) -> None:
    material = read_material(str(shapes), size_hw=None, seed=0, run=None, on_event=ignore)
    for _, y in material.evaluating(["train"], most=32, seed=0).epoch():
        assert len(set(y.tolist())) == 3


def test_data_that_changed_under_a_run_is_refused(
    done: FitResult, shapes: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    copy, run = tmp_path / "shapes", tmp_path / "run"
    shutil.copytree(shapes, copy)
    shutil.copytree(done.run, run)
    (copy / "bar" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"is not what the run in .* began with"):
        fit(FitConfig(data=str(copy), out=str(run), resume=True, **quick))


def test_the_other_verbs_read_the_run(done: FitResult, shapes: Path, tmp_path: Path) -> None:
    scored = gf.evaluate(done.run, data=str(shapes))
    assert scored.split == "test" and scored.report["accuracy"] == done.value
    scored = gf.evaluate(done.bundle, data=str(shapes))
    assert scored.report["num_images"] == 120 and len(scored.report["skipped"]) == 1
    predicted = gf.predict(done.run, images=(str(shapes / "square"), str(shapes / "bar" / "broken.png")))
    assert len(predicted.rows) == 41 and predicted.has_failed
    exported = gf.export(done.run, tmp_path / "copy.ghost")
    manifest, first = (open_bundle(path).manifest for path in (exported.bundle, done.bundle))
    assert manifest.arch_id == done.arch_id and manifest.prepare == first.prepare
    assert manifest.metrics["test"]["accuracy"] == done.value
    model = gf.load(exported.bundle)
    assert model(shapes / "square" / "1.png").label in ("bar", "noise", "square")
    assert gf.bench(done.bundle, budget_s=0.05).rows[0][1].median_ms > 0


def test_a_trained_store_serves_another_limit(
    done: FitResult, shapes: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    earlier = Run.open(done.run)
    most = 0.9 * count(Arch.from_dict(earlier.read_json("arch.json"))).macs / 1e6
    given = {name: value for name, value in quick.items() if name != "start"}
    result = fit(FitConfig(data=str(shapes), store=str(done.run), macs_m=most, out=str(tmp_path / "run"), **given))
    run = Run.open(result.run)
    assert not result.has_failed and result.arch_id != done.arch_id and result.value > 0.5
    assert run.file("supernet.safetensors").read_bytes() == earlier.file("supernet.safetensors").read_bytes()
    phases = run.read_json("run.json")["phases"]
    assert phases["supernet"]["taken_from"] == str(done.run) and phases["supernet"]["seconds"] == 0
    assert not any(row.get("phase") == "supernet" for row in run.records("metrics.jsonl"))


def test_a_store_that_does_not_fit_is_refused(
    done: FitResult, shapes: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    given = {"out": str(tmp_path / "run"), **quick}
    with pytest.raises(ValueError, match="trained with channels 3, not 1"):
        fit(FitConfig(data=str(shapes), store=str(done.run), channels=1, **given))
    with pytest.raises(ValueError, match="holds no run"):
        fit(FitConfig(data=str(shapes), store=str(tmp_path), **given))
    fewer = tmp_path / "fewer"
    shutil.copytree(shapes, fewer)
    next(fewer.rglob("*.png")).unlink()
    with pytest.raises(ValueError, match="trained on other images"):
        fit(FitConfig(data=str(fewer), store=str(done.run), **given))


def test_an_infeasible_limit_is_explained_before_training(shapes: Path, quick: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network of this space meets the limits: latency_ms"):
        fit(FitConfig(data=str(shapes), out=str(tmp_path / "run"), **{**quick, "latency_ms": 1e-5}))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"start": "mobilenetv9"}, "mobilenetv9"),
        ({"start": "missing.json"}, "no such file"),
        ({"weights": "package:nothing", "start": "ghostnet_100"}, "nothing"),
        ({"runtime": "openvno"}, "openvno"),
    ],
)
def test_wrong_settings_are_named(
    settings: dict[str, str], text: str, shapes: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=text):
        fit(FitConfig(**{"data": str(shapes), "out": str(tmp_path / "run"), **quick, **settings}))
    assert "weights" in settings or not (tmp_path / "run").exists()


def command(data: Path, out: Path, quick: dict[str, Any]) -> list[str]:
    flags = [part for name, value in quick.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "ghostfit", "fit", str(data), "--out", str(out), "--json", *flags]


def test_ctrl_c_ends_in_a_valid_bundle(shapes: Path, quick: dict[str, Any], tmp_path: Path) -> None:
    long = {**quick, "search_epochs": 10_000.0}
    process = subprocess.Popen(command(shapes, tmp_path / "run", long), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, log = process.communicate(timeout=180)
    assert process.returncode == 130, log.decode()
    result = json.loads(output)
    assert open_bundle(result["bundle"]).manifest.metrics["test"]["accuracy"] == result["value"]


def test_a_killed_run_ends_as_an_unbroken_one(
    done: FitResult, shapes: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    """Killed without warning in three places; the latencies that the unbroken run measured are found again."""
    out = tmp_path / "run"
    for name in ("plan-supernet.json", "search.jsonl", "plan-train.json"):
        resume = ["--resume"] if (out / "run.json").exists() else []
        process = subprocess.Popen(
            [*command(shapes, out, quick), *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (out / name).exists():
            time.sleep(0.02)
        process.kill()
        process.wait()
    subprocess.run([*command(shapes, out, quick), "--resume"], check=True, capture_output=True, timeout=300)
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (out, done.run))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())
    ids = [record["arch_id"] for record in Run.open(out).records("search.jsonl")]
    assert ids == [record["arch_id"] for record in Run.open(done.run).records("search.jsonl")]

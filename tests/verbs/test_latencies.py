"""The form of a run's files is chosen once, kept by the machine and by the run, and is what is shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostfit.data.cache import default_cache_dir
from ghostfit.run import Run
from ghostfit.verbs.latencies import choose_form, form_of, latency_store


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names that stand for measurements, in turn; each one that is made is taken from the list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ["concat8", "plain", "split8"]

    def measure(*args: Any) -> dict[str, Any]:
        return {"name": names.pop(0), "probe": "ghostnet_100", "best_ms": {"plain": 1.0}}

    monkeypatch.setattr("ghostfit.verbs.latencies._measure", measure)
    return names


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[str], Run]:
    return lambda name: Run.create(tmp_path / name, "fit", {}, seed=0)


def test_a_form_is_measured_once_for_a_machine_threads_and_size(measured: list[str]) -> None:
    assert choose_form("onnxruntime", 1, (32, 32)) == choose_form("onnxruntime", 1, (32, 32)) == "concat8"
    assert choose_form("onnxruntime", 2, (32, 32)) == "plain"
    assert choose_form("onnxruntime", 1, (64, 64)) == "split8"
    assert not measured


def test_a_run_keeps_its_form_whatever_the_machine_finds_later(
    measured: list[str], new_run: Callable[[str], Run]
) -> None:
    run = new_run("run")
    assert latency_store("onnxruntime", 1, size_hw=(32, 32), run=run).form == form_of(run) == "concat8"
    (default_cache_dir() / "lowering.jsonl").unlink()
    assert latency_store("onnxruntime", 1, size_hw=(32, 32), run=run).form == "concat8"
    assert choose_form("onnxruntime", 1, (32, 32)) == "plain"


def test_a_damaged_line_or_a_form_that_is_gone_is_measured_anew(measured: list[str]) -> None:
    choose_form("onnxruntime", 1, (32, 32))
    path = default_cache_dir() / "lowering.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "split32"}) + "\n{cut\n[]\n")
    assert choose_form("onnxruntime", 1, (32, 32)) == "plain"


def test_the_choice_is_between_all_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ghostfit.export.lower import LOWERINGS

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = Run.create(tmp_path / "run", "fit", {}, seed=0)
    name = choose_form("onnxruntime", 1, (32, 32), run=run, budget_s=0.01)
    kept = run.read_json("lowering.json")
    assert kept["name"] == name and kept["best_ms"].keys() == LOWERINGS.keys()

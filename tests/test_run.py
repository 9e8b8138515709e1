"""Run folders: whole files or none, records that outlive a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ghostfit.run import Run, describe_machine, installed_versions, plain, write_atomically


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", "fit", {"data": "flowers", "size_hw": (96, 96)}, seed=3)


def test_what_was_asked_is_written_first(run: Run) -> None:
    info = run.read_json("run.json")
    assert info["verb"] == "fit"
    assert info["config"] == {"data": "flowers", "size_hw": [96, 96]}
    assert info["seed"] == 3
    assert info["phases"] == {}
    assert info["versions"]["python"]
    assert set(info["machine"]) == {"processor", "cores", "system"}
    assert Run.open(run.path) == run


def test_a_folder_holds_one_run(run: Run) -> None:
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        Run.create(run.path, "fit", {}, seed=0)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        Run.open(tmp_path)


def test_phases(run: Run) -> None:
    assert not run.is_done("train")
    run.finish("train", seconds=np.float32(1.5))
    assert run.is_done("train")
    assert run.read_json("run.json")["phases"]["train"]["seconds"] == 1.5
    assert not run.is_done("export")


def test_json_of_numpy_and_paths(run: Run) -> None:
    run.write_json("deep/a.json", {"n": np.int64(3), "a": np.arange(2), "p": Path("x"), "t": (1, 2)})
    assert run.read_json("deep/a.json") == {"n": 3, "a": [0, 1], "p": "x", "t": [1, 2]}
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())


def test_a_value_that_is_no_json_leaves_the_old_file(run: Run) -> None:
    run.write_json("a.json", {"old": 1})
    with pytest.raises(TypeError):
        run.write_json("a.json", {"new": object()})
    assert run.read_json("a.json") == {"old": 1}
    assert [path.name for path in run.path.iterdir() if path.name.endswith(".partial")] == []


def test_missing_and_damaged_json(run: Run) -> None:
    assert run.read_json("none.json", {"is": "default"}) == {"is": "default"}
    run.file("bad.json").write_text('{"half":')
    with pytest.raises(ValueError, match=r"bad\.json is damaged"):
        run.read_json("bad.json")


def test_records_come_back_in_order(run: Run) -> None:
    assert list(run.records("metrics.jsonl")) == []
    for step in range(3):
        run.append("metrics.jsonl", {"step": step, "loss": np.float64(0.5)})
    assert [record["step"] for record in run.records("metrics.jsonl")] == [0, 1, 2]


@pytest.mark.parametrize("cut", ['{"step": 1, "lo', "{", "null", "[1]", "\x00\x00"])
def test_a_line_cut_by_a_kill_is_passed_over(run: Run, cut: str) -> None:
    run.append("metrics.jsonl", {"step": 0})
    with run.file("metrics.jsonl").open("a") as stream:
        stream.write(cut)
    run.append("metrics.jsonl", {"step": 2})
    assert [record["step"] for record in run.records("metrics.jsonl")] == [0, 2]


def test_a_full_disk_leaves_the_old_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_json("a.json", {"old": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run.write_json("a.json", {"new": 2})
    assert json.loads(run.file("a.json").read_text()) == {"old": 1}
    assert not list(run.path.glob(".*.partial"))


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([i]) * 20_000 for i in range(40)]
    write_atomically(path, contents[0])
    seen: set[bytes] = set()
    ends = threading.Event()

    def read() -> None:
        while not ends.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        write_atomically(path, content)
    ends.set()
    reader.join()
    assert seen <= set(contents)


WRITER = """
import sys
from ghostfit.run import Run
run = Run.open(sys.argv[1])
step = 0
while True:
    run.append("metrics.jsonl", {"step": step})
    run.write_json("state.json", {"step": step, "filling": "x" * 5000})
    step += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize("wait_s", [0.01, 0.037])
def test_a_kill_leaves_a_readable_folder(run: Run, wait_s: float) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(run.path)])
    deadline = time.monotonic() + 60
    while not run.file("state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(wait_s)
    writer.kill()
    writer.wait(timeout=30)
    state = run.read_json("state.json")
    steps = [record["step"] for record in run.records("metrics.jsonl")]
    assert steps == list(range(len(steps)))
    assert len(steps) - 2 <= state["step"] <= len(steps) - 1
    run.append("metrics.jsonl", {"step": len(steps)})
    assert [record["step"] for record in run.records("metrics.jsonl")][-1] == len(steps)


def test_what_a_result_is_told_with() -> None:
    assert {"python", "numpy"} <= set(installed_versions())
    assert describe_machine()["cores"] >= 1

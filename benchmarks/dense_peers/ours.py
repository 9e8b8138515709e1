"""Our side: the command line in a process of its own, and what its run folder tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pays.command import ghostfit, where

from dense_peers.material import Images
from dense_peers.scoring import summary
from dense_peers.settings import Setting
from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.run import Run
from ghostfit.verbs.latencies import latency_store
from ghostfit.verbs.rivals import width_scaled

PHASES = ("data", "space", "supernet", "search", "runoff", "train", "export", "test", "bench")


def fit(
    images: Images, out: Path, limit_ms: float, epochs: int, seed: int, *, weights: str = "", store: Path | None = None
) -> dict[str, Any]:
    """``ghostfit fit`` within a limit, from scratch or from published weights; a killed run is resumed.

    `store` is an earlier run whose shared weights serve this limit as well.
    """
    setting = images.setting
    # The store's epochs keep their share when the epochs of the trainings are changed for a trial.
    store_epochs = setting.store_epochs * epochs / setting.our_epochs
    words = ["fit", str(images.folder), "--latency-ms", f"{limit_ms:g}", "--search-epochs", f"{store_epochs:g}"]
    size = "x".join(map(str, setting.size_hw))
    words += ["--size", size, "--evaluations", str(setting.evaluations), *_training(setting, epochs, seed)]
    words += ["--weights", weights] if weights else []
    words += ["--store", str(store)] if store else []
    # A limit that the shipped file misses by a hair is status 1; the page shows what was measured.
    if not Run(out).file("report.html").exists():
        ghostfit([*words, *where(out)], allowed=(0, 1))
    run = Run.open(out)
    finished = run.read_json("run.json")["phases"]
    if any(row.get("is_stopped") for row in finished.values()):
        raise RuntimeError(f"{out} was stopped before its time, which is no result; remove it and start again")
    phases = {name: row.get("seconds", 0.0) for name, row in finished.items()}
    latency = run.read_json("bench.json")["rows"][0]
    return {
        **_facts(run, epochs),
        **summary(run.read_json("test.json")),
        "phases": phases,
        "train_s": phases.get("train", 0.0),
        "total_s": round(sum(phases.get(name, 0.0) for name in PHASES), 1),
        "median_ms": latency["median_ms"],
        "p90_ms": latency["p90_ms"],
        "sentence": (run.read_json("paid.json") or {}).get("sentence", ""),
        "command": "ghostfit " + " ".join(words),
    }


def train_found(images: Images, found: Path, out: Path, epochs: int, seed: int) -> dict[str, Any]:
    """The network that a run of `fit` found, from fresh weights."""
    return _train(images, str(found), out, epochs, seed)


def train_width(images: Images, found: Path, out: Path, epochs: int, seed: int) -> dict[str, Any]:
    """The network that the search of a run began at, its widths scaled to the latency of what was found there."""
    run = Run.open(found)
    latencies = latency_store("onnxruntime", 1, size_hw=images.setting.size_hw, run=run)
    start = Arch.from_dict(run.read_json("start.json")["arch"])
    most = latencies.measure(Arch.from_dict(run.read_json("arch.json"))).median_ms
    arch = width_scaled(start, most, lambda scaled: latencies.measure(scaled).median_ms)
    if arch is None:
        raise RuntimeError(f"no width of the start network takes {most:.2f} ms or less")
    file = out.with_name(f"{out.name}.json")  # a limit in the name has a dot
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(arch.to_json(), encoding="utf-8")
    return _train(images, str(file), out, epochs, seed)


def _train(images: Images, arch: str, out: Path, epochs: int, seed: int) -> dict[str, Any]:
    """`train` a network from fresh weights, `export` it, and `evaluate` the bundle on the test split."""
    words = ["train", str(images.folder), "--arch", arch, *_training(images.setting, epochs, seed)]
    run = Run(out)
    phases = run.read_json("run.json", {}).get("phases", {})
    if "train" not in phases:
        ghostfit([*words, *where(out)])
    if not run.file("model.ghost").exists():
        ghostfit(["export", str(out)])
    format = ["--format", images.setting.format] if images.setting.format else []
    told = ghostfit(["evaluate", str(out), str(images.folder), "--split", "test", "--json", *format])
    seconds = run.read_json("run.json")["phases"]["train"].get("seconds", 0.0)
    return {
        **_facts(run, epochs),
        **summary(json.loads(told)),
        "train_s": seconds,
        "command": "ghostfit " + " ".join(words),
    }


def _training(setting: Setting, epochs: int, seed: int) -> list[str]:
    """Flags that `fit` and `train` share; `train` takes the size that was found."""
    words = ["--epochs", str(epochs), "--batch-size", str(setting.batch_size), "--seed", str(seed)]
    return [*words, "--format", setting.format] if setting.format else words


def _facts(run: Run, epochs: int) -> dict[str, Any]:
    arch = Arch.from_dict(run.read_json("arch.json"))
    costs = count(arch)
    return {
        "arch_id": arch.id,
        "epochs": epochs,
        "params": costs.params,
        "macs": costs.macs,
        "size": "x".join(map(str, arch.size_hw)),
        "files": [str(run.file("model.ghost"))],
    }

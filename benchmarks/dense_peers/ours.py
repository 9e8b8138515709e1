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
from ghostfit.runtime.bench import measure_interleaved
from ghostfit.verbs.latencies import choose_form, export_fresh
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


def train_width(images: Images, found: Path, out: Path, epochs: int, seed: int, *, resized: bool) -> dict[str, Any]:
    """The network that the search of a run began at, its widths scaled to the latency of what was found there.

    With `resized` it has the found network's size of input. Each width is timed in turns with the found network: what
    a search remembers of latencies is of another hour.
    """
    run = Run(found)
    start, best = _start_and_found(run)
    start = start.replace(size_hw=best.size_hw) if resized else start
    form = choose_form("onnxruntime", 1, best.size_hw, run=run)

    def share(scaled: Arch) -> float:
        """Of the found network's latency."""
        archs = {"scaled": scaled, "found": best}
        files = {name: export_fresh(arch, form) for name, arch in archs.items()}
        shapes = {name: (1, arch.in_channels, *arch.size_hw) for name, arch in archs.items()}
        timed = measure_interleaved(files, shapes, budget_s=1.0)
        return timed["scaled"].median_ms / timed["found"].median_ms

    arch = width_scaled(start, 1.0, share)
    if arch is None:
        raise RuntimeError("no width of the start network is as fast as the found one")
    file = out.with_name(f"{out.name}.json")  # a limit in the name has a dot
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(arch.to_json(), encoding="utf-8")
    return _train(images, str(file), out, epochs, seed)


def is_resized(found: Path) -> bool:
    """Whether a search took another size of input than the one it began at."""
    start, best = _start_and_found(Run(found))
    return start.size_hw != best.size_hw


def _start_and_found(run: Run) -> tuple[Arch, Arch]:
    return Arch.from_dict(run.read_json("start.json")["arch"]), Arch.from_dict(run.read_json("arch.json"))


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

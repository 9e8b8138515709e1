"""Peers of other packages, run by the Python of their own environment (`yolo.py`)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from dense_peers.material import Images
from dense_peers.scoring import score_objects

PROGRAM = Path(__file__).with_name("yolo.py")


def train_yolo(
    images: Images, name: str, out: Path, python: str, *, epochs: int, seed: int, threads: int
) -> dict[str, Any]:
    """Train `name` from scratch, and score by our engine what its exported files find; what to record."""
    setting = images.setting
    if not (out / "peer.json").exists():
        words = [str(images.yolo), "--model", f"{name}.yaml", "--size", str(max(setting.size_hw))]
        words += ["--epochs", str(epochs), "--batch", str(setting.batch_size), "--seed", str(seed)]
        words += ["--threads", str(threads), "--export", *setting.exports, "--out", str(out)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([python, str(PROGRAM), *words], check=True, env=env, start_new_session=True)
    facts = json.loads((out / "peer.json").read_text(encoding="utf-8"))
    class_names = images.dataset.class_names
    if tuple(facts["class_names"]) != class_names:
        raise ValueError(f"{out} knows the classes {facts['class_names']}, the images have {class_names}")
    sizes = []
    for size in setting.exports:
        own = [row for row in facts["files"] if "x".join(map(str, row["size_hw"])) == size]
        results = next(out / row["results"] for row in own if "results" in row)
        report = score_objects(results, images.test, class_names, masks=setting.task == "instance")
        sizes.append({"size": size, "files": [str(out / row["onnx"]) for row in own], **report})
    names = ("epochs", "params", "train_s", "train_cpu_s", "own_map", "own_map50", "versions")
    return {**{name: facts[name] for name in names}, "sizes": sizes}

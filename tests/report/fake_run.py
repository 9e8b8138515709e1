"""A run folder as `ghostfit fit` leaves it, with invented but plausible figures; for the tests, and to look at a page.

Try it: ``python tests/report/fake_run.py FOLDER [TASK]`` writes the folder and its ``report.html``.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import random
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ghostfit.arch import Arch, Dense, Stage
from ghostfit.counting import count
from ghostfit.presets import preset
from ghostfit.report import write_report
from ghostfit.vision.detection_metrics import detection_report
from ghostfit.vision.metrics import classification_report
from ghostfit.vision.objects import Objects
from ghostfit.vision.results import Detections
from ghostfit.vision.segmentation_metrics import segmentation_report

CLASSES = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
PROCESSOR = "Intel(R) Core(TM) i5-8365U CPU @ 1.60GHz"
LIMIT_MS = 3.0
CONDITIONS = {"runtime": "onnxruntime", "runtime_version": "1.24.1", "threads": 1, "device": PROCESSOR, "num_runs": 500}


def write_fake_run(
    path: Path,
    *,
    class_names: tuple[str, ...] = CLASSES,
    task: str = "classify",
    seed: int = 0,
    num_evaluations: int = 220,
    num_bytes: int = 9_800_000,
) -> Path:
    """Fill the folder `path` with a finished run."""
    path.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    start = preset("ghostnet_100", num_classes=len(class_names), size_hw=(160, 160))
    if task != "classify":
        start = start.as_dense(Dense(task))
    evaluations = _evaluations(rng, start, num_evaluations)
    feasible = [e for e in evaluations if e["latency_ms"] <= LIMIT_MS and e["origin"] == "nsga2"]
    chosen = max(feasible, key=lambda e: e["metric"])
    arch = Arch.from_dict(chosen["arch"])
    files: dict[str, Any] = {
        "run.json": _run(seed),
        "data.json": _data(rng, class_names, task),
        "limits.json": {
            "latency_ms": LIMIT_MS,
            "size_mb": 12.0,
            "device": {"processor": PROCESSOR, "cores": 8},
            "runtime": "onnxruntime",
            "threads": 1,
        },
        "arch.json": arch.to_dict(),
        "start.json": {**start.to_dict(), "name": "ghostnet_100"},
        "gene_time.json": _gene_time(rng),
        "clock.json": {"seconds": 897.2},
        "paid.json": _paid(chosen, start),
        "test.json": TESTS[task](rng, class_names, seed),
        "block_time.json": _block_time(rng, arch, chosen["latency_ms"]),
        "bench.json": {"rows": _bench(rng, chosen)},
    }
    for name, content in files.items():
        path.joinpath(name).write_text(json.dumps(content), encoding="utf-8")
    lines = {"search.jsonl": evaluations, "metrics.jsonl": _metrics(rng, task), "shrink.jsonl": _shrink()}
    for name, records in lines.items():
        path.joinpath(name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    _write_bundle(path / "model.ghost", arch, chosen, class_names, num_bytes, task)
    return path


def vary(arch: Arch, rng: random.Random) -> Arch:
    """A random neighbour: widths, depth, kernels, ratios, SE and DFC."""
    scale = rng.choice((0.5, 0.75, 1.0, 1.0, 1.3))
    stages = []
    for stage in arch.stages:
        out = max(8, round(stage.out * scale * rng.choice((0.75, 1.0, 1.0)) / 4) * 4)
        blocks = stage.blocks[: rng.randint(1, len(stage.blocks))]
        blocks = tuple(
            dataclasses.replace(
                block,
                mid=max(8, round(block.mid * scale * rng.choice((0.7, 1.0)) / 4) * 4),
                ratio=rng.choice((1, 2, 2, 4)),
                kernel=rng.choice((3, 5)) if block.kernel else 0,
                se=rng.choice((0, 0, 24)),
                dfc=rng.random() < 0.15,
            )
            for block in blocks
        )
        stages.append(Stage(out=out, blocks=blocks, project_ratio=rng.choice((1, 2))))
    return arch.replace(stages=tuple(stages))


def _evaluations(rng: random.Random, start: Arch, num: int) -> list[dict[str, Any]]:
    origins = ["start", "preset:mobilenetv3_small_100", "preset:mobilenetv3_large_100", "preset:ghostnet_050"]
    origins += ["preset:ghostnet_130", "preset:efficientnet_lite0", "preset:mobilenetv4_conv_small"]
    origins += ["width"] * 5 + ["random"] * (num // 3) + ["nsga2"] * num
    rows = []
    for number, origin in enumerate(origins):
        arch = start if origin == "start" else vary(start, rng)
        if origin.startswith("preset:"):
            arch = preset(origin.removeprefix("preset:"), num_classes=start.num_classes, size_hw=start.size_hw)
            arch = arch.as_dense(start.dense) if start.dense else arch
        macs, params = count(arch).macs, count(arch).params
        latency = (macs / 1e6) ** 0.75 * 0.13 * rng.lognormvariate(0, 0.18) + 0.35
        skill = {"nsga2": 0.035 * number / len(origins), "random": -0.015}.get(origin, 0.0)
        accuracy = 0.88 - 0.30 * math.exp(-latency / 1.3) + skill + rng.gauss(0, 0.012)
        rows.append(
            {
                "number": number,
                "origin": origin,
                "arch_id": arch.id,
                "arch": arch.to_dict(),
                "genes": {"stage1.out": arch.stages[1].out},
                "metric": min(accuracy, 0.97),
                "loss": -math.log(min(accuracy, 0.97)),
                "latency_ms": latency,
                "latency_p90_ms": latency * 1.08,
                "params": params,
                "macs": macs,
                "size_bytes": params * 4 + 40_000,
                "memory_bytes": 2_400_000,
                "is_feasible": latency <= LIMIT_MS,
                "seconds": 1.2,
            }
        )
    return rows


def _run(seed: int) -> dict[str, Any]:
    seconds = {"data": 6.1, "space": 41.0, "supernet": 402.5, "search": 171.2, "train": 233.9, "test": 3.2}
    seconds |= {"export": 2.7, "bench": 24.6}
    return {
        "schema": "ghostfit.run/1",
        "verb": "fit",
        "config": {"data": "trashnet/", "latency_ms": LIMIT_MS, "time_s": 900.0, "seed": seed, "strategy": "nsga2"},
        "seed": seed,
        "created": "2026-03-14T15:09:26+0000",
        "command": ["/usr/bin/ghostfit", "fit", "trash net/", "--latency-ms", "3", "--time", "15m"],
        "versions": {
            "python": "3.11.7",
            "ghostfit": "0.1.0",
            "numpy": "2.4.6",
            "onnxruntime": "1.24.1",
            "torch": "2.14.1",
        },
        "machine": {"processor": PROCESSOR, "cores": 8, "system": "Linux x86_64"},
        "commit": "0778ff3a5d0f5d7d9dc9f9b1f3e39c8a2b7d1c40",
        "phases": {name: {"finished": "2026-03-14T15:24:11+0000", "seconds": s} for name, s in seconds.items()},
    }


def _data(rng: random.Random, class_names: tuple[str, ...], task: str) -> dict[str, Any]:
    counts = {name: rng.randint(120, 600) for name in class_names}
    num = sum(counts.values())
    splits = {"train": num * 65 // 100, "val": num // 10, "search": num // 10}
    splits["test"] = num - sum(splits.values())
    return {
        "root": "trashnet",
        "name": "trashnet",
        "task": task,
        "class_names": list(class_names),
        "num_images": num,
        "splits": splits,
        "class_counts": counts,
        "skipped": [{"id": "paper/broken.jpg", "reason": "truncated: 4 of 9 kB"}],
        "findings": [
            {
                "id": "GF203",
                "severity": "warning",
                "title": "Class imbalance",
                "meaning": "The largest class has 4.3 times the images of the smallest.",
                "remedy": "Collect more images of the small class, or train with --class-weights balanced.",
                "items": [class_names[-1]],
                "count": 1,
            },
            {
                "id": "GF107",
                "severity": "error",
                "title": "Identical images with different labels",
                "meaning": "Pixel-identical images carry different labels; at least one of each pair is wrong.",
                "remedy": "Look at each pair and correct or remove the wrong one.",
                "items": ["glass/glass176.jpg", "plastic/plastic152.jpg", "glass/glass115.jpg", "metal/metal91.jpg"],
                "groups": [
                    ["glass/glass176.jpg", "plastic/plastic152.jpg"],
                    ["glass/glass115.jpg", "metal/metal91.jpg"],
                ],
                "detail": "2 groups",
                "count": 2,
            },
        ],
        "fingerprint": "9f3c2a771b04",
        "size_hw": [160, 160],
    }


def _gene_time(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    choices: dict[str, list[Any]] = {"size": [[128, 128], [160, 160], [192, 192]]}
    for stage in range(5):
        choices |= {
            f"stage{stage}.ratio": [1, 2, 4],
            f"stage{stage}.kernel": [3, 5],
            f"stage{stage}.dfc": [False, True],
        }
    for gene, values in choices.items():
        for index, choice in enumerate(values):
            delta = 0.0 if index == 0 else rng.gauss(0.05, 0.25)
            rows.append(
                {"gene": gene, "choice": choice, "latency_ms": 2.6 + delta, "delta_ms": delta, "is_base": index == 0}
            )
    return rows


def _paid(chosen: dict[str, Any], start: Arch) -> dict[str, Any]:
    found = {"name": "found", "arch_id": chosen["arch_id"], "latency_ms": chosen["latency_ms"], "macs": chosen["macs"]}
    others = [
        ("width-scaled by hand", 0.841, 0.0185, 2.94),
        ("random search", 0.858, 0.0178, 2.88),
        ("start", 0.863, 0.0176, 4.31),
    ]
    trained = [{**found, "params": chosen["params"], "metric": 0.889, "standard_error": 0.0161}]
    trained += [
        {
            "name": n,
            "arch_id": start.id,
            "metric": a,
            "standard_error": e,
            "latency_ms": ms,
            "macs": 9e7,
            "params": 3.9e6,
        }
        for n, a, e, ms in others
    ]
    rows = [{**row, "how": "trained, equal images"} for row in trained]
    rows += [{**row, "metric": row["metric"] - 0.03, "how": "inherited weights"} for row in trained[:3]]
    sentence = (
        "The search paid: at 3 ms the found network gets 88.9% ± 1.6 right, 4.8 points more than the width-scaled "
        "ghostnet and 3.1 more than the best of an equal number of random networks."
    )
    return {"sentence": sentence, "rows": rows}


def _test(rng: random.Random, class_names: tuple[str, ...], seed: int) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    num, classes = 380 + 4 * len(class_names), len(class_names)
    labels = numbers.integers(0, classes, num)
    logits = numbers.normal(0, 1.25, (num, classes))
    logits[np.arange(num), labels] += 4.2 if classes < 50 else 5.5
    report = classification_report(logits, labels, class_names, temperature=0.9, threshold=0.55)
    wrong = np.flatnonzero(logits.argmax(1) != labels)[:24]
    report["mistakes"] = [
        {
            "id": f"{class_names[labels[index]]}/{class_names[labels[index]]}{index}.jpg",
            "truth": class_names[labels[index]],
            "predicted": class_names[int(logits[index].argmax())],
            "confidence": rng.uniform(0.5, 0.99),
            "thumbnail_jpeg_base64": _thumbnail(rng),
        }
        for index in wrong
    ]
    return report


def _test_objects(
    rng: random.Random, class_names: tuple[str, ...], seed: int, *, kind: str = "boxes"
) -> dict[str, Any]:
    """Boxes that are moved a little, missed, invented, or taken for the next class."""
    numbers, size_hw = np.random.default_rng(seed), (160, 160)
    results, truths = [], []
    for _ in range(40):
        num = int(numbers.integers(1, 6))
        corners = numbers.uniform(0, 110, (num, 2))
        boxes = np.concatenate([corners, corners + numbers.uniform(8, 50, (num, 2))], axis=1)
        classes = numbers.integers(0, len(class_names), num)
        kept = numbers.random(num) < 0.85
        invented = np.array([[0, 0, 20, 20]] * int(numbers.random() < 0.4), float).reshape(-1, 4)
        found = np.concatenate([boxes[kept] + numbers.normal(0, 1.5, (int(kept.sum()), 4)), invented]).clip(0, 160)
        said = np.where(numbers.random(num) < 0.1, (classes + 1) % len(class_names), classes)[kept]
        said = np.concatenate([said, np.zeros(len(invented), int)])
        masks = [_filled(part, size_hw) if kind == "masks" else None for part in (found, boxes)]
        scores = numbers.uniform(0.2, 1, len(found))
        results.append(Detections(found, scores, said, class_names, size_hw, masks[0]))
        truths.append(Objects(boxes, classes, masks=masks[1]))
    report = detection_report(results, truths, class_names, kind=kind, at_score=0.31)
    rows = [("miss", "{0} missed: not seen"), ("false_alarm", "{0} 0.93: nothing there"), ("mosaic", "median: 3 of 4")]
    return {**report, "skipped": [], "pictures": _pictures(rng, class_names, rows)}


def _filled(boxes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    left, top, right, bottom = (edge[:, None, None] for edge in boxes.T)
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def _test_maps(rng: random.Random, class_names: tuple[str, ...], seed: int) -> dict[str, Any]:
    numbers, truths, maps = np.random.default_rng(seed), [], []
    for _ in range(12):
        truth = numbers.integers(0, len(class_names), (5, 5)).repeat(12, axis=0).repeat(12, axis=1).astype(np.uint8)
        other = numbers.integers(0, len(class_names), truth.shape)
        truths.append(truth)
        maps.append(np.where(numbers.random(truth.shape) < 0.2, other, truth).astype(np.uint8))
    report = segmentation_report(maps, truths, class_names)
    rows = [("worst", "61.2% of the pixels right; 9% is {0}, called {1}"), ("typical", "median: 84%")]
    return {**report, "skipped": [], "pictures": _pictures(rng, class_names, rows)}


def _pictures(
    rng: random.Random, class_names: tuple[str, ...], rows: list[tuple[str, str]], num: int = 5
) -> list[dict[str, Any]]:
    return [
        {
            "id": f"test/{kind}{number}.jpg",
            "kind": kind,
            "text": text.format(*rng.sample(class_names, 2)),
            "jpeg_base64": _thumbnail(rng, (364, 180)),
        }
        for kind, text in rows
        for number in range(num)
    ]


def _thumbnail(rng: random.Random, size: tuple[int, int] = (112, 112)) -> str:
    image = Image.new("RGB", size, tuple(rng.randint(150, 230) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.randint(0, size[0] - 32), rng.randint(0, size[1] - 32)
        colour = tuple(rng.randint(30, 220) for _ in range(3))
        draw.ellipse((x, y, x + rng.randint(15, 60), y + rng.randint(15, 60)), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()


def _block_time(rng: random.Random, arch: Arch, latency_ms: float) -> list[dict[str, Any]]:
    weights = {cost.name: (cost.macs + 4e5) * rng.uniform(0.6, 1.6) for cost in count(arch).by_block}
    total = sum(weights.values())
    return [{"block": n, "ms": latency_ms * w / total, "share": w / total} for n, w in weights.items()]


def _bench(rng: random.Random, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    medians = {"found": chosen["latency_ms"], "ghostnet_050": 2.31, "ghostnet_100": 4.31, "ghostnetv2_100": 6.02}
    medians |= {"mobilenetv3_small_100": 2.12, "mobilenetv3_large_100": 5.24, "efficientnet_lite0": 9.83}
    medians |= {"mobilenetv4_conv_small": 3.65}
    return [{"name": n, "median_ms": m, "p90_ms": m * rng.uniform(1.03, 1.2), **CONDITIONS} for n, m in medians.items()]


def _metrics(rng: random.Random, task: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for phase, epochs, steps, base in (("supernet", 24, 40, 0.80), ("train", 16, 40, 0.885)):
        rows += _training(rng, phase, epochs, steps, base, task)
    for name, base in (("width-scaled", 0.845), ("random search", 0.86), ("found", 0.889)):
        rows += _training(rng, f"compare:{name}", 12, 0, base, task)
    return rows


def _training(rng: random.Random, phase: str, epochs: int, steps: int, best: float, task: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"phase": phase, "kind": "note", "step": 0, "epoch": 0, "text": "range test: lr 0.002"}
    ]
    for epoch in range(1, epochs + 1):
        for index in range(steps):
            step, part = (epoch - 1) * steps + index + 1, ((epoch - 1) * steps + index) / (epochs * steps)
            loss = 0.35 + 1.4 * math.exp(-4 * part) + rng.gauss(0, 0.09)
            rate = 2e-3 * min(part / 0.06, 0.5 * (1 + math.cos(math.pi * part))) + 1e-6
            rows.append(
                {
                    "phase": phase,
                    "kind": "step",
                    "step": step,
                    "epoch": epoch,
                    "time_s": step * 0.4,
                    "loss": loss,
                    "lr": rate,
                }
                | {"images_per_s": rng.uniform(380, 420)}
            )
        part = epoch / epochs
        accuracy = best - 0.5 * math.exp(-5 * part) + rng.gauss(0, 0.006)
        rows.append(
            {"phase": phase, "kind": "epoch", "step": epoch * (steps or 40), "epoch": epoch, VALIDATED[task]: accuracy}
            | {"val_loss": 0.45 + 1.2 * math.exp(-4 * part), "time_s": epoch * 16.0}
        )
    return rows


def _shrink() -> list[dict[str, Any]]:
    reason = "its best networks are {} ms slower than those of ratio 2 and no more accurate (69.1% against 69.4%)"
    return [
        {
            "phase": 1,
            "gene": "size",
            "dropped": [[192, 192]],
            "kept": [[128, 128], [160, 160]],
            "reason": reason.format(1.9),
        },
        {"phase": 2, "gene": "stage1.ratio", "dropped": [1], "kept": [2, 4], "reason": reason.format(0.21)},
        {"phase": 2, "gene": "stage3.dfc", "dropped": [True], "kept": [False], "reason": reason.format(0.48)},
        {"phase": 3, "gene": "stage4.kernel", "dropped": [5], "kept": [3], "reason": reason.format(0.17)},
    ]


def _write_bundle(
    path: Path, arch: Arch, chosen: dict[str, Any], class_names: tuple[str, ...], num_bytes: int, task: str
) -> None:
    latency = {"median_ms": chosen["latency_ms"], "p90_ms": chosen["latency_ms"] * 1.06, **CONDITIONS}
    manifest = {
        "schema": "ghostfit.bundle/1",
        "task": task,
        "class_names": list(class_names),
        "arch": arch.to_dict(),
        "latency": [latency],
        "network": "model.onnx",
        "files": {"model.onnx": {"bytes": num_bytes}},
        "parity": {
            "passed": True,
            "num_images": 64,
            "tolerance": 1e-4,
            "runtime": "onnxruntime 1.24.1",
            "input": {"max_abs": 0.0},
            "stages": [{"name": "stem", "max_rel": 2.1e-7}, {"name": "stages.0.0", "max_rel": 8.8e-7}],
            "raw": {"max_abs": 3.1e-6, "max_rel": 4.0e-7},
            "decoded": {"num_different": 0, "max_probability_gap": 1.2e-7},
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("model.onnx", bytes(num_bytes))


TESTS = {
    "classify": _test,
    "detect": _test_objects,
    "instance": partial(_test_objects, kind="masks"),
    "segment": _test_maps,
}
VALIDATED = {"classify": "val_accuracy", "detect": "val_map", "instance": "val_map", "segment": "val_miou"}


if __name__ == "__main__":
    print(write_report(write_fake_run(Path(sys.argv[1]), task=sys.argv[2] if len(sys.argv) > 2 else "classify")))

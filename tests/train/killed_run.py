"""Trains the small network in a run folder, in child processes that are killed at random moments until one ends.

``python killed_run.py RUN_FOLDER SEED NUM_KILLS`` prints how many were killed; torch is loaded once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from small_training import small_batches, small_network, small_val

from ghostfit.run import Run
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit

CONFIG = TrainConfig(
    epochs=12, batch_size=16, lr="auto", mixup=0.2, cutmix=1.0, schedule="plateau", checkpoint_s=0.0, warmup=0.1, seed=3
)


def train(path: Path, pause_s: float = 0.0) -> None:
    torch.set_num_threads(1)
    run = Run.open(path) if (path / "run.json").exists() else Run.create(path, "train", {}, seed=3)
    network = small_network(seed=0)
    for _ in fit(network, small_batches(prefetch=2), small_val(), CONFIG, run=run, stop=lambda: time.sleep(pause_s)):
        pass
    torch.save(network.state_dict(), path / "final.pt")


def main(path: Path, seed: int, num_kills: int) -> None:
    rng, killed = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            train(path, pause_s=0.004 if killed < num_kills else 0.0)
            os._exit(0)
        if killed < num_kills:
            time.sleep(rng.uniform(0.05, 0.35))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, status
            break
        killed += 1
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

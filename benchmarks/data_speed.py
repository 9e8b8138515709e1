"""How fast data is read, checked, decoded and served: python benchmarks/data_speed.py DATA [--size 32]

One thread unless OMP_NUM_THREADS says otherwise; wall-clock and CPU seconds, the latter hardly moved by a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch

from ghostfit.config import parse_size_hw
from ghostfit.data.augment import PRESETS, training_transform
from ghostfit.data.cache import build_cache
from ghostfit.data.facts import measure_images
from ghostfit.data.loader import Batches
from ghostfit.data.readers import read_dataset
from ghostfit.data.split import make_splits
from ghostfit.vision.prepare import Prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--size", type=parse_size_hw, default=(32, 32))
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prepare = Prepare(size_hw=args.size)
    with tempfile.TemporaryDirectory() as folder:
        dataset = timed("read", lambda: read_dataset(args.data))
        for attempt in ("first", "again"):
            timed(f"facts, {attempt}", lambda: measure_images(dataset, cache_dir=folder))
            cached = timed(f"cache, {attempt}", lambda: build_cache(dataset, prepare, cache_dir=folder))
        splits = timed("splits", lambda: make_splits(dataset, seed=0))
    for strength in PRESETS:
        batches = Batches(
            cached.images,
            cached.labels,
            splits.train[:8192],
            batch_size=args.batch_size,
            size_hw=args.size,
            mean=prepare.mean,
            std=prepare.std,
            transform=training_transform(strength),
            prefetch=0,
        )
        next(iter(batches.epoch(0)))
        speeds = []
        for epoch in range(5):
            start = time.perf_counter()
            count = sum(len(y) for _, y in batches.epoch(epoch))
            speeds.append(count / (time.perf_counter() - start))
        print(
            f"batches, {strength:<7} {sorted(speeds)[2]:>9,.0f} images/s (median of 5 epochs), best {max(speeds):,.0f}"
        )


def timed(name, work):
    """The result of `work`; prints how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"{name:<16} {time.perf_counter() - wall:7.2f} s wall, {time.process_time() - cpu:7.2f} s CPU")
    return result


if __name__ == "__main__":
    main()

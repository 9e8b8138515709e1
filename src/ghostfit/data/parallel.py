"""Work over many samples in threads: decoders release the interpreter's lock, small files don't keep it free for long.

>>> list(map_samples(lambda sample: sample.id, ()))
[]
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ghostfit.data.dataset import Sample

T = TypeVar("T")
SMALL_BYTES = 2048  # below this mean size, threads only wait for one another (measured, docs/LOG.md, decoding)
PART = 32  # samples a task
AHEAD = 4  # tasks a thread that may wait for their turn; bounds memory


def map_samples(work: Callable[[Sample], T], samples: Sequence[Sample], num_threads: int | None = None) -> Iterator[T]:
    """Results of `work` in the order of `samples`, computed by `num_threads` threads (default: one a core).

    Small files are worked on in the caller's thread unless `num_threads` says otherwise.
    """
    threads = num_threads or _default_threads(samples)
    if threads == 1:
        yield from map(work, samples)
        return
    parts = (samples[start : start + PART] for start in range(0, len(samples), PART))
    with ThreadPoolExecutor(threads, thread_name_prefix="samples") as pool:
        waiting: deque[Future[list[T]]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(lambda part: [work(sample) for sample in part], part))
                if len(waiting) >= AHEAD * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _default_threads(samples: Sequence[Sample]) -> int:
    mean_bytes = sum(sample.num_bytes for sample in samples) / max(1, len(samples))
    return 1 if mean_bytes < SMALL_BYTES else os.cpu_count() or 1

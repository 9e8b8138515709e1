"""Memory of a training: blocks that a step frees stay with the process, for the next step to use."""

from __future__ import annotations

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_KEPT, MOST_KEPT = 1 << 30, (1 << 31) - 1  # bytes: a block, and all that is free
OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


@cache
def keep_freed_memory() -> bool:
    """Make glibc keep what is freed; whether it was done. Other allocators, and settings of the user, are left alone.

    Feature maps are larger than what malloc keeps by default, so each operation of each step gets fresh pages of the
    kernel and gives them back: a tenth of a training's time for dense convolutions at 320 pixels, two fifths for a
    MobileNetV3 at 360 x 480 (measured, docs/LOG.md, 2026-11-27).
    """
    if any(name in os.environ for name in OWN_SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))

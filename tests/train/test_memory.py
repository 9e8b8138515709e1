"""Freed memory stays with the process, so that the next step has no pages to fault in."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from ghostfit.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(16_000_000).add_(1)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual, is_kept = faults(), keep_freed_memory()
faults()
print(is_kept, usual, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of glibc")
def test_a_block_used_again_costs_no_page_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "False":
        pytest.skip("this libc has no mallopt")
    assert int(told[2]) < 0.1 * int(told[1])


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of glibc")
def test_settings_of_the_user_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    program = "from ghostfit.train.memory import keep_freed_memory; print(keep_freed_memory())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "False"

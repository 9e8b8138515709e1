"""The latency store as the verbs use it: architectures exported with fresh weights, measured on this machine."""

from __future__ import annotations

from pathlib import Path

from ghostfit.arch import Arch
from ghostfit.search.latency import LatencyStore


def latency_store(runtime: str, threads: int, *, budget_s: float = 0.25, run_path: Path | None = None) -> LatencyStore:
    """The store of this machine for `runtime` and `threads`; `run_path` is the file of what one run has used of it."""
    return LatencyStore(export_fresh, runtime=runtime, threads=threads, budget_s=budget_s, run_path=run_path)


def export_fresh(arch: Arch) -> bytes:
    """The ONNX file of `arch` with fresh weights, which run as long as trained ones."""
    import torch

    from ghostfit.export.onnx import to_onnx
    from ghostfit.nn.build import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return to_onnx(build(arch.deployed(), is_fused=True))

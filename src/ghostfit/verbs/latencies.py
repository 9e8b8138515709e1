"""The latency store as the verbs use it, and the form of the files that a run measures and ships.

The form (`ghostfit.export.lower`) is chosen once for a machine, runtime, threads and input size, on a network that has
everything a form decides about, and remembered beside the store; a run keeps its own in ``lowering.json``. So what a
search measures is what is shipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ghostfit.arch import Arch
from ghostfit.data.cache import default_cache_dir
from ghostfit.export.lower import DEFAULT_LOWERING, LOWERINGS
from ghostfit.presets import preset
from ghostfit.run import Run
from ghostfit.search.latency import LatencyStore, conditions_of

PROBE = "ghostnet_100"  # Ghost modules on large and small maps, squeeze-and-excitation, widths that fill no block
LOWERING_FILE = "lowering.json"
BUDGET_S = 0.1  # of a measurement: as steady as 0.25 s, since the machine drifts by more (docs/LOG.md, 2026-12-01)


def latency_store(
    runtime: str, threads: int, *, size_hw: tuple[int, int], budget_s: float = BUDGET_S, run: Run | None = None
) -> LatencyStore:
    """The store of this machine for `runtime` and `threads`, and for networks of about `size_hw` pixels.

    With `run` the figures and the form that it has used go before those of the machine.
    """
    form = choose_form(runtime, threads, size_hw, run=run, budget_s=budget_s)
    run_path = None if run is None else run.file("latency.jsonl")
    return LatencyStore(export_fresh, runtime=runtime, threads=threads, form=form, budget_s=budget_s, run_path=run_path)


def choose_form(
    runtime: str, threads: int, size_hw: tuple[int, int], *, run: Run | None = None, budget_s: float = BUDGET_S
) -> str:
    """Name of the form that files are written in: the run's, else the machine's, else the one that measures fastest."""
    kept = None if run is None else form_of(run)
    if kept is not None:
        return kept
    path, key = default_cache_dir() / "lowering.jsonl", f"{conditions_of(runtime, threads)}|{size_hw[0]}x{size_hw[1]}"
    entry = _read(path).get(key)
    if entry is None:
        entry = {"key": key, **_measure(runtime, threads, size_hw, budget_s)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    if run is not None:
        run.write_json(LOWERING_FILE, {name: entry[name] for name in ("name", "probe", "best_ms")})
    return str(entry["name"])


def form_of(run: Run) -> str | None:
    """The form that a run's files are written in; None where it has measured none."""
    name = run.read_json(LOWERING_FILE, {}).get("name")
    return name if name in LOWERINGS else None


def export_fresh(arch: Arch, form: str = DEFAULT_LOWERING) -> bytes:
    """The ONNX file of `arch` with fresh weights, which run as long as trained ones."""
    import torch

    from ghostfit.export.onnx import to_onnx
    from ghostfit.nn.build import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return to_onnx(build(arch.deployed(), is_fused=True), lowering=form)


def _measure(runtime: str, threads: int, size_hw: tuple[int, int], budget_s: float) -> dict[str, Any]:
    import torch

    from ghostfit.export.choose import choose_lowering
    from ghostfit.nn.build import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(preset(PROBE, num_classes=10, size_hw=size_hw).deployed(), is_fused=True)
    choice = choose_lowering(network, runtime=runtime, threads=threads, budget_s=budget_s)
    best_ms = {name: latency.min_ms for name, latency in choice.latencies.items()}
    return {"name": choice.name, "probe": PROBE, "best_ms": best_ms}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Entries by key; a damaged line, or one of a form that is gone, is passed over and measured again."""
    if not path.is_file():
        return {}
    known = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if entry["name"] in LOWERINGS and isinstance(entry["best_ms"], dict) and entry["probe"]:
                known[str(entry["key"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return known

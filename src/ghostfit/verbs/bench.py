"""``ghostfit bench``: latency of bundles, ONNX files and presets on this machine, in turns.

Bundles and ONNX files need no torch; presets are exported on the spot and need ``ghostfit[train]``.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.presets import list_presets, preset
from ghostfit.runtime.bench import Latency, measure_interleaved
from ghostfit.runtime.bundle import open_bundle


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Settings of a measurement."""

    models: tuple[str, ...] = argument("bundles, runs, .onnx files or presets; the word presets stands for all of them")
    size_hw: tuple[int, int] | None = option(
        None, "input size for presets (default: the first bundle's, or 224)", unit="size"
    )
    runtime: str = option("onnxruntime", "onnxruntime or openvino")
    threads: int = option(1, "threads")
    budget_s: float = option(2.0, "time for each network", unit="duration")


@dataclass(frozen=True)
class BenchResult:
    """Latency by name, fastest first."""

    rows: tuple[tuple[str, Latency], ...]
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {"rows": [{"name": name, **latency.to_dict()} for name, latency in self.rows]}

    def to_csv(self) -> str:
        """One line a network."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["name", "median_ms", "p90_ms", "num_runs", "runtime", "threads", "height", "width"])
        for name, latency in self.rows:
            *_, height, width = latency.input_shape
            writer.writerow(
                [
                    name,
                    latency.median_ms,
                    latency.p90_ms,
                    latency.num_runs,
                    latency.runtime,
                    latency.threads,
                    height,
                    width,
                ]
            )
        return buffer.getvalue().rstrip("\n")

    def to_text(self) -> str:
        """A table for a terminal."""
        first = self.rows[0][1]
        width = max(len(name) for name, _ in self.rows)
        lines = [f"{first.device}, {first.runtime} {first.runtime_version}, {first.threads} thread(s), batch 1"]
        for name, latency in self.rows:
            *_, height, wide = latency.input_shape
            lines.append(
                f"{name:<{width}}  {latency.median_ms:8.3f} ms median  {latency.p90_ms:8.3f} ms p90  "
                f"{height}x{wide}  {latency.num_runs} runs"
            )
        return "\n".join(lines)


def bench(config: BenchConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> BenchResult:
    """Measure each of `config.models` in turns. Raises ValueError for a name that is neither a file nor a preset."""
    config = settle(BenchConfig, (config,) if isinstance(config, str | Path) else config, settings)
    names = [name for given in config.models for name in (list_presets() if given == "presets" else [str(given)])]
    models: dict[str, bytes] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if name not in list_presets():
            models[name], shapes[name] = _read(name)
    size_hw = config.size_hw or next(((shape[2], shape[3]) for shape in shapes.values()), (224, 224))
    for name in names:
        if name in list_presets():
            from ghostfit.verbs.latencies import export_fresh

            models[name] = export_fresh(preset(name, size_hw=size_hw))
            shapes[name] = (1, 3, *size_hw)
            on_event(Event("bench", "progress", f"exported {name}", len(models), len(names)))
    on_event(Event("bench", "start", f"{len(models)} networks in turns, {config.budget_s:g} s each"))
    measured = measure_interleaved(
        models, shapes, runtime=config.runtime, threads=config.threads, budget_s=config.budget_s
    )
    return BenchResult(tuple(sorted(measured.items(), key=lambda row: row[1].median_ms)))


def _read(name: str) -> tuple[bytes, tuple[int, ...]]:
    path = Path(name)
    if path.suffix == ".onnx" and path.is_file():
        from ghostfit.runtime.backends import open_backend

        content = path.read_bytes()
        shape = open_backend("onnxruntime", content).input_shape
        return content, tuple(side if isinstance(side, int) and side > 0 else 1 for side in shape)
    if (path / "run.json").is_file():
        path = path / "model.ghost"
    if not path.exists():
        raise ValueError(f"{name}: neither a file nor a preset; presets: {', '.join(list_presets())}")
    bundle = open_bundle(path)
    prepare = bundle.manifest.prepare
    return bundle.network, (1, prepare.in_channels, *prepare.size_hw)

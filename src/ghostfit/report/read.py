"""What a run folder holds, read without trust: a missing file is None or empty, a damaged one named in `problems`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostfit.arch import Arch
from ghostfit.report.units import NONE, finite
from ghostfit.report.wording import WORDINGS, Wording, wording_of
from ghostfit.run import Run

MANIFEST_BYTES = 16_000_000  # far above any manifest; a zip that claims more is not read


@dataclass(frozen=True)
class Evaluation:
    """One line of ``search.jsonl``: an architecture with what was measured; a figure that is no number is None."""

    number: int
    origin: str
    arch_id: str
    metric: float | None  # the figure of the task, 0..1, larger is better
    latency_ms: float | None
    latency_p90_ms: float | None
    macs: float | None
    params: float | None
    size_bytes: float | None
    memory_bytes: float | None
    is_feasible: bool

    @property
    def group(self) -> str:
        """``search``, ``random``, ``hand`` (presets, smaller inputs and width-scaled forms) or ``start``."""
        kind = self.origin.split(":")[0]
        if kind in ("random", "start"):
            return kind
        return "hand" if kind in ("preset", "size", "width") else "search"


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run folder in memory."""

    path: Path
    info: Mapping[str, Any]
    data: Mapping[str, Any]
    limits: Mapping[str, Any]
    arch: Arch | None
    start: Arch | None
    start_name: str
    evaluations: tuple[Evaluation, ...]
    metrics: Mapping[str, tuple[dict[str, Any], ...]]  # records by phase, in the order of their first record
    shrink: tuple[dict[str, Any], ...]
    gene_time: tuple[dict[str, Any], ...]
    paid: Mapping[str, Any]
    test: Mapping[str, Any]
    block_ms: Mapping[str, float]
    bench: tuple[dict[str, Any], ...]
    manifest: Mapping[str, Any]
    bundle_bytes: int | None
    worked_s: float | None  # wall-clock time of all processes of the run
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the data set, else of the folder."""
        return str(self.data.get("name") or self.path.resolve().name)

    @property
    def task(self) -> str:
        """What the network is for, as the data says it, else the bundle or the architecture."""
        dense = self.arch.dense.task if self.arch is not None and self.arch.dense is not None else None
        known = (task for task in (self.data.get("task"), self.manifest.get("task"), dense) if isinstance(task, str))
        return next((task for task in known if task in WORDINGS), "classify")

    @property
    def wording(self) -> Wording:
        """How the task is spoken of."""
        return wording_of(self.task)

    @property
    def phases(self) -> Mapping[str, Any]:
        """Finished phases of the run."""
        return as_dict(self.info.get("phases"))

    @property
    def chosen(self) -> Evaluation | None:
        """The last evaluation of the chosen architecture."""
        if self.arch is None:
            return None
        return next((e for e in reversed(self.evaluations) if e.arch_id == self.arch.id), None)


def read_run(path: str | Path) -> RunData:
    """Read a run folder. Raises ValueError when `path` holds no run at all."""
    run, problems = Run.open(path), []

    def load(name: str) -> Any:
        try:
            return run.read_json(name)
        except (ValueError, RecursionError, OSError) as error:
            problems.append(f"{name} could not be read ({type(error).__name__}).")
            return None

    def load_arch(value: Any, name: str) -> Arch | None:
        fields = {key: entry for key, entry in as_dict(value).items() if key != "name"}
        if not fields:
            return None
        try:
            return Arch.from_dict(fields)
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(f"{name} holds no architecture that this version knows ({error}).")
            return None

    start = as_dict(load("start.json"))
    start_fields = start["arch"] if isinstance(start.get("arch"), dict) else start
    bundle = run.file("model.ghost")
    bench = load("bench.json")
    return RunData(
        path=run.path,
        info=as_dict(load("run.json")),
        data=as_dict(load("data.json")),
        limits=as_dict(load("limits.json")),
        arch=load_arch(load("arch.json"), "arch.json"),
        start=load_arch(start_fields, "start.json"),
        start_name=str(start.get("name") or "start network"),
        evaluations=tuple(_evaluations(_records(run, "search.jsonl", problems))),
        metrics=_by_phase(_records(run, "metrics.jsonl", problems)),
        shrink=tuple(_records(run, "shrink.jsonl", problems)),
        gene_time=as_rows(load("gene_time.json")),
        paid=as_dict(load("paid.json")),
        test=as_dict(load("test.json")),
        block_ms=_block_ms(as_rows(load("block_time.json"))),
        bench=as_rows(bench.get("rows") if isinstance(bench, dict) else bench),
        manifest=_manifest(bundle, problems),
        bundle_bytes=_num_bytes(bundle),
        worked_s=finite(as_dict(load("clock.json")).get("seconds")),
        problems=tuple(problems),
    )


def as_dict(value: Any) -> dict[str, Any]:
    """`value` when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_rows(value: Any) -> tuple[dict[str, Any], ...]:
    """The objects of a JSON array; empty for anything else."""
    return tuple(row for row in value if isinstance(row, dict)) if isinstance(value, list) else ()


def metric_of(record: Mapping[str, Any]) -> Any:
    """The figure of the task in a record of the search or the comparison; earlier runs called it accuracy."""
    return record.get("metric", record.get("accuracy"))


def word(value: Any) -> str:
    """`value` as text; "–" when there is none."""
    return NONE if value is None or value == "" else str(value)


def _records(run: Run, name: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    try:
        yield from run.records(name)
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"{name} could not be read to its end ({type(error).__name__}).")


def _evaluations(records: Iterator[dict[str, Any]]) -> Iterator[Evaluation]:
    for index, record in enumerate(records):
        number = finite(record.get("number"))
        yield Evaluation(
            number=index if number is None else int(number),
            origin=str(record.get("origin") or "search"),
            arch_id=str(record.get("arch_id") or ""),
            metric=_share(metric_of(record)),
            latency_ms=_positive(record.get("latency_ms")),
            latency_p90_ms=_positive(record.get("latency_p90_ms")),
            macs=_positive(record.get("macs")),
            params=_positive(record.get("params")),
            size_bytes=_positive(record.get("size_bytes")),
            memory_bytes=_positive(record.get("memory_bytes")),
            is_feasible=record.get("is_feasible") is not False,
        )


def _share(value: Any) -> float | None:
    number = finite(value)
    return number if number is not None and 0 <= number <= 1 else None


def _positive(value: Any) -> float | None:
    number = finite(value)
    return number if number is not None and number > 0 else None


def _by_phase(records: Iterator[dict[str, Any]]) -> dict[str, tuple[dict[str, Any], ...]]:
    phases: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        phases.setdefault(str(record.get("phase") or "train"), []).append(record)
    return {phase: tuple(rows) for phase, rows in phases.items()}


def _block_ms(rows: tuple[dict[str, Any], ...]) -> dict[str, float]:
    known = ((str(row.get("block")), finite(row.get("ms"))) for row in rows)
    return {block: ms for block, ms in known if ms is not None and ms >= 0}


def _manifest(bundle: Path, problems: list[str]) -> dict[str, Any]:
    """The bundle's manifest, for its figures only; whether the bundle is sound is for the runtime to say."""
    try:
        if bundle.is_dir():
            return as_dict(json.loads(bundle.joinpath("manifest.json").read_text(encoding="utf-8")))
        if not bundle.is_file():
            return {}
        with zipfile.ZipFile(bundle) as archive:
            if archive.getinfo("manifest.json").file_size > MANIFEST_BYTES:
                raise ValueError("manifest too large")
            return as_dict(json.loads(archive.read("manifest.json")))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        problems.append(f"model.ghost could not be read ({type(error).__name__}); it may be damaged.")
        return {}


def _num_bytes(bundle: Path) -> int | None:
    if bundle.is_dir():
        return sum(entry.stat().st_size for entry in bundle.rglob("*") if entry.is_file())
    return bundle.stat().st_size if bundle.is_file() else None

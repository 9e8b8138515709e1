"""A run is a folder: everything that a long command decided, measured and made, readable without this package.

Files: ``run.json`` (what was asked: verb, configuration, versions, commit, phases done), ``*.jsonl`` (records, one JSON
object a line), ``arch.json``, ``weights.safetensors``, ``checkpoints/``, ``model.ghost``, ``report.html``. Whole files
are written beside their place and moved into it, lines are appended and flushed, so a kill at any moment leaves a
readable folder.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("ghostfit", "numpy", "onnxruntime", "torch", "torchvision", "timm", "optuna", "onnx")


@dataclass(frozen=True)
class Run:
    """Access to one run folder. `Run.create` makes one, `Run.open` finds an existing one."""

    path: Path

    @classmethod
    def create(cls, path: str | Path, verb: str, config: Mapping[str, Any], seed: int) -> Run:
        """Make the folder and write ``run.json`` before the first step. Raises ValueError if one is there already."""
        run = cls(Path(path))
        if run.file("run.json").exists():
            raise ValueError(f"{path} already holds a run; add --resume to go on with it, or choose another --out")
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_json(
            "run.json",
            {
                "schema": "ghostfit.run/1",
                "verb": verb,
                "config": dict(config),
                "seed": seed,
                "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": sys.argv,
                "versions": installed_versions(),
                "machine": describe_machine(),
                "commit": _git_commit(),
                "phases": {},
            },
        )
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in `path`. Raises ValueError when the folder holds none."""
        run = cls(Path(path))
        if not run.file("run.json").is_file():
            raise ValueError(f"{path} holds no run (no run.json); runs are made by: ghostfit fit | search | train")
        return run

    def file(self, *parts: str) -> Path:
        """Path of a file of the run."""
        return self.path.joinpath(*parts)

    def read_json(self, name: str, default: Any = None) -> Any:
        """Content of a JSON file; `default` when there is none. Raises ValueError when it is damaged."""
        path = self.file(name)
        if not path.is_file():
            return default
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file whole or not at all."""
        write_atomically(self.file(name), (json.dumps(value, indent=1, default=plain) + "\n").encode())

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one record to a ``.jsonl`` file; it is on disk when this returns."""
        path = self.file(name)
        _end_last_line(path)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, default=plain) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """Records of a ``.jsonl`` file, oldest first; a line cut by a kill is passed over."""
        path = self.file(name)
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if isinstance(record, dict):
                    yield record

    def is_done(self, phase: str) -> bool:
        """Whether `phase` was finished, in this process or an earlier one."""
        return phase in self.read_json("run.json")["phases"]

    def finish(self, phase: str, **facts: Any) -> None:
        """Record that `phase` is finished, with facts worth keeping (``seconds``, counts)."""
        info = self.read_json("run.json")
        info["phases"][phase] = {"finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        self.write_json("run.json", info)

    def reopen(self, phase: str) -> None:
        """Forget that `phase` was finished, so that it is done anew."""
        info = self.read_json("run.json")
        if info["phases"].pop(phase, None) is not None:
            self.write_json("run.json", info)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to disk and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """NumPy scalars and arrays, and paths, as JSON knows them: the `default` of `json.dumps`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe_machine() -> dict[str, Any]:
    """Processor name, cores and system: what a latency is told with."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Commit of the checkout that this package lies in; None when it is installed somewhere else."""
    if not (Path(__file__).parents[2] / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _end_last_line(path: Path) -> None:
    """Close a line that a kill cut short, so that the next record starts on its own."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")

"""The manifest of a bundle as a checked value: what a network expects, means and measured.

>>> manifest = Manifest.from_dict({"class_names": ["cat", "dog"], "prepare": {"size_hw": [32, 32]}})
>>> manifest.input["shape"], manifest.decode.kind
([1, 3, 32, 32], 'softmax')
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ghostfit.vision.prepare import Prepare

SCHEMA = "ghostfit.bundle/1"
TASKS = ("classify",)
DECODES = ("softmax",)
MAX_SIDE = 8192  # pixels; no network here reads more, and a hostile manifest must not allocate at will
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class FileEntry:
    """Hash and size of a file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Decode:
    """How raw outputs become results: see `ghostfit.vision.decode`."""

    kind: str = "softmax"
    temperature: float = 1.0
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a model except its weights. `from_dict` and `from_json` check each entry.

    `input` holds name, shape [N or 1, C, H, W], dtype, layout and color; `latency` a list of measurements (see
    `ghostfit.runtime.bench.Latency.to_dict`); `parity` the certificate of the export; `arch` an `Arch` as a dict,
    which prediction doesn't need.
    """

    class_names: tuple[str, ...]
    prepare: Prepare
    task: str = "classify"
    arch: Mapping[str, Any] | None = None
    arch_id: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("logits",)
    decode: Decode = field(default_factory=Decode)
    precision: str = "fp32"
    network: str = "model.onnx"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    latency: tuple[Mapping[str, Any], ...] = ()
    parity: Mapping[str, Any] | None = None
    trained: Mapping[str, Any] | None = None
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict with a ``schema`` entry, ready for JSON."""
        return {"schema": SCHEMA, **dataclasses.asdict(self), "prepare": self.prepare.to_dict()}

    def to_json(self) -> str:
        """Indented JSON, for people to read."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Inverse of `to_json`. Raises ValueError that says what is wrong."""
        try:
            data = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ValueError(f"must be a JSON object, got {type(data).__name__}")
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """Inverse of `to_dict`. Raises ValueError that names the wrong, missing or unknown entry."""
        entries = dict(data)
        schema = entries.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise ValueError(
                f"schema {schema!r}; this version reads {SCHEMA!r}. Update ghostfit, or export the model anew"
            )
        unknown = sorted(set(entries) - {entry.name for entry in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown entry {', '.join(unknown)}")
        for name in ("class_names", "prepare"):
            if name not in entries:
                raise ValueError(f"{name!r} is missing")
        _check_kinds(entries)
        entries["prepare"] = Prepare.from_dict(entries["prepare"])
        entries["decode"] = _decode(entries.get("decode", {}))
        entries["files"] = {name: _parse_file_entry(name, entry) for name, entry in entries.get("files", {}).items()}
        for name in ("class_names", "outputs", "latency"):
            entries[name] = tuple(entries.get(name, ()))
        entries["outputs"] = entries["outputs"] or ("logits",)
        entries["input"] = {**_default_input(entries["prepare"]), **entries.get("input", {})}
        manifest = cls(**entries)
        _check(manifest)
        return manifest


def file_entry(content: bytes) -> FileEntry:
    """The entry for a file of `content`."""
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "class_names": (list, tuple),
    "outputs": (list, tuple),
    "latency": (list, tuple),
    **dict.fromkeys(("prepare", "input", "decode", "metrics", "versions", "files"), Mapping),
    **dict.fromkeys(("arch", "parity", "trained"), (Mapping, type(None))),
    **dict.fromkeys(("task", "precision", "network", "created"), str),
    "arch_id": (str, type(None)),
}


def _check_kinds(entries: Mapping[str, Any]) -> None:
    for name, value in entries.items():
        if not isinstance(value, _KINDS[name]):
            raise ValueError(f"{name!r} is a {type(value).__name__}, which it can't be")


def _default_input(prepare: Prepare) -> dict[str, Any]:
    color = {1: "gray", 3: "RGB"}.get(prepare.in_channels, "channels")
    shape = [1, prepare.in_channels, *prepare.size_hw]
    return {"name": "image", "shape": shape, "dtype": "float32", "layout": "NCHW", "color": color}


def _decode(data: Mapping[str, Any]) -> Decode:
    try:
        decode = Decode(**data)
    except TypeError as error:
        raise ValueError(f"'decode': {error}") from error
    if decode.kind not in DECODES:
        raise ValueError(f"decode kind {decode.kind!r}; this version knows: {', '.join(DECODES)}")
    if not all(_is_number(value) for value in (decode.temperature, decode.threshold)):
        raise ValueError("decode temperature and threshold must be numbers")
    if not 0 < decode.temperature < 1e6 or not 0 <= decode.threshold <= 1:
        raise ValueError(
            f"decode temperature {decode.temperature} must be above 0, threshold {decode.threshold} in 0..1"
        )
    return decode


def _parse_file_entry(name: str, data: Any) -> FileEntry:
    is_complete = isinstance(data, Mapping) and set(data) == {"sha256", "bytes"}
    if not is_complete or not re.fullmatch("[0-9a-f]{64}", str(data["sha256"])) or not isinstance(data["bytes"], int):
        raise ValueError(f"file {name!r} has no valid 'sha256' and 'bytes'; without its hash it isn't trusted")
    return FileEntry(data["sha256"], data["bytes"])


def _check(manifest: Manifest) -> None:
    if manifest.task not in TASKS:
        raise ValueError(f"task {manifest.task!r}; this version knows: {', '.join(TASKS)}")
    for entry in ("class_names", "outputs"):
        _check_names(entry, getattr(manifest, entry))
    if max(manifest.prepare.size_hw) > MAX_SIDE or manifest.prepare.in_channels > MAX_SIDE:
        raise ValueError(f"input of {manifest.prepare.size_hw} pixels; at most {MAX_SIDE} a side are allowed")
    shape = manifest.input["shape"]
    wanted = [manifest.prepare.in_channels, *manifest.prepare.size_hw]
    if not isinstance(shape, Sequence) or list(shape[1:]) != wanted or shape[0] not in (1, "N", None):
        raise ValueError(f"input shape {shape}; the preparation gives [N or 1, {', '.join(map(str, wanted))}]")
    fixed = {"dtype": "float32", "layout": "NCHW"}
    for name, value in fixed.items():
        if manifest.input[name] != value:
            raise ValueError(f"input {name} {manifest.input[name]!r}; this version knows: {value}")
    if not all(isinstance(entry, Mapping) for entry in manifest.latency):
        raise ValueError("'latency' must be a list of measurements")


def _check_names(entry: str, names: tuple[Any, ...]) -> None:
    if not 0 < len(names) <= MAX_CLASSES or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{entry!r} must be a list of 1 to {MAX_CLASSES:,} texts")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ghostfit.vision.objects import IGNORE
from ghostfit.vision.prepare import Prepare

SCHEMA = "ghostfit.bundle/1"
MAX_SIDE = 8192  # pixels; no network here reads more, and a hostile manifest must not allocate at will
MAX_CLASSES = 100_000
MAX_OUTPUTS = 64
MAX_STRIDES = 16


@dataclass(frozen=True)
class TaskForm:
    """What a bundle of a task says: how its outputs are decoded, with which settings, and their names."""

    decode: str
    settings: tuple[str, ...]
    outputs: tuple[str, ...]
    max_classes: int = MAX_CLASSES


_OF_BOXES = ("score_threshold", "iou_threshold", "strides", "nms")
TASKS: Mapping[str, TaskForm] = {  # docs/design/dense.md, raw outputs
    "classify": TaskForm("softmax", ("temperature", "threshold"), ("logits",)),
    "detect": TaskForm("boxes", _OF_BOXES, ("scores", "boxes")),
    "instance": TaskForm("masks", _OF_BOXES, ("scores", "boxes", "coefficients", "prototypes")),
    "segment": TaskForm("argmax", (), ("classes",), max_classes=IGNORE),
}


@dataclass(frozen=True)
class FileEntry:
    """Hash and size of a file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Decode:
    """How raw outputs become results: see `ghostfit.vision.decode`. Each `kind` has settings of its own.

    "softmax": `temperature`, and the `threshold` below which an answer is unsure. "boxes" and "masks": the
    `score_threshold` from which on an object counts, the `iou_threshold` of the suppression, `strides` of the levels
    from fine to coarse, and whether the network needs `nms`. "argmax" has none.
    """

    kind: str = "softmax"
    temperature: float = 1.0
    threshold: float = 0.0
    score_threshold: float = 0.25
    iou_threshold: float = 0.6
    strides: tuple[int, ...] = ()
    nms: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON, with the settings of its kind."""
        form = next(form for form in TASKS.values() if form.decode == self.kind)
        values = {name: getattr(self, name) for name in ("kind", *form.settings)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a model except its weights. `from_dict` and `from_json` check each entry.

    `input` holds name, shape [N or 1, C, H, W], dtype, layout and color; `latency` a list of measurements (see
    `ghostfit.runtime.bench.Latency.to_dict`); `lowering` the form that the network is written in; `parity` the
    certificate of the export; `arch` an `Arch` as a dict, which prediction doesn't need.
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
    lowering: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] | None = None
    trained: Mapping[str, Any] | None = None
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict with a ``schema`` entry, ready for JSON."""
        parts = {"prepare": self.prepare.to_dict(), "decode": self.decode.to_dict()}
        return {"schema": SCHEMA, **dataclasses.asdict(self), **parts}

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
        task = entries.get("task", "classify")
        if task not in TASKS:
            raise ValueError(f"task {task!r}; this version knows: {', '.join(TASKS)}")
        entries["decode"] = _decode(task, entries.get("decode", {}))
        entries["files"] = {name: _parse_file_entry(name, entry) for name, entry in entries.get("files", {}).items()}
        for name in ("class_names", "outputs", "latency"):
            entries[name] = tuple(entries.get(name, ()))
        entries["outputs"] = entries["outputs"] or TASKS[task].outputs
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
    **dict.fromkeys(("arch", "lowering", "parity", "trained"), (Mapping, type(None))),
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


def _decode(task: str, data: Mapping[str, Any]) -> Decode:
    form = TASKS[task]
    settings = {"kind": form.decode, **data}
    if settings["kind"] != form.decode:
        raise ValueError(f"decode kind {settings['kind']!r}; that of the task {task!r} is {form.decode!r}")
    unknown = sorted(set(settings) - {"kind", *form.settings})
    if unknown:
        known = ", ".join(form.settings) or "no settings"
        raise ValueError(f"'decode' has {', '.join(unknown)}; {form.decode!r} knows: {known}")
    for name in form.settings:
        if name in settings and not _SETTINGS[name][0](settings[name]):
            raise ValueError(f"decode {name} {settings[name]!r}; it must be {_SETTINGS[name][1]}")
    if "strides" in form.settings:
        if "strides" not in settings:
            raise ValueError(f"'decode' of {form.decode!r} needs 'strides', those of the network's levels")
        settings["strides"] = tuple(settings["strides"])
    return Decode(**settings)


def _parse_file_entry(name: str, data: Any) -> FileEntry:
    is_complete = isinstance(data, Mapping) and set(data) == {"sha256", "bytes"}
    if not is_complete or not re.fullmatch("[0-9a-f]{64}", str(data["sha256"])) or not isinstance(data["bytes"], int):
        raise ValueError(f"file {name!r} has no valid 'sha256' and 'bytes'; without its hash it isn't trusted")
    return FileEntry(data["sha256"], data["bytes"])


def _check(manifest: Manifest) -> None:
    form = TASKS[manifest.task]
    _check_names("class_names", manifest.class_names, form.max_classes)
    _check_names("outputs", manifest.outputs, MAX_OUTPUTS)
    # A classifier has one output, whatever another exporter called it.
    if manifest.task != "classify" and sorted(manifest.outputs) != sorted(form.outputs):
        raise ValueError(
            f"outputs {', '.join(manifest.outputs)}; those of the task {manifest.task!r} are {', '.join(form.outputs)}"
        )
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


def _check_names(entry: str, names: tuple[Any, ...], most: int) -> None:
    if not 0 < len(names) <= most or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{entry!r} must be a list of 1 to {most:,} texts")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_strides(value: Any) -> bool:
    """Whole numbers from fine to coarse; none finer than a pixel or coarser than an input may be."""
    return (
        isinstance(value, (list, tuple))
        and 0 < len(value) <= MAX_STRIDES
        and all(isinstance(stride, int) and not isinstance(stride, bool) for stride in value)
        and value[0] >= 1
        and value[-1] <= MAX_SIDE
        and all(fine < coarse for fine, coarse in pairwise(value))
    )


_SETTINGS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (lambda value: _is_number(value) and 0 < value < 1e6, "a number above 0"),
    **dict.fromkeys(("threshold", "score_threshold", "iou_threshold"), (_is_share, "a number in 0..1")),
    "strides": (_are_strides, "a list of whole numbers that grow"),
    "nms": (lambda value: isinstance(value, bool), "true or false"),
}


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")

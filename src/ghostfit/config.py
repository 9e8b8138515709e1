"""One frozen dataclass holds the configuration of each verb; command-line flags and JSON are made from it.

>>> @dataclass(frozen=True, kw_only=True)
... class Demo:
...     time_s: float | None = option(None, "wall-clock limit, such as 90s, 20m or 2h", unit="duration")
...     seed: int = option(0, "seed of every random choice")
>>> parser = argparse.ArgumentParser()
>>> add_flags(parser, Demo)
>>> from_args(Demo, parser.parse_args(["--time", "20m"]))
Demo(time_s=1200.0, seed=0)
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

__all__ = ["add_flags", "dataclass", "from_args", "from_dict", "option", "parse_duration_s", "parse_size_hw", "to_dict"]

C = TypeVar("C")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def option(default: Any, help: str, *, unit: Literal["", "duration", "size"] = "") -> Any:
    """A configuration field: its default, one sentence of help, and how its text is parsed."""
    return field(default=default, metadata={"help": help, "unit": unit})


def add_flags(parser: argparse.ArgumentParser, config: type) -> None:
    """Add a flag for each field made by `option`: ``latency_ms`` gives ``--latency-ms``, ``time_s`` gives ``--time``.

    A flag that is not given leaves the field's default; booleans get ``--x / --no-x``.
    """
    hints = typing.get_type_hints(config)
    for entry in dataclasses.fields(config):
        if "help" not in entry.metadata:
            continue
        arguments: dict[str, Any] = {"dest": entry.name, "default": argparse.SUPPRESS, "help": _help(entry)}
        kind = _base_type(hints[entry.name])
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is Literal:
            arguments["choices"] = typing.get_args(kind)
        else:
            arguments["type"] = _parser_of(kind, entry.metadata["unit"])
            arguments["metavar"] = _metavar(kind, entry.metadata["unit"])
        parser.add_argument(_flag(entry), **arguments)


def from_args(config: type[C], args: argparse.Namespace, **given: Any) -> C:
    """The configuration that the parsed flags describe; `given` are further fields."""
    known = {entry.name for entry in dataclasses.fields(config)}  # type: ignore[arg-type]
    return config(**{name: value for name, value in vars(args).items() if name in known}, **given)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON-ready dict of a configuration."""
    return dataclasses.asdict(config)


def from_dict(config: type[C], data: Mapping[str, Any]) -> C:
    """Inverse of `to_dict`. Raises ValueError that names unknown fields."""
    entries = {entry.name: entry for entry in dataclasses.fields(config)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(entries))
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; allowed: {', '.join(sorted(entries))}")
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def parse_duration_s(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``20m`` or ``2h``, or of a sum such as ``1h30m``. Raises ValueError on anything else.

    >>> parse_duration_s("1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise ValueError(f"{text!r} is no duration; write 90s, 20m, 2h or 1h30m")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"{text!r}: a duration must be above zero")
    return seconds


def parse_size_hw(text: str) -> tuple[int, int]:
    """Height and width in pixels of ``224`` or ``240x320``. Raises ValueError on anything else.

    >>> parse_size_hw("240x320")
    (240, 320)
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if not match or int(match[1]) == 0 or match[2] == "0":
        raise ValueError(f"{text!r} is no image size; write 224 or HEIGHTxWIDTH such as 240x320")
    return int(match[1]), int(match[2] or match[1])


def _flag(entry: dataclasses.Field[Any]) -> str:
    name = entry.name.removesuffix("_s") if entry.metadata["unit"] == "duration" else entry.name
    name = name.removesuffix("_hw") if entry.metadata["unit"] == "size" else name
    return "--" + name.replace("_", "-")


def _help(entry: dataclasses.Field[Any]) -> str:
    text = str(entry.metadata["help"]).replace("%", "%%")
    return text if entry.default in (None, "") else f"{text} (default: {entry.default})"


def _base_type(hint: Any) -> Any:
    """The type without ``| None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        return rest[0]
    return hint


def _parser_of(kind: Any, unit: str) -> Callable[[str], Any]:
    parse: Callable[[str], Any] = {"duration": parse_duration_s, "size": parse_size_hw}.get(unit, kind)
    if typing.get_origin(kind) is tuple and unit != "size":
        inner = typing.get_args(kind)[0]
        parse = lambda text: tuple(inner(part) for part in text.split(",") if part)  # noqa: E731

    def parse_or_explain(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_or_explain


def _metavar(kind: Any, unit: str) -> str:
    if unit:
        return {"duration": "TIME", "size": "SIZE"}[unit]
    if typing.get_origin(kind) is tuple:
        return "A,B,..."
    return {int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE")

"""One frozen dataclass holds the configuration of each verb; command-line flags and JSON are made from it.

>>> @dataclass(frozen=True, kw_only=True)
... class Demo:
...     data: str = argument("folder of labelled images")
...     time_s: float | None = option(None, "wall-clock limit, such as 90s, 20m or 2h", unit="duration")
...     seed: int = option(0, "seed of every random choice")
>>> parser = argparse.ArgumentParser()
>>> add_flags(parser, Demo)
>>> from_args(Demo, parser.parse_args(["flowers/", "--time", "20m"]))
Demo(data='flowers/', time_s=1200.0, seed=0)
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

__all__ = [
    "add_flags",
    "argument",
    "dataclass",
    "describe_flags",
    "from_args",
    "from_dict",
    "option",
    "parse_duration_s",
    "parse_size_hw",
    "settle",
    "to_dict",
]

C = TypeVar("C")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
WANTED = {int: "a whole number", float: "a number"}


def option(default: Any, help: str, *, unit: Literal["", "duration", "size"] = "") -> Any:
    """A configuration field that is a flag: its default, one sentence of help, and how its text is parsed."""
    return field(default=default, metadata={"help": help, "unit": unit})


def argument(help: str, *, default: Any = MISSING) -> Any:
    """A configuration field that is given by its place on the command line, and needed unless it has a `default`.

    A field of type ``tuple[X, ...]`` takes all the places that are left.
    """
    return field(default=default, metadata={"help": help, "unit": "", "is_positional": True})


def add_flags(parser: argparse.ArgumentParser, config: type) -> None:
    """Add the command line of `config`: places for fields made by `argument`, flags for those made by `option`.

    ``latency_ms`` gives ``--latency-ms``, ``time_s`` gives ``--time``; a flag that is not given leaves the field's
    default. Booleans get ``--x / --no-x``.
    """
    hints = typing.get_type_hints(config)
    for entry in dataclasses.fields(config):
        if "help" not in entry.metadata:
            continue
        arguments: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(entry)}
        kinds = _kinds(hints[entry.name])
        if bool in kinds:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments["type"] = _parser_of(kinds, entry.metadata["unit"])
            arguments["metavar"] = _metavar(kinds, entry.metadata["unit"])
        if "is_positional" in entry.metadata:
            parser.add_argument(entry.name, **{**arguments, **_places(entry, kinds)})
        else:
            parser.add_argument(flag_of(entry), dest=entry.name, **arguments)


def describe_flags(config: type) -> Iterator[tuple[str, str]]:
    """How each field is written on the command line, and its help with its default: for documentation; places first."""
    hints = typing.get_type_hints(config)
    shown = [entry for entry in dataclasses.fields(config) if "help" in entry.metadata]
    for entry in sorted(shown, key=lambda entry: "is_positional" not in entry.metadata):
        kinds, text = _kinds(hints[entry.name]), _help(entry).replace("%%", "%")
        if "is_positional" in entry.metadata:
            places = _places(entry, kinds)
            yield places["metavar"] + (" ..." if places.get("nargs") in ("+", "*") else ""), text
        elif bool in kinds:
            yield f"{flag_of(entry)}, --no-{flag_of(entry)[2:]}", text
        else:
            yield f"{flag_of(entry)} {_metavar(kinds, entry.metadata['unit'])}", text


def from_args(config: type[C], args: argparse.Namespace, **given: Any) -> C:
    """The configuration that the parsed flags describe; `given` are further fields."""
    known = {entry.name for entry in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = {name: value for name, value in vars(args).items() if name in known}
    return config(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}, **given
    )


def settle(config: type[C], given: Any, settings: Mapping[str, Any]) -> C:
    """The configuration that a call of a verb means: one already, or its first place and `settings` by name.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Demo:
    ...     data: str = argument("folder of labelled images")
    ...     seed: int = option(0, "seed of every random choice")
    >>> settle(Demo, "flowers/", {"seed": 3})
    Demo(data='flowers/', seed=3)
    """
    if isinstance(given, config):
        return dataclasses.replace(given, **settings)  # type: ignore[type-var]
    entries = dataclasses.fields(config)  # type: ignore[arg-type]
    unknown = sorted(set(settings) - {entry.name for entry in entries})
    if unknown:
        raise TypeError(f"unknown setting {', '.join(unknown)}; allowed: {', '.join(entry.name for entry in entries)}")
    first = next(entry for entry in entries if entry.metadata.get("is_positional"))
    return config(**{first.name: str(given) if isinstance(given, Path) else given, **settings})


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON-ready dict of a configuration."""
    return dataclasses.asdict(config)


def from_dict(config: type[C], data: Mapping[str, Any]) -> C:
    """Inverse of `to_dict`. Raises ValueError that names unknown fields."""
    entries = {entry.name: entry for entry in dataclasses.fields(config)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(entries))
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; allowed: {', '.join(sorted(entries))}")
    return config(**{name: _frozen(value) for name, value in data.items()})


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


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def flag_of(entry: dataclasses.Field[Any]) -> str:
    """The flag of a field: its name without a unit that its text carries itself."""
    name = entry.name.removesuffix("_s") if entry.metadata["unit"] == "duration" else entry.name
    name = name.removesuffix("_hw") if entry.metadata["unit"] == "size" else name
    return "--" + name.replace("_", "-")


def _help(entry: dataclasses.Field[Any]) -> str:
    text = str(entry.metadata["help"])
    if entry.default not in (None, "", (), MISSING):
        text += f" (default: {_text_of(entry.default, entry.metadata['unit'])})"
    return text.replace("%", "%%")


def _text_of(value: Any, unit: str) -> str:
    """`value` as it would be written on the command line."""
    if unit == "duration":
        return f"{value:g}s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ("x" if unit == "size" else ",").join(str(part) for part in value)
    return str(value)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have, without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(part for part in typing.get_args(hint) if part is not type(None))
    return (hint,)


def _places(entry: dataclasses.Field[Any], kinds: tuple[Any, ...]) -> dict[str, Any]:
    is_needed = entry.default is MISSING
    if typing.get_origin(kinds[0]) is not tuple:
        return {"metavar": entry.name.upper()} | ({} if is_needed else {"nargs": "?"})
    inner = typing.get_args(kinds[0])[:1]
    one = entry.name.upper().removesuffix("S")
    return {"metavar": one, "nargs": "+" if is_needed else "*", "type": _parser_of(inner, "")}


def _parser_of(kinds: tuple[Any, ...], unit: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        problems = []
        for kind in kinds:
            try:
                return _parse(text, kind, unit)
            except ValueError as error:
                problems.append(str(error))
        raise argparse.ArgumentTypeError(" and ".join(problems))

    return parse


def _parse(text: str, kind: Any, unit: str) -> Any:
    if unit:
        return parse_duration_s(text) if unit == "duration" else parse_size_hw(text)
    if typing.get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if text not in choices:
            raise ValueError(f"{text!r} is not one of: {', '.join(choices)}")
        return choices[text]
    if typing.get_origin(kind) is tuple:
        return tuple(_parse(part, typing.get_args(kind)[0], "") for part in text.split(",") if part)
    try:
        value = kind(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not {WANTED.get(kind, 'understood')}") from error
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{text!r} is not {WANTED[kind]}")
    return value


def _metavar(kinds: tuple[Any, ...], unit: str) -> str:
    if unit:
        return {"duration": "TIME", "size": "SIZE"}[unit]
    names = []
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            names += [str(choice) for choice in typing.get_args(kind)]
        else:
            names.append("A,B,..." if typing.get_origin(kind) is tuple else METAVARS.get(kind, "VALUE"))
    return names[0] if len(names) == 1 else "{" + ",".join(names) + "}"

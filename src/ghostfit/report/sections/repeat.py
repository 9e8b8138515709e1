"""How to repeat the run: command, seed, configuration, versions, and the parity certificate of the exported file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_dict, as_rows, word
from ghostfit.report.section import Section, facts, heading, more
from ghostfit.report.units import finite, whole


def repeat(run: RunData) -> Section:
    """Everything that a second run needs, and what the exported file was proved to do."""
    info = run.info
    if not info:
        return Section("repeat", "To repeat it", None, "run.json could not be read.")
    machine = as_dict(info.get("machine"))
    processor = f"{machine['processor']}, {machine.get('cores', '?')} cores" if machine.get("processor") else None
    rows = (
        ("Seed", _text(info.get("seed"))),
        ("Begun", _text(info.get("created"))),
        ("Machine", processor),
        ("System", _text(machine.get("system"))),
        ("Source", tag("code", str(info["commit"])) if info.get("commit") else None),
        ("Architecture", tag("code", run.arch.id) if run.arch else None),
        ("Data", tag("code", str(run.data["fingerprint"])) if run.data.get("fingerprint") else None),
    )
    versions = as_dict(info.get("versions"))
    pair = [
        _parity(as_dict(run.manifest.get("parity"))),
        tag("div", heading("Versions"), facts((str(k), str(v)) for k, v in versions.items())) if versions else None,
    ]
    parts: list[Markup | None] = [
        tag("pre", _command(info.get("command"))) if info.get("command") else None,
        facts(rows),
        tag("div", *pair, class_="pair"),
        more("The whole configuration", tag("pre", json.dumps(info.get("config"), indent=1)))
        if info.get("config")
        else None,
    ]
    return Section("repeat", "To repeat it", join(parts), is_long=True)


def _command(command: Any) -> str:
    """The words of the command as a shell takes them, the program without its folder."""
    if not isinstance(command, list) or not command:
        return str(command)
    words = [str(word) for word in command]
    program = words[0].replace("\\", "/").rsplit("/", 1)[-1]
    return " ".join(shlex.quote(word) for word in ["ghostfit" if program == "__main__.py" else program, *words[1:]])


def _parity(parity: dict[str, Any]) -> Markup | None:
    if not parity:
        return None
    verdict = "passed" if parity.get("passed") is True else "FAILED"
    rows: list[tuple[str, Any]] = [("Result", tag("span", verdict, class_="kept" if verdict == "passed" else "broken"))]
    for key, value in _flat(parity):
        number = finite(value)
        if number is not None or isinstance(value, str):
            rows.append((key[:1].upper() + key[1:], _number(number) if number is not None else str(value)))
    note = tag("p", "The network as trained against the exported file, on real images, stage by stage.", class_="quiet")
    return tag("div", heading("Parity certificate"), note, facts(rows))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values, those of inner objects one after the other; of the stages the one that differs most."""
    for key, value in values.items():
        name = key.removeprefix("num_").replace("_", " ")
        if isinstance(value, dict):
            yield from ((f"{name}: {inner}", entry) for inner, entry in _flat(value))
        elif key == "stages":
            stages = [(finite(stage.get("max_rel")) or 0.0, word(stage.get("name"))) for stage in as_rows(value)]
            if stages:
                yield "stages", f"{len(stages)}, at most {max(stages)[0]:.2g} apart ({max(stages)[1]})"
        elif key != "passed":
            yield name, value


def _number(value: float) -> str:
    return whole(value) if value == int(value) else f"{value:.2g}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

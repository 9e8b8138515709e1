"""How to repeat the run: command, seed, configuration, versions, and the parity certificate of the exported file."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_dict
from ghostfit.report.section import Section, facts, heading, more
from ghostfit.report.units import finite, percent, whole


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
    verdict = "passed" if parity.get("passed") else "FAILED"
    rows: list[tuple[str, Any]] = [("Result", tag("span", verdict, class_="kept" if verdict == "passed" else "broken"))]
    for key, value in parity.items():
        number = finite(value)
        if key == "passed" or (number is None and not isinstance(value, str)):
            continue
        name = key.removeprefix("num_").replace("_", " ")
        shown = str(value) if number is None else _number(key, number)
        rows.append((name[:1].upper() + name[1:], shown))
    note = tag("p", "The network as trained against the exported file, on real images, stage by stage.", class_="quiet")
    return tag("div", heading("Parity certificate"), note, facts(rows))


def _number(key: str, value: float) -> str:
    if "agreement" in key and 0 <= value <= 1:
        return percent(value)
    return whole(value) if value == int(value) else f"{value:.3g}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

"""Making a verb's run folder, or opening it again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from ghostfit.config import to_dict
from ghostfit.run import Run

FREE_TO_CHANGE = ("out", "resume", "time_s", "data", "device")  # settings that a resumed run may be given anew


def open_run(config: Any, verb: str, check: Callable[[], object] = lambda: None) -> Run:
    """The run folder of `config`: new, or with ``resume`` the one that is there.

    A new one is made only once `check` has passed, so that wrong input leaves no folder. Without ``out`` it is
    ``runs/NAME`` after the data, with a number when that is taken; resuming takes the latest of these. Raises
    ValueError when a resumed run was started by another verb or with other settings.
    """
    path = Path(config.out) if config.out else _default_path(config.data, config.resume)
    if not config.resume or not (path / "run.json").is_file():
        if not (path / "run.json").is_file():
            check()
        return Run.create(path, verb, to_dict(config), config.seed)
    run = Run.open(path)
    info = run.read_json("run.json")
    if info["verb"] != verb:
        raise ValueError(f"{path} was made by: ghostfit {info['verb']}; resume it with that command")
    old, new = info["config"], to_dict(config)
    changed = [name for name in new if name not in FREE_TO_CHANGE and _plain(old.get(name)) != _plain(new[name])]
    if changed:
        texts = ", ".join(f"{name} was {old.get(name)!r}, now {new[name]!r}" for name in changed)
        raise ValueError(f"{path} can't go on with other settings: {texts}. Give the old ones, or another --out")
    return run


def _default_path(data: str, resume: bool) -> Path:
    name = Path(data).resolve().name.split(".")[0] if data not in ("digits",) else data
    base = Path("runs", name or "data")
    taken = [path for number in range(1, 1000) if (path := _numbered(base, number)).joinpath("run.json").exists()]
    if resume and taken:
        return taken[-1]
    return next(path for number in count(1) if not (path := _numbered(base, number)).joinpath("run.json").exists())


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

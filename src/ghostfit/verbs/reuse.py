"""The trained store of an earlier run, taken over: other limits are searched without training shared weights again."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ghostfit.config import flag_of
from ghostfit.run import Run

if TYPE_CHECKING:
    from ghostfit.verbs.search import SearchConfig

    Config = TypeVar("Config", bound=SearchConfig)

FILES = ("start.json", "space.json", "space_final.json", "gene_time.json", "supernet.safetensors")
RECORDS = ("evidence.jsonl", "shrink.jsonl")  # which a short run may lack
# What the store was made from: a run that takes it over has the same, whether it says so or not.
INHERITED = ("task", "format", "size_hw", "resize", "channels", "nms_free", "start", "weights", "seed")


def like_store(config: Config) -> Config:
    """`config` with the settings that the store of ``config.store`` was made with; as it is without one.

    Raises ValueError when there is no trained store, or `config` asks for another of these settings than it has.
    """
    if not config.store:
        return config
    made_with = _store_run(config.store).read_json("run.json")["config"]
    usual = {field.name: field.default for field in fields(config)}
    flags = {field.name: flag_of(field)[2:] for field in fields(config)}
    values = {}
    for name in INHERITED:
        given, made = getattr(config, name), _plain(made_with.get(name, usual[name]))
        if given not in (usual[name], made):
            raise ValueError(
                f"the store of {config.store} was trained with {flags[name]} {made!r}, not {given!r}: "
                "leave that setting out, or train another store without --store"
            )
        values[name] = made
    return replace(config, **values)


def take_over(run: Run, store: str) -> None:
    """Phases ``space`` and ``supernet`` as the run `store` did them.

    Raises ValueError when that run saw other images, or divided them otherwise: its store would know what `run` is
    judged by.
    """
    earlier = _store_run(store)
    kept, new = (r.read_json("data.json") for r in (earlier, run))
    if kept["fingerprint"] != new["fingerprint"] or earlier.read_json("splits.json") != run.read_json("splits.json"):
        told = ", ".join(f"{facts['num_images']} images in {facts['root']}" for facts in (kept, new))
        raise ValueError(f"the store of {store} was trained on other images than these: {told}; leave --store out")
    phases = earlier.read_json("run.json")["phases"]
    for name in (*FILES, *(name for name in RECORDS if earlier.file(name).exists())):
        shutil.copyfile(earlier.file(name), run.file(name))
    for phase in ("space", "supernet"):
        run.finish(phase, **{**phases[phase], "seconds": 0.0, "taken_from": store})


def _store_run(path: str) -> Run:
    run = Run.open(path)
    if not run.is_done("supernet") or not all(run.file(name).exists() for name in FILES):
        raise ValueError(f"{path} has no trained store; runs that have one: ghostfit fit | search --strategy nsga2")
    return run


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

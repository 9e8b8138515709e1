"""Configurations: flags, places, JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostfit.config import (
    add_flags,
    argument,
    dataclass,
    from_args,
    from_dict,
    option,
    parse_duration_s,
    parse_size_hw,
    to_dict,
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One field of every kind."""

    data: str = argument("folder of images")
    more: tuple[str, ...] = argument("further folders", default=())
    out: Path | None = option(None, "folder of the run")
    time_s: float | None = option(None, "wall-clock limit", unit="duration")
    size_hw: tuple[int, int] | None = option(None, "input size", unit="size")
    num_runs: int = option(3, "runs")
    share: float = option(0.5, "share, not 100 %")
    lr: float | Literal["auto"] = option("auto", "learning rate")
    resume: bool = option(False, "go on with a run")
    schedule: Literal["cosine", "plateau"] = option("cosine", "course of the rate")
    batch: Literal[1, 8] = option(1, "images at once")
    sides: tuple[int, ...] = option((32, 64), "sides to try")
    hidden: int = 5  # not on the command line


def parse(*words: str) -> Demo:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Demo)
    return from_args(Demo, parser.parse_args(words))


def test_nothing_given_leaves_the_defaults() -> None:
    assert parse("flowers") == Demo(data="flowers")


def test_every_kind_of_flag() -> None:
    words = "flowers more1 more2 --out runs/a --time 1h30m --size 96x160 --num-runs 5 --share 0.25 --lr 0.01"
    words += " --resume --schedule plateau --batch 8 --sides 16,24"
    assert parse(*words.split()) == Demo(
        data="flowers",
        more=("more1", "more2"),
        out=Path("runs/a"),
        time_s=5400.0,
        size_hw=(96, 160),
        num_runs=5,
        share=0.25,
        lr=0.01,
        resume=True,
        schedule="plateau",
        batch=8,
        sides=(16, 24),
    )


def test_further_ways_to_write_them() -> None:
    assert parse("flowers", "--lr", "auto", "--no-resume") == Demo(data="flowers")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["flowers", "--time", "soon"], "'soon' is no duration; write 90s, 20m, 2h or 1h30m"),
        (["flowers", "--time", "0s"], "above zero"),
        (["flowers", "--size", "12x"], "'12x' is no image size; write 224 or HEIGHTxWIDTH"),
        (["flowers", "--num-runs", "2.5"], "'2.5' is not a whole number"),
        (["flowers", "--share", "half"], "'half' is not a number"),
        (["flowers", "--share", "nan"], "'nan' is not a number"),
        (["flowers", "--lr", "fast"], "'fast' is not a number and 'fast' is not one of: auto"),
        (["flowers", "--schedule", "step"], "'step' is not one of: cosine, plateau"),
        (["flowers", "--sides", "16,x"], "'x' is not a whole number"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(words: list[str], complaint: str) -> None:
    with pytest.raises(argparse.ArgumentError) as raised:
        parse(*words)
    assert complaint in str(raised.value)


def test_help_shows_defaults_as_they_are_written() -> None:
    parser = argparse.ArgumentParser(prog="demo")
    add_flags(parser, Demo)
    text = " ".join(parser.format_help().split())
    assert "share, not 100 % (default: 0.5)" in text
    assert "sides to try (default: 32,64)" in text
    assert "--lr {X,auto}" in text
    assert "--schedule {cosine,plateau}" in text
    assert "--hidden" not in text


@given(hours=st.integers(0, 48), minutes=st.integers(0, 90), seconds=st.integers(0, 90))
def test_durations_are_sums(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    text = f"{hours}h{minutes}m{seconds}s"
    if total:
        assert parse_duration_s(text) == total
    else:
        with pytest.raises(ValueError, match="above zero"):
            parse_duration_s(text)


@given(st.text(max_size=8))
def test_any_text_is_a_value_or_a_clear_error(text: str) -> None:
    for read in (parse_duration_s, parse_size_hw):
        try:
            read(text)  # type: ignore[operator]
        except ValueError as error:
            assert "write" in str(error) or "above zero" in str(error)


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_sizes(size_hw: tuple[int, int]) -> None:
    assert parse_size_hw(f"{size_hw[0]}x{size_hw[1]}") == size_hw
    assert parse_size_hw(str(size_hw[0])) == (size_hw[0], size_hw[0])


@pytest.mark.parametrize("changes", [{}, {"size_hw": (96, 160), "sides": (1,)}, {"lr": 0.1, "time_s": 3.0}])
def test_to_dict_and_back_through_json(changes: dict[str, Any]) -> None:
    import json

    config = Demo(data="flowers", **changes)
    assert from_dict(Demo, json.loads(json.dumps(to_dict(config)))) == config


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown setting sise; allowed: .*size_hw"):
        from_dict(Demo, {"data": "flowers", "sise": 3})

"""Progress on stderr: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from ghostfit.event import Event
from ghostfit.progress import LINE_EVERY_S, show_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def seconds(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


def test_lines_are_few_and_tell_the_time_left() -> None:
    stream, clock = io.StringIO(), seconds(LINE_EVERY_S / 4)
    with show_progress(stream, clock=lambda: next(clock)) as on_event:
        on_event(Event("train", "start", "8 epochs", total=8))
        for done in range(1, 9):
            on_event(Event("train", "progress", done=done, total=8, values={"loss": 1 / done}))
        on_event(Event("train", "done", "kept epoch 8"))
    assert stream.getvalue().splitlines() == [
        "train: 8 epochs",
        "train: loss 0.25, 50%, 20 s left",
        "train: loss 0.125, 100%, 0 s left",
        "train: done in 45 s, kept epoch 8",
    ]


def test_an_unknown_total_has_no_share() -> None:
    stream, clock = io.StringIO(), seconds(LINE_EVERY_S)
    with show_progress(stream, clock=lambda: next(clock)) as on_event:
        on_event(Event("read", "start"))
        on_event(Event("read", "progress", "many files", done=100))
    assert stream.getvalue().splitlines() == ["read: begins", "read: many files"]


def test_bars_show_phases_and_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with show_progress(stream) as on_event:
        on_event(Event("search", "progress", "first news without a start", done=1, total=4))
        on_event(Event("train", "start", "[bold]8 epochs", total=8))
        on_event(Event("train", "progress", done=4, total=8, values={"loss": 0.25}))
        on_event(Event("train", "note", "a [red]note[/red] is not markup"))
        on_event(Event("train", "start", "again", total=8))
        on_event(Event("train", "done", "kept epoch 8"))
    text = stream.getvalue()
    assert "a [red]note[/red] is not markup" in text
    assert "kept epoch 8" in text
    assert "first news" in text


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with show_progress(stream) as on_event:
        on_event(Event("train", "start", "8 epochs"))
    assert stream.getvalue() == "train: 8 epochs\n"


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_an_error_in_the_verb_passes_through(make: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(RuntimeError, match="in the verb"), show_progress(make()) as on_event:  # noqa: PT012
        on_event(Event("train", "start"))
        raise RuntimeError("in the verb")

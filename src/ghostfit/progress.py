"""How a long verb shows what it does, on stderr: bars with the time left on a terminal, plain lines elsewhere.

A verb reports events (`ghostfit.event`); the display is a context manager that gives the function taking them.
The text of an event is for people; its values are shown where it has none.

>>> with show_progress(sys.stdout) as on_event:
...     on_event(Event("train", "start", "30 epochs", total=30))
...     on_event(Event("train", "done", values={"val_accuracy": 0.98125}))
train: 30 epochs
train: done in 0 s, val accuracy 0.9812
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from ghostfit.event import Event, OnEvent

LINE_EVERY_S = 20.0  # of plain progress lines: a log of an hour stays below 200 lines


@contextmanager
def show_progress(stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> Iterator[OnEvent]:
    """A function that shows events on `stream` (stderr if None) until the context ends."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield _lines(stream, clock)
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if not console.is_interactive:  # TERM=dumb
        yield _lines(stream, clock)
        return
    with _bars(console) as on_event:
        yield on_event


def _lines(stream: TextIO, clock: Callable[[], float]) -> OnEvent:
    started: dict[str, float] = {}
    shown: dict[str, float] = {}

    def on_event(event: Event) -> None:
        now = clock()
        begun = started.setdefault(event.phase, now)
        if event.kind == "progress":
            if now - shown.setdefault(event.phase, begun) < LINE_EVERY_S:
                return
            parts = [_described(event), _share(event.done, event.total), _left(event.done, event.total, now - begun)]
        elif event.kind == "done":
            parts = [f"done in {format_seconds(now - begun)}", _described(event)]
        else:
            parts = [_described(event)]
        shown[event.phase] = now
        text = ", ".join(part for part in parts if part)
        print(f"{event.phase}: {text or 'begins'}", file=stream, flush=True)

    return on_event


@contextmanager
def _bars(console: Any) -> Iterator[OnEvent]:
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[phase]}", style="bold", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, redirect_stdout=False) as progress:

        def on_event(event: Event) -> None:
            if event.kind == "note":
                progress.console.print(f"{event.phase}: {_described(event)}", markup=False, style="dim")
                return
            if event.kind == "start" or event.phase not in tasks:
                if event.phase in tasks:  # a phase that begins again, such as the next of several trainings
                    progress.remove_task(tasks[event.phase])
                tasks[event.phase] = progress.add_task("", total=event.total or None, phase=event.phase)
            total = event.total or None
            if event.kind == "done":
                total = total or event.done or 1
                progress.update(tasks[event.phase], total=total, completed=total, description=_described(event))
                progress.stop_task(tasks[event.phase])
            else:
                progress.update(tasks[event.phase], total=total, completed=event.done, description=_described(event))

        yield on_event


def format_values(values: Mapping[str, Any]) -> str:
    """Figures for one line.

    >>> format_values({"loss": 0.123456, "images_per_s": 5210.4, "arch_id": "4f1d"})
    'loss 0.1235, images per s 5210, arch id 4f1d'
    """
    shown = ((name.replace("_", " "), value) for name, value in values.items() if value is not None)
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown)


def format_seconds(seconds: float) -> str:
    """A duration for people.

    >>> format_seconds(7), format_seconds(754), format_seconds(7500)
    ('7 s', '12 min 34 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _described(event: Event) -> str:
    return event.text or format_values(event.values)


def _share(done: float, total: float) -> str:
    return f"{min(1.0, done / total):.0%}" if total else ""


def _left(done: float, total: float, elapsed_s: float) -> str:
    if not total or done <= 0:
        return ""
    return f"{format_seconds(max(0.0, (total - done) * elapsed_s / done))} left"

"""A wall-clock limit over a whole run, across kills and resumes, and Ctrl-C that ends a run instead of breaking it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ghostfit.event import Event, OnEvent
from ghostfit.run import Run

ENDING_SHARE, ENDING_LEAST_S, ENDING_MOST_S = 0.06, 12.0, 60.0  # export, test, bench and report
NOTE_EVERY_S = 5.0  # what a kill can lose of the time that counts


@dataclass
class Clock:
    """Seconds that a run has worked in all its processes, against its limit (None: none)."""

    run: Run
    limit_s: float | None
    is_stopped: Callable[[], bool] = lambda: False
    before_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    _noted: float = 0.0
    _phases: dict[str, float] = field(default_factory=dict, repr=False)  # seconds worked when each began

    def __post_init__(self) -> None:
        kept = self.run.read_json("clock.json", {})
        self.before_s, self._phases = float(kept.get("seconds", 0.0)), dict(kept.get("phases", {}))

    @property
    def elapsed_s(self) -> float:
        """Seconds worked so far."""
        return self.before_s + time.monotonic() - self.began

    @property
    def left_s(self) -> float | None:
        """Seconds left; None without a limit."""
        return None if self.limit_s is None else self.limit_s - self.elapsed_s

    def share_s(self, share: float, *, reserve_s: float = 0.0) -> float | None:
        """`share` of what is left after `reserve_s`, at least one second; None without a limit."""
        left_s = self.left_s
        return None if left_s is None else max(1.0, share * (left_s - reserve_s))

    def phase_s(self, phase: str, share: float, *, reserve_s: float = 0.0) -> float | None:
        """`share_s` as it was when `phase` began, in this process or an earlier one, under the limit of today."""
        began_s = self._began_s(phase)
        return None if self.limit_s is None else max(1.0, share * (self.limit_s - began_s - reserve_s))

    def spent_s(self, phase: str) -> float:
        """Seconds since `phase` began, in all processes."""
        return self.elapsed_s - self._began_s(phase)

    def _began_s(self, phase: str) -> float:
        if phase not in self._phases:
            self._phases[phase] = self.elapsed_s
            self._write()
        return self._phases[phase]

    def deadline(self, seconds: float | None) -> Callable[[], bool]:
        """Tells whether `seconds` from now are over, or a stop was asked for."""
        end = None if seconds is None else time.monotonic() + seconds

        def is_over() -> bool:
            self.note()
            return self.is_stopped() or (end is not None and time.monotonic() >= end)

        return is_over

    def telling(self, on_event: OnEvent) -> OnEvent:
        """`on_event`, with the time noted at each event."""

        def tell(event: Event) -> None:
            self.note()
            on_event(event)

        return tell

    def note(self) -> None:
        """Keep the time worked so far, at most every few seconds."""
        if time.monotonic() - self._noted >= NOTE_EVERY_S:
            self._write()

    def _write(self) -> None:
        self._noted = time.monotonic()
        self.run.write_json("clock.json", {"seconds": round(self.elapsed_s, 3), "phases": self._phases})


def ending_s(limit_s: float | None) -> float:
    """Seconds that a time limit keeps for what follows the last training."""
    return min(max(ENDING_SHARE * (limit_s or 0.0), ENDING_LEAST_S), ENDING_MOST_S)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C (or a polite kill) came; the second one interrupts at once.

    Outside the main thread signals can't be caught: the function then always says no.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

"""Averages of what steps return, read seldom: a read waits for the device, an addition does not."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

LEAST_STEPS, LEAST_S = 10, 1.0  # between step records: a curve needs no more, and each one is flushed to disk


class Meter:
    """Sums values over steps, and times them. A window goes from one `restart` to the next.

    >>> meter = Meter()
    >>> meter.add({"loss": 3.0}, 8); meter.add({"loss": 1.0}, 8)
    >>> meter.read(), means_of(meter.window)
    (({'loss': 2.0}, 2), {'loss': 2.0})
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._num_unread = 0
        self._mark = time.perf_counter()
        self.restart()

    def restart(self) -> None:
        """Begin the next window of steps."""
        self.window: dict[str, float] = {}
        self.num_steps = self.num_images = 0
        self.seconds = 0.0

    def add(self, values: Mapping[str, Tensor | float], num_images: int) -> None:
        """Count one step and its values."""
        sums = self._sums
        for name, value in values.items():
            sums[name] = sums[name] + value if name in sums else value
        self._num_unread += 1
        self.num_steps += 1
        self.num_images += num_images
        now = time.perf_counter()
        self.seconds += now - self._mark
        self._mark = now

    def pause(self) -> None:
        """Leave out the time since the last step."""
        self._mark = time.perf_counter()

    def read(self) -> tuple[dict[str, float], int]:
        """Means since the last `read`, and of how many steps; waits for the device."""
        count = self._num_unread
        means = {name: float(value) / count for name, value in self._sums.items()}
        self._sums, self._num_unread = {}, 0
        add_means(self.window, means, count)
        return means, count

    @property
    def is_due(self) -> bool:
        """Whether the window is long enough for a record."""
        return self.num_steps >= LEAST_STEPS and self.seconds >= LEAST_S

    @property
    def step_s(self) -> float:
        """Seconds of a step, data included, in this window."""
        return self.seconds / max(self.num_steps, 1)


def add_means(sums: dict[str, float], means: Mapping[str, float], num_steps: int) -> None:
    """Add the means of `num_steps` steps to `sums`, which are plain numbers so that a checkpoint can hold them."""
    for name, value in {**means, "num_steps": 1.0}.items():
        sums[name] = sums.get(name, 0.0) + value * num_steps


def means_of(sums: Mapping[str, float]) -> dict[str, float]:
    """The means that `add_means` added up."""
    return {name: value / sums["num_steps"] for name, value in sums.items() if name != "num_steps"}

"""Records of a training, and the journal that keeps them in ``metrics.jsonl`` and sends them to trackers."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ghostfit.run import Run, write_atomically
from ghostfit.train.trackers import Tracker

FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Record:
    """One thing that happened in a training.

    ``step``: averages since the last one, with ``lr``, ``images_per_s``, ``progress`` and ``time_left_s``; ``epoch``:
    averages since the last one, with ``val_accuracy`` and ``val_loss``; ``note``: ``text`` for people, with facts.
    """

    phase: str
    step: int
    epoch: int
    kind: Literal["step", "epoch", "note"]
    values: Mapping[str, Any]


class Journal:
    """Writes records where they belong. A tracker that fails is warned about once and left out from then on."""

    def __init__(self, run: Run | None, phase: str, trackers: Sequence[Tracker] = ()) -> None:
        self._run = run
        self._phase = phase
        self._trackers = list(trackers)

    def write(self, record: Record) -> Record:
        """Keep `record` and return it."""
        values = {name: _finite(value) for name, value in record.values.items()}
        record = Record(record.phase, record.step, record.epoch, record.kind, values)
        if self._run is not None:
            line = {"phase": record.phase, "kind": record.kind, "step": record.step, "epoch": record.epoch, **values}
            self._run.append(FILE, line)
        numbers = {f"{self._phase}/{name}": value for name, value in values.items() if isinstance(value, (int, float))}
        for tracker in list(self._trackers) if numbers else ():
            self._call(tracker, "log", numbers, record.step)
        return record

    def forget_after(self, step: int) -> None:
        """Drop records that a killed process wrote beyond the checkpoint at `step`: they will come again."""
        if self._run is None or not self._run.file(FILE).is_file():
            return
        records = list(self._run.records(FILE))
        kept = [line for line in records if line.get("phase") != self._phase or line.get("step", 0) <= step]
        if len(kept) < len(records):
            write_atomically(self._run.file(FILE), "".join(json.dumps(line) + "\n" for line in kept).encode())

    def close(self) -> None:
        """Close the trackers."""
        for tracker in list(self._trackers):
            self._call(tracker, "close")

    def _call(self, tracker: Tracker, method: str, *arguments: Any) -> None:
        try:
            getattr(tracker, method)(*arguments)
        except Exception as error:  # noqa: BLE001 foreign code, on a network: training goes on whatever it raises
            self._trackers.remove(tracker)
            name = type(tracker).__name__
            warnings.warn(f"tracker {name} failed and is left out from now on: {error!r}", RuntimeWarning, stacklevel=3)


def _finite(value: Any) -> Any:
    """None for a number that JSON does not know."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

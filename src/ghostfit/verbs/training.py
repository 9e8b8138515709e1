"""From a training's records to events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ghostfit.event import Event, OnEvent

if TYPE_CHECKING:
    from ghostfit.train.records import Record


def forward(records: Iterable[Record], on_event: OnEvent) -> None:
    """Run a training to its end and tell of each record."""
    for record in records:
        values = record.values
        if record.kind == "note":
            on_event(Event(record.phase, "note", str(values.get("text", "")), values=values))
            continue
        parts = [f"loss {values['loss']:.3f}"] if isinstance(values.get("loss"), float) else []
        if isinstance(values.get("val_accuracy"), float):
            parts.append(f"val {100 * values['val_accuracy']:.1f} %")
        if isinstance(values.get("images_per_s"), float):
            parts.append(f"{values['images_per_s']:.0f} images/s")
        progress = values.get("progress")
        if isinstance(progress, float):
            on_event(Event(record.phase, "progress", ", ".join(parts), progress, 1.0, values))

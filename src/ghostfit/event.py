"""What a long command tells while it works; the command line draws progress bars from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """A phase that starts or is done, progress within it (`done` of `total`, 0 when unknown), or a note for people."""

    phase: str
    kind: Literal["start", "progress", "note", "done"]
    text: str = ""
    done: float = 0.0
    total: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listens to nothing."""

"""Checkpoints: the whole state of a training in one file of tensors and plain values, replaced whole or not at all."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from ghostfit.run import Run, write_atomically

SCHEMA = "ghostfit.checkpoint/1"


class Checkpoints:
    """The last checkpoint of a phase, in the run's folder, or in memory when there is no run.

    >>> store = Checkpoints(None, "train")
    >>> store.save({"step": 3, "weights": torch.zeros(2)})
    >>> store.load()["step"]
    3
    """

    def __init__(self, run: Run | None, phase: str) -> None:
        self.path = None if run is None else checkpoint_path(run, phase)
        self._memory: bytes | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint. Raises OSError when the disk is full; the earlier one stays then."""
        stream = io.BytesIO()
        torch.save({"schema": SCHEMA, **state}, stream)
        if self.path is None:
            self._memory = stream.getvalue()
        else:
            write_atomically(self.path, stream.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU; None when there is none. Raises ValueError when the file is damaged."""
        if self.path is None:
            return None if self._memory is None else _read(io.BytesIO(self._memory), "memory")
        return _read(self.path, str(self.path)) if self.path.is_file() else None

    def remove(self) -> None:
        """Forget the checkpoint."""
        self._memory = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def checkpoint_path(run: Run, phase: str) -> Path:
    """Where the checkpoint of `phase` lies; phases such as ``compare:width`` give names that any file system takes."""
    return run.file("checkpoints", f"{file_stem(phase)}.pt")


def file_stem(phase: str) -> str:
    """`phase` as part of a file name.

    >>> file_stem("compare:width-scaled")
    'compare-width-scaled'
    """
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in phase)


def _read(source: Path | io.BytesIO, name: str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {name} is damaged; delete it to train from the start ({error})") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise ValueError(f"{name} is no checkpoint of this version ({SCHEMA}); delete it to train from the start")
    return state

"""Where records go besides ``metrics.jsonl``: TensorBoard and Weights & Biases, each only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ghostfit.run import Run


class Tracker(Protocol):
    """Takes the numbers of each record."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Take numbers by name, such as ``train/loss``."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TensorBoard:
    """Event files in the run's folder, for ``tensorboard --logdir``."""

    def __init__(self, run: Run) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("the tracker tensorboard needs: pip install 'ghostfit[track]'") from error
        self._writer: Any = SummaryWriter(str(run.file("tensorboard")))

    def log(self, values: dict[str, float], step: int) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandB:
    """A run at Weights & Biases; set WANDB_MODE=offline to keep it on this machine."""

    def __init__(self, run: Run) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("the tracker wandb needs: pip install 'ghostfit[track]'") from error
        facts = run.read_json("run.json", {})
        self._session: Any = wandb.init(
            project="ghostfit", name=run.path.name, dir=str(run.path), config=facts.get("config"), resume="allow"
        )

    def log(self, values: dict[str, float], step: int) -> None:
        """Send a point of each curve."""
        self._session.log({**values, "step": step})

    def close(self) -> None:
        """End the session."""
        self._session.finish()


TRACKERS: dict[str, Callable[[Run], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}


def open_trackers(names: Sequence[str], run: Run | None) -> list[Tracker]:
    """Trackers by name. Raises ValueError for an unknown one, a missing package, or a missing run folder."""
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise ValueError(f"unknown tracker {', '.join(unknown)}; allowed: {', '.join(TRACKERS)}")
    if names and run is None:
        raise ValueError("trackers need a run folder; give one, or leave trackers out")
    return [TRACKERS[name](run) for name in names if run is not None]

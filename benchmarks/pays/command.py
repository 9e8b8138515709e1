"""The command line as a user calls it, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ghostfit.run import Run


def ghostfit(words: Sequence[str], *, allowed: Sequence[int] = (0,)) -> str:
    """Standard output of a ghostfit command. Raises RuntimeError when it fails."""
    print("  ghostfit " + " ".join(words), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "ghostfit", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        start_new_session=True,  # a signal that ends us does not make it end early and well, which would look done
    )
    if done.returncode not in allowed:
        raise RuntimeError(f"ghostfit {words[0]} ended with status {done.returncode}")
    return done.stdout


def told(words: Sequence[str], data: Path) -> str:
    """A command as a page tells it: with the name of the data, and not where it lies here."""
    return " ".join(["ghostfit", *(data.name if word == str(data) else word for word in words)])


def where(out: Path) -> list[str]:
    """The flags of a run folder; a run that was killed there is resumed."""
    return ["--out", str(out), *(["--resume"] if Run(out).file("run.json").exists() else [])]


def seconds_of(run: Run) -> float:
    """What the commands of a run took, those that were killed too."""
    return round(float(run.read_json("clock.json")["seconds"]), 1)

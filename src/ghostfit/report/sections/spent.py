"""What the run cost: wall-clock time of each phase."""

from __future__ import annotations

from ghostfit.report.markup import join
from ghostfit.report.read import RunData, as_dict
from ghostfit.report.section import Section, intro
from ghostfit.report.svg import Bar, bars, figure, responsive
from ghostfit.report.units import duration, finite, percent, whole

REST_SHARE = 0.01  # time outside the phases is shown from this share of the whole
NAMES = {
    "data": "reading the data",
    "space": "measuring the space",
    "supernet": "supernet training",
    "search": "search",
    "runoff": "run-off of the finalists",
    "train": "training the chosen one",
    "test": "test split",
    "export": "export and parity",
    "bench": "latency beside presets",
    "report": "this report",
}


def phase_seconds(run: RunData) -> dict[str, float]:
    """Seconds of each finished phase that recorded them."""
    known = ((name, finite(as_dict(phase).get("seconds"))) for name, phase in run.phases.items())
    return {name: seconds for name, seconds in known if seconds is not None and seconds >= 0}


def total_seconds(run: RunData) -> float:
    """What the run worked in all: its clock, or the sum of its phases where that is more."""
    return max(sum(phase_seconds(run).values()), run.worked_s or 0.0)


def spent(run: RunData) -> Section:
    """A bar for each phase, and the total."""
    title = "What it cost"
    seconds = phase_seconds(run)
    if not seconds:
        return Section("spent", title, None, "No phase of this run is finished yet (run.json).")
    total = total_seconds(run) or 1.0
    if total - sum(seconds.values()) > REST_SHARE * total:
        seconds["the rest"] = total - sum(seconds.values())
    rows = [
        Bar(NAMES.get(name, name), value, f"{duration(value)} · {percent(value / total, 0)}")
        for name, value in seconds.items()
    ]
    words = [f"{duration(total)} of wall-clock time in all"]
    if run.evaluations:
        words.append(f"{whole(len(run.evaluations))} networks evaluated")
    machine = as_dict(run.info.get("machine"))
    if machine.get("processor"):
        words.append(f"on {machine['processor']} with {machine.get('cores', '?')} cores")
    drawn = figure(responsive(lambda width: bars(rows, min(width, 720), label="seconds of each phase")))
    return Section("spent", title, join([intro(", ".join(words) + "."), drawn]))

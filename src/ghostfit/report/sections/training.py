"""Training curves: loss, the task's figure and learning rate of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData
from ghostfit.report.section import Section, heading, intro
from ghostfit.report.sections.paid import colour_of
from ghostfit.report.svg import HALF, THIRD, Axis, curve, figure, legend, linear_axis, plot
from ghostfit.report.units import duration, finite, percent, rounded, whole
from ghostfit.report.wording import Wording

HEIGHT = 236
NOTES = 6  # shown of each phase
POINTS = 240  # of a drawn line; more cannot be seen at this size
PHASES = {"supernet": "Supernet", "train": "Training of the chosen network"}
OTHERS = ("purple", "yellow", "blue")  # for compared networks beyond the known ones
Points = list[tuple[float, float]]


def training(run: RunData) -> Section:
    """Curves of the supernet, of the chosen network and of the networks trained for comparison."""
    title = "Training"
    parts: list[Markup | None] = []
    for phase, records in run.metrics.items():
        if not phase.startswith(("compare:", "runoff:")):  # finalists are rows of "Did the search pay?"
            parts.append(_phase(PHASES.get(phase, phase), records, run.wording))
    parts.append(_compared(run))
    drawn = [part for part in parts if part is not None]
    if not drawn:
        return Section("training", title, None, "No training records in this run (metrics.jsonl).")
    lead = intro(
        "Pale lines are single steps, strong ones their running mean. Validation images take no part in training."
    )
    return Section("training", title, join([lead, *drawn]), is_long=True)


def _phase(title: str, records: Sequence[dict[str, Any]], wording: Wording) -> Markup | None:
    figures = [figure for figure in (_loss(records), _metric(records, wording), _rate(records)) if figure is not None]
    if not figures:
        return None
    signs = legend((("line", "blue", "training"), ("line", "orange", "validation")))
    texts = (record.get("text") for record in records if record.get("kind") == "note")
    notes = [tag("p", text, class_="caption") for text in texts if isinstance(text, str)][:NOTES]
    facts = tag("p", _facts(records, wording), class_="quiet")
    return join([heading(title), facts, signs, tag("div", *figures, class_="triple"), *notes])


def _facts(records: Sequence[dict[str, Any]], wording: Wording) -> str:
    steps = max((finite(record.get("step")) or 0 for record in records), default=0)
    epochs = max((finite(record.get("epoch")) or 0 for record in records), default=0)
    speeds = sorted(speed for record in records if (speed := finite(record.get("images_per_s"))))
    checks = [value for record in records if (value := finite(record.get(wording.val_key))) is not None]
    seconds = max((finite(record.get("time_s")) or 0 for record in records), default=0)
    words = [
        f"{whole(steps)} steps" if steps else "",
        f"{epochs:g} epochs" if epochs else "",
        duration(seconds) if seconds else "",
        f"{whole(speeds[len(speeds) // 2])} images/s" if speeds else "",
        f"best validation {wording.metric} {percent(max(checks))}" if checks else "",
    ]
    return " · ".join(word for word in words if word)


def _loss(records: Sequence[dict[str, Any]]) -> Markup | None:
    steps = _series(records, "loss")
    checks = _series(records, "val_loss")
    if len(steps) < 2 and len(checks) < 2:
        return None
    smooth = running_mean(steps)
    x, y = _axes(thin(steps) + checks, THIRD)
    layers = [curve(thin(steps), x, y, "blue", class_="raw")] if len(steps) > 1 else []
    layers += [curve(thin(smooth), x, y, "blue", title="training loss, running mean")] if len(steps) > 1 else []
    layers += [curve(checks, x, y, "orange", title="validation loss")] if len(checks) > 1 else []
    return figure(plot(THIRD, HEIGHT, x, y, layers, x_label="step", y_label="loss", x_text=whole))


def _metric(records: Sequence[dict[str, Any]], wording: Wording) -> Markup | None:
    checks = _series(records, wording.val_key)
    if len(checks) < 2:
        return None
    return figure(_metric_plot([("orange", "validation", checks)], wording, THIRD))


def _metric_plot(lines: Sequence[tuple[str, str, Points]], wording: Wording, width: int) -> Markup:
    x, y = _axes([point for _, _, points in lines for point in points], width)
    layers = [curve(thin(points), x, y, colour, title=name) for colour, name, points in lines]
    return plot(
        width,
        HEIGHT,
        x,
        y,
        layers,
        x_label="step",
        y_label=f"{wording.metric}, %",
        x_text=whole,
        y_text=lambda share: rounded(100 * share),
    )


def _axes(points: Points, width: int) -> tuple[Axis, Axis]:
    """Steps from zero across, the values up."""
    x = linear_axis([0, *(a for a, _ in points)], 48, width - 14, num_ticks=width // 90, bounds=(0, 0))
    return x, linear_axis([b for _, b in points], HEIGHT - 44, 26, num_ticks=4)


def _rate(records: Sequence[dict[str, Any]]) -> Markup | None:
    rates = [(a, b) for a, b in _series(records, "lr") if b > 0]
    if len(rates) < 2:
        return None
    x, y = _axes(rates, THIRD)
    layers = [curve(thin(rates), x, y, "green")]
    drawn = plot(
        THIRD, HEIGHT, x, y, layers, x_label="step", y_label="learning rate", x_text=whole, y_text=lambda v: f"{v:.2g}"
    )
    return figure(drawn)


def _compared(run: RunData) -> Markup | None:
    """The chosen network's validation figure beside that of the networks trained for comparison."""
    names = [phase for phase in run.metrics if phase.startswith("compare:")]
    lines: list[tuple[str, str, Points]] = []
    for phase in names:
        points, name = _series(run.metrics[phase], run.wording.val_key), phase.removeprefix("compare:")
        taken = [colour for colour, _, _ in lines]
        colours = [colour_of(name), *OTHERS]
        if len(points) > 1:
            lines.append((next((c for c in colours if c not in taken), "grey"), name, points))
    if not lines:
        return None
    signs = legend(("line", colour, name) for colour, name, _ in lines)
    return join([heading("Networks trained for the comparison"), signs, figure(_metric_plot(lines, run.wording, HALF))])


def _series(records: Sequence[dict[str, Any]], field: str) -> Points:
    """(step, value) of the records that have both as finite numbers, in order of steps."""
    points = []
    for index, record in enumerate(records):
        value, step = finite(record.get(field)), finite(record.get("step"))
        if value is not None:
            points.append((float(index) if step is None else step, value))
    return sorted(points, key=lambda point: point[0])


def running_mean(points: Points) -> Points:
    """Each value replaced by the mean of those around it, a thirtieth of the whole wide.

    >>> running_mean([(0, 1.0), (1, 3.0)])
    [(0, 1.0), (1, 3.0)]
    """
    reach = len(points) // 60
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    smooth = []
    for index, (step, _) in enumerate(points):
        first, last = max(index - reach, 0), min(index + reach + 1, len(points))
        smooth.append((step, (sums[last] - sums[first]) / (last - first)))
    return smooth


def thin(points: Points, most: int = POINTS) -> Points:
    """At most about `most` points: the mean of each run of neighbours.

    >>> thin([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)], 2)
    [(0.5, 2.0), (2.5, 6.0)]
    """
    if len(points) <= most:
        return points
    width = -(-len(points) // most)
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [(sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group)) for group in groups]

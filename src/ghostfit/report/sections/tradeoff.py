"""The Pareto front: measured latency against the task's figure, of every network that was evaluated."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ghostfit.report.labels import Box, Label, draw_labels
from ghostfit.report.markup import Markup, join, shorten, tag
from ghostfit.report.read import Evaluation, RunData
from ghostfit.report.section import Row, Section, heading, intro, more, table
from ghostfit.report.svg import (
    CHAR,
    HALF,
    Axis,
    curve,
    figure,
    legend,
    linear_axis,
    log_axis,
    mark,
    plot,
    responsive,
    text,
)
from ghostfit.report.units import count, finite, milliseconds, percent, rounded, size

GROUPS = {  # shape, colour, radius, meaning; later ones are drawn over earlier ones
    "random": ("ring", "grey", 3.6, "random search"),
    "search": ("circle", "blue", 4.2, "the search"),
    "hand": ("diamond", "purple", 5.2, "hand-made: width-scaled"),
    "start": ("triangle", "green", 6.5, "start network"),
}
LOG_SPAN = 6.0  # from this ratio of slowest to fastest a logarithmic axis is easier to read
MAX_NAMES = 9


@dataclass(frozen=True)
class _Measure:
    """The cost on the x axis: latency where it was measured, else a count."""

    field: str
    label: str
    meaning: str
    limit: float | None

    def of(self, evaluation: Evaluation) -> float | None:
        value = getattr(evaluation, self.field)
        return None if value is None else float(value)

    def show(self, value: float) -> str:
        return f"{rounded(value)} ms" if self.field == "latency_ms" else count(value)


def tradeoff(run: RunData) -> Section:
    """The task's figure against latency, with the front, the limit, the chosen network and what it is compared with."""
    title, metric = f"{run.wording.title} against latency", run.wording.metric
    measure = _measure(run)
    points = [e for e in run.evaluations if e.metric is not None and measure.of(e) is not None]
    if not points:
        missing = f"This run holds no evaluated network with both {metric} and a cost (search.jsonl)."
        return Section("tradeoff", title, None, missing)
    front = pareto_front([(measure.of(e) or 0, e.metric or 0, e) for e in points if e.group in ("search", "start")])
    how = "with the weights inherited from the supernet" if "supernet" in run.phases else "after a short training"
    lead = (
        f"Each point is one of {len(points):,} networks: {measure.meaning}, and {run.wording.judged} "
        f"{how}. Up and left is better. The line joins the networks of the "
        f"search that no other one beats in both. The chosen one is trained afterwards, so that its {metric} on the "
        "test split is another figure."
    )
    unscored = sum(e.metric is None for e in run.evaluations)
    if unscored:
        lead += f" {unscored:,} more broke a limit or could not be scored, and are not shown."
    body = [
        intro(lead),
        legend(_legend(points, measure, run)),
        figure(responsive(lambda width: _draw(points, front, measure, run.chosen, width, metric))),
        more("The networks on the front, as a table", _front_table(front, run)),
        _pair(points, run),
    ]
    return Section("tradeoff", title, join(body))


def pareto_front(points: Iterable[tuple[float, float, Evaluation]]) -> list[Evaluation]:
    """Those (cost, metric, evaluation) that no other one beats in both, cheapest first."""
    front: list[Evaluation] = []
    best = -1.0
    for _, metric, evaluation in sorted(points, key=lambda point: (point[0], -point[1])):
        if metric > best:
            best = metric
            front.append(evaluation)
    return front


def _measure(run: RunData) -> _Measure:
    mega = 1e6
    choices = (
        _Measure(
            "latency_ms",
            "latency, ms (median)",
            "how long one image takes on this device",
            finite(run.limits.get("latency_ms")),
        ),
        _Measure(
            "macs",
            "multiply-accumulates",
            "its arithmetic for one image",
            (finite(run.limits.get("macs_m")) or 0) * mega or None,
        ),
        _Measure(
            "params", "parameters", "its number of parameters", (finite(run.limits.get("params_m")) or 0) * mega or None
        ),
    )
    known = (m for m in choices if any(m.of(e) is not None and e.metric is not None for e in run.evaluations))
    return next(known, choices[0])


def _legend(points: Sequence[Evaluation], measure: _Measure, run: RunData) -> list[tuple[str, str, str]]:
    present = {point.group for point in points}
    rows = [("star", "orange", "chosen")] if run.chosen in points else []
    for group, (shape, colour, _, meaning) in reversed(GROUPS.items()):
        if group in present:
            rows.append((shape, colour, run.start_name if group == "start" else meaning))
    rows.append(("line", "blue", "front of the search"))
    if measure.limit is not None:
        rows.append(("limit", "", f"limit {measure.show(measure.limit)}"))
    return rows


def _draw(
    points: Sequence[Evaluation],
    front: Sequence[Evaluation],
    measure: _Measure,
    chosen: Evaluation | None,
    width: int,
    metric: str,
) -> Markup:
    height = 470 if width > HALF else 380
    costs = [measure.of(point) or 0 for point in points] + ([measure.limit] if measure.limit else [])
    is_log = max(costs) > LOG_SPAN * min(costs)
    make = log_axis if is_log else linear_axis
    x = make(costs, 48, width - 12, num_ticks=9 if width > HALF else 5)
    y = linear_axis([point.metric or 0 for point in points], height - 46, 28, bounds=(0, 1), num_ticks=6)
    room = Box(x.start, y.end - 2, x.end, y.start)
    layers = [] if measure.limit is None else _limit(measure.limit, x, y)
    steps = _staircase(front, measure)
    layers += [curve(steps, x, y, "blue")] if steps else []
    ranks = list(GROUPS)
    for point in sorted((p for p in points if p is not chosen), key=lambda point: ranks.index(point.group)):
        shape, colour, radius, _ = GROUPS[point.group]
        is_dim = not point.is_feasible and point.group in ("search", "random")
        at = x.at(measure.of(point) or 0), y.at(point.metric or 0)
        dot = mark(shape, *at, radius if width > HALF else radius * 0.85, colour, _tooltip(point))
        layers.append(tag("g", dot, opacity=0.4) if is_dim else dot)
    if chosen in points and chosen is not None:
        star = mark("star", x.at(measure.of(chosen) or 0), y.at(chosen.metric or 0), 8.5, "orange", _tooltip(chosen))
        layers.append(star)
    places = [(x.at(measure.of(p) or 0), y.at(p.metric or 0)) for p in points]
    places += _along([(x.at(a), y.at(b)) for a, b in steps])
    if measure.limit is not None:
        places += _along([(x.at(measure.limit), y.start), (x.at(measure.limit), y.end)])
    labels = _labels(points, chosen, measure, x, y, width)
    places += 4 * [(label.x, label.y) for label in labels]  # what has a name must stay in sight
    layers += draw_labels(labels, places, room)
    suffix = " · logarithmic" if is_log else ""
    return plot(
        width,
        height,
        x,
        y,
        layers,
        x_label=measure.label + suffix,
        y_label=f"{metric}, %",
        x_text=rounded if measure.field == "latency_ms" else count,
        y_text=lambda share: rounded(100 * share),
    )


def _limit(limit: float, x: Axis, y: Axis) -> list[Markup]:
    at = x.at(limit)
    beyond = tag("rect", x=at, y=y.end, width=max(x.end - at, 0), height=y.start - y.end, class_="beyond")
    words = "too slow" if (x.end - at) > 10 * 12 * CHAR else ""
    return [
        beyond,
        tag("line", x1=at, x2=at, y1=y.end, y2=y.start, class_="limit"),
        text(at + 8, y.start - 10, words),
    ]


def _along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points every few pixels of a line, which labels had better not cover."""
    points = []
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        num = int(max(abs(x1 - x0), abs(y1 - y0)) / 9) + 1
        points += [(x0 + (x1 - x0) * k / num, y0 + (y1 - y0) * k / num) for k in range(num)]
    return points


def _staircase(front: Sequence[Evaluation], measure: _Measure) -> list[tuple[float, float]]:
    """The front as steps: from each network on, its figure is to be had."""
    steps: list[tuple[float, float]] = []
    for point in front:
        cost, metric = measure.of(point) or 0, point.metric or 0
        if steps:
            steps.append((cost, steps[-1][1]))
        steps.append((cost, metric))
    return steps


def _labels(
    points: Sequence[Evaluation], chosen: Evaluation | None, measure: _Measure, x: Axis, y: Axis, width: int
) -> list[Label]:
    """The chosen network, the start, then hand-made ones, the best first."""
    wanted: dict[str, Evaluation] = {}
    if chosen in points and chosen is not None:
        wanted["chosen"] = chosen
    hand = sorted((p for p in points if p.group == "hand"), key=lambda p: -(p.metric or 0))
    for point in [*(p for p in points if p.group == "start"), *hand]:
        wanted.setdefault(_name(point), point)
    most = MAX_NAMES if width > HALF else 3
    return [
        Label(shorten(name, 26), x.at(measure.of(point) or 0), y.at(point.metric or 0))
        for name, point in list(wanted.items())[:most]
    ]


def _name(point: Evaluation) -> str:
    return {"start": "start", "size": "smaller input", "width": "width-scaled"}.get(
        point.origin, point.origin.removeprefix("preset:")
    )


def _tooltip(point: Evaluation) -> str:
    p90 = f" (p90 {milliseconds(point.latency_p90_ms)})" if point.latency_p90_ms else ""
    rest = f"{count(point.macs)} MACs, {count(point.params)} parameters, {size(point.size_bytes)}"
    feasible = "" if point.is_feasible else "\noutside the limits"
    first = f"{_name(point)}, evaluation {point.number}\n{percent(point.metric)} at "
    return f"{first}{milliseconds(point.latency_ms)}{p90}\n{rest}{feasible}\n{point.arch_id}"


def _front_table(front: Sequence[Evaluation], run: RunData) -> Markup:
    rows = [
        Row(
            (
                point.arch_id,
                point.origin,
                percent(point.metric),
                milliseconds(point.latency_ms),
                count(point.macs),
                count(point.params),
                "yes" if point.is_feasible else "no",
            ),
            is_chosen=run.arch is not None and point.arch_id == run.arch.id,
        )
        for point in front
    ]
    heads = ("network", "found by", run.wording.metric, "latency", "MACs", "parameters", "within limits")
    return table(heads, rows, num_text=2)


def _pair(points: Sequence[Evaluation], run: RunData) -> Markup | None:
    """Two small figures: how the search went on, and how far MACs tell the latency."""
    cells = [
        cell for cell in (_progress(points, run.wording.metric), _macs_latency(points, run.chosen)) if cell is not None
    ]
    return tag("div", *cells, class_="pair") if cells else None


def _progress(points: Sequence[Evaluation], metric: str) -> Markup | None:
    """The best network within the limits so far, by number of evaluations, for each way of searching."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for group in ("random", "search"):
        steps: list[tuple[float, float]] = []
        best = -1.0
        own = [point for point in points if point.group == group]
        for index, point in enumerate(own, start=1):
            if point.is_feasible and (point.metric or 0) > best:
                steps += [(index, best)] if steps else []
                best = point.metric or 0
                steps.append((index, best))
        if len(own) > 1 and steps:
            lines[group] = [*steps, (len(own), best)]
    if "search" not in lines:
        return None
    ends = [value for line in lines.values() for value in line]
    x = linear_axis([0, *(a for a, _ in ends)], 44, HALF - 14, num_ticks=5, bounds=(0, 0))
    y = linear_axis([b for _, b in ends], 200, 26, bounds=(0, 1), num_ticks=4)
    layers = [curve(line, x, y, GROUPS[group][1], title=GROUPS[group][3]) for group, line in lines.items()]
    drawn = plot(
        HALF,
        244,
        x,
        y,
        layers,
        x_label="evaluations",
        y_label=f"{metric}, %",
        y_text=lambda share: rounded(100 * share),
    )
    signs = legend(("line", GROUPS[group][1], GROUPS[group][3]) for group in reversed(lines))
    return tag("div", heading("Best network within the limits so far"), signs, figure(drawn))


def _macs_latency(points: Sequence[Evaluation], chosen: Evaluation | None) -> Markup | None:
    known = [(p.macs / 1e6, p.latency_ms, p) for p in points if p.macs and p.latency_ms]
    if len(known) < 5:
        return None
    x = linear_axis([a for a, _, _ in known], 44, HALF - 14, num_ticks=5)
    y = linear_axis([b for _, b, _ in known], 200, 26, num_ticks=4)
    layers = []
    for group, (shape, colour, radius, _) in GROUPS.items():
        layers += [
            mark(shape, x.at(a), y.at(b), radius * 0.7, colour, _tooltip(p)) for a, b, p in known if p.group == group
        ]
    layers += [mark("star", x.at(a), y.at(b), 7, "orange", _tooltip(p)) for a, b, p in known if p is chosen]
    drawn = plot(HALF, 244, x, y, layers, x_label="million MACs", y_label="latency, ms", y_text=rounded)
    note = tag("p", "Equal MACs, different milliseconds.", class_="quiet")
    return tag("div", heading("Arithmetic is not time"), note, figure(drawn))

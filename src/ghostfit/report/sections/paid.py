"""Did the search pay? The found network beside a width-scaled one, random search and the start network."""

from __future__ import annotations

from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_rows, metric_of, word
from ghostfit.report.section import Row, Section, heading, intro, table
from ghostfit.report.svg import Bar, figure, responsive, whiskers
from ghostfit.report.units import count, finite, milliseconds, percent, rounded


def paid(run: RunData) -> Section:
    """The comparison at equal latency, and the sentence that sums it up."""
    title = "Did the search pay?"
    rows = as_rows(run.paid.get("rows"))
    sentence = run.paid.get("sentence")
    if not rows and not sentence:
        missing = "The comparison with hand-made networks and random search was not made in this run (paid.json)."
        return Section("paid", title, None, missing)
    lead = (
        f"All of them had to keep the same limits. A dot is the {run.wording.metric}, the line through it one standard "
        "error to either side; where lines overlap, the difference may be chance."
    )
    parts = [tag("p", str(sentence)) if sentence else None, intro(lead) if rows else None]
    ways = dict.fromkeys(str(row.get("how") or "") for row in rows)
    parts += [
        _compare(way, [row for row in rows if str(row.get("how") or "") == way], run.wording.metric) for way in ways
    ]
    return Section("paid", title, join(parts))


def _compare(way: str, rows: list[dict[str, Any]], metric: str) -> Markup:
    known = [(row, finite(metric_of(row))) for row in rows]
    dots = [
        (Bar(word(row.get("name")), value, percent(value), _colour(row), _tooltip(row)), _error(row))
        for row, value in known
        if value is not None
    ]
    drawn = None
    if dots:
        drawn = figure(
            responsive(
                lambda width: whiskers(dots, width, x_label=f"{metric}, %", x_text=lambda share: rounded(100 * share))
            )
        )
    cells = [
        Row(
            (
                word(row.get("name")),
                _with_error(row),
                milliseconds(row.get("latency_ms")),
                count(row.get("macs")),
                count(row.get("params")),
            ),
            is_chosen=row.get("name") == "found",
        )
        for row in rows
    ]
    heads = ("network", metric, "latency", "MACs", "parameters")
    return join([heading(way[:1].upper() + way[1:]) if way else None, drawn, table(heads, cells)])


def _with_error(row: dict[str, Any]) -> str:
    error = _error(row)
    return percent(metric_of(row)) + (f" ± {100 * error:.1f}" if error else "")


def _error(row: dict[str, Any]) -> float:
    return abs(finite(row.get("standard_error")) or 0.0)


def _colour(row: dict[str, Any]) -> str:
    return colour_of(word(row.get("name")))


def colour_of(name: str) -> str:
    """The colour that a compared network has in every figure."""
    known = (("found", "orange"), ("start", "green"), ("random", "grey"))
    return next((colour for start, colour in known if name.startswith(start)), "purple")


def _tooltip(row: dict[str, Any]) -> str:
    return f"{word(row.get('name'))}: {_with_error(row)} at {milliseconds(row.get('latency_ms'))}"

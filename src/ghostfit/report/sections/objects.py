"""How well objects are found: at which score answers count, average precision by size and class, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_dict, as_rows, word
from ghostfit.report.section import Row, Section, facts, heading, intro, meter, more, table
from ghostfit.report.svg import (
    HALF,
    Bar,
    bars,
    curve,
    figure,
    legend,
    linear_axis,
    mark,
    plot,
    responsive,
)
from ghostfit.report.units import finite, percent, rounded, significant, whole

SIZES = {  # COCO's: cocoeval.py
    "map_small": "small, below 32×32 px",
    "map_medium": "medium, below 96×96 px",
    "map_large": "large",
}
COLOURS = ("blue", "orange", "green", "purple", "yellow")
ROWS_SHOWN = 20


def objects(run: RunData) -> Section:
    """The operating point in words, average precisions, precision against recall, and a row for each class."""
    title = "How well objects are found"
    test, rows = run.test, as_rows(run.test.get("per_class"))
    if finite(test.get("map")) is None and not rows:
        return Section("objects", title, None, "The test split was not scored in this run (test.json).")
    lead = (
        "Average precision is the precision, averaged over all recalls: one figure for all scores from which on an "
        f"answer could count. An answer fits when it shares enough area with the object, {_measured(test)}: 50-95 is "
        "the mean over ten degrees of fit, from half to nearly all."
    )
    cells = [tag("div", heading("Average precision"), facts(_averages(test))), _by_size(test)]
    parts = [_point(test), intro(lead), tag("div", *cells, class_="pair"), _curves(test, rows)]
    if rows:
        parts += _classes(rows)
    return Section("objects", title, join(parts), is_long=True)


def _measured(test: Mapping[str, Any]) -> str:
    return "by its mask" if test.get("kind") == "masks" else "by its box"


def _point(test: Mapping[str, Any]) -> Markup | None:
    """From which score on an answer counts, and what that gives."""
    point = as_dict(test.get("operating_point"))
    score = finite(point.get("score"))
    if not point:
        return None
    if score is None:
        return tag("p", "No score gives an answer that fits an object: nothing was found in the test split.")
    words = (
        f"With answers that score {significant(score, 2)} or more, {percent(point.get('recall'))} of the objects are "
        f"found (recall), and {percent(point.get('precision'))} of the answers are right (precision). "
        f"{_origin(point)}; the figures of each class, the confusions and the pictures are at this score."
    )
    return tag("p", words)


def _origin(point: Mapping[str, Any]) -> str:
    if point.get("rule") == "given score":
        return "The bundle answers from this score on, which was chosen on other images"
    return f"This score was chosen on these images for the {word(point.get('rule'))}"


def _averages(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    error = finite(test.get("standard_error"))
    spread = f" ± {100 * error:.1f} (one standard error)" if error is not None else ""
    return [
        ("mAP 50-95", percent(test.get("map")) + spread),
        ("mAP 50", percent(test.get("map50"))),
        ("mAP 75", percent(test.get("map75"))),
        ("Average recall", percent(test.get("average_recall"))),
        ("Objects", whole(test.get("num_objects"))),
        ("Images", whole(test.get("num_images"))),
    ]


def _by_size(test: Mapping[str, Any]) -> Markup:
    known = [(name, finite(test.get(key))) for key, name in SIZES.items()]
    rows = [Bar(name, value or 0.0, "no such objects" if value is None else percent(value)) for name, value in known]
    drawn = figure(bars(rows, HALF, label="mAP 50-95 by size of the objects"))
    return tag("div", heading("mAP 50-95 by size"), drawn)


def _curves(test: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> Markup | None:
    """Precision against recall of each class, coloured for the weakest, with a dot at the operating point."""
    given = as_dict(test.get("precision_recall"))
    lines = {
        word(entry.get("name")): points
        for entry in as_rows(given.get("classes"))
        if len(points := _points(given.get("recall"), entry.get("precision"))) > 1
    }
    if not lines:
        return None
    weakest = sorted(lines, key=lambda name: sum(value for _, value in lines[name]))[: len(COLOURS)]
    colours = dict(zip(weakest, COLOURS, strict=False))
    dots = {word(row.get("name")): (finite(row.get("recall")), finite(row.get("precision"))) for row in rows}
    lead = (
        "From left to right answers of ever lower score count, so that more of the objects are found, and more of the "
        "answers are wrong. The dot is the score above. An answer fits from an overlap (IoU) of 0.5 on."
    )
    signs = [("line", colours[name], name) for name in weakest]
    if len(lines) > len(weakest):
        signs.append(("raw", "grey", f"the {len(lines) - len(weakest):,} other classes, which are better"))
    drawn = responsive(lambda width: _draw(lines, colours, dots, min(width, 640)))
    return join([heading("Precision against recall"), intro(lead), legend(signs), figure(drawn)])


def _points(recall: Any, precision: Any) -> list[tuple[float, float]]:
    """(recall, precision) as far as the class gets; empty for what is no curve."""
    if not isinstance(recall, list) or not isinstance(precision, list) or len(recall) != len(precision):
        return []
    pairs = [(finite(a), finite(b)) for a, b in zip(recall, precision, strict=True)]
    return [(a, b) for a, b in pairs if a is not None and b is not None and 0 <= a <= 1 and 0 < b <= 1]


def _draw(
    lines: Mapping[str, list[tuple[float, float]]],
    colours: Mapping[str, str],
    dots: Mapping[str, tuple[float | None, float | None]],
    width: int,
) -> Markup:
    height = 360 if width > HALF else 280
    x, y = linear_axis([0, 1], 44, width - 14, bounds=(0, 1)), linear_axis([0, 1], height - 44, 26, bounds=(0, 1))
    layers = []
    for name in sorted(lines, key=lambda name: name in colours):  # coloured ones on top
        own = {"class_": "curve"} if name in colours else {"class_": "raw"}
        layers.append(curve(lines[name], x, y, colours.get(name, "grey"), title=name, **own))
    for name, colour in colours.items():
        recall, precision = dots.get(name, (None, None))
        if recall is not None and precision is not None:
            title = f"{name}: {percent(recall)} found, {percent(precision)} of the answers right"
            layers.append(mark("circle", x.at(recall), y.at(precision), 5, colour, title))
    share = lambda value: rounded(100 * value)  # noqa: E731
    return plot(width, height, x, y, layers, x_label="recall, %", y_label="precision, %", x_text=share, y_text=share)


def _classes(rows: Sequence[dict[str, Any]]) -> list[Markup]:
    ordered = sorted(rows, key=lambda row: 2.0 if (value := finite(row.get("map"))) is None else value)
    lead = (
        "Recall: how many objects of the class were found. Precision: how many answers of this name were right. The "
        "bar is the average precision 50-95 (AP)."
    )
    parts = [heading("Each class, the weakest first"), intro(lead), _class_table(ordered[:ROWS_SHOWN])]
    if len(ordered) > ROWS_SHOWN:
        parts.append(more(f"{len(ordered) - ROWS_SHOWN:,} further classes", _class_table(ordered[ROWS_SHOWN:])))
    return parts


def _class_table(rows: Sequence[dict[str, Any]]) -> Markup:
    entries = [
        Row(
            (
                word(row.get("name")),
                whole(row.get("num_objects")),
                percent(row.get("map")),
                percent(row.get("map50")),
                percent(row.get("recall")),
                percent(row.get("precision")),
                percent(row.get("f1")),
                meter(finite(row.get("map")) or 0.0),
            )
        )
        for row in rows
    ]
    return table(("class", "objects", "AP 50-95", "AP 50", "recall", "precision", "F1", ""), entries)

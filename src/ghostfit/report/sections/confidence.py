"""Whether the probabilities mean what they say: the reliability diagram and the "unsure" answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_rows
from ghostfit.report.section import Section, facts, heading, intro
from ghostfit.report.svg import HALF, figure, linear_axis, plot, text
from ghostfit.report.units import finite, percent, rounded, significant, whole

FEW = 10  # a bin of fewer images says little, and is drawn pale


def confidence(run: RunData) -> Section:
    """Confidence against accuracy, bin by bin, beside the figures of the "unsure" rule."""
    title = "Can the confidence be trusted?"
    bins = [
        row
        for row in as_rows(run.test.get("reliability"))
        if (finite(row.get("count")) or 0) > 0
        and finite(row.get("confidence")) is not None
        and finite(row.get("accuracy")) is not None
    ]
    if not bins:
        return Section("confidence", title, None, "No calibration figures in this run (test.json).")
    lead = (
        "Of the answers given with, say, 80% confidence, 80% should be right: then a column ends at its short line. "
        f"Columns that end lower are overconfident. Pale columns hold fewer than {FEW} images. Confidences are "
        "calibrated on the validation split."
    )
    cells = [
        tag("div", heading("Reliability"), figure(_diagram(bins))),
        tag("div", heading("When it is not sure"), _unsure(run)),
    ]
    return Section("confidence", title, join([intro(lead), tag("div", *cells, class_="pair")]))


def _diagram(bins: Sequence[dict[str, Any]]) -> Markup:
    x, y = linear_axis([0, 1], 44, HALF - 12, bounds=(0, 1)), linear_axis([0, 1], 300, 26, bounds=(0, 1))
    layers = [tag("line", x1=x.at(0), x2=x.at(1), y1=y.at(0), y2=y.at(1), class_="ideal")]
    for row in bins:
        mean, accuracy, number = (finite(row[key]) or 0.0 for key in ("confidence", "accuracy", "count"))
        low = finite(row.get("low"))
        high = finite(row.get("high"))
        left, right = x.at(mean - 0.03 if low is None else low) + 1, x.at(mean + 0.03 if high is None else high) - 1
        title = f"{whole(number)} images, confidence {percent(mean)}, right {percent(accuracy)}"
        layers += [
            tag(
                "rect",
                tag("title", title),
                x=left,
                y=y.at(accuracy),
                width=max(right - left, 2),
                height=max(y.at(0) - y.at(accuracy), 1),
                fill_opacity=0.8 if number >= FEW else 0.3,
                class_="bar blue",
            ),
            tag("line", x1=left, x2=right, y1=y.at(mean), y2=y.at(mean), class_="orange", stroke_width=2.5),
        ]
    layers.append(text(x.at(0) + 8, y.at(1) + 16, "line: the confidence itself"))
    share = lambda value: rounded(100 * value)  # noqa: E731
    return plot(HALF, 344, x, y, layers, x_label="confidence, %", y_label="right, %", x_text=share, y_text=share)


def _unsure(run: RunData) -> Markup:
    test = run.test
    threshold, unsure = finite(test.get("threshold")), finite(test.get("unsure_fraction"))
    sentence = None
    if threshold and unsure is not None:
        sentence = tag(
            "p",
            f"Below {percent(threshold, 0)} confidence the model answers “unsure”: {percent(unsure)} of the test "
            f"images. Of the others it gets {percent(test.get('accuracy_when_sure'))} right, "
            f"of all {percent(test.get('accuracy'))}.",
        )
    temperature = finite(test.get("temperature"))
    rows = (
        ("Threshold", percent(threshold, 0) if threshold else "none: every answer counts as sure"),
        ("Unsure", percent(unsure)),
        ("Right when sure", percent(test.get("accuracy_when_sure"))),
        ("Calibration error", f"{percent(test.get('ece'))} (expected, weighted by images)"),
        ("Temperature", significant(temperature) if temperature is not None else None),
    )
    return join([sentence, facts(rows)])

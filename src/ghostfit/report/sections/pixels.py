"""How well each pixel is told: figures of the whole, and a row for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ghostfit.report.markup import Markup, join
from ghostfit.report.read import RunData, as_rows, word
from ghostfit.report.section import Row, Section, facts, heading, intro, meter, more, table
from ghostfit.report.units import finite, percent, whole

ROWS_SHOWN = 20


def pixels(run: RunData) -> Section:
    """Mean intersection over union and its kin, then intersection over union, Dice and boundary of each class."""
    title = "How well each class is outlined"
    rows = as_rows(run.test.get("per_class"))
    if finite(run.test.get("miou")) is None and not rows:
        return Section("pixels", title, None, "The test split was not scored in this run (test.json).")
    lead = (
        "IoU: the pixels that truth and answer share, of those that either gives to the class; mIoU is its mean over "
        "the classes. Dice: the same, with the shared pixels counted twice. Boundary F: how many boundary pixels lie "
        "within 0.75% of the image's diagonal of a true one, and the other way round. The bars are the IoU."
    )
    parts = [intro(lead), facts(_figures(run.test))]
    if rows:
        ordered = sorted(rows, key=lambda row: 2.0 if (value := finite(row.get("iou"))) is None else value)
        total = sum(finite(row.get("num_pixels")) or 0.0 for row in rows) or 1.0
        parts += [heading("Each class, the weakest first"), _class_table(ordered[:ROWS_SHOWN], total)]
        if len(ordered) > ROWS_SHOWN:
            rest = _class_table(ordered[ROWS_SHOWN:], total)
            parts.append(more(f"{len(ordered) - ROWS_SHOWN:,} further classes", rest))
    return Section("pixels", title, join(parts), is_long=True)


def _figures(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    error = finite(test.get("standard_error"))
    spread = f" ± {100 * error:.1f} (one standard error)" if error is not None else ""
    return [
        ("mIoU", percent(test.get("miou")) + spread),
        ("Pixel accuracy", percent(test.get("pixel_accuracy"))),
        ("Dice", percent(test.get("dice"))),
        ("Boundary F", percent(test.get("boundary_f"))),
        ("Images", whole(test.get("num_images"))),
    ]


def _class_table(rows: Sequence[dict[str, Any]], total: float) -> Markup:
    entries = [
        Row(
            (
                word(row.get("name")),
                percent((finite(row.get("num_pixels")) or 0.0) / total),
                percent(row.get("iou")),
                percent(row.get("dice")),
                percent(row.get("boundary_f")),
                percent(row.get("recall")),
                percent(row.get("precision")),
                meter(finite(row.get("iou")) or 0.0),
            )
        )
        for row in rows
    ]
    return table(("class", "of all pixels", "IoU", "Dice", "boundary F", "recall", "precision", ""), entries)

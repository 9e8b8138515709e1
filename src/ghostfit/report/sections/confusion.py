"""Which classes are taken for which: the confusion matrix, and the figures of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_rows, word
from ghostfit.report.section import Row, Section, heading, intro, meter, more, table
from ghostfit.report.svg import WIDE, figure, heat_map, responsive
from ghostfit.report.units import count, finite, percent, whole

CLASSES_SHOWN = 20
CLASSES_ON_PHONE = 10
PAIRS_SHOWN = 8
ROWS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """How the matrix of a task is read: what it counts, and its last row and column where they are no class."""

    lead: str
    counts: str = "images"
    rest: tuple[str, str] | None = None
    are_shares: bool = False  # whether cells show shares of their row
    none: str = "Not one mistake in the whole test split."


_OF_OBJECTS = _Reading(
    lead="Down: what is there. Across: what was answered, by the answers that count. Blue squares are right answers, "
    "orange ones mistakes; the shade is the share of the row. The last column are objects without an answer, the last "
    "row answers where nothing is.",
    counts="objects",
    rest=("nothing", "missed"),
    none="No class was taken for another in the whole test split.",
)
READINGS: Mapping[str, _Reading] = {
    "classify": _Reading(
        lead="Down: what an image shows. Across: what the network said. Blue squares are right answers, orange ones "
        "mistakes; the shade is the share of the class's images."
    ),
    "detect": _OF_OBJECTS,
    "instance": _OF_OBJECTS,
    "segment": _Reading(
        lead="Down: what a pixel is. Across: what the network said. The figures are the share of the class's pixels, "
        "in per cent. Blue squares are right answers, orange ones mistakes.",
        counts="pixels",
        are_shares=True,
    ),
}


def confusion(run: RunData) -> Section:
    """The matrix (of many classes, those most confused), the commonest mistakes and, of images, a row a class."""
    title = "What is taken for what"
    reading = READINGS[run.task]
    matrix = _matrix(run.test.get("confusion"))
    rows = as_rows(run.test.get("per_class")) if run.task == "classify" else ()
    if not matrix and not rows:
        return Section("confusion", title, None, "The test split was not scored in this run (test.json).")
    parts: list[Markup | None] = []
    if matrix:
        parts += _draw(matrix, _names(run, len(matrix), reading.rest), reading)
    if rows:
        parts += _classes(rows)
    return Section("confusion", title, join(parts), is_long=True)


def _matrix(value: Any) -> list[list[int]]:
    """A square table of counts; empty when it is none."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
        return []
    if any(len(row) != len(value) for row in value):
        return []
    return [[max(int(finite(number) or 0), 0) for number in row] for row in value]


def _names(run: RunData, num: int, rest: tuple[str, str] | None) -> list[str]:
    num_classes = num - 1 if rest else num
    known = (run.test.get("class_names"), run.data.get("class_names"), run.manifest.get("class_names"))
    fitting = (names for names in known if isinstance(names, list) and len(names) == num_classes)
    names = next(fitting, [f"class {index}" for index in range(num_classes)])
    return [*map(str, names), *(rest or ())[:1]]


def _draw(matrix: Sequence[Sequence[int]], names: Sequence[str], reading: _Reading) -> list[Markup]:
    """The matrix and the commonest mistakes, side by side where there is room."""
    lead, rest = reading.lead, reading.rest
    if len(names) > CLASSES_SHOWN:
        lead += f" Of {len(names):,} classes these are the ones most confused with one another."

    def draw(width: int) -> Markup:
        most = CLASSES_SHOWN if width == WIDE else CLASSES_ON_PHONE
        shown = most_confused(matrix, most)
        if rest and shown[-1] != len(matrix) - 1:
            shown[-1] = len(matrix) - 1
        part = [[matrix[i][j] for j in shown] for i in shown]
        heads = [names[i] for i in shown]
        return heat_map(
            part,
            heads,
            min(width, 720),
            label="confusion matrix",
            across=[*heads[:-1], rest[1]] if rest else None,
            show=_as_share if reading.are_shares else _as_count,
        )

    room = 60 * len(names) + 80 if len(names) < 10 else 720  # fewer classes leave room beside them
    drawn = tag("div", figure(responsive(draw)), style=f"flex:1 1 {room}px")
    return [intro(lead), tag("div", drawn, _pairs(matrix, names, reading), class_="beside")]


def _as_count(number: int, share: float) -> str:
    return str(number)


def _as_share(number: int, share: float) -> str:
    """Per cent; what is there, but hardly, is told from nothing."""
    return "<1" if 0 < share < 0.005 else f"{100 * share:.0f}"


def most_confused(matrix: Sequence[Sequence[int]], most: int) -> list[int]:
    """At most `most` classes, in their own order: those of the largest counts beside the diagonal.

    >>> most_confused([[5, 0, 0], [0, 4, 2], [0, 1, 3]], 2)
    [1, 2]
    """
    if len(matrix) <= most:
        return list(range(len(matrix)))
    shown: dict[int, None] = {}
    for _, i, j in sorted(_mistakes(matrix), reverse=True):
        for index in (i, j):
            if len(shown) < most:
                shown[index] = None
    for index in range(len(matrix)):
        if len(shown) < most:
            shown[index] = None
    return sorted(shown)


def _mistakes(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    return [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if n and i != j]


def _pairs(matrix: Sequence[Sequence[int]], names: Sequence[str], reading: _Reading) -> Markup:
    num_classes = len(matrix) - 1 if reading.rest else len(matrix)
    mistakes = [(n, i, j) for n, i, j in _mistakes(matrix) if max(i, j) < num_classes]
    if not mistakes:
        return tag("p", reading.none)
    shares = [(number / (sum(matrix[i]) or 1), number, i, j) for number, i, j in mistakes]
    shares.sort(key=lambda entry: -entry[0 if reading.are_shares else 1])
    rows = [
        Row((names[i], names[j], (count if reading.are_shares else whole)(number), percent(share)))
        for share, number, i, j in shares[:PAIRS_SHOWN]
    ]
    heads = ("shown", "taken for", reading.counts, "of its class")
    return tag(
        "div", heading("Commonest mix-ups" if reading.rest else "Commonest mistakes"), table(heads, rows, num_text=2)
    )


def _classes(rows: Sequence[dict[str, Any]]) -> list[Markup]:
    ordered = sorted(rows, key=_weakness)
    lead = "Recall: how many images of the class were found. Precision: how many answers of this name were right."
    parts = [heading("Each class, the weakest first"), intro(lead), _class_table(ordered[:ROWS_SHOWN])]
    if len(ordered) > ROWS_SHOWN:
        parts.append(more(f"{len(ordered) - ROWS_SHOWN:,} further classes", _class_table(ordered[ROWS_SHOWN:])))
    return parts


def _weakness(row: dict[str, Any]) -> float:
    score = finite(row.get("f1"))
    return 2.0 if score is None else score


def _class_table(rows: Sequence[dict[str, Any]]) -> Markup:
    entries = [
        Row(
            (
                word(row.get("name")),
                whole(row.get("num_images")),
                percent(row.get("recall")),
                percent(row.get("precision")),
                percent(row.get("f1")),
                meter(finite(row.get("f1")) or 0.0),
            )
        )
        for row in rows
    ]
    return table(("class", "images", "recall", "precision", "F1", ""), entries)

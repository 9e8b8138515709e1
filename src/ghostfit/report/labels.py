"""Labels beside the points of a plot, placed so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ghostfit.report.markup import Markup, tag
from ghostfit.report.svg import CHAR, text

FONT = 12.5  # of .plot .label in the style sheet
DIRECTIONS = (0, 180, -90, 90, -45, -135, 45, 135)  # degrees; right first, left next
MARK = 4  # half the size of a point, which a label should leave free as well
DISTANCES = (12, 24, 40, 60, 84)


@dataclass(frozen=True)
class Label:
    """A text that belongs to the point at pixel `x`, `y`."""

    text: str
    x: float
    y: float


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def grown(self, margin: float) -> Box:
        """The box with `margin` added on every side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def holds(self, x: float, y: float) -> bool:
        """Whether the point lies inside or on the border."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


def draw_labels(labels: Iterable[Label], points: Sequence[tuple[float, float]], room: Box) -> list[Markup]:
    """The labels as SVG, with a thin line to the point where one had to move away."""
    parts: list[Markup] = []
    for label, box in place_labels(labels, points, room):
        near_x, near_y = min(max(label.x, box.left), box.right), (box.top + box.bottom) / 2
        distance = math.dist((label.x, label.y), (near_x, near_y))
        if distance > 18:
            cut = 8 / distance
            start = label.x + (near_x - label.x) * cut, label.y + (near_y - label.y) * cut
            parts.append(tag("line", x1=start[0], y1=start[1], x2=near_x, y2=near_y, class_="leader"))
        parts.append(text(box.left + 2, box.bottom - 5, label.text, class_="label"))
    return parts


def place_labels(labels: Iterable[Label], points: Sequence[tuple[float, float]], room: Box) -> list[tuple[Label, Box]]:
    """A box for each label: inside `room`, over no other label, over as few `points` as can be, near its own.

    Labels come in order of importance; one that finds no place is left out.
    """
    placed: list[tuple[Label, Box]] = []
    for label in labels:
        best: tuple[float, Box] | None = None
        for box, cost in _candidates(label):
            inside = room.holds(box.left, box.top) and room.holds(box.right, box.bottom)
            if not inside or any(box.overlaps(other) for _, other in placed):
                continue
            seen = box.grown(MARK)
            cost += 14 * min(sum(seen.holds(x, y) for x, y in points), 40)
            if best is None or cost < best[0]:
                best = cost, box
        if best is not None:
            placed.append((label, best[1]))
    return placed


def _candidates(label: Label) -> Iterable[tuple[Box, float]]:
    """Boxes around the point, with a cost that grows with the distance."""
    width, height = len(label.text) * FONT * CHAR + 4, FONT + 6
    for distance in DISTANCES:
        for rank, degrees in enumerate(DIRECTIONS):
            angle = math.radians(degrees)
            x = label.x + distance * math.cos(angle)
            y = label.y + distance * math.sin(angle)
            left = x - width / 2 + width / 2 * round(math.cos(angle), 6)
            top = y - height / 2 + height / 2 * round(math.sin(angle), 6)
            yield Box(left, top, left + width, top + height), distance + rank

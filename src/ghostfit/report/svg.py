"""Plots as SVG text: axes with round ticks, points, lines, bars and a heat map.

Every function returns markup. Colours are the classes of `style.py`; a tooltip is a ``<title>``. The same figure is
drawn twice where a phone needs another shape (`responsive`); the style sheet shows one of the two.

>>> x, y = linear_axis([0, 10], 40, 380), linear_axis([0, 1], 200, 20)
>>> plot(420, 240, x, y, [curve([(0, 0), (10, 1)], x, y, "blue")], x_label="step", y_label="loss").startswith("<svg")
True
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ghostfit.report.markup import Markup, join, pixels, shorten, tag

WIDE, HALF, THIRD, NARROW = 900, 420, 300, 360  # drawing widths in pixels: whole, half, third column; phone
GROWTH = 1.15  # no figure is shown larger than this, else its letters shout
CHAR = 0.6  # mean width of a character, in font sizes, of the widest usual fonts (DejaVu Sans, Verdana)

Text = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """Where a value lies in pixels: `low` at `start`, `high` at `end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Pixel of `value`; values outside are held at the border."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


@dataclass(frozen=True)
class Bar:
    """One row of `bars`: `value` is drawn, `text` stands at its end."""

    name: str
    value: float
    text: str
    colour: str = "blue"
    title: str = ""


def responsive(draw: Callable[[int], Markup]) -> Markup:
    """The figure that `draw(width)` makes, for a wide page and for a phone."""
    return join(tag("div", draw(width), class_=name) for width, name in ((WIDE, "wide"), (NARROW, "narrow")))


def figure(picture: Markup, caption: str = "") -> Markup:
    """A picture with its caption below."""
    return tag("figure", picture, tag("figcaption", caption, class_="caption") if caption else None)


def nice_ticks(low: float, high: float, num: int = 5) -> tuple[float, ...]:
    """About `num` round values from `low` to `high`: multiples of 1, 2, 2.5 or 5 times a power of ten.

    >>> nice_ticks(0, 1), nice_ticks(0.83, 0.91, 4)
    ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.84, 0.86, 0.88, 0.9))
    """
    raw = max((high - low) / max(num, 1), 1e-300)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))


def log_ticks(low: float, high: float, num: int = 8) -> tuple[float, ...]:
    """Round values from `low` to `high`: as many steps of each decade as give at most `num` in all.

    >>> log_ticks(0.4, 12), log_ticks(0.9, 6.5)
    ((0.5, 1.0, 2.0, 5.0, 10.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0))
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1,)):
        ticks = tuple(float(f"{factor * 10.0**decade:.12g}") for decade in decades for factor in factors)
        ticks = tuple(tick for tick in ticks if low <= tick <= high)
        if len(ticks) <= num:
            break
    return ticks if len(ticks) > 1 else nice_ticks(low, high, 4)


def linear_axis(
    values: Iterable[float], start: float, end: float, *, num_ticks: int = 5, bounds: tuple[float, float] | None = None
) -> Axis:
    """An axis that holds `values` with a little air; `bounds` are limits that it never passes (0..1 for a share)."""
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if high - low < 1e-9 * max(abs(high), 1e-6):
        low, high = low - 0.1 * max(abs(low), 0.1), high + 0.1 * max(abs(high), 0.1)
    air = 0.06 * (high - low)
    floor, ceiling = bounds or (-math.inf, math.inf)
    low, high = max(low - air, min(floor, low)), min(high + air, max(ceiling, high))
    return Axis(low, high, start, end, nice_ticks(low, high, num_ticks))


def log_axis(values: Iterable[float], start: float, end: float, *, num_ticks: int = 8) -> Axis:
    """A logarithmic axis that holds `values`, all above zero."""
    known = list(values)
    air = max((max(known) / min(known)) ** 0.05, 1.03)
    low, high = min(known) / air, max(known) * air
    return Axis(low, high, start, end, log_ticks(low, high, num_ticks), is_log=True)


def plot(
    width: int,
    height: int,
    x: Axis,
    y: Axis,
    layers: Iterable[Markup],
    *,
    x_label: str,
    y_label: str,
    x_text: Text | None = None,
    y_text: Text | None = None,
) -> Markup:
    """A frame with grid and axes around `layers`. The y label stands above its axis, where it is read level."""
    bottom, left, right = y.start, x.start, x.end
    parts: list[Markup] = []
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(text(left - 8, at + 4, (y_text or tick_text(y))(tick), anchor="end"))
    for tick in x.ticks:
        at = x.at(tick)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 5, class_="axis"))
        parts.append(text(at, bottom + 19, (x_text or tick_text(x))(tick), anchor="middle"))
    parts.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(text(0, 12, y_label, class_="name"))
    parts.append(text(right, bottom + 37, x_label, anchor="end", class_="name"))
    return picture(width, height, [*parts, *layers], f"{y_label} against {x_label}")


def picture(width: float, height: float, parts: Iterable[Markup], label: str) -> Markup:
    """An SVG image of the given size, with `label` for those who do not see it."""
    return tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {pixels(width)} {pixels(height)}",
        role="img",
        aria_label=label,
        class_="plot",
        style=f"max-width:{width * GROWTH:.0f}px",
    )


def text(x: float, y: float, content: str, *, anchor: str | None = None, class_: str | None = None) -> Markup:
    """A line of text whose baseline is at `y`."""
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def tick_text(axis: Axis) -> Text:
    """How the ticks of an axis are written: all with the decimals that tell them apart."""
    if axis.is_log:
        return lambda value: f"{value:g}"
    gaps = [b - a for a, b in itertools.pairwise(axis.ticks)] or [1.0]
    decimals = next((d for d in range(9) if abs(round(gaps[0], d) - gaps[0]) < 1e-9), 9)
    return lambda value: f"{value:,.{decimals}f}"


def mark(shape: str, x: float, y: float, radius: float, colour: str, title: str = "") -> Markup:
    """A point of the plot: ``circle``, ``ring``, ``square``, ``diamond``, ``triangle`` or ``star``."""
    name = f"{shape if shape in ('ring', 'star') else 'mark'} {colour}"
    tooltip = tag("title", title) if title else None
    if shape in ("circle", "ring"):
        return tag("circle", tooltip, cx=x, cy=y, r=radius, class_=name)
    turn, radii = {
        "square": (45, (1.25,) * 4),
        "diamond": (0, (1.35,) * 4),
        "triangle": (-90, (1.4,) * 3),
        "star": (-90, (1.9, 0.8) * 5),
    }[shape]
    angles = [math.radians(turn + 360 * index / len(radii)) for index in range(len(radii))]
    corners = (
        f"{pixels(x + radius * factor * math.cos(angle))},{pixels(y + radius * factor * math.sin(angle))}"
        for factor, angle in zip(radii, angles, strict=True)
    )
    return tag("polygon", tooltip, points=" ".join(corners), class_=name)


def curve(
    points: Iterable[tuple[float, float]], x: Axis, y: Axis, colour: str, *, class_: str = "curve", title: str = ""
) -> Markup:
    """A line through `points`, in the order given."""
    path = "M" + "L".join(f"{pixels(x.at(a))} {pixels(y.at(b))}" for a, b in points)
    # fill as a style: the colour classes fill, and they stand after .curve in the style sheet
    return tag("path", tag("title", title) if title else None, d=path, class_=f"{class_} {colour}", style="fill:none")


def legend(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """What the marks mean: rows of (shape or ``line``, colour, text)."""
    items = []
    for shape, colour, meaning in entries:
        if shape in ("line", "raw"):
            sign = tag("line", x1=0, x2=16, y1=8, y2=8, class_=f"{colour} {shape}", stroke_width=2.5)
        elif shape == "limit":
            sign = tag("line", x1=8, x2=8, y1=0, y2=16, class_="limit")
        else:
            sign = mark(shape, 8, 8, 5, colour)
        items.append(tag("li", tag("svg", sign, viewBox="0 0 16 16", class_="plot", aria_hidden="true"), meaning))
    return tag("ul", *items, class_="legend")


def bars(rows: Sequence[Bar], width: int, *, label: str, name_width: float | None = None) -> Markup:
    """Horizontal bars from zero, one a row, the longest as wide as the room allows."""
    longest = max((len(row.name) for row in rows), default=0)
    names = name_width or min(longest * 12 * CHAR + 12, 0.45 * width)
    ends = max((len(row.text) for row in rows), default=0) * 12 * CHAR + 10
    room, top = width - names - ends, max((row.value for row in rows), default=0) or 1.0
    parts: list[Markup] = []
    for index, row in enumerate(rows):
        at, length = index * 26, max(row.value, 0) / top * room
        shown = shorten(row.name, max(int((names - 10) / (12 * CHAR)), 4))
        title = tag("title", row.title or f"{row.name}: {row.text}")
        name = text(names - 10, at + 17, shown, anchor="end", class_="name")
        bar = tag("rect", x=names, y=at + 5, width=max(length, 1), height=16, rx=2, class_=f"bar {row.colour}")
        parts.append(tag("g", title, name, bar, text(names + length + 7, at + 17, row.text)))
    return picture(width, max(len(rows), 1) * 26, parts, label)


def whiskers(rows: Sequence[tuple[Bar, float]], width: int, *, x_label: str, x_text: Text) -> Markup:
    """One dot a row with a line of one standard error to both sides: rows of (bar, error)."""
    narrow = width < HALF
    names = min(max(len(bar.name) for bar, _ in rows) * 13 * CHAR + 14, 0.42 * width)
    values = [bar.value + sign * error for bar, error in rows for sign in (-1, 1)]
    x = linear_axis(values, names + 6, width - 14, num_ticks=3 if narrow else 6, bounds=(0, 1))
    bottom = len(rows) * 30 + 4
    parts: list[Markup] = []
    for tick in x.ticks:
        parts.append(tag("line", x1=x.at(tick), x2=x.at(tick), y1=0, y2=bottom, class_="grid"))
        parts.append(text(x.at(tick), bottom + 17, x_text(tick), anchor="middle"))
    for index, (bar, error) in enumerate(rows):
        at, middle = index * 30 + 17, x.at(bar.value)
        ends = x.at(bar.value - error), x.at(bar.value + error)
        parts.append(
            text(names - 10, at + 4, shorten(bar.name, int((names - 10) / (12 * CHAR))), anchor="end", class_="name")
        )
        parts.append(tag("line", x1=ends[0], x2=ends[1], y1=at, y2=at, class_=f"whisker {bar.colour}"))
        parts.append(mark("circle", middle, at, 6, bar.colour, bar.title or f"{bar.name}: {bar.text}"))
    parts.append(text(width - 14, bottom + 36, x_label, anchor="end", class_="name"))
    return picture(width, bottom + 42, parts, x_label)


def heat_map(
    rows: Sequence[Sequence[int]],
    names: Sequence[str],
    width: int,
    *,
    label: str,
    across: Sequence[str] | None = None,
    show: Callable[[int, float], str] = lambda number, share: str(number),
) -> Markup:
    """Counts of truth (down) against prediction (across), each row shaded by its shares; the diagonal is blue.

    `across` names the columns where they differ from the rows; `show` writes a count and its share of the row.
    """
    size, heads = len(names), across or names
    letters = max((len(name) for name in (*names, *heads)), default=1)
    side = min(letters * 12 * CHAR + 14, 0.3 * width)
    cell = min((width - side - 2) / size, 74)
    room = int((side - 12) / (12 * CHAR))
    is_flat = letters * 12 * CHAR < cell - 4  # names across stand level when they fit, else upright
    top = 26 if is_flat else side
    parts: list[Markup] = []
    for index, (name, head) in enumerate(zip(names, heads, strict=True)):
        middle = (index + 0.5) * cell
        parts.append(text(side - 8, top + middle + 4, shorten(name, room), anchor="end", class_="name"))
        x, y = side + middle + (0 if is_flat else 4), top - 8
        turn = None if is_flat else f"rotate(-90 {pixels(x)} {pixels(y)})"
        anchor = "middle" if is_flat else "start"
        parts.append(tag("text", shorten(head, room), x=x, y=y, text_anchor=anchor, transform=turn, class_="name"))
    for i, row in enumerate(rows):
        total = sum(row) or 1
        for j, number in enumerate(row):
            place = (side + j * cell, top + i * cell, cell)
            title = f"{number:,} of truth {names[i]} called {heads[j]} ({100 * number / total:.1f} %)"
            parts.append(_cell(title, i == j, show(number, number / total), number / total, place))
    return picture(side + size * cell + 2, top + size * cell + 2, parts, label)


def _cell(title: str, is_right: bool, words: str, share: float, place: tuple[float, float, float]) -> Markup:
    x, y, cell = place
    colour = ("blue" if is_right else "orange") if share else "track"
    # square root: one mistake in fifty is still seen
    box = tag(
        "rect",
        tag("title", title),
        x=x + 1,
        y=y + 1,
        width=cell - 2,
        height=cell - 2,
        rx=min(3, cell / 8),
        fill_opacity=max(share**0.5, 0.12) if share else 1,
        class_=f"bar {colour}",
    )
    if not share or cell < 7.5 * len(words) + 2:
        return box
    shade = "on" if share > 0.4 else "cell"
    label = text(x + cell / 2, y + cell / 2 + 4, words, anchor="middle", class_=shade)
    return join([box, tag("g", label, pointer_events="none")])

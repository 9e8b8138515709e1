"""A section of the page, and the pieces that several sections are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ghostfit.report.markup import Child, Markup, tag

PHOTO = re.compile(r"[A-Za-z0-9+/]+={0,2}")
PHOTO_CHARACTERS = 400_000  # above this a picture is no small one, and the page would swell


@dataclass(frozen=True)
class Section:
    """A part of the report. Without a `body`, the run lacks what it would show, and `missing` says so."""

    id: str
    title: str
    body: Markup | None
    missing: str = ""
    is_long: bool = False  # may be broken over printed pages

    def draw(self) -> Markup:
        """The section as HTML."""
        if self.body is None:
            return tag("section", tag("h2", self.title), tag("p", self.missing), id=self.id, class_="absent")
        return tag("section", tag("h2", self.title), self.body, id=self.id, class_="long" if self.is_long else None)


@dataclass(frozen=True)
class Row:
    """A row of `table`; the chosen one is set off."""

    cells: Sequence[Child]
    is_chosen: bool = False
    place: str = ""  # ``first`` or ``last`` of a group of rows


def intro(*content: Child) -> Markup:
    """The sentence under a title: how the figure is read."""
    return tag("p", *content, class_="intro")


def table(heads: Sequence[str], rows: Iterable[Row], *, num_text: int = 1) -> Markup:
    """A table; the first `num_text` columns hold text, the others figures. A cell that is a ``<td>`` already stays."""

    def cell(index: int, content: Child) -> Markup:
        if isinstance(content, Markup) and content.startswith("<td"):
            return content
        if index == 0:
            return tag("th", content, scope="row")
        return tag("td", content, class_=None if index < num_text else "number")

    head = (tag("th", name, scope="col", class_=None if i < num_text else "number") for i, name in enumerate(heads))
    body = (
        tag(
            "tr",
            *(cell(i, content) for i, content in enumerate(row.cells)),
            class_="chosen" if row.is_chosen else row.place or None,
        )
        for row in rows
    )
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", whole, class_="scroll")


def facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    """A table of names and values; rows without a value are left out."""
    body = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows if value)
    return tag("table", tag("tbody", *body), class_="facts")


def meter(share: float, kind: str = "") -> Markup:
    """A table cell with a bar, `share` (0..1) of it full."""
    return tag("td", tag("i", style=f"width:{100 * min(max(share, 0), 1):.1f}%", class_=kind or None), class_="meter")


def more(title: str, content: Markup) -> Markup:
    """Content that opens on a click."""
    return tag("details", tag("summary", title), content)


def heading(title: str) -> Markup:
    """A title inside a section."""
    return tag("h3", title)


def photo(content: Any, meaning: str) -> Markup:
    """A small JPEG, given in base64, with `meaning` for those who do not see it; a blank for anything else."""
    if not isinstance(content, str) or len(content) > PHOTO_CHARACTERS or not PHOTO.fullmatch(content):
        return tag("div", class_="blank", title="no picture")
    return tag("img", src=f"data:image/jpeg;base64,{content}", alt=meaning)

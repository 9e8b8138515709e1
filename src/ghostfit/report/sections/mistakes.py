"""The worst mistakes as pictures: wrong answers, the most confident first."""

from __future__ import annotations

from typing import Any

from ghostfit.report.markup import Markup, join, shorten, tag
from ghostfit.report.read import RunData, as_rows
from ghostfit.report.section import Section, intro, photo
from ghostfit.report.units import finite, percent

SHOWN = 24


def mistakes(run: RunData) -> Section:
    """Pictures with what they show and what the network said."""
    title = "Worst mistakes"
    rows = as_rows(run.test.get("mistakes"))
    if not rows:
        known = finite(run.test.get("accuracy"))
        missing = (
            "The network made no mistake in the test split." if known == 1 else "No pictures were kept (test.json)."
        )
        return Section("mistakes", title, None, missing)
    ordered = sorted(rows, key=lambda row: -(finite(row.get("confidence")) or 0))
    lead = (
        "Test images that got a wrong answer, the surest first. Look for wrong labels, several things in one picture "
        "and kinds of images that the training split lacks."
    )
    return Section("mistakes", title, join([intro(lead), tag("div", *map(_card, ordered[:SHOWN]), class_="pictures")]))


def _card(row: dict[str, Any]) -> Markup:
    name, truth, said = (str(row.get(key) or "?") for key in ("id", "truth", "predicted"))
    words = tag(
        "figcaption",
        tag("span", shorten(said, 40), class_="said"),
        f" {percent(row.get('confidence'), 0)}",
        tag("span", f"is {shorten(truth, 40)}", class_="truth"),
    )
    return tag("figure", photo(row.get("thumbnail_jpeg_base64"), f"{truth} taken for {said}"), words, title=name)

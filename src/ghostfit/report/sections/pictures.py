"""Pictures of what was missed, invented or confused, and of how the network does as a rule: truth beside answer."""

from __future__ import annotations

from typing import Any

from ghostfit.report.markup import Markup, join, shorten, tag
from ghostfit.report.read import RunData, as_rows
from ghostfit.report.section import Section, heading, intro, photo
from ghostfit.vision.draw import colour_of_class

KINDS = {  # kind of a row, title, how it is read, class of its grid
    "miss": (
        "Missed",
        "The largest objects without a right answer. Look for objects that are cut off or hidden, wrong labels, and "
        "kinds that the training split lacks.",
        "strips",
    ),
    "false_alarm": (
        "False alarms",
        "The surest answers that fit no object. Look for objects that nobody labelled.",
        "strips",
    ),
    "mosaic": ("Whole images", "Images of the test split, from the best to the worst.", "strips whole"),
    "worst": (
        "The worst images",
        "Those with the most wrong pixels, and what was taken for what most often. Look for wrong labels and kinds of "
        "images that the training split lacks.",
        "strips whole",
    ),
    "typical": ("Typical images", "Images of the test split, from the best on.", "strips whole"),
}
OF_KIND = 24
COLOURS_SHOWN = 28  # more the palette does not have


def pictures(run: RunData) -> Section:
    """A group of strips for each kind of picture that the run kept."""
    title = "Pictures"
    rows = as_rows(run.test.get("pictures"))
    known = {kind: [row for row in rows if row.get("kind") == kind][:OF_KIND] for kind in KINDS}
    if not any(known.values()):
        return Section("pictures", title, None, "No pictures were kept (test.json).")
    if run.task == "segment":
        parts = [intro("Left the image, in the middle the truth, right the answer."), _colours(run)]
    else:
        parts = [
            intro(
                "Left the truth, right the answer. Blue: found, and right answers. Orange: missed, and wrong answers, "
                "with their score. Grey: regions that count nowhere."
            )
        ]
    for kind, own in known.items():
        if own:
            name, lead, class_ = KINDS[kind]
            parts += [heading(name), intro(lead), tag("div", *map(_card, own), class_=class_)]
    return Section("pictures", title, join(parts), is_long=True)


def _card(row: dict[str, Any]) -> Markup:
    name, words = str(row.get("id") or ""), str(row.get("text") or "")
    caption = tag("figcaption", words, tag("span", shorten(name, 60), class_="truth") if name else None)
    return tag("figure", photo(row.get("jpeg_base64"), words), caption)


def _colours(run: RunData) -> Markup | None:
    """Which colour is which class."""
    names = run.test.get("class_names")
    if not isinstance(names, list):
        return None
    items = [
        tag("li", tag("i", style=f"background:rgb{colour_of_class(number)}"), str(name))
        for number, name in enumerate(names[:COLOURS_SHOWN])
    ]
    return tag("ul", *items, class_="legend colours")

"""HTML and SVG as nested calls that escape everything which is not markup already.

>>> tag("p", "a < b", tag("b", "!"), class_="note")
'<p class="note">a &lt; b<b>!</b></p>'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

SELF_CLOSING = {"br", "img", "meta", "link", "circle", "line", "path", "polygon", "polyline", "rect"}
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


class Markup(str):
    """Text that is HTML or SVG already; `tag` takes it over as it is and escapes every other string."""

    __slots__ = ()


Child: TypeAlias = str | None
Attribute: TypeAlias = str | float | bool | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """One element. ``class_`` gives ``class``, ``stroke_width`` gives ``stroke-width``; None and False are left out."""
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    content = join(children)
    if not content and name in SELF_CLOSING:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{content}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, plain text escaped, None left out."""
    return Markup("".join(escape(child) for child in children if child is not None))


def escape(text: str) -> Markup:
    """Text as markup: special characters escaped, characters that no document may hold replaced."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(ILLEGAL.sub("\ufffd", str(text)), quote=True))


def pixels(value: float) -> str:
    """A coordinate with at most two decimals.

    >>> pixels(3.0), pixels(0.126), pixels(-0.0)
    ('3', '0.13', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def shorten(text: object, length: int) -> str:
    """The text, cut in its middle to `length` characters.

    >>> shorten("a_very_long_class_name", 11)
    'a_ver…_name'
    """
    text = str(text)
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f' {key}=""'
    text = pixels(value) if isinstance(value, int | float) else value
    return f' {key}="{escape(text)}"'

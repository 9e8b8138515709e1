"""Reads a page strictly, for the tests."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from ghostfit.report import write_report

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.tags, self.links, self.words = text, [], [], [], [], []
        self.absent: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self.ids += [known["id"]] if "id" in known and tag in ("section", "div") else []
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag == "section" and known.get("class") == "absent":
            self.absent.append(str(known["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def report(run: Path) -> Page:
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "could not be drawn" not in page.text, re.findall("could not be drawn[^<]*", page.text)
    for drawing in re.findall(r"<svg.*?</svg>", page.text, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"<(style|script|pre).*?</\1>", "", page.text, flags=re.DOTALL))
    return page


def change(run: Path, file: str, /, **changes: object) -> None:
    path = run / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

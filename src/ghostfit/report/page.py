"""The page: one HTML file that needs nothing else.

A content security policy in the page itself forbids every request and every script but its own, so that not even a
class name could smuggle one in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from ghostfit.report.headline import headline
from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, read_run, word
from ghostfit.report.section import Section
from ghostfit.report.sections import SECTIONS
from ghostfit.report.style import PAGE_STYLE, SCRIPT, palette
from ghostfit.run import write_atomically


def write_report(run_path: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run folder, by default as ``report.html`` inside it, and return its path.

    A run that is partial, was killed or lost files gives a report that says what is missing. Raises ValueError when the
    folder holds no run.
    """
    run = read_run(run_path)
    path = Path(out) if out is not None else run.path / "report.html"
    write_atomically(path, draw_page(run).encode())
    return path


def draw_page(run: RunData) -> str:
    """The whole report as HTML."""
    sections = [_draw_section(draw, run) for draw in SECTIONS[run.task]]
    page = tag(
        "html",
        _head(run),
        tag(
            "body",
            tag(
                "div",
                _contents(sections),
                tag("main", headline(run), *(section.draw() for section in sections), _footer(run)),
                class_="layout",
            ),
            tag("script", Markup(SCRIPT)),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def _draw_section(draw: Callable[[RunData], Section], run: RunData) -> Section:
    """One section; what a file of another version makes impossible to draw costs that section, not the report."""
    try:
        return draw(run)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        name = draw.__name__
        missing = f"This section could not be drawn from the run's files: {type(error).__name__}: {error}"
        return Section(name, name.capitalize(), None, missing)


def _head(run: RunData) -> Markup:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>'),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"ghostfit report: {run.name}"),
        tag("style", Markup(palette(":root") + PAGE_STYLE)),
    )


def _contents(sections: list[Section]) -> Markup:
    links = [tag("a", "Result", href="#result")]
    links += [
        tag("a", section.title, href=f"#{section.id}", class_="absent" if section.body is None else None)
        for section in sections
    ]
    return tag("nav", tag("b", "ghostfit"), *links, class_="contents", aria_label="contents")


def _footer(run: RunData) -> Markup:
    version = run.info.get("versions", {}).get("ghostfit") if isinstance(run.info.get("versions"), dict) else None
    words = [
        f"Written by ghostfit {version}" if version else "Written by ghostfit",
        f"run begun {word(run.info.get('created'))}",
    ]
    return tag("footer", join([" · ".join(words)]))

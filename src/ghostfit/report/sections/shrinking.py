"""How the space of networks shrank: which choices were dropped in which phase, and why."""

from __future__ import annotations

from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, word
from ghostfit.report.section import Section, intro


def shrinking(run: RunData) -> Section:
    """An entry for each decision: phase, gene, kept and dropped choices, reason."""
    title = "How the search narrowed"
    if not run.shrink:
        return Section(
            "shrinking", title, None, "No choices were dropped, or the phases were not reached (shrink.jsonl)."
        )
    dropped = sum(len(_list(row.get("dropped"))) for row in run.shrink)
    lead = (
        f"While the supernet trained, {dropped} choices were given up because the evidence spoke against them, so that "
        "the rest of the time went to the others."
    )
    body = [intro(lead), *map(_decision, run.shrink)]
    return Section("shrinking", title, join(body), is_long=True)


def _decision(row: dict[str, Any]) -> Markup:
    kept = (tag("span", _text(choice), class_="chip") for choice in _list(row.get("kept")))
    dropped = (tag("s", _text(choice), class_="chip dropped", title="dropped") for choice in _list(row.get("dropped")))
    return tag(
        "div",
        tag("span", f"phase\u00a0{word(row.get('phase'))}", class_="badge"),
        tag("b", word(row.get("gene"))),
        tag("div", *kept, *dropped, class_="chips"),
        tag("p", str(row.get("reason") or ""), class_="quiet"),
        class_="finding",
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(choice: Any) -> str:
    if isinstance(choice, bool):
        return "yes" if choice else "no"
    return "×".join(str(part) for part in choice) if isinstance(choice, list) else str(choice)

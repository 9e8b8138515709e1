"""How the space of networks shrank: which choices were dropped in which phase, and why."""

from __future__ import annotations

from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData
from ghostfit.report.section import Row, Section, intro, table


def shrinking(run: RunData) -> Section:
    """A row for each decision: phase, gene, kept and dropped choices, reason."""
    title = "How the search narrowed"
    if not run.shrink:
        return Section(
            "shrinking", title, None, "No choices were dropped, or the phases were not reached (shrink.jsonl)."
        )
    dropped = sum(len(_list(row.get("dropped"))) for row in run.shrink)
    lead = (
        f"While the supernet trained, {dropped} choices were given up because the evidence spoke against them, so that the "
        "rest of the time went to the others."
    )
    rows = [
        Row((f"phase {row.get('phase')}", str(row.get("gene")), _chips(row), str(row.get("reason") or "")))
        for row in run.shrink
    ]
    body = [intro(lead), table(("when", "gene", "choices", "reason"), rows, num_text=4)]
    return Section("shrinking", title, join(body), is_long=True)


def _chips(row: dict[str, Any]) -> Markup:
    kept = (tag("span", _text(choice), class_="chip") for choice in _list(row.get("kept")))
    dropped = (tag("s", _text(choice), class_="chip dropped", title="dropped") for choice in _list(row.get("dropped")))
    return tag("td", tag("div", *kept, *dropped, class_="chips"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(choice: Any) -> str:
    if isinstance(choice, bool):
        return "yes" if choice else "no"
    return "×".join(str(part) for part in choice) if isinstance(choice, list) else str(choice)

"""The data: splits, classes, and what the checks found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostfit.report.markup import Markup, join, shorten, tag
from ghostfit.report.read import RunData, as_dict, as_rows, word
from ghostfit.report.section import Row, Section, heading, intro, more, table
from ghostfit.report.svg import Bar, bars, figure, responsive
from ghostfit.report.units import finite, percent, whole
from ghostfit.report.wording import Wording

SPLITS = {
    "train": "weights are learned from it",
    "val": "checks during training",
    "search": "ranks the networks of the search; the chosen one is trained on it afterwards",
    "test": "read once, at the end",
}
CLASSES_SHOWN = 20
ITEMS_SHOWN = 12
SEVERITIES = ("error", "warning", "info")


def data(run: RunData) -> Section:
    """Counts of splits and classes, findings of the checks, images that could not be used."""
    title = "The data"
    if not run.data:
        return Section("data", title, None, "The data was not read yet (data.json).")
    parts = [intro(_sentence(run)), _splits(as_dict(run.data.get("splits")), run.wording)]
    counts = as_dict(run.data.get("class_counts"))
    if counts:
        parts.append(_classes(counts, is_classes=run.task == "classify"))
    notes = run.data.get("notes")
    if isinstance(notes, list) and notes:
        parts.append(tag("ul", *(tag("li", str(note)) for note in notes), class_="quiet"))
    parts.append(_findings(as_rows(run.data.get("findings"))))
    skipped = as_rows(run.data.get("skipped"))
    if skipped:
        rows = [Row((word(row.get("id")), str(row.get("reason") or ""))) for row in skipped[:200]]
        parts.append(
            more(f"Images that could not be used: {len(skipped):,}", table(("image", "reason"), rows, num_text=2))
        )
    return Section("data", title, join(parts), is_long=True)


def _sentence(run: RunData) -> str:
    names = run.data.get("class_names")
    num = len(names) if isinstance(names, list) else len(as_dict(run.data.get("class_counts")))
    words = [f"{whole(run.data.get('num_images'))} images", f"{num:,} classes"]
    size_hw = run.data.get("size_hw")
    if isinstance(size_hw, list) and len(size_hw) == 2:
        words.append(f"used at {size_hw[0]}×{size_hw[1]} pixels")
    return ", ".join(words) + ". Identical images always lie in the same split."


def _splits(splits: dict[str, Any], wording: Wording) -> Markup | None:
    known = {name: number for name, value in splits.items() if (number := finite(value)) is not None}
    if not known:
        return None
    total = sum(known.values()) or 1
    rows = [
        Row(
            (
                name,
                tag("td", SPLITS.get(name, "") + (wording.validates if name == "val" else "")),
                whole(number),
                percent(number / total),
            )
        )
        for name, number in known.items()
    ]
    return table(("split", "what it is for", "images", "share"), rows, num_text=2)


def _classes(counts: dict[str, Any], *, is_classes: bool) -> Markup:
    known = sorted(((str(n), finite(v) or 0.0) for n, v in counts.items()), key=lambda entry: -entry[1])
    shown, note = known, None
    if len(known) > CLASSES_SHOWN:
        half = CLASSES_SHOWN // 2
        shown = known[:half] + known[-half:]
        note = tag("p", f"The {half} largest and the {half} smallest of {len(known):,} classes.", class_="quiet")
    rows = [Bar(name, number, whole(number)) for name, number in shown]
    drawn = responsive(lambda width: bars(rows, min(width, 620), label="images of each class"))
    return join([heading("Images of each class" if is_classes else "Images that show each class"), note, figure(drawn)])


def _findings(findings: Sequence[dict[str, Any]]) -> Markup:
    title = heading("What the checks found")
    if not findings:
        return join([title, tag("p", "Nothing to mend, or the checks did not run.", class_="quiet")])
    order = {name: rank for rank, name in enumerate(SEVERITIES)}
    ranked = sorted(findings, key=lambda finding: order.get(str(finding.get("severity")), 3))
    return join([title, *map(_finding, ranked)])


def _finding(finding: dict[str, Any]) -> Markup:
    severity = str(finding.get("severity") or "info")
    items = finding.get("groups") or finding.get("items")
    names = [shorten(_item(item), 80) for item in items[:ITEMS_SHOWN]] if isinstance(items, list) else []
    number = finite(finding.get("count"))
    head = str(finding.get("title") or finding.get("id") or "finding")
    about = f"{finding.get('id', '')}" + (f" · {whole(number)}" if number else "")
    return tag(
        "div",
        tag("span", severity, class_=f"badge {severity}" if severity in SEVERITIES else "badge"),
        tag("div", tag("b", head), tag("span", f"  {about}", class_="quiet")),
        *(tag("p", str(finding[key])) for key in ("detail", "meaning", "remedy") if finding.get(key)),
        tag("p", tag("code", ", ".join(names)), class_="quiet") if names else None,
        class_="finding",
    )


def _item(item: Any) -> str:
    return " = ".join(str(part) for part in item) if isinstance(item, list) else str(item)

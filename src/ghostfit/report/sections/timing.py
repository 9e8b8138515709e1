"""Latency: the found network beside the presets on this device, and what each choice of the search costs in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, word
from ghostfit.report.section import Row, Section, heading, intro, more, table
from ghostfit.report.svg import Bar, bars, figure, responsive
from ghostfit.report.units import finite, milliseconds, percent, significant

GENES_SHOWN = 8
FOUND = ("found", "chosen", "model")


def timing(run: RunData) -> Section:
    """Measured medians of whole networks, then the milliseconds of each gene."""
    title = "Latency on this device"
    timed = [row for row in run.bench if finite(row.get("median_ms")) is not None]
    if not timed and not run.gene_time:
        return Section(
            "timing", title, None, "Nothing was measured beside the presets in this run (bench.json, gene_time.json)."
        )
    parts: list[Markup | None] = []
    if timed:
        parts += [intro(_conditions(timed)), _busy(timed), figure(responsive(lambda width: _bench(timed, width)))]
    if run.gene_time:
        parts += [heading("What each choice costs"), _genes(run.gene_time)]
    return Section("timing", title, join(parts), is_long=True)


def _conditions(rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]
    runtime = " ".join(str(first[key]) for key in ("runtime", "runtime_version") if first.get(key))
    threads = f"{first['threads']} thread{'' if first['threads'] == 1 else 's'}" if first.get("threads") else ""
    where = ", ".join(part for part in (str(first.get("device") or ""), runtime, threads) if part)
    return (
        "Whole networks, exported, and measured in turns, so that a drift of the machine hits all alike. Each bar is a "
        f"median; median and p90 stand behind it.{f' {where}.' if where else ''}"
    )


def _busy(rows: Sequence[dict[str, Any]]) -> Markup | None:
    """A warning where another program took a core in more than half of the runs."""
    worst = max(finite(row.get("disturbed")) or 0.0 for row in rows)
    if worst <= 0.5:
        return None
    words = (
        f"The machine was busy: in up to {percent(worst, 0)} of the runs another program took a core. Measure again."
    )
    return tag("p", tag("span", words, class_="broken"))


def _bench(rows: Sequence[dict[str, Any]], width: int) -> Markup:
    entries = []
    for row in sorted(rows, key=lambda row: finite(row["median_ms"]) or 0):
        name, median = str(row.get("name") or "?"), finite(row["median_ms"]) or 0.0
        p90 = finite(row.get("p90_ms"))
        shown = significant(median) + (f" · {significant(p90)}" if p90 else "") + " ms"
        entries.append(Bar(name, median, shown, "orange" if name in FOUND else "grey"))
    return bars(entries, width, label="median latency of each network")


def _genes(rows: Sequence[dict[str, Any]]) -> Markup:
    """One group of rows a gene, the genes with the widest spread first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(word(row.get("gene")), []).append(row)
    known = {gene: _deltas(own) for gene, own in groups.items()}
    known = {gene: deltas for gene, deltas in known.items() if deltas}
    if not known:
        return tag("p", "No measured times.", class_="quiet")
    order = sorted(known, key=lambda gene: min(d for _, d, _ in known[gene]) - max(d for _, d, _ in known[gene]))
    top = max(abs(delta) for deltas in known.values() for _, delta, _ in deltas) or 1.0
    note = intro(
        "One gene changed, the rest of the network held: milliseconds saved (left, green) or added (right, orange). "
        "The genes that move the latency most come first."
    )
    first = _gene_table(order[:GENES_SHOWN], known, top)
    rest = order[GENES_SHOWN:]
    hidden = more(f"{len(rest)} further genes", _gene_table(rest, known, top)) if rest else None
    return join([note, first, hidden])


def _deltas(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, float | None]]:
    """(choice, difference in ms, latency in ms); the difference to the gene's first choice when none is given."""
    base = next((ms for row in rows if (ms := finite(row.get("latency_ms"))) is not None), None)
    found = []
    for row in rows:
        ms, delta = finite(row.get("latency_ms")), finite(row.get("delta_ms"))
        if delta is None and ms is not None and base is not None:
            delta = ms - base
        if delta is not None:
            choice = _choice(row.get("choice")) + (" (start)" if row.get("is_base") is True else "")
            found.append((choice, delta, ms))
    return found


def _choice(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "×".join(str(part) for part in value) if isinstance(value, list) else word(value)


def _gene_table(genes: Sequence[str], known: dict[str, list[tuple[str, float, float | None]]], top: float) -> Markup:
    rows = []
    for gene in genes:
        for index, (choice, delta, ms) in enumerate(known[gene]):
            share = f"width:{100 * abs(delta) / top:.1f}%"
            bar = tag("i", class_="faster" if delta < 0 else "slower", style=share)
            sides = (tag("span", bar), tag("span")) if delta < 0 else (tag("span"), tag("span", bar))
            cell = tag("td", tag("div", *sides, class_="meter half"), class_="meter")
            sign = "±0" if abs(delta) < 5e-4 else f"{delta:+.3f}".replace("-", "\u2212")
            place = "first" if index == 0 else "last" if index == len(known[gene]) - 1 else ""
            rows.append(Row((gene if index == 0 else "", choice, sign, milliseconds(ms), cell), place=place))
    return tag("div", table(("gene", "choice", "ms", "network", ""), rows, num_text=2), class_="tight")

"""The result page: tables and plot written into ``search_pays.md`` between two marks; the text around them stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ghostfit.report.svg import curve, linear_axis, log_axis, mark, plot, text
from pays import plain, specialise
from pays.picture import standalone
from pays.plan import best_peers
from pays.records import Records
from pays.settings import SETTINGS, TOLERANCE, Setting

PAGE = Path(__file__).parent.parent / "search_pays.md"
BEGIN, END = "<!-- results: written by search_pays.py --page -->", "<!-- end of results -->"
KINDS = {
    "largest": "**ours**: the largest networks, each trained for a while; from fresh weights",
    "taught": "the same, taught besides by ours of the largest limit",
    "ours": "**ours**: searched, from inherited weights",
    "scratch": "the same network from scratch",
    "width": "hand-made chain of convolutions, width-scaled",
    "random": "random search, same evaluations, inherited",
    "params": "search by parameter count, inherited",
    "macs": "search by MACs, inherited",
}
WITHOUT_A_STORE = {  # what is another thing where our own search is without one
    "ours": "search by shared weights, from inherited ones",
    "random": "random search, as many short trainings, from fresh weights",
    "params": "the most parameters within the limit, from fresh weights",
    "macs": "the most MACs within the limit, from fresh weights",
}
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon"}
SHAPES = {"width": ("square", "green"), "peer": ("circle", "grey")}
OWN_SHAPE = ("diamond", "blue")
Rows = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """A row of the table: one network at one limit."""

    name: str
    kind: str
    limit: float
    tests: tuple[float, ...]
    latency: Mapping[str, float]
    params: int
    macs: int | None
    cpu_s: float
    total_s: float


def write_page(results: Path) -> Path:
    """Replace the block between the marks; returns the page's path."""
    records = Records(results)
    parts = []
    for setting in SETTINGS.values():
        own = f"{setting.name}/"
        rows = {key.removeprefix(own): row for key, row in records.all().items() if key.startswith(own)}
        if any(key.startswith(f"{setting.main}/") for key in rows):
            parts.append(section(setting, rows, best_peers(setting, records)))
        parts += [part] if (part := specialise.section(rows)) else []
    digits = {k.removeprefix("digits/"): r for k, r in records.all().items() if k.startswith("digits/")}
    parts += [plain.section(digits)] if digits else []
    block = f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"# Search that pays\n\n{BEGIN}\n{END}\n"
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, old, flags=re.S), encoding="utf-8")
    return PAGE


def section(setting: Setting, rows: Rows, peers: list[str]) -> str:
    """Everything about one data set."""
    limits = rows["latency"]["limits_ms"]
    lines = [line for limit in limits for line in lines_at(setting, rows, peers, limit)]
    rate = "the rate that the range test finds for each network" if setting.lr == "auto" else f"a rate of {setting.lr}"
    head = (
        f"## {setting.name}, {setting.size} px\n\nBy {OPTIMIZERS[setting.optimizer]} at {rate}. "
        f"{setting.images:,} images a final training, "
        f"{setting.store_images:,} for the store, {setting.screen_images:,} in the screening; "
        "accuracy on the test split, mean and spread (standard deviation) over the seeds given.\n"
    )
    table = [
        "| limit | network | accuracy | seeds | median / p90 ms | params | MACs | training CPU s | with search CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_row, lines),
    ]
    picture = PAGE.with_name(f"search_pays_{setting.name}.svg")
    picture.write_text(draw(lines, setting.main), encoding="utf-8")
    parts = [
        head,
        "\n".join(table),
        f"![accuracy against latency]({picture.name})",
        _goals(setting, limits, rows, lines),
    ]
    parts += [part] if (part := _again(limits, rows)) else []
    return "\n\n".join([*parts, _screening(rows)])


def lines_at(setting: Setting, rows: Rows, peers: list[str], limit: float) -> Iterable[Line]:
    """The rows of the table at one limit: our kinds, then every peer trained in full that is fast enough."""
    most = max(rows["latency"]["limits_ms"])
    bench = rows.get("bench", {}).get("latency", {})
    rough = rows.get("latency", {}).get("latency_ms", {})
    store = rows.get("store", {}).get("cpu_s", 0.0)
    for kind, name in names_of(setting).items():
        found = seeds_of(rows, f"{kind}/{limit:g}/")
        if not found:
            continue
        origin = {"ours": "nsga2", "scratch": "nsga2", "taught": "largest"}.get(kind, kind)
        search = rows.get(f"search/{origin}/{limit:g}", {})
        latency = bench.get(f"{origin}/{limit:g}", {"median_ms": search.get("latency_ms"), "p90_ms": None})
        cost = _cpu_s(found)
        extra = 0.0 if kind == "width" else search.get("cpu_s", 0.0)
        if kind == "ours" or (kind in ("random", "params", "macs") and setting.main == "ours"):
            extra += store
        if kind == "taught":
            extra += rows[f"largest/{most:g}/seed0"]["cpu_s"]
            extra += rows[f"search/largest/{most:g}"]["cpu_s"] if limit < most else 0.0
        yield _line(name, kind, limit, found, latency, cost, cost + extra)
    for peer in peers:
        found = seeds_of(rows, f"peer/{peer}/")
        latency = bench.get(peer, {"median_ms": rough.get(peer), "p90_ms": None})
        if found and rough.get(peer, 9e9) <= TOLERANCE * limit:  # as measured with what the limits come from
            cost = _cpu_s(found)
            yield _line(peer, "peer", limit, found, latency, cost, cost)
    if equal := rows.get(f"equal/{limit:g}/seed0"):
        name = f"the best peer with the CPU time of our search and training, {equal['images']:,} images"
        yield _line(name, "equal", limit, [equal], {"median_ms": None, "p90_ms": None}, equal["cpu_s"], equal["cpu_s"])


def names_of(setting: Setting) -> dict[str, str]:
    """What the kinds of rows are called."""
    return KINDS if setting.main == "ours" else {**KINDS, **WITHOUT_A_STORE}


def seeds_of(rows: Rows, prefix: str) -> list[dict[str, Any]]:
    """The results of all seeds."""
    return [row for key, row in rows.items() if key.startswith(prefix + "seed")]


def _cpu_s(found: list[dict[str, Any]]) -> float:
    """Mean over the seeds that this machine trained: an accuracy can be carried from one to another, seconds can't.

    0 where it trained none.
    """
    told = [row["cpu_s"] for row in found if "cpu_s" in row]
    return mean(told) if told else 0.0


def draw(lines: list[Line], main: str) -> str:
    """Accuracy against latency as SVG; `main` is the kind of ours."""
    shown = [line for line in lines if line.latency["median_ms"] and line.kind in (main, "width", "peer")]
    x = log_axis([line.latency["median_ms"] for line in shown], 60, 860)
    y = linear_axis([100 * mean(line.tests) for line in shown], 360, 20)
    parts = []
    for kind in ("peer", "width", main):
        shape, colour = SHAPES.get(kind, OWN_SHAPE)
        own = {
            line.name if kind == "peer" else f"{line.name} {line.limit}": line for line in shown if line.kind == kind
        }
        points = [(line.latency["median_ms"], 100 * mean(line.tests)) for line in own.values()]
        if kind != "peer":
            parts.append(curve(sorted(points), x, y, colour))
        for line, (ms, percent) in zip(own.values(), points, strict=True):
            name = line.name.replace("*", "")
            parts.append(mark(shape, x.at(ms), y.at(percent), 6, colour, f"{name}: {percent:.1f} %, {ms:.3f} ms"))
            label = name.split(":")[0].split(",")[0] if kind != "width" else "hand-made"
            parts.append(text(x.at(ms) + 9, y.at(percent) + 4, label))
    svg = str(plot(900, 400, x, y, parts, x_label="latency, ms (ONNX Runtime, one thread)", y_label="test accuracy, %"))
    return standalone(svg)


def _line(
    name: str,
    kind: str,
    limit: float,
    found: list[dict[str, Any]],
    latency: Mapping[str, Any],
    cost: float,
    total: float,
) -> Line:
    first = found[0]
    tests = tuple(row["test"] for row in found)
    return Line(name, kind, limit, tests, latency, first.get("params", 0), first.get("macs"), cost, total)


def _row(line: Line) -> str:
    spread = f" ± {100 * stdev(line.tests):.1f}" if len(line.tests) > 1 else ""
    seeds = len(line.tests) if len(line.tests) > 1 else "one seed"
    median, p90 = (f"{value:.3f}" if value else "" for value in (line.latency["median_ms"], line.latency["p90_ms"]))
    macs = f"{line.macs / 1e6:.1f} M" if line.macs else ""
    params = f"{line.params / 1e3:.0f} k" if line.params else ""
    seconds = [f"{value:.0f}" if value else "" for value in (line.cpu_s, line.total_s)]
    return (
        f"| {line.limit:g} ms | {line.name} | {100 * mean(line.tests):.1f}{spread} | {seeds} | {median} / {p90} | "
        f"{params} | {macs} | {seconds[0]} | {seconds[1]} |"
    )


def _goals(setting: Setting, limits: Sequence[float], rows: Rows, lines: list[Line]) -> str:
    """The goals beside what was reached."""
    found = ["| goal | at | reached |", "|---|---|---|"]
    for limit in limits:
        own = {line.kind: line for line in lines if line.limit == limit and line.kind != "peer"}
        peers = [line for line in lines if line.limit == limit and line.kind == "peer"]
        if setting.main not in own:
            continue
        ours = 100 * mean(own[setting.main].tests)
        if peers:
            best = max(peers, key=lambda line: mean(line.tests))
            gain = ours - 100 * mean(best.tests)
            goal = f"{setting.ahead} points above the best peer, equal images"
            found.append(f"| {goal} | {limit:g} ms | {gain:+.1f} ({best.name}) |")
            if "taught" in own:
                gain = 100 * (mean(own["taught"].tests) - mean(best.tests))
                found.append(f"| the same, taught | {limit:g} ms | {gain:+.1f} ({best.name}) |")
        if "equal" in own:
            gain = ours - 100 * mean(own["equal"].tests)
            found.append(f"| 2 points above the best peer, equal CPU seconds | {limit:g} ms | {gain:+.1f} |")
        names = names_of(setting)
        for kind in ("random", "params", "macs", "width", *(["ours"] if setting.main != "ours" else [])):
            if kind in own:
                gain = ours - 100 * mean(own[kind].tests)
                found.append(f"| above {names[kind].split(',')[0]} | {limit:g} ms | {gain:+.1f} |")
    return "\n".join([*found, *_ranks(rows), *_costs(setting, limits, rows, lines)])


def _ranks(rows: Rows) -> Iterable[str]:
    """Rank correlation of inherited accuracy with that after a training alone, for each length of it."""
    from scipy.stats import kendalltau

    lengths = sorted({int(key.split("/")[1]) for key in rows if key.startswith("rank/")})
    for images in lengths:
        ranked = [row for key, row in rows.items() if key.startswith(f"rank/{images}/")]
        tau = kendalltau([row["inherited"] for row in ranked], [row["alone"] for row in ranked]).statistic
        yield (
            f"| Kendall's tau of inherited and standalone accuracy at least 0.7 | {len(ranked)} networks, "
            f"{images:,} images each | {tau:.2f} |"
        )


def _costs(setting: Setting, limits: Sequence[float], rows: Rows, lines: list[Line]) -> Iterable[str]:
    """What the store, if there is one, and the searches of all limits cost, beside the training of one network."""
    has_store = setting.main == "ours"
    origin, what = ("nsga2", "store and all searches") if has_store else ("largest", "all searches")
    cost = sum(rows.get(f"search/{origin}/{limit:g}", {}).get("cpu_s", 0.0) for limit in limits)
    cost += rows.get("store", {}).get("cpu_s", 0.0) if has_store else 0.0
    for line in lines:
        if line.kind == setting.main and cost:
            share = cost / len(limits) + line.cpu_s
            yield (
                f"| {what} at most 3 x the training of the found network | {line.limit:g} ms | "
                f"{cost / line.cpu_s:.1f} x ({share:.0f} CPU s with training, where a limit bears its part of them) |"
            )


def _again(limits: Sequence[float], rows: Rows) -> str:
    """What the run-off's short training made of the network taken, for every seed of a search; empty without any."""
    lines = []
    for limit in limits:
        for origin, name in (("nsga2", "**ours**"), ("random", "random search")):
            searches = [rows.get(f"search/{origin}/{limit:g}"), *seeds_of(rows, f"again/{origin}/{limit:g}/")]
            scores = [100 * row["run_off"][0]["metric"] for row in searches if row and row.get("run_off")]
            if len(scores) > 1:
                told = ", ".join(f"{score:.1f}" for score in scores)
                lines.append(f"| {limit:g} ms | {name} | {told} | {mean(scores):.1f} ± {stdev(scores):.1f} |")
    if not lines:
        return ""
    head = (
        "The same searches with other seeds: accuracy of the network taken after the short training of the run-off, on "
        "8,000 images of the search and validation split (error of each 0.5; all on the same images).\n"
    )
    return "\n".join(
        [head, "| limit | search | by seed of the search | mean and spread |", "|---|---|---|---|", *lines]
    )


def _screening(rows: Rows) -> str:
    """All screened peers in one line each."""
    screened = {key.removeprefix("screen/"): row for key, row in rows.items() if key.startswith("screen/")}
    latency = rows.get("latency", {}).get("latency_ms", {})
    lines = ["<details><summary>Screening of the peers (short training, validation accuracy, one seed)</summary>\n"]
    lines += ["| peer | ms | accuracy |", "|---|---|---|"]
    for name, row in sorted(screened.items(), key=lambda pair: -pair[1]["val"]):
        lines.append(f"| {name} | {latency[name]:.3f} | {100 * row['val']:.1f} |")
    return "\n".join([*lines, "\n</details>"])

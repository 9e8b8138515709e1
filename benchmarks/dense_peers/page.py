"""The result page: tables and plots written into ``dense.md`` between two marks; the text around them stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pays.picture import standalone
from pays.records import Records

from dense_peers.plan import files_of
from dense_peers.settings import SETTINGS, Setting
from ghostfit.report.svg import curve, linear_axis, log_axis, mark, plot, text

PAGE = Path(__file__).parent.parent / "dense.md"
BEGIN, END = "<!-- results: written by dense.py --page -->", "<!-- end of results -->"
NAMES = {
    "yolo11n": "YOLO11n",
    "yolo26n": "YOLO26n",
    "yolo11n-seg": "YOLO11n-seg",
    "lraspp": "LR-ASPP MobileNetV3-Large",
}
KINDS = {
    "ours": "**ours**, from scratch",
    "weights": "**ours**, from EfficientNet-Lite0's ImageNet weights",
    "scratch": "the network we found, from fresh weights",
    "width": "the start of the search scaled in width, from fresh weights",
    "resized": "the same at the found network's size of input",
}
SHAPES = {
    "ours": ("diamond", "blue"),
    "weights": ("triangle", "orange"),
    "scratch": ("square", "green"),
    "width": ("ring", "purple"),
    "resized": ("ring", "green"),
    "peer": ("circle", "grey"),
}
LABELS = {  # in the plot
    "ours": "ours",
    "weights": "ours, weights",
    "scratch": "fresh",
    "width": "width-scaled",
    "resized": "width-scaled, resized",
}
PIECE = re.compile(rf"({'|'.join(SHAPES)})/([^/]+)/seed\d+")
Rows = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """A row of the table: one network at one size, over all seeds. Times in seconds of one core, latency in ms."""

    kind: str
    name: str
    size: str
    scores: tuple[float, ...]
    standard_error: float | None  # of one seed's score, the test images drawn anew
    median_ms: float | None
    p90_ms: float | None
    params: int
    macs: int | None
    epochs: int
    train_s: float
    total_s: float
    own: float | None = None  # what the peer's own package says

    @property
    def percent(self) -> float:
        """Mean score over the seeds."""
        return 100 * mean(self.scores)


def write_page(results: Path, page: Path = PAGE) -> Path:
    """Replace the block between the marks; returns the page's path."""
    records = Records(results).all()
    parts = []
    for setting in SETTINGS.values():
        rows = {
            key.removeprefix(f"{setting.name}/"): row
            for key, row in records.items()
            if key.startswith(f"{setting.name}/")
        }
        if lines := list(lines_of(setting, rows)):
            parts.append(section(setting, lines, rows, page))
    block = f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Dense tasks\n\n{BEGIN}\n{END}\n"
    page.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, old, flags=re.S), encoding="utf-8")
    return page


def section(setting: Setting, lines: Sequence[Line], rows: Rows, page: Path) -> str:
    """Everything about one set."""
    size = "x".join(map(str, setting.size_hw))
    head = (
        f"## {setting.name}: {setting.task}, {size} px\n\n{setting.epochs} epochs of each peer's training; "
        f"{setting.our_epochs} of a network of ours, {setting.store_epochs} of our store before. "
        f"{_images(rows)}test images. Score: {setting.metric_name}."
    )
    table = [
        "| network | input | score | error of the test | seeds | median / p90 ms | params | MACs | training s | "
        "with search s | by its own package |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, lines),
    ]
    parts = [head, "\n".join(table)]
    if any(line.median_ms for line in lines):
        picture = page.with_name(f"dense_{setting.name}.svg")
        picture.write_text(draw(setting, lines), encoding="utf-8")
        parts.append(f"![{setting.metric_name} against latency]({picture.name})")
    if differences := _differences(lines):
        parts.append("\n".join(differences))
    return "\n\n".join([*parts, *_sentences(rows)])


def lines_of(setting: Setting, rows: Rows) -> Iterator[Line]:
    """Peers, then ours from the tightest limit on; trials with other epochs are no results."""
    latency = latencies(rows)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, row in rows.items():
        if found := PIECE.fullmatch(key):
            groups.setdefault((found[1], found[2]), []).append(row)
    order = ["peer", *KINDS]
    for kind, name in sorted(groups, key=lambda group: (order.index(group[0]), _number(group[1]), group[1])):
        seeds = groups[kind, name]
        if kind == "peer":
            for number in range(len(seeds[0]["sizes"])):
                yield _peer_line(setting, name, seeds, number, latency)
        else:
            yield _our_line(setting, kind, name, seeds, latency)


def latencies(rows: Rows) -> dict[str, dict[str, float]]:
    """Latency by file, from the measurement that had the most files beside each other."""
    measured = [row["latency"] for key, row in rows.items() if key.startswith("bench/")]
    return max(measured, key=len, default={})


def draw(setting: Setting, lines: Sequence[Line]) -> str:
    """Score against latency as SVG."""
    shown = [line for line in lines if line.median_ms]
    x = log_axis([line.median_ms or 1.0 for line in shown], 60, 860)
    y = linear_axis([line.percent for line in shown], 360, 20)
    parts = []
    for kind, (shape, colour) in SHAPES.items():
        own = [line for line in shown if line.kind == kind]
        points = [(line.median_ms or 1.0, line.percent) for line in own]
        if kind == "ours":
            parts.append(curve(sorted(points), x, y, colour))
        for line, (ms, percent) in zip(own, points, strict=True):
            name = f"{line.name} {line.size}".replace("*", "")
            parts.append(mark(shape, x.at(ms), y.at(percent), 6, colour, f"{name}: {percent:.1f} %, {ms:.2f} ms"))
            label = LABELS.get(kind, name)
            is_right = x.at(ms) > 640  # a name beside a mark at the edge would be cut
            shift, anchor = (-9, "end") if is_right else (9, None)
            parts.append(text(x.at(ms) + shift, y.at(percent) + 4, label, anchor=anchor))
    x_label, y_label = "latency, ms (ONNX Runtime, one thread)", f"{setting.metric_name} on test, %"
    svg = str(plot(900, 400, x, y, parts, x_label=x_label, y_label=y_label))
    return standalone(svg)


def _peer_line(
    setting: Setting, name: str, seeds: Sequence[dict[str, Any]], number: int, latency: Mapping[str, dict[str, float]]
) -> Line:
    sizes = [row["sizes"][number] for row in seeds]
    first = seeds[0]
    train_s = mean(row["train_s"] for row in seeds)
    return Line(
        "peer",
        NAMES.get(name, name),
        sizes[0]["size"],
        tuple(row[setting.metric] or 0.0 for row in sizes),
        sizes[0].get("standard_error"),
        *_fastest([file for row in sizes for file in row["files"]], latency),
        first["params"],
        first.get("macs"),
        first["epochs"],
        train_s,
        train_s,
        first.get("own_map"),
    )


def _our_line(
    setting: Setting, kind: str, name: str, seeds: Sequence[dict[str, Any]], latency: Mapping[str, dict[str, float]]
) -> Line:
    first = seeds[0]
    median_ms, p90_ms = _fastest([file for row in seeds for file in files_of(row)], latency)
    return Line(
        kind,
        f"{KINDS[kind]}, at most {name} ms",
        first["size"],
        tuple(row[setting.metric] or 0.0 for row in seeds),
        first.get("standard_error"),
        median_ms or first.get("median_ms"),
        p90_ms or first.get("p90_ms"),
        first["params"],
        first["macs"],
        first["epochs"],
        mean(row["train_s"] for row in seeds),
        mean(row.get("total_s", row["train_s"]) for row in seeds),
    )


def _fastest(files: Sequence[str], latency: Mapping[str, dict[str, float]]) -> tuple[float | None, float | None]:
    """Median and p90 of the fastest of the files."""
    known = [latency[file] for file in files if file in latency]
    if not known:
        return None, None
    best = min(known, key=lambda row: row["median_ms"])
    return best["median_ms"], best["p90_ms"]


def _number(name: str) -> float:
    """A limit as a number; names of peers all alike."""
    try:
        return float(name)
    except ValueError:
        return 0.0


def _row(line: Line) -> str:
    spread = f" ± {100 * stdev(line.scores):.1f}" if len(line.scores) > 1 else ""
    seeds = len(line.scores) if len(line.scores) > 1 else "one seed"
    error = f"± {100 * line.standard_error:.1f}" if line.standard_error is not None else ""
    latency = " / ".join(f"{value:.2f}" if value else "" for value in (line.median_ms, line.p90_ms))
    macs = f"{line.macs / 1e6:.0f} M" if line.macs else ""
    own = f"{100 * line.own:.1f}" if line.own is not None else ""
    return (
        f"| {line.name} | {line.size} | {line.percent:.1f}{spread} | {error} | {seeds} | {latency} | "
        f"{line.params / 1e6:.2f} M | {macs} | {line.train_s:.0f} | {line.total_s:.0f} | {own} |"
    )


def _differences(lines: Sequence[Line]) -> list[str]:
    """A table of ours beside each peer: points of the score, and the latency as a share of the peer's."""
    peers = [line for line in lines if line.kind == "peer" and line.median_ms]
    ours = [line for line in lines if line.kind != "peer" and line.median_ms]
    if not peers or not ours:
        return []
    found = ["| points, at a share of the latency | " + " | ".join(f"{peer.name} {peer.size}" for peer in peers) + " |"]
    found.append("|---|" + "---|" * len(peers))
    for line in ours:
        cells = [
            f"{line.percent - peer.percent:+.1f} at {100 * (line.median_ms or 0) / (peer.median_ms or 1):.0f} %"
            for peer in peers
        ]
        found.append(f"| {line.name} | " + " | ".join(cells) + " |")
    return found


def _images(rows: Rows) -> str:
    """How many images the scores are of."""
    parts = [part for row in rows.values() for part in (row, *row.get("sizes", ()))]
    numbers = {part["num_images"] for part in parts if "num_images" in part}
    return f"{'/'.join(map(str, sorted(numbers)))} " if numbers else ""


def _sentences(rows: Rows) -> list[str]:
    """What each run of `fit` says about its search."""
    told = [f"- {key}: {row['sentence']}" for key, row in rows.items() if row.get("sentence")]
    return ["\n".join(told)] if told else []

"""The drawing of a network: every block a row, so that widths, sizes, Ghost modules and costs are seen at a glance.

In a row the upper bar is as long as the expansion has channels, the lower one as the output has. Maps that an
ordinary convolution makes are grey; those of a Ghost module are blue: solid the primary ones, striped those which cheap
depthwise operations derive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ghostfit import counting
from ghostfit.arch import Arch, Block, Dense
from ghostfit.report.markup import Markup, join, pixels, tag
from ghostfit.report.style import palette
from ghostfit.report.svg import CHAR, WIDE, text
from ghostfit.report.units import count, milliseconds, percent

STYLE = """.network{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Inter,Arial,sans-serif}
.network text{fill:var(--soft)}.network .name{fill:var(--ink);font-weight:650;font-size:13px}
.network .head{font-size:11.5px}.network .small{font-size:11px}.network .chip text{fill:var(--ink);font-size:11px}
.network .chip rect{fill:var(--well);stroke:var(--line)}
.network .chip.ghost rect{fill:var(--blue);fill-opacity:.13;stroke:var(--blue);stroke-opacity:.5}
.network .chip.mark rect{fill:var(--orange);fill-opacity:.13;stroke:var(--orange);stroke-opacity:.5}
.network .plain{fill:var(--grey)}.network .primary{fill:var(--blue)}.network .tint{fill:var(--blue);fill-opacity:.2}
.network .stripe{stroke:var(--blue);stroke-width:2}.network .rule{stroke:var(--line)}
.network .share{fill:var(--green)}.network .time{fill:var(--purple)}.network .track{fill:var(--well)}
.network .band{fill:transparent}.network g:hover>.band{fill:var(--well)}
.network .whole{fill:none;stroke:var(--grey)}.network .part{fill:var(--grey)}
"""


@dataclass(frozen=True)
class _Maps:
    """A bar: `channels` maps written by a Ghost module of `ratio` (1: an ordinary convolution)."""

    channels: int
    ratio: int


@dataclass(frozen=True)
class _Row:
    """What one part of the network shows."""

    title: str  # shown on the first row of a stage
    note: str
    block: str
    expansion: _Maps | None
    output: _Maps
    chips: tuple[tuple[str, str], ...]  # (class, text)
    tooltip: str
    size_share: float  # side of the output maps against the input image
    macs_share: float
    time_share: float | None


@dataclass(frozen=True)
class _Layout:
    """Columns in pixels, for a wide page or a phone."""

    width: int
    bars: tuple[float, float]
    chips: tuple[float, float]  # left; offset from the row's top
    macs: tuple[float, float]
    time: tuple[float, float]
    row: float


LAYOUT_WIDE = _Layout(WIDE, bars=(122, 372), chips=(412, 8), macs=(712, 802), time=(810, 900), row=36)
LAYOUT_NARROW = _Layout(360, bars=(100, 216), chips=(100, 33), macs=(258, 304), time=(312, 358), row=60)


def draw_network(arch: Arch, *, time_ms: Mapping[str, float] | None = None, width: int = WIDE) -> str:
    """An SVG image of the network, complete in itself, light or dark as the screen asks.

    `time_ms`: milliseconds of each block by its name (``stem``, ``stages.0.0``, ..., ``head``), as far as known.
    Below 600 pixels of `width` the form for a phone is drawn.

    >>> from ghostfit.arch import Head, Stage, Stem
    >>> arch = Arch(stem=Stem(out=16), stages=(Stage(out=16, blocks=(Block(mid=16, ratio=2),)),), head=Head())
    >>> draw_network(arch).startswith("<svg")
    True
    """
    layout = LAYOUT_WIDE if width >= 600 else LAYOUT_NARROW
    rows = _rows(arch, time_ms or {})
    pattern = f"cheap-{arch.id}-{layout.width}"
    has_time = any(row.time_share is not None for row in rows)
    parts, at = _heading(layout, pattern, has_time)
    top = max(maps.channels for row in rows for maps in (row.expansion, row.output) if maps)
    for row in rows:
        if row.title:
            parts.append(tag("line", x1=0, x2=layout.width, y1=at, y2=at, class_="rule"))
        parts.append(tag("g", *_draw_row(row, at, layout, top, pattern, rows)))
        at += layout.row
    return tag(
        "svg",
        tag("style", Markup(palette(".network") + STYLE)),
        tag("defs", _stripes(pattern)),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {layout.width} {pixels(at + 2)}",
        role="img",
        aria_label=describe_network(arch),
        class_="network",
    )


def describe_network(arch: Arch) -> str:
    """One sentence: how many blocks, and which kept Ghost modules.

    >>> from ghostfit.arch import Head, Stage, Stem
    >>> block = Block(mid=16, ratio=2)
    >>> describe_network(Arch(stem=Stem(out=16), stages=(Stage(out=16, blocks=(block,)),), head=Head()))
    '1 block in 1 stage at 224×224; Ghost modules in 1 of 1 expansion and in 0 of 1 output.'
    """
    blocks = [(stage, block) for stage in arch.stages for block in stage.blocks]
    expansions = [block for _, block in blocks if block.mid and block.kind == "ghost"]
    outputs = [stage for stage, _ in blocks]
    ghosts = sum(block.ratio > 1 for block in expansions), sum(stage.project_ratio > 1 for stage in outputs)
    height, width = arch.size_hw
    return (
        f"{_number(len(blocks), 'block')} in {_number(len(arch.stages), 'stage')} at {height}×{width}; "
        f"Ghost modules in {ghosts[0]} of {_number(len(expansions), 'expansion')} and in "
        f"{ghosts[1]} of {_number(len(outputs), 'output')}."
    )


def _number(num: int, thing: str) -> str:
    return f"{num} {thing}" if num == 1 else f"{num} {thing}s"


def _rows(arch: Arch, time_ms: Mapping[str, float]) -> list[_Row]:
    costs = {cost.name: cost for cost in counting.count(arch).by_block}
    all_macs, all_ms = sum(cost.macs for cost in costs.values()) or 1, sum(time_ms.values()) or 1.0

    def row(
        name: str,
        title: str,
        block: str,
        maps: tuple[_Maps | None, _Maps],
        chips: list[tuple[str, str]],
        stride: int = 0,  # of maps of several sizes, the finest ones' in pixels
    ) -> _Row:
        cost, ms = costs[name], time_ms.get(name)
        height, width = (-(-side // stride) for side in arch.size_hw) if stride else cost.out[1:]
        note = f"{height}×{width}"
        words = [f"{title or block}: output {maps[1].channels} channels, {note}", ", ".join(chip for _, chip in chips)]
        words.append(f"{count(cost.macs)} MACs ({percent(cost.macs / all_macs)}), {count(cost.params)} parameters")
        if ms is not None:
            words.append(f"{milliseconds(ms)} ({percent(ms / all_ms)})")
        share = math.sqrt(height * width / (arch.size_hw[0] * arch.size_hw[1]))
        tooltip = "; ".join(word for word in words if word)
        time_share = None if ms is None else ms / all_ms
        return _Row(title, note, block, *maps, tuple(chips), tooltip, share, cost.macs / all_macs, time_share)

    kernel = f"{arch.stem.kernel}×{arch.stem.kernel}"
    chips = [("", f"dense {kernel}"), *_stride(arch.stem.stride)]
    rows = [row("stem", "Stem", "", (None, _Maps(arch.stem.out, 1)), chips)]
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.blocks):
            title = f"Stage {i + 1}" if j == 0 else ""
            has_expansion = block.mid and block.kind == "ghost"
            expansion = _Maps(block.mid, block.ratio) if has_expansion else None
            output = _Maps(stage.out, stage.project_ratio)
            rows.append(row(f"stages.{i}.{j}", title, f"{i + 1}.{j + 1}", (expansion, output), _chips(block, output)))
    if arch.dense is not None:
        return [*rows, *_dense_rows(arch.dense, row)]
    head = arch.head
    last = _Maps(head.conv or arch.stages[-1].out, 1)
    chips = [("", f"conv {head.conv}")] if head.conv else []
    chips += [("", f"hidden {head.hidden}")] if head.hidden else []
    rows.append(row("head", "Head", "", (None, last), [*chips, ("", f"classes {arch.num_classes}")]))
    return rows


def _dense_rows(dense: Dense, row: Callable[..., _Row]) -> list[_Row]:
    """Neck and head of a network for every place, at the size of their finest level."""
    stride, kernel = dense.strides[0], ("", f"{dense.kernel}×{dense.kernel}")
    wide, fine = _Maps(dense.width, dense.ratio), _Maps(dense.widths[0], dense.ratio)
    neck = [("", f"strides {', '.join(map(str, dense.strides))}"), kernel]
    neck += [("", f"expand {dense.expand}")] if dense.expand else []
    head = [("", f"depth {dense.head_depth}"), kernel]
    head += [("mark", f"prototypes {dense.num_prototypes}")] if dense.num_prototypes else []
    head += [("mark", "no NMS")] if dense.nms_free else []
    return [
        row("neck", "Neck", "", (None, wide), neck + _ghost_output(wide), stride),
        row("head", "Head", "", (None, fine), head + _ghost_output(fine), stride),
    ]


def _chips(block: Block, output: _Maps) -> list[tuple[str, str]]:
    """The operations of a block, in the order in which they run."""
    if block.kind == "conv":
        return [("", f"dense {block.kernel}×{block.kernel}"), *_stride(block.stride), *_ghost_output(output)]
    chips: list[tuple[str, str]] = []
    if block.start_kernel:
        chips.append(("", f"{block.start_kernel}×{block.start_kernel}"))
    if block.mid and block.ratio > 1:
        chips.append(("ghost", f"ghost /{block.ratio}"))
    if block.dfc:
        chips.append(("mark", "DFC"))
    if block.kernel:
        chips.append(("", " ".join([f"{block.kernel}×{block.kernel}", *(text for _, text in _stride(block.stride))])))
    else:
        chips += _stride(block.stride)
    if block.se:
        chips.append(("mark", f"SE {block.se}"))
    return chips + _ghost_output(output)


def _ghost_output(output: _Maps) -> list[tuple[str, str]]:
    return [("ghost", f"out /{output.ratio}")] if output.ratio > 1 else []


def _stride(stride: int) -> list[tuple[str, str]]:
    return [("", f"↓{stride}")] if stride > 1 else []


def _heading(layout: _Layout, pattern: str, has_time: bool) -> tuple[list[Markup], float]:
    """Legend and column heads; returns them and where the rows begin."""
    entries = (("plain", "plain convolution"), ("primary", "Ghost: primary maps"), ("cheap", "Ghost: cheap maps"))
    parts: list[Markup] = []
    x, y = 0.0, 3.0
    for kind, meaning in entries:
        if x + 22 + len(meaning) * 12 * CHAR > layout.width:
            x, y = 0.0, y + 20
        parts += [_bar(x, y, 14, 12, kind, pattern), text(x + 20, y + 10, meaning)]
        x += 40 + len(meaning) * 12 * CHAR
    y += 40
    is_narrow = layout.width < 600
    heads = [(0.0, "stage"), (layout.bars[0], "channels" if is_narrow else "channels: expansion over output")]
    heads += [] if is_narrow else [(layout.chips[0], "operations")]
    heads += [(layout.macs[0], "MACs")] + ([(layout.time[0], "time")] if has_time else [])
    parts += [text(x, y, head, class_="head") for x, head in heads]
    return parts, y + 8


def _draw_row(row: _Row, at: float, layout: _Layout, top: int, pattern: str, rows: list[_Row]) -> list[Markup]:
    parts = [tag("title", row.tooltip), tag("rect", x=0, y=at, width=layout.width, height=layout.row, class_="band")]
    if row.title:
        side = 24 * math.sqrt(row.size_share)  # the areas go with the sides: 1/32 would not be seen
        parts += [
            tag("rect", x=0.5, y=at + 6.5, width=24, height=24, rx=2, class_="whole"),
            tag("rect", x=0.5, y=at + 30.5 - side, width=side, height=side, class_="part"),
            text(32, at + 16, row.title, class_="name"),
            text(32, at + 30, row.note, class_="small"),
        ]
    left, room = layout.bars[0], layout.bars[1] - layout.bars[0]
    bars = [(row.expansion, 6.0, 11.0), (row.output, 20.0, 9.0)] if row.expansion else [(row.output, 12.0, 12.0)]
    for maps, offset, height in bars:
        assert maps is not None
        parts += _draw_maps(maps, left, at + offset, height, room / top, pattern)
    parts += _draw_chips(row.chips, at, layout)
    parts += _meter(row.macs_share, max(r.macs_share for r in rows), layout.macs, at, layout, "share")
    if row.time_share is not None:
        parts += _meter(row.time_share, max(r.time_share or 0 for r in rows), layout.time, at, layout, "time")
    return parts


def _draw_chips(chips: tuple[tuple[str, str], ...], at: float, layout: _Layout) -> list[Markup]:
    """The operations as small labels side by side, closer where there are many."""
    x, offset = layout.chips
    room = (layout.macs[0] if layout.chips[1] < 20 else layout.width) - x - 4
    letters = sum(len(content) for _, content in chips) * 11 * CHAR
    air = min(max((room - letters) / max(len(chips), 1) - 3, 3), 12)
    parts = []
    for kind, content in chips:
        wide = len(content) * 11 * CHAR + air
        box = tag("rect", x=x, y=at + offset, width=wide, height=20, rx=5)
        label = text(x + wide / 2, at + offset + 14, content, anchor="middle")
        parts.append(tag("g", box, label, class_=f"chip {kind}".strip()))
        x += wide + 3
    return parts


def _draw_maps(maps: _Maps, x: float, y: float, height: float, scale: float, pattern: str) -> list[Markup]:
    primaries = -(-maps.channels // maps.ratio)
    solid, cheap = primaries * scale, (maps.channels - primaries) * scale
    parts = [_bar(x, y, max(solid, 1), height, "plain" if maps.ratio == 1 else "primary", pattern)]
    if maps.ratio > 1:
        parts.append(_bar(x + solid, y, cheap, height, "cheap", pattern))
    return [*parts, text(x + solid + cheap + 6, y + height - 0.5, str(maps.channels), class_="small")]


def _bar(x: float, y: float, width: float, height: float, kind: str, pattern: str) -> Markup:
    if kind != "cheap":
        return tag("rect", x=x, y=y, width=width, height=height, class_=kind)
    size = {"x": x, "y": y, "width": width, "height": height}
    return join([tag("rect", class_="tint", **size), tag("rect", fill=f"url(#{pattern})", **size)])


def _meter(
    share: float, top: float, column: tuple[float, float], at: float, layout: _Layout, kind: str
) -> list[Markup]:
    """A small bar, full at the largest share of its column, with its percentage."""
    shown = percent(share, 0) if share >= 0.1 else percent(share)
    room = column[1] - column[0]
    if layout.width < 600:
        x, y, bar_room = column[0], at + 18, room - 4
        label = text(column[0], at + 13, shown, class_="small")
    else:
        x, y, bar_room = column[0], at + 13, room - 42
        label = text(x + bar_room * share / (top or 1) + 5, at + 22, shown, class_="small")
    height = 5 if layout.width < 600 else 10
    return [tag("rect", x=x, y=y, width=max(bar_room * share / (top or 1), 1), height=height, rx=1, class_=kind), label]


def _stripes(pattern: str) -> Markup:
    line = tag("line", x1=0, x2=0, y1=0, y2=5, class_="stripe")
    turn = "rotate(40)"
    return tag("pattern", line, id=pattern, width=5, height=5, patternUnits="userSpaceOnUse", patternTransform=turn)

"""The network that was found, drawn block by block."""

from __future__ import annotations

from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.network import describe_network, draw_network
from ghostfit.report.read import RunData
from ghostfit.report.section import Section, intro, more
from ghostfit.report.svg import figure, responsive


def drawing(run: RunData) -> Section:
    """The drawing, with the share of arithmetic and of time of each block, and the start network for comparison."""
    title = "The network"
    arch = run.arch
    if arch is None:
        return Section("network", title, None, "No network is chosen yet (arch.json).")
    lead = (
        "A row is a block. The upper bar is as long as its expansion has channels, the lower one as its output has. "
        "Grey maps come from an ordinary convolution; of a Ghost module the solid part is computed in full and the "
        "striped part derived from it by a cheap depthwise operation. “ghost /2” computes one map in 2 in full, "
        "“out /2” the same for the output; 3×3 and 5×5 are depthwise kernels, ↓2 halves the resolution, SE is "
        "squeeze-and-excitation with its inner channels, DFC long-range attention."
    )
    body = [
        tag("p", describe_network(arch)),
        intro(lead),
        figure(responsive(lambda width: Markup(draw_network(arch, time_ms=run.block_ms, width=width)))),
    ]
    if not run.block_ms:
        body.append(tag("p", "The time of each block was not measured in this run.", class_="caption"))
    start = run.start
    if start is not None and start.id != arch.id:
        picture = responsive(lambda width: Markup(draw_network(start, width=width)))
        body.append(
            more(f"Where the search started: {run.start_name}", join([tag("p", describe_network(start)), picture]))
        )
    return Section("network", title, join(body), is_long=True)

"""A plot of `ghostfit.report.svg`, which lives in a page with its style sheet, as a file that stands alone."""

from __future__ import annotations

import re

from ghostfit.report.style import LIGHT

COLOURS = ("blue", "grey", "purple", "green", "orange", "yellow")
STYLE = (
    "text{font:12px sans-serif;fill:var(--soft)}.grid{stroke:var(--line)}.axis{stroke:var(--grey)}"
    + "".join(f".{name}{{fill:var(--{name});stroke:var(--{name})}}" for name in COLOURS)
    + ".mark{stroke:var(--card)}.curve{stroke-width:2}"
)


def standalone(svg: str) -> str:
    """The same picture with colours and fonts of its own, on white."""
    colours = ";".join(f"--{name}:{value}" for name, value in LIGHT.items())
    head, _, rest = svg.partition(">")
    head = re.sub(r' style="[^"]*"', "", head)  # an attribute that is given twice is an error in XML
    return f'{head} style="{colours};background:#fff"><style>{STYLE}</style>{rest}'

"""Write the tables of arguments in ``docs/commands/*.md`` anew from the configurations: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

import ghostfit.api
from ghostfit.cli import VERBS
from ghostfit.config import describe_flags

BEGIN, END = "<!-- arguments, written by docs/flags.py -->", "<!-- end -->"
COMMANDS = Path(__file__).parent / "commands"


def with_table(page: str, verb: str) -> str:
    """`page` with the table of the verb's arguments between its marks. Raises ValueError when a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/commands/{verb}.md lacks the line {BEGIN!r} or {END!r}")
    rows = [
        *describe_flags(getattr(ghostfit.api, f"{verb.capitalize()}Config")),
        ("--json", "print the result as JSON"),
    ]
    if VERBS[verb].has_csv:
        rows.append(("--csv", "print the result as CSV"))
    lines = [f"| `{written}` | {text} |".replace("|,", r"\|,") for written, text in rows]
    return "\n".join([before + begin, "", "| argument | meaning |", "|---|---|", *lines, "", end + after])


def main() -> int:
    """Write the pages that differ and name them."""
    for verb in VERBS:
        path = COMMANDS / f"{verb}.md"
        old = path.read_text(encoding="utf-8")
        new = with_table(old, verb)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The sentence about paying says no more than the figures do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghostfit.counting import count
from ghostfit.run import Run
from ghostfit.search.limits import Limits
from ghostfit.search.start import plain_start
from ghostfit.space import Space
from ghostfit.verbs.afford import LEAST_MACS, affordable_macs
from ghostfit.verbs.compare import hand_made, sentence_of
from ghostfit.verbs.fit import fit


def row(name: str, metric: float | None, error: float = 0.01) -> dict[str, Any]:
    return {"name": name, "metric": metric, "standard_error": error, "latency_ms": 1.0, "macs": 1, "params": 1}


@pytest.mark.parametrize(
    ("found", "rival", "beginning"),
    [
        (0.90, 0.80, "Search paid:"),
        (0.905, 0.90, "Search paid too little to be sure of:"),
        (0.90, 0.90, "Search did not pay:"),
        (0.80, 0.90, "Search did not pay:"),
        (None, 0.90, "Whether search paid is not known"),
        (0.90, None, "Whether search paid is not known"),
    ],
)
def test_the_sentence_follows_the_figures(found: float | None, rival: float | None, beginning: str) -> None:
    assert sentence_of([row("found", found), row("random search", rival)], Limits()).startswith(beginning)


def test_the_best_rival_counts() -> None:
    rows = [row("found", 0.9), row("start network", 0.7), row("random search", 0.95)]
    assert "random search" in sentence_of(rows, Limits(latency_ms=2.0))


def test_networks_by_hand_are_the_start_and_even_widths() -> None:
    start = plain_start(4, (32, 32), width=0.5)
    space = Space.around(start, widths=(0.5, 0.75, 1.0), expands=(0.5, 1.0))
    networks = hand_made(space, start)
    assert networks[0] == ("start", start) and {origin for origin, _ in networks[1:]} == {"width"}
    macs = [count(arch).macs for _, arch in networks[1:]]
    assert macs == sorted(macs) and all(arch in space for _, arch in networks)


def test_networks_by_hand_are_the_start_at_smaller_inputs_too() -> None:
    start = plain_start(4, (64, 64), width=0.5)
    networks = hand_made(Space.around(start, widths=(0.5, 1.0), sizes=(0.5, 0.75, 1.0)), start)
    assert [(origin, arch.size_hw) for origin, arch in networks[:3]] == [
        ("start", (64, 64)),
        ("size", (48, 48)),
        ("size", (32, 32)),
    ]
    assert all(arch.stages == start.stages for _, arch in networks[:3])


def test_more_time_affords_a_larger_network() -> None:
    arch = plain_start(4, (32, 32), width=0.25, depth=1)
    short, long = (affordable_macs(arch, 10_000, seconds, (60, 50)) for seconds in (1.0, 10_000.0))
    assert short == LEAST_MACS < long


@pytest.mark.slow
def test_rivals_are_trained_as_long(shapes: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.json"
    start.write_text(plain_start(3, (32, 32), width=0.25, depth=1).to_json())
    result = fit(
        shapes, out=str(tmp_path / "run"), start=str(start), compare=True, search_epochs=2.0, epochs=3.0, evaluations=2
    )
    run = Run.open(result.run)
    rows = [entry for entry in run.read_json("paid.json")["rows"] if entry["how"] == "trained, equal images"]
    # No preset is as fast as a found network of so few weights, however narrow: then the start is the only rival.
    assert [entry["name"] for entry in rows][:2] == ["found", "start network, width-scaled"]
    assert all(entry["latency_ms"] <= 1.02 * rows[0]["latency_ms"] for entry in rows)
    last = {record["phase"]: record["step"] for record in run.records("metrics.jsonl")}
    assert len({step for phase, step in last.items() if phase.startswith(("train", "compare"))}) == 1
    assert "trained on as many images" in result.sentence

"""Whether search paid: the found network beside what takes no search, with equal weights and within equal limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ghostfit.arch import Arch
from ghostfit.search.limits import Limits
from ghostfit.space import Point, Space

if TYPE_CHECKING:
    from ghostfit.search.runoff import Finalist
    from ghostfit.search.study import Evaluation

WIDTH_GENES = ("out", "mid", "conv", "hidden")
INHERITED = "inherited weights"
SHORTLY = "after a short training of each"
NAMES = {  # by origin
    "random": "random search",
    "start": "start network",
    "size": "start network at a smaller input",
    "width": "width-scaled by hand",
}


def hand_made(space: Space, start: Arch) -> list[tuple[str, Arch]]:
    """(origin, arch) of networks that a person would try: the start, smaller inputs, and all widths scaled alike."""
    if start in space:
        base = space.encode(start)
        found = [("start", start)]
    else:
        base = {name: choices[-1] for name, choices in space.genes}
        found = []
    found += [("size", space.decode({**base, "size": size})) for size in space.choices("size")[-2::-1]]
    most = max(len(space.choices(gene)) for gene, _ in space.genes)
    for share in [number / max(most - 1, 1) for number in range(most)]:
        found.append(("width", space.decode(_scaled(space, base, share))))
    unique: dict[str, tuple[str, Arch]] = {}
    for origin, arch in found:
        unique.setdefault(arch.id, (origin, arch))
    return list(unique.values())


def rows_of(
    found: Evaluation, evaluations: Sequence[Evaluation], strategy: str, how: str = INHERITED
) -> list[dict[str, Any]]:
    """Rows for ``paid.json``: the found network and the best of each origin, by the rule it was chosen by itself."""
    from ghostfit.search.study import best

    rows = [{**_row("found", found), "how": how}]
    for origin, name in NAMES.items():
        rival = best(e for e in evaluations if e.origin == origin and origin != strategy)
        if rival is not None:
            rows.append({**_row(name, rival), "how": how})
    return rows


def rows_of_run_off(held: Sequence[Finalist], strategy: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows like those of `rows_of` by the scores of a run-off, the best of which is first; and rows of the rest."""
    rows, rest = [_row("found", held[0].evaluation, held[0])], []
    for origin, name in NAMES.items():
        rival = next((f for f in held if f.evaluation.origin == origin and origin != strategy), None)
        if rival is not None:
            rows.append(_row(name, rival.evaluation, rival))
    for finalist in held[1:]:
        if finalist.evaluation.arch.id not in {row["arch_id"] for row in rows}:
            height, width = finalist.evaluation.arch.size_hw
            rest.append(_row(f"search, {height}x{width} px", finalist.evaluation, finalist))
    return rows, rest


def sentence_of(
    rows: Sequence[dict[str, Any]], limits: Limits, how: str = "with shared weights", name: str = "accuracy"
) -> str:
    """One sentence that says whether search paid, as far as the images that `rows` were scored on can tell.

    `name` is that of the metric, for people.
    """
    found, others = rows[0], [row for row in rows[1:] if row["metric"] is not None]
    within = "within the limits" if limits.given() else "without limits"
    if found["metric"] is None or not others:
        return "Whether search paid is not known: nothing to compare it with was scored."
    rival = max(others, key=lambda row: float(row["metric"]))
    gain = found["metric"] - rival["metric"]
    # Both are scored on the same images, so the error of the difference is at most this.
    error = (found["standard_error"] ** 2 + rival["standard_error"] ** 2) ** 0.5
    text = (
        f"{100 * found['metric']:.1f} % {name} at {found['latency_ms']:.3f} ms against "
        f"{100 * rival['metric']:.1f} % at {rival['latency_ms']:.3f} ms of the best alternative ({rival['name']}), "
        f"{within}, {how}"
    )
    if gain <= 0:
        return f"Search did not pay: {text}."
    if gain < error:
        return (
            f"Search paid too little to be sure of: {text}; "
            f"the difference is below its standard error of {100 * error:.1f} points."
        )
    return f"Search paid: {text}."


def _scaled(space: Space, base: Point, share: float) -> Point:
    """`base` with each width gene at the given share of the way through its choices."""
    point = dict(base)
    for gene, choices in space.genes:
        if gene.rsplit(".", 1)[-1] in WIDTH_GENES:
            point[gene] = choices[round(share * (len(choices) - 1))]
    return point


def _row(name: str, evaluation: Evaluation, finalist: Finalist | None = None) -> dict[str, Any]:
    score = evaluation.score if finalist is None else finalist.score
    return {
        "name": name,
        "arch_id": evaluation.arch.id,
        "metric": None if score is None else score.metric,
        "standard_error": None if score is None else score.standard_error,
        "latency_ms": evaluation.costs.latency_ms,
        "macs": evaluation.costs.macs,
        "params": evaluation.costs.params,
        "how": INHERITED if finalist is None else SHORTLY,
    }

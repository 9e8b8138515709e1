"""A run-off: the best networks of each kind are trained for a while, each alone, before one of them is taken.

Shared weights tell networks of one input size apart, and favour small sizes over large ones by more than networks
differ by (measured, docs/LOG.md, 2026-11-27). So the best of each size and of each way of proposing goes on, and what
a short training from inherited weights makes of it decides; successive halving in one round (arXiv 1502.07943).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ghostfit.arch import Arch
from ghostfit.nn.build import Network
from ghostfit.run import Run
from ghostfit.search.evaluate import Score
from ghostfit.search.study import Evaluation, best

RECORDS = "runoff.jsonl"
MOST_FINALISTS = 5
FAR = 4.0  # standard errors below the best network, from which on one of another kind is no finalist


@dataclass(frozen=True)
class Finalist:
    """A network that the study put forward, and its score after the short training."""

    evaluation: Evaluation
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """A line of ``runoff.jsonl``."""
        return {"arch_id": self.evaluation.arch.id, "origin": self.evaluation.origin, **asdict(self.score)}


def finalists(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The best network, then the best of each input size and of each origin: at most `MOST_FINALISTS`, each once.

    One alone where nothing needs to be told apart, and none where quality is not the task's metric: a proxy has the
    last word when it was asked for.
    """
    scored = [e for e in evaluations if e.is_feasible and e.score is not None and e.quality is not None]
    first = best(scored)
    if first is None or first.score is None or first.quality != first.score.metric:
        return []
    least = first.score.metric - FAR * first.score.standard_error
    near = [e for e in scored if e.score is not None and e.score.metric >= least]
    kinds: list[Callable[[Evaluation], Any]] = [lambda e: e.arch.size_hw, lambda e: e.origin]
    chosen = {first.arch.id: first}
    for kind in kinds:
        groups = [best(e for e in near if kind(e) == value) for value in dict.fromkeys(map(kind, near))]
        ranked = sorted((e for e in groups if e is not None), key=lambda e: -(e.quality or 0.0))
        for evaluation in ranked:
            chosen.setdefault(evaluation.arch.id, evaluation)
    return list(chosen.values())[:MOST_FINALISTS]


def run_off(
    run: Run,
    wanted: Sequence[Evaluation],
    train: Callable[[Arch], Network | None],
    score: Callable[[Network], Score],
) -> list[Finalist]:
    """Train and score each of `wanted` that ``runoff.jsonl`` does not have, and rank them: the one to take first.

    `train` gives None when it was stopped: the networks trained until then are returned.
    """
    earlier = {row["arch_id"]: row for row in run.records(RECORDS)}
    held = []
    for evaluation in wanted:
        row = earlier.get(evaluation.arch.id)
        if row is None:
            network = train(evaluation.arch)
            if network is None:
                break
            finalist = Finalist(evaluation, score(network))
            run.append(RECORDS, finalist.to_dict())
        else:
            finalist = Finalist(evaluation, Score(**{name: row[name] for name in Score.__dataclass_fields__}))
        held.append(finalist)
    return ranked(held)


def ranked(held: Sequence[Finalist]) -> list[Finalist]:
    """The best first; those that its standard error can't tell from it come first too, by multiply-adds.

    A large one has more to gain from a whole training (one pair measured, docs/LOG.md, 2026-12-01). Of equals that have
    no error, since all their answers are right, the fastest.
    """
    by_score = sorted(held, key=lambda finalist: (-finalist.score.metric, finalist.evaluation.costs.latency_ms))
    if not by_score or not (error := by_score[0].score.standard_error):
        return by_score
    least = by_score[0].score.metric - error
    num_alike = sum(finalist.score.metric >= least for finalist in by_score)
    alike = sorted(by_score[:num_alike], key=lambda finalist: -finalist.evaluation.costs.macs)
    return [*alike, *by_score[num_alike:]]

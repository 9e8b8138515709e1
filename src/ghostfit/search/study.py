"""A study asks a strategy for architectures, measures them under hard limits and keeps every result on disk.

Costs are measured first: a network outside the limits costs no evaluation of its quality. Every result is a line of
``search.jsonl``; a study that is opened again on the same run reads them and repeats none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ghostfit.arch import Arch
from ghostfit.run import Run
from ghostfit.search.evaluate import OBJECTIVES, Evaluator, Score
from ghostfit.search.limits import Costs, Limits, main_cost
from ghostfit.search.strategies import Proposal, open_strategy
from ghostfit.space import Space

RECORDS = "search.jsonl"
MOST_ASKS = 40  # proposals for each evaluation wanted; beyond it the space within the limits is exhausted


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One architecture with what was measured of it. `score` is None where the limits were broken."""

    number: int
    origin: str
    arch: Arch
    costs: Costs
    score: Score | None
    quality: float | None
    is_feasible: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A line of ``search.jsonl``."""
        score = {} if self.score is None else asdict(self.score)
        return {
            "number": self.number,
            "origin": self.origin,
            "arch_id": self.arch.id,
            "metric": None,
            "loss": None,
            **score,
            **asdict(self.costs),
            "quality": self.quality,
            "is_feasible": self.is_feasible,
            "seconds": self.seconds,
            "arch": self.arch.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """Inverse of `to_dict`."""
        names = Score.__dataclass_fields__
        return cls(
            number=data["number"],
            origin=data["origin"],
            arch=Arch.from_dict(data["arch"]),
            costs=Costs(**{name: data[name] for name in Costs.__dataclass_fields__}),
            score=None if data["metric"] is None else Score(**{name: data[name] for name in names}),
            quality=data["quality"],
            is_feasible=data["is_feasible"],
            seconds=data["seconds"],
        )


@dataclass
class Study:
    """The evaluations of one run, from every origin, and the means to make more."""

    run: Run
    evaluator: Evaluator
    limits: Limits
    objective: str = "metric"
    seed: int = 0

    def evaluations(self) -> list[Evaluation]:
        """All results so far, oldest first."""
        return [Evaluation.from_dict(record) for record in self.run.records(RECORDS)]

    def search(
        self,
        space: Space,
        strategy_name: str,
        num_evaluations: int,
        *,
        first: Iterable[Arch] = (),
        is_over: Callable[[], bool] = lambda: False,
    ) -> Iterator[Evaluation]:
        """Evaluate until `num_evaluations` networks within the limits have been scored, or `is_over` says so.

        Yields each new evaluation, those outside the limits too. `first` are proposed before anything else.
        """
        earlier = self.evaluations()
        known = {e.arch.id: e for e in earlier}
        mine = {e.arch.id for e in earlier if e.origin == strategy_name}
        num_scored = sum(known[arch_id].score is not None for arch_id in mine)
        journal = self.run.file("checkpoints", f"{strategy_name}.journal")
        strategy = open_strategy(strategy_name, space, seed=self.seed, journal=journal, first=first)
        for _ in range(num_evaluations * MOST_ASKS):
            if num_scored >= num_evaluations or is_over():
                return
            proposal: Proposal = strategy.ask()
            arch_id = proposal.arch.id
            evaluation = known.get(arch_id)
            if evaluation is None or arch_id not in mine:
                evaluation = self.evaluate(proposal.arch, strategy_name, known=evaluation)
                known[arch_id] = evaluation
                mine.add(arch_id)
                num_scored += evaluation.score is not None
                yield evaluation
            excess = total_violation(self.limits, evaluation.costs)
            # An infeasible network has no quality; constraint domination never compares the 0 that stands for it.
            strategy.tell(proposal.number, evaluation.quality or 0.0, main_cost(self.limits, evaluation.costs), excess)

    def evaluate(self, arch: Arch, origin: str, *, known: Evaluation | None = None) -> Evaluation:
        """Measure one network and write its line.

        `known` is an earlier result of another origin for the same network.
        """
        start = time.perf_counter()
        costs = known.costs if known else self.evaluator.costs(arch)
        is_feasible = not self.limits.violations(costs)
        score, quality = (known.score, known.quality) if known else (None, None)
        if score is None and is_feasible:
            score = self.evaluator.score(arch)
            quality = OBJECTIVES[self.objective](self.evaluator, arch)
        evaluation = Evaluation(
            number=sum(1 for _ in self.run.records(RECORDS)),
            origin=origin,
            arch=arch,
            costs=costs,
            score=score,
            quality=quality,
            is_feasible=is_feasible,
            seconds=round(time.perf_counter() - start, 3),
        )
        self.run.append(RECORDS, evaluation.to_dict())
        return evaluation


def best(evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """The feasible evaluation of the highest quality.

    Where quality is the task's metric, those within a standard error of the highest can't be told apart by it: of
    these, the one of most multiply-adds, which has most to gain from a training of its own (docs/LOG.md, 2026-11-26).
    """
    return next(iter(alike(evaluations)), None)


def alike(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The feasible evaluations that can't be told from the one of highest quality, the one to take first.

    By a proxy every two can be told apart.
    """
    scored = [e for e in evaluations if e.is_feasible and e.score is not None and e.quality is not None]
    first = max(scored, key=lambda e: (e.quality, -e.costs.latency_ms), default=None)
    if first is None or first.score is None or first.quality is None:
        return []
    if first.quality != first.score.metric:
        return [first]
    least = first.quality - first.score.standard_error
    near = [e for e in scored if e.quality is not None and e.quality >= least]
    return sorted(near, key=lambda e: (-e.costs.macs, -(e.quality or 0.0), e.costs.latency_ms))


def total_violation(limits: Limits, costs: Costs) -> float:
    """Sum of the relative excesses over the limits; 0 when all hold."""
    given = limits.given()
    return sum(excess / given[name] for name, excess in limits.violations(costs).items())

"""Dropping choices that the evidence rules out, each with its reason.

Before training: choices with which even the fastest network breaks a hard limit. During training: some networks of the
current space are scored and timed; a Bayesian linear model over the genes' choices tells each choice's share in
the task's metric and in latency, and how sure that is. A choice is dropped when another one of its gene is better by
`SURE` standard deviations and costs no more. What costs less and gives less is left to the study: what a point is
worth depends on how near the limit the rest of the network is, and a price for it closed what a generous limit needs
(docs/LOG.md, 2026-11-26).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostfit.arch import Arch
from ghostfit.run import Run, write_atomically
from ghostfit.search.evaluate import Evaluator
from ghostfit.search.limits import Costs, Limits, main_cost
from ghostfit.space import Space

SURE = 1.5  # standard deviations between two choices before the lesser is dropped
ALIKE = 0.02  # of the logarithm of the cost: what two choices may differ by and still cost the same
RISING = 1.25  # CIFAR-10, TrashNet and the digits gave 1.03 to 1.1, a detector after 330 steps 2 (docs/LOG.md)
UNFAIR = ("size",)  # genes of which shared weights favour a choice that is worse when trained (docs/LOG.md, 2026-11-27)
PRIOR_SHARE = 0.5  # of the spread of the metric that one choice may explain, before any evidence
Array = NDArray[np.float64]
Seen = tuple[int, dict[str, int], float, float]  # phase, point, metric, cost


@dataclass(frozen=True)
class Dropped:
    """A gene's choices that were closed, and why; a line of ``shrink.jsonl``."""

    phase: int
    gene: str
    dropped: tuple[int, ...]
    kept: tuple[int, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {
            "phase": self.phase,
            "gene": self.gene,
            "dropped": list(self.dropped),
            "kept": list(self.kept),
            "reason": self.reason,
        }


def drop_infeasible(
    space: Space, limits: Limits, costs_of: Callable[[Arch], Costs], *, feasible: Arch | None = None
) -> tuple[Space, list[Dropped]]:
    """The space without the choices that break a limit even in the smallest network that has them.

    `feasible` is a network within the limits to change one choice of, in place of the smallest.
    """
    log: list[Dropped] = []
    if not limits.given():
        return space, log
    cheap = {name: choices[0] for name, choices in space.genes}
    if feasible is not None:
        cheap |= space.encode(feasible)
    for gene in space.open_genes():
        too_much = []
        for choice in reversed([choice for choice in space.choices(gene) if choice != cheap[gene]]):
            broken = limits.violations(costs_of(space.decode({**cheap, gene: choice})))
            if not broken:
                break  # choices are ordered by cost: the cheaper ones fit as well
            too_much.append((choice, broken))
        if too_much:
            kept = tuple(c for c in space.choices(gene) if c not in {choice for choice, _ in too_much})
            name, excess = next(iter(too_much[-1][1].items()))
            reason = f"even the smallest network with it exceeds {name} by {excess:.3g}"
            log.append(Dropped(0, gene, tuple(choice for choice, _ in too_much), kept, reason))
            space = space.restrict(gene, kept)
    return space, log


@dataclass
class Shrinker:
    """Gathers evidence and shrinks a space; called by the supernet's training with the space and the phase's number.

    The cost that the metric is weighed against is the first limit's; without limits cost closes no choice.
    Evidence that `is_over` cuts short closes nothing, nor does that of a store that still learns fast.
    """

    evaluator: Evaluator
    limits: Limits
    run: Run
    num_networks: int = 16
    seed: int = 0
    is_over: Callable[[], bool] = lambda: False
    evidence: list[Seen] = field(default_factory=list)

    def __call__(self, space: Space, phase: int) -> Space:
        """The smaller space. What was dropped is written to ``shrink.jsonl``, what was seen to ``evidence.jsonl``."""
        self.evaluator.forget()
        self._recall(phase)
        seen = []
        for arch in balanced_sample(space, self.num_networks, random.Random(f"{self.seed}:{phase}")):
            if self.is_over():
                return space
            score, costs = self.evaluator.score(arch), self.evaluator.costs(arch)
            seen.append((phase, space.encode(arch), score.metric, main_cost(self.limits, costs)))
        self.evaluator.forget()
        self.evidence += seen
        smaller, log = space, list[Dropped]()
        if not is_rising(self.evidence, phase):
            smaller, log = drop_by_evidence(space, self.evidence, phase + 1, has_limit=bool(self.limits.given()))
        earlier = [record for record in self.run.records("evidence.jsonl") if record["phase"] < phase]
        names = ("phase", "point", "metric", "cost")
        write_lines(self.run, "evidence.jsonl", [*earlier, *(dict(zip(names, row, strict=True)) for row in seen)])
        old = [record for record in self.run.records("shrink.jsonl") if record["phase"] <= phase]
        write_log(self.run, old, log)
        return smaller

    def _recall(self, phase: int) -> None:
        """Evidence of earlier phases from the run folder, after a kill; what a killed phase wrote is not used twice."""
        if not self.evidence:
            records = [record for record in self.run.records("evidence.jsonl") if record["phase"] < phase]
            by_key = {(r["phase"], repr(r["point"])): r for r in records}
            self.evidence = [(r["phase"], r["point"], r["metric"], r["cost"]) for r in by_key.values()]


def is_rising(evidence: Sequence[Seen], phase: int) -> bool:
    """Whether the mean of the metric has grown by more than `RISING` since the phase before.

    Such evidence tells what learns fast, which is what is small, not what will be good.
    """
    before, now = ([metric for number, _, metric, _ in evidence if number == wanted] for wanted in (phase - 1, phase))
    return bool(before and now) and float(np.mean(now)) > RISING * float(np.mean(before))


def write_log(run: Run, old: Sequence[dict[str, Any]], new: Sequence[Dropped]) -> None:
    """Write ``shrink.jsonl`` whole: a phase that a kill repeats leaves no line twice."""
    write_lines(run, "shrink.jsonl", [*old, *(entry.to_dict() for entry in new)])


def write_lines(run: Run, name: str, records: Sequence[dict[str, Any]]) -> None:
    """Write a ``.jsonl`` file whole or not at all."""
    write_atomically(run.file(name), "".join(json.dumps(record) + "\n" for record in records).encode())


def drop_by_evidence(
    space: Space,
    evidence: Sequence[Seen],
    phase: int,
    *,
    has_limit: bool = True,
) -> tuple[Space, list[Dropped]]:
    """The space without choices that others of their gene beat; without a limit, whatever they cost.

    Input sizes stay: a run-off tells them apart (`ghostfit.search.runoff`).
    """
    model = GeneModel.fit(space, evidence)
    log = []
    for gene in space.open_genes():
        if gene in UNFAIR:
            continue
        choices = space.choices(gene)
        lost: dict[int, tuple[int, float, float]] = {}
        for choice in choices:
            for other in choices:
                behind, deviation = model.difference(gene, other, choice)
                is_as_cheap = not has_limit or model.log_ratio(gene, other, choice) <= ALIKE
                if other not in lost and behind > SURE * deviation and is_as_cheap:
                    lost.setdefault(choice, (other, behind, deviation))
        if not lost:
            continue
        kept = tuple(choice for choice in choices if choice not in lost)
        text = ", ".join(
            f"{choice} ({100 * behind:.1f} ± {100 * deviation:.1f} points below {other}"
            + (", which costs no more)" if has_limit else ")")
            for choice, (other, behind, deviation) in lost.items()
        )
        log.append(Dropped(phase, gene, tuple(lost), kept, f"{text}, over {len(evidence)} networks"))
        space = space.restrict(gene, kept)
    return space, log


@dataclass(frozen=True)
class GeneModel:
    """Share of each choice of each gene in the metric and in log cost, by Bayesian linear regression."""

    columns: dict[tuple[str, int], int]
    metric: Array  # (K,) posterior mean of each choice's share, 0..1
    covariance: Array  # (K, K)
    log_cost: Array  # (K,)

    @classmethod
    def fit(cls, space: Space, evidence: Sequence[Seen]) -> GeneModel:
        """The model of `evidence`; each phase has its own mean, since weights improve between phases."""
        columns = {
            pair: number
            for number, pair in enumerate(
                (gene, choice) for gene in space.open_genes() for choice in space.choices(gene)
            )
        }
        design = np.zeros((len(evidence), len(columns)))
        for row, (_, point, _, _) in enumerate(evidence):
            for pair in point.items():
                if pair in columns:
                    design[row, columns[pair]] = 1.0
        phases = np.array([phase for phase, *_ in evidence])
        metric = _centred(np.array([value for _, _, value, _ in evidence]), phases)
        log_cost = _centred(np.log([cost for *_, cost in evidence]), phases)
        design = np.stack([_centred(column, phases) for column in design.T], axis=1)
        share, covariance = _regress(design, metric)
        cost_share, _ = _regress(design, log_cost)
        return cls(columns, share, covariance, cost_share)

    def difference(self, gene: str, better: int, lesser: int) -> tuple[float, float]:
        """How much more accurate (0..1) `better` is than `lesser`, and the standard deviation of that."""
        a, b = self.columns[gene, better], self.columns[gene, lesser]
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        return float(self.metric[a] - self.metric[b]), float(np.sqrt(max(variance, 0.0)))

    def log_ratio(self, gene: str, first: int, second: int) -> float:
        """Logarithm of what `first` costs, divided by what `second` costs."""
        return float(self.log_cost[self.columns[gene, first]] - self.log_cost[self.columns[gene, second]])


def balanced_sample(space: Space, num: int, rng: random.Random) -> list[Arch]:
    """Networks in which each choice of each gene occurs equally often, otherwise at random."""
    decks = {}
    for gene, choices in space.genes:
        deck = [choices[i % len(choices)] for i in range(num)]
        rng.shuffle(deck)
        decks[gene] = deck
    return [space.decode({gene: deck[i] for gene, deck in decks.items()}) for i in range(num)]


def _regress(design: Array, target: Array) -> tuple[Array, Array]:
    """Posterior mean and covariance of the coefficients, prior and noise set from the target's spread."""
    num, width = design.shape
    variance = float(target.var()) or 1e-12
    prior = PRIOR_SHARE**2 * variance
    noise = variance
    for _ in range(3):  # the noise is what the model leaves unexplained
        precision = design.T @ design / noise + np.eye(width) / prior
        covariance = np.linalg.inv(precision)
        mean = covariance @ design.T @ target / noise
        effective = width - np.trace(covariance) / prior
        residual = target - design @ mean
        noise = max(float(residual @ residual) / max(num - effective, 1.0), 1e-3 * variance)
    return np.asarray(mean, np.float64), np.asarray(covariance, np.float64)


def _centred(values: Array, groups: NDArray[np.int64]) -> Array:
    """Values less the mean of their group."""
    result = np.asarray(values, dtype=np.float64).copy()
    for group in np.unique(groups):
        result[groups == group] -= result[groups == group].mean()
    return result

"""Strategies propose architectures and learn from what they are told: NSGA-II and TPE by Optuna, and random search.

All work by ask and tell, on disk: a strategy opened again on the same journal goes on where it was. The sampler's seed
is derived from the run's seed and the trial number, so a resumed study asks what an uninterrupted one would have asked.

Sources: NSGA-II with constraint domination, Deb et al. 2002; TPE, arXiv 2304.11127; Optuna, arXiv 1907.10902.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ghostfit.arch import Arch
from ghostfit.space import Point, Space

if TYPE_CHECKING:
    import optuna

POPULATION = 16  # of NSGA-II; small, since a study here has tens to hundreds of evaluations


@dataclass(frozen=True)
class Proposal:
    """An architecture to evaluate; `number` is handed back by `tell`."""

    number: int
    arch: Arch
    point: Point


class Strategy(Protocol):
    """Proposes points of a space. Both objectives are given as larger is better and smaller is better."""

    def ask(self) -> Proposal:
        """The next architecture to evaluate."""
        ...

    def tell(self, number: int, quality: float, cost: float, violation: float) -> None:
        """Result of proposal `number`.

        `quality`: more is better; `cost`: less is better; `violation`: 0 is within the limits.
        """
        ...


@dataclass
class OptunaStrategy:
    """NSGA-II or TPE over categorical genes, kept in an Optuna journal file."""

    name: str
    space: Space
    seed: int
    study: optuna.Study
    trials: dict[int, optuna.trial.Trial]
    pending: list[Proposal]

    @classmethod
    def open(cls, name: str, space: Space, *, seed: int, journal: Path, first: Iterable[Arch] = ()) -> OptunaStrategy:
        """The study in `journal`, made anew when there is none; `first` are evaluated before anything else.

        Trials that were asked but never told (the process was killed) are asked again first.
        """
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal.parent.mkdir(parents=True, exist_ok=True)
        backend = JournalFileBackend(str(journal))
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=name,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        strategy = cls(name, space, seed, study, {}, [])
        trials = study.get_trials(deepcopy=False)
        if not trials:
            for arch in first:
                study.enqueue_trial(_as_params(space, arch))
        for trial in trials:
            if trial.state == optuna.trial.TrialState.RUNNING and len(trial.params) == len(space.genes):
                strategy.trials[trial.number] = optuna.trial.Trial(study, trial._trial_id)
                strategy.pending.append(Proposal(trial.number, space.decode(dict(trial.params)), dict(trial.params)))
        return strategy

    def ask(self) -> Proposal:
        """The next architecture: one left over from a killed process, else what the sampler proposes."""
        import optuna

        if self.pending:
            return self.pending.pop(0)
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = _sampler(self.name, self.seed * 100_003 + number)
        distributions: dict[str, Any] = {
            gene: optuna.distributions.CategoricalDistribution(choices) for gene, choices in self.space.genes
        }
        trial = self.study.ask(distributions)
        self.trials[trial.number] = trial
        point = dict(trial.params)
        return Proposal(trial.number, self.space.decode(point), point)

    def tell(self, number: int, quality: float, cost: float, violation: float) -> None:
        """See `Strategy.tell`."""
        trial = self.trials.pop(number)
        trial.set_constraint("limits", violation)
        self.study.tell(trial, [quality, cost])


@dataclass
class RandomStrategy:
    """Uniform draws from the space: the yardstick of every other strategy. Needs no memory."""

    space: Space
    seed: int
    asked: int = 0

    def ask(self) -> Proposal:
        """Draw number `asked` is the same whenever it is drawn."""
        arch = self.space.sample(random.Random(f"{self.seed}:{self.asked}"))
        self.asked += 1
        return Proposal(self.asked - 1, arch, self.space.encode(arch))

    def tell(self, number: int, quality: float, cost: float, violation: float) -> None:
        """Random search learns nothing."""


STRATEGIES = ("nsga2", "tpe", "random")


def open_strategy(name: str, space: Space, *, seed: int, journal: Path, first: Iterable[Arch] = ()) -> Strategy:
    """A strategy by name. Raises ValueError for an unknown one."""
    if name not in STRATEGIES:
        raise ValueError(f"strategy {name!r}; allowed: {', '.join(STRATEGIES)}")
    if name == "random":
        return RandomStrategy(space, seed)
    return OptunaStrategy.open(name, space, seed=seed, journal=journal, first=first)


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=POPULATION)
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def _as_params(space: Space, arch: Arch) -> Point:
    """Every gene of the space: those that `arch` leaves silent take their costly end."""
    point = space.encode(arch)
    return {gene: point.get(gene, choices[-1]) for gene, choices in space.genes}

"""Phase ``runoff`` of a search: its finalists are trained for a while, each alone, and the best is taken."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ghostfit.arch import Arch
from ghostfit.event import Event
from ghostfit.train.config import DEFAULT_EPOCHS, TrainConfig
from ghostfit.verbs.training import class_weights_of, forward

if TYPE_CHECKING:
    from ghostfit.nn.build import Network
    from ghostfit.search.evaluate import Score
    from ghostfit.search.runoff import Finalist
    from ghostfit.search.study import Evaluation
    from ghostfit.verbs.hunt import Hunt

TIME_SHARE = 0.15  # of the time that is left when the phase begins
EPOCHS_SHARE = 0.05  # of the epochs of the final training, where there is no time limit
# Of the usual rate: at the whole of it, so few steps leave inherited weights worse than they were, some networks more
# than others by chance (measured, docs/LOG.md, 2026-12-01).
RATE_SHARE = 0.25
LEAST_TIME_S = 600.0  # of the whole run, below which a finalist would see its images a few times only
UNUSED = ("teacher", "branches", "drop_path", "dropout", "trackers")  # of the final training, in a short one


def hold_run_off(hunt: Hunt, evaluations: list[Evaluation]) -> list[Finalist]:
    """Train the finalists of a study, the best first; none where there is nothing to tell apart or no time to."""
    from ghostfit.search.runoff import RECORDS, finalists, run_off

    run, clock, limit_s = hunt.run, hunt.clock, hunt.config.time_s
    wanted, is_done = finalists(evaluations), run.is_done("runoff")
    if is_done:  # perhaps stopped before all had been trained
        known = {row["arch_id"] for row in run.records(RECORDS)}
        wanted = [evaluation for evaluation in wanted if evaluation.arch.id in known]
    elif len(wanted) < 2 or clock.is_stopped() or (limit_s is not None and limit_s < LEAST_TIME_S):
        return []
    began = clock.elapsed_s
    total_s = clock.phase_s("runoff", TIME_SHARE)
    seconds = None if total_s is None else total_s / max(len(wanted), 1)
    if not is_done:
        hunt.on_event(Event("runoff", "start", f"{len(wanted)} networks, each trained for a while"))

    def score(network: Network) -> Score:
        return hunt.run_off_judge.score_network(network)  # whose images are read when there is one to score

    def train(arch: Arch) -> Network | None:
        return train_shortly(hunt, hunt.network(arch), seconds, RATE_SHARE)

    held = run_off(run, wanted, train, score)
    if not is_done:
        run.finish("runoff", seconds=round(clock.elapsed_s - began, 1), num_networks=len(held))
        told = ", ".join(f"{finalist.evaluation.arch.id} {100 * finalist.score.metric:.1f} %" for finalist in held)
        hunt.on_event(Event("runoff", "done", told))
    return held


def train_shortly(
    hunt: Hunt,
    network: Network,
    seconds: float | None,
    rate_share: float,
    epochs_share: float = EPOCHS_SHARE,
    name: str = "",
) -> Network | None:
    """`network` after a short training on the training split at a share of the usual rate; None when it was stopped.

    It takes `seconds`, or where they are None `epochs_share` of the epochs of the final training. `name` tells the
    trainings of one network apart.
    """
    from ghostfit.train.fit import fit

    config, clock = hunt.config, hunt.clock
    phase = ":".join(filter(None, ["runoff", name, network.arch.id]))
    batches = hunt.material.training(
        ["train"],
        batch_size=config.batch_size,
        augment=config.augment,
        flip=config.flip,
        seed=config.seed,
        size_hw=network.arch.size_hw,
    )
    settings = _settings(hunt, batches.batch_size, seconds, rate_share, epochs_share)
    records = fit(
        network,
        batches,
        None,
        settings,
        run=hunt.run,
        phase=phase,
        class_weights=class_weights_of(settings, hunt.material, ["train"]),
        stop=clock.deadline(None),
        spent_s=clock.spent_s(phase),
    )
    forward(records, hunt.on_event)
    return None if clock.is_stopped() else network


def _settings(
    hunt: Hunt, batch_size: int, seconds: float | None, rate_share: float, epochs_share: float
) -> TrainConfig:
    """Those of the final training as far as they are given, for a share of it and without a range test."""
    config = hunt.config
    names = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in UNUSED]
    given = {name: getattr(config, name) for name in names if hasattr(config, name)}
    settings = TrainConfig(**{**given, "time_s": seconds})
    if settings.lr == "auto":
        settings = dataclasses.replace(settings, lr=short_lr(settings.optimizer, batch_size, rate_share))
    if seconds is None or settings.epochs:
        settings = dataclasses.replace(settings, epochs=epochs_share * (settings.epochs or DEFAULT_EPOCHS))
    return dataclasses.replace(settings, schedule="cosine")  # plateau would look at images that decide later


def short_lr(optimizer: str, batch_size: float, share: float = RATE_SHARE) -> float:
    """The peak rate of a short training, `share` of the usual one: by itself that of inherited weights."""
    from ghostfit.train.optim import reference_lr

    return share * reference_lr(optimizer, batch_size)

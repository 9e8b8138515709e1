"""The loop over steps: records, validation, checkpoints, the time limit, and the way back from a diverged loss."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from ghostfit.run import Run
from ghostfit.train.checkpoint import Checkpoints, file_stem
from ghostfit.train.meter import Meter, add_means, means_of
from ghostfit.train.plan import Plan, fit_into
from ghostfit.train.records import Journal, Record
from ghostfit.train.state import Snapshot, Training, capture, is_better, restore, snapshot
from ghostfit.train.task import Batch, FadesAugmentation, Loader

MOST_RESTORES = 4  # halvings of the rate: where a sixteenth of it fails too, the rate is not the cause
SAVE_SHARE = 0.02  # of the time may go to checkpoints at the ends of short epochs
STEP_S_MEMORY = 0.5  # of the step time under a time limit, from window to window


class DivergedError(ValueError):
    """The loss is not a number, whatever the learning rate."""


@dataclass
class Session:
    """What one process brings to a training; nothing of it is in a checkpoint."""

    batches: Loader
    val: Loader | None
    checkpoints: Checkpoints
    journal: Journal
    run: Run | None
    phase: str
    stop: Callable[[], bool]
    lr_share: float = 1.0  # of the rate that is found, or the usual one
    began: float = field(default_factory=time.perf_counter)  # moved back by what earlier processes took
    saved: float = field(default_factory=time.perf_counter)
    save_s: float = 0.0  # of the last checkpoint
    step_s: float = 0.0  # of late, data included
    is_warned: bool = False  # of a disk that takes no checkpoint

    @property
    def elapsed_s(self) -> float:
        """Seconds of the training, over all processes."""
        return time.perf_counter() - self.began

    def write(self, training: Training, kind: Literal["step", "epoch", "note"], values: Mapping[str, Any]) -> Record:
        """Keep and return a record."""
        values = {"time_s": round(self.elapsed_s, 3), **values}
        return self.journal.write(Record(self.phase, training.step, training.epoch, kind, values))


def train(training: Training, session: Session) -> Generator[Record, None, bool]:
    """Step until the plan is fulfilled or its time is up (returns False), or a stop was asked for (returns True)."""
    meter = Meter()
    while training.step < training.plan.total_steps:
        with closing(_stream(session.batches, training)) as stream:
            for x, y in stream:
                if training.begin_step():
                    meter.pause()
                meter.add(training.train_step(x, y), len(x))
                is_epoch_end = training.batch == training.plan.steps_per_epoch
                is_stopped = session.stop()
                is_last = training.step >= training.plan.total_steps or _is_time_up(training, session)
                is_saving = not is_last and (is_stopped or _is_save_due(session, training, is_epoch_end))
                if meter.is_due or is_epoch_end or is_saving or is_last:
                    if not _is_sound(training, meter, is_thorough=is_saving or is_last):
                        break
                    session.step_s = session.step_s or meter.step_s
                    if meter.is_due or is_last:
                        yield _record_steps(training, session, meter)
                if is_epoch_end:
                    yield from _end_epoch(training, session, is_last)
                if is_saving:
                    yield from save(training, session)
                if is_epoch_end or is_saving:
                    meter.pause()
                if is_last or is_stopped:
                    return is_stopped and not is_last
        yield _go_back(training, session)
        meter = Meter()
    return False


def save(training: Training, session: Session) -> Iterator[Record]:
    """Replace the checkpoint. A disk that takes none is warned about once: the earlier one stays, training goes on."""
    begin = time.perf_counter()
    training.elapsed_s = session.elapsed_s
    try:
        session.checkpoints.save(capture(training))
    except OSError as error:
        if not session.is_warned:
            session.is_warned = True
            text = f"no checkpoint could be written ({error}); the training goes on, the earlier checkpoint stays"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            yield session.write(training, "note", {"text": text})
    session.saved = time.perf_counter()
    session.save_s = session.saved - begin


def write_plan(plan: Plan, session: Session) -> None:
    """Put the plan where people and reports find it; checkpoints hold it too."""
    if session.run is not None:
        session.run.write_json(f"plan-{file_stem(session.phase)}.json", plan.to_dict())


def validate(network: nn.Module, training: Training, session: Session) -> tuple[Snapshot, dict[str, float]]:
    """The network's weights with their scores on the validation split, and all its metrics."""
    assert session.val is not None
    begin = time.perf_counter()
    metrics = dict(training.task.evaluate(network, session.val))
    training.eval_s = time.perf_counter() - begin
    return snapshot(network, training.step, metrics, training.task.metric), metrics


def _stream(batches: Loader, training: Training) -> Generator[Batch, None, None]:
    """Batches from where `training` stands, epoch after epoch."""
    while True:
        if isinstance(batches, FadesAugmentation):
            batches.begin_epoch(training.plan.progress(training.step - training.batch))
        yield from batches.epoch(training.epoch, start_batch=training.batch)
        if training.batch != 0:
            raise ValueError(f"epoch {training.epoch} gave {training.batch} batches, {len(batches)} were promised")


def _is_sound(training: Training, meter: Meter, *, is_thorough: bool) -> bool:
    """Read the meter; whether the loss is a number, and if `is_thorough` all weights too."""
    means, count = meter.read()
    if not math.isfinite(means["loss"]) or (is_thorough and not training.is_finite()):
        return False
    add_means(training.epoch_sums, means, count)
    return True


def _record_steps(training: Training, session: Session, meter: Meter) -> Record:
    """The record of a window of steps; under a time limit the plan is set right too."""
    plan = training.plan
    session.step_s = STEP_S_MEMORY * session.step_s + (1 - STEP_S_MEMORY) * meter.step_s
    if plan.time_s is not None and training.step < plan.total_steps:
        training.plan = fit_into(
            plan,
            training.config,
            training.step,
            elapsed_s=session.elapsed_s,
            step_s=session.step_s,
            eval_s=training.eval_s,
            reserve_s=_ending_s(training, session),
        )
        if training.plan is not plan:
            write_plan(training.plan, session)
    values = {
        **means_of(meter.window),
        "lr": training.lr,
        "images_per_s": meter.num_images / max(meter.seconds, 1e-9),
        "progress": training.step / training.plan.total_steps,
        "time_left_s": _time_left_s(training, session),
    }
    meter.restart()
    return session.write(training, "step", values)


def _end_epoch(training: Training, session: Session, is_last: bool) -> Iterator[Record]:
    """Count the epoch; validate and record it where the plan says so. The last one is left to the end of `fit`."""
    training.epoch, training.batch = training.epoch + 1, 0
    if is_last or training.epoch % training.plan.eval_every:
        return
    values = means_of(training.epoch_sums)
    training.epoch_sums = {}
    if session.val is not None:
        scored, metrics = validate(training.averaged, training, session)
        training.plateau = training.plateau.after(scored.loss)
        if is_better(scored, training.best):
            training.best = scored
        values |= metrics
    yield session.write(
        training, "epoch", {**values, "lr": training.lr, "time_left_s": _time_left_s(training, session)}
    )


def _go_back(training: Training, session: Session) -> Record:
    """Return to the last checkpoint, at half the learning rate. Raises DivergedError when that was tried enough."""
    step, num_restores = training.step, training.num_restores + 1
    state = session.checkpoints.load()
    if state is None or num_restores > MOST_RESTORES:
        raise DivergedError(
            f"the loss is not a number at step {step}, even at {training.lr_scale:g} of the learning rate "
            f"{training.plan.peak_lr:g}; give a lower --lr, and look for images that are not numbers"
        )
    restore(training, state)
    training.num_restores, training.lr_scale = num_restores, 0.5**num_restores
    session.journal.forget_after(training.step)
    for _ in save(training, session):
        pass
    text = (
        f"the loss was not a number at step {step}; back at step {training.step} with {training.lr_scale:g} of the rate"
    )
    return session.write(training, "note", {"text": text})


def _is_save_due(session: Session, training: Training, is_epoch_end: bool) -> bool:
    since_s = time.perf_counter() - session.saved
    return since_s >= training.config.checkpoint_s or (is_epoch_end and session.save_s <= SAVE_SHARE * since_s)


def _is_time_up(training: Training, session: Session) -> bool:
    limit_s = training.plan.time_s
    return limit_s is not None and session.elapsed_s >= limit_s - _ending_s(training, session)


def _ending_s(training: Training, session: Session) -> float:
    """Seconds between the last step and the end: two evaluations, a checkpoint."""
    guess_s = session.step_s * (len(session.val) if session.val else 0) / 2  # before one was timed
    return 2 * (training.eval_s or guess_s) + session.save_s


def _time_left_s(training: Training, session: Session) -> float:
    plan = training.plan
    num_steps = plan.total_steps - training.step
    num_evals = num_steps // (plan.eval_every * plan.steps_per_epoch) if session.val else 0
    return num_steps * session.step_s + num_evals * training.eval_s + _ending_s(training, session)

"""Training as a generator of records: any task, exact resume, and an end in time with valid weights.

::

    for record in fit(network, batches, val, TrainConfig(time_s=600.0), run=run):
        print(record.kind, record.values)

When the generator ends, `network` holds the weights that are kept. Validation scores the average of the weights (EMA).
At the end the plain weights are scored too and the better of the two is kept, unless an earlier evaluation was better
by more than its standard error: the highest of many noisy scores is mostly luck, settled weights are the better bet.

A killed run goes on from its last checkpoint and ends with the same weights, bit for bit, on a CPU; under a time limit
the number of steps follows the clock, and the weights with it. A loss that stops being a number takes the training back
to its last checkpoint, at half the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ghostfit.run import Run
from ghostfit.train.checkpoint import Checkpoints
from ghostfit.train.config import TrainConfig
from ghostfit.train.loop import Session, save, train, validate, write_plan
from ghostfit.train.lr_range import StoppedError, find_lr, measure_step_s
from ghostfit.train.memory import keep_freed_memory
from ghostfit.train.meter import means_of
from ghostfit.train.optim import reference_lr
from ghostfit.train.plan import Plan, choose_ema_decay, choose_eval_every, count_steps, under_limit
from ghostfit.train.records import Journal, Record
from ghostfit.train.state import Training, is_better, is_clearly_better, restore, start
from ghostfit.train.task import Loader, Task
from ghostfit.train.tasks import make_task
from ghostfit.train.trackers import Tracker, open_trackers

RAMP_SHARE, RAMP_STEPS = 0.05, (20, 100)  # of the steps go to the range test; a shorter ramp shows nothing
FIRST_SHARE = 0.9  # of the time limit is planned before the loop is timed in earnest; replanning gives the rest back


def fit(
    network: nn.Module,
    batches: Loader,
    val: Loader | None,
    config: TrainConfig,
    *,
    task: Task | None = None,
    run: Run | None = None,
    phase: str = "train",
    teacher: nn.Module | None = None,
    class_weights: Tensor | None = None,
    probe: nn.Module | None = None,
    lr_share: float = 1.0,
    trackers: Sequence[Tracker] = (),
    stop: Callable[[], bool] | None = None,
    resume: bool = True,
    spent_s: float = 0.0,
) -> Iterator[Record]:
    """Train `network` in place and yield what happens; with `run` the records also go to its ``metrics.jsonl``.

    Without `task` it is that of the network's architecture, made from `config`, `teacher` (a network that gives raw
    outputs on the same input) and `class_weights` (num_classes,). Without `val` nothing is validated and the average is
    kept. The range test of the learning rate is made on `probe`, where that is given: weights that know the images
    already ask for the rate of a fine-tuning. `lr_share` of the rate that it finds, or of the usual one, is
    taken.

    When `stop` says True, training ends after the step with the best weights so far, and can be resumed later. A phase
    that is finished already loads its weights and yields nothing. The network's device is the one that is used; the
    global random generators are seeded anew at each step. A resumed training may be given another time limit; the
    `spent_s` seconds that the phase took before this call, by the caller's clock, count within it.

    Raises ValueError for data, settings or a checkpoint that don't fit each other, and `DivergedError` (a ValueError)
    when the loss is not a number even at a sixteenth of the learning rate.
    """
    if len(batches) == 0:
        raise ValueError("there is no training image; give a training split that has some")
    if config.schedule == "plateau" and val is None:
        raise ValueError("the schedule plateau follows the validation loss; give validation images, or use cosine")
    if task is None:
        task = make_task(network, config, batches, teacher=teacher, class_weights=class_weights)
    elif teacher is not None or class_weights is not None:
        raise ValueError("a task of your own brings its teacher and class weights itself; leave them out")
    journal = Journal(run, phase, [*trackers, *open_trackers(config.trackers, run)])
    session = Session(batches, val, Checkpoints(run, phase), journal, run, phase, stop or (lambda: False), lr_share)
    session.began -= spent_s
    return _fit(network, task, config, session, resume, probe or network)


def _fit(
    network: nn.Module, task: Task, config: TrainConfig, session: Session, resume: bool, probe: nn.Module
) -> Iterator[Record]:
    keep_freed_memory()
    try:
        network.to(memory_format=torch.channels_last)
        network.train()
        state = session.checkpoints.load() if resume else None
        if state is None:
            training = yield from _begin(network, task, config, session, probe)
        else:
            training = yield from _resume(network, task, config, session, state)
        if training.is_done:
            return
        yield session.write(training, "note", _describe(training))
        try:
            is_stopped = yield from train(training, session)
            yield from _finish(training, session, is_stopped)
        except (GeneratorExit, KeyboardInterrupt):
            if not training.is_done:  # settled weights are left in the network; the last checkpoint can go on
                network.load_state_dict(training.best.weights if training.best else training.averaged.state_dict())
            raise
    except StoppedError:  # while the plan was made: nothing is kept, a resumed run makes it anew
        yield session.journal.write(Record(session.phase, 0, 0, "note", {"text": "stopped before the first step"}))
    finally:
        network.eval()
        session.journal.close()


def _begin(
    network: nn.Module, task: Task, config: TrainConfig, session: Session, probe: nn.Module
) -> Generator[Record, None, Training]:
    """A training at its first step; its plan and first checkpoint are on disk."""
    session.journal.forget_after(-1)
    plan = _make_plan(network, task, config, session, probe)
    training = start(network, task, config, plan)
    write_plan(plan, session)
    yield from save(training, session)
    return training


def _resume(
    network: nn.Module, task: Task, config: TrainConfig, session: Session, state: Mapping[str, Any]
) -> Generator[Record, None, Training]:
    """The training where an earlier process left it. What was recorded beyond that is forgotten, as it comes again."""
    training = start(network, task, config, Plan.from_dict(state["plan"]))
    restore(training, state)
    if training.plan.steps_per_epoch != len(session.batches) and not training.is_done:
        raise ValueError(
            f"the run has {training.plan.steps_per_epoch} batches an epoch, the data now gives {len(session.batches)}; "
            "use the same data and batch size, or a new run folder"
        )
    session.journal.forget_after(training.step)
    session.began -= max(training.elapsed_s - session.elapsed_s, 0.0)
    if not training.is_done:
        yield from _follow_limit(training, session)
    return training


def _follow_limit(training: Training, session: Session) -> Iterator[Record]:
    """Bend the plan of a resumed training to a time limit that is not the one it was made for."""
    plan, step = training.plan, training.step
    training.plan = under_limit(
        plan,
        training.config,
        step,
        elapsed_s=session.elapsed_s,
        step_s=training.elapsed_s / step if step else plan.step_s,
        eval_s=training.eval_s,
    )
    if training.plan is not plan:
        write_plan(training.plan, session)
        yield from save(training, session)
        limit = "none" if training.plan.time_s is None else f"{training.plan.time_s:.0f} s for this phase"
        yield session.write(training, "note", {"text": f"another time limit than before: {limit}"})


def _make_plan(network: nn.Module, task: Task, config: TrainConfig, session: Session, probe: nn.Module) -> Plan:
    """Derive what the settings leave open, by measuring where needed."""
    batches, val = session.batches, session.val
    step_s = left_s = None
    if config.time_s is not None:
        step_s = measure_step_s(network, task, batches, config, stop=session.stop)
        left_s = config.time_s * FIRST_SHARE - session.elapsed_s
    total = count_steps(config, len(batches), step_s=step_s, left_s=left_s)
    curve: tuple[tuple[float, float], ...] = ()
    num_ramp_steps = min(max(int(total * RAMP_SHARE), RAMP_STEPS[0]), RAMP_STEPS[1])
    if config.lr != "auto":
        lr, source = float(config.lr), "given"
    elif num_ramp_steps > 2 * RAMP_SHARE * total:
        lr = reference_lr(config.optimizer, batches.num_images / len(batches))
        source = "the usual one, as the training is short"
    else:
        found = find_lr(probe.train(), task, batches, config, num_ramp_steps, stop=session.stop)
        lr, curve, source = found.lr, found.curve, f"found by a range test of {num_ramp_steps} steps"
    if config.lr == "auto" and session.lr_share != 1.0:
        lr, source = session.lr_share * lr, f"{session.lr_share:g} of {lr:.3g}, {source}"
    return Plan(
        total_steps=total,
        steps_per_epoch=len(batches),
        peak_lr=lr,
        ema_decay=choose_ema_decay(total),
        eval_every=choose_eval_every(total, len(batches), val.num_images / batches.num_images if val else 0.0),
        time_s=config.time_s,
        step_s=step_s,
        lr_from=source,
        lr_curve=curve,
    )


def _describe(training: Training) -> dict[str, Any]:
    plan = training.plan
    start_text = f"resumed at step {training.step} of" if training.step else "training for"
    text = f"{start_text} {plan.total_steps} steps, learning rate {plan.peak_lr:.3g} ({plan.lr_from})"
    return {"text": text, "peak_lr": plan.peak_lr, "total_steps": plan.total_steps}


def _finish(training: Training, session: Session, is_stopped: bool) -> Iterator[Record]:
    """Choose the weights that are kept and load them into the network; unless it was stopped, the training is done."""
    network, text = training.network, "kept the weights of the last step"
    values = means_of(training.epoch_sums) if training.epoch_sums else {}
    facts: dict[str, float] = {}
    if session.val is None:
        weights = training.averaged.state_dict()
    else:
        kept, metrics = validate(training.averaged, training, session)
        if training.ema is not None:
            text = "kept the average of the last steps' weights"
            plain, plain_metrics = validate(network, training, session)
            if not is_better(kept, plain):
                kept, metrics, text = plain, plain_metrics, "kept the plain weights of the last step"
        values |= metrics
        best = training.best
        if best is not None and is_clearly_better(best, kept):
            kept, text = best, f"kept the weights of step {best.step}, clearly better than the last"
        weights = kept.weights
        if not is_stopped:  # a resumed run would record the epoch again
            yield session.write(training, "epoch", {**values, "lr": training.lr})
        text += f": {training.task.metric} {kept.metric:.4f}"
        facts = {training.task.metric: kept.metric, "val_loss": kept.loss}
    network.load_state_dict(weights)
    if not is_stopped:
        training.is_done = True
        yield from save(training, session)
    yield session.write(training, "note", {"text": text, **facts})

from __future__ import annotations

import errno
import itertools
import time

import pytest
import torch
from small_training import are_equal, small_batches, small_network, small_val, weights_of
from torch import nn

from ghostfit.nn.build import build
from ghostfit.presets import preset
from ghostfit.run import Run
from ghostfit.train import loop
from ghostfit.train.config import TrainConfig
from ghostfit.train.evaluate import evaluate
from ghostfit.train.fit import fit
from ghostfit.train.loop import DivergedError
from ghostfit.train.state import EMA_EVERY, Snapshot, is_clearly_better
from ghostfit.train.tasks.classify import Classify

QUICK = TrainConfig(epochs=2, batch_size=16, lr=2e-3)


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", "train", {}, seed=0)


def accuracy_of(network):
    scores, labels = evaluate(network, small_val())
    return float((scores.argmax(1) == labels).mean())


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd", "lamb"])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "plateau"])
def test_it_learns(optimizer, schedule):
    network = small_network()
    records = list(
        fit(
            network,
            small_batches(),
            small_val(),
            TrainConfig(epochs=25, batch_size=16, optimizer=optimizer, schedule=schedule),
        )
    )
    last = [record for record in records if record.kind == "epoch"][-1]
    assert accuracy_of(network) == pytest.approx(last.values["val_accuracy"])
    assert accuracy_of(network) > 0.9
    assert not network.training


@pytest.mark.parametrize(("lr", "epochs", "share"), [("auto", 25, 0.2), ("auto", 2, 0.2), (2e-3, 2, 1.0)])
def test_a_share_is_taken_of_a_rate_that_nobody_gave(lr, epochs, share, tmp_path):
    def peak(name, **settings):
        run = Run.create(tmp_path / name, "train", {}, seed=0)
        torch.manual_seed(0)
        config = TrainConfig(epochs=epochs, batch_size=16, lr=lr)
        list(fit(small_network(), small_batches(), None, config, run=run, **settings))
        return run.read_json("plan-train.json")["peak_lr"]

    assert peak("a", lr_share=0.2) == pytest.approx(share * peak("b"))


def test_a_network_built_from_an_arch_trains(run):
    network = build(preset("mobilenetv3_small_100", num_classes=3, size_hw=(32, 32)), drop_path=0.1, dropout=0.1)
    batches = small_batches(num_images=32)
    before = weights_of(network)
    for _ in fit(network, batches, small_val(), TrainConfig(epochs=1, batch_size=16, layer_decay=0.8), run=run):
        pass
    assert not are_equal(before, weights_of(network))


def test_records_reach_the_journal_as_they_are_yielded(run):
    records = list(fit(small_network(), small_batches(), small_val(), QUICK, run=run, phase="train"))
    lines = list(run.records("metrics.jsonl"))
    assert [(r.kind, r.step, dict(r.values)) for r in records] == [
        (line["kind"], line["step"], {k: v for k, v in line.items() if k not in ("phase", "kind", "step", "epoch")})
        for line in lines
    ]
    steps = [record.values for record in records if record.kind == "step"]
    assert {"loss", "lr", "images_per_s", "progress", "time_left_s", "time_s"} <= set(steps[-1])
    epochs = [record.values for record in records if record.kind == "epoch"]
    assert {"loss", "val_accuracy", "val_loss", "lr", "time_s"} <= set(epochs[-1])


def test_the_average_follows_the_weights():
    """The average equals one computed by hand from the weights after each step."""
    network, by_hand, updates = small_network(), None, itertools.count(1)

    def watch():
        nonlocal by_hand
        step = next(steps)
        if step % EMA_EVERY == 0:
            update, decay = next(updates), (1 - 1 / 4.0) ** EMA_EVERY
            share = 0.0 if update == 1 else min(decay, 1 - 1 / (1 + (update - 1) / 5.0))
            now = [p.detach().double().clone() for p in network.parameters()]
            by_hand = (
                now if by_hand is None else [share * a + (1 - share) * b for a, b in zip(by_hand, now, strict=True)]
            )
        return False

    steps = itertools.count(1)
    list(fit(network, small_batches(), None, QUICK, stop=watch))
    assert by_hand is not None
    for mine, theirs in zip(by_hand, network.parameters(), strict=True):
        torch.testing.assert_close(mine.float(), theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("error", "kept"), [(0.1, 0), (0.5, 1)])
def test_an_earlier_evaluation_is_kept_only_when_clearly_better(error, kept):
    class Fooled(Classify):
        def evaluate(self, network, batches):
            seen.append(weights_of(network))
            return {"val_accuracy": 0.9 if len(seen) == 1 else 0.5, "val_loss": 1.0, "standard_error": error}

    seen, network = [], small_network()
    list(fit(network, small_batches(), small_val(24), QUICK, task=Fooled()))
    assert are_equal(weights_of(network), seen[kept])


@pytest.mark.parametrize(("first", "last", "expected"), [(179, 178, False), (179, 170, True), (150, 140, False)])
def test_one_image_does_not_make_an_evaluation_clearly_better(first, last, expected):
    def snapshot(right, num=179):
        share = right / num
        return Snapshot({}, 1, metric=share, loss=1.0, standard_error=(share * (1 - share) / num) ** 0.5)

    assert is_clearly_better(snapshot(first), snapshot(last)) == expected


def test_stopping_leaves_valid_weights_and_closing_too(run):
    network = small_network()
    list(fit(network, small_batches(), small_val(), TrainConfig(epochs=500, batch_size=16, lr=2e-3), stop=lambda: True))
    assert not network.training and all(torch.isfinite(p).all() for p in network.parameters())
    for record in fit(
        network, small_batches(prefetch=2), small_val(), TrainConfig(epochs=500, batch_size=16, lr=2e-3), run=run
    ):
        if record.kind == "epoch":
            break
    assert not network.training and all(torch.isfinite(p).all() for p in network.parameters())


class Slowing:
    """Batches that take longer from the fourth epoch on."""

    def __init__(self, seconds):
        self.inner, self.seconds = small_batches(), seconds
        self.num_images = self.inner.num_images

    def __len__(self):
        return len(self.inner)

    def epoch(self, epoch=0, start_batch=0):
        for batch in self.inner.epoch(epoch, start_batch):
            time.sleep(self.seconds * (1 if epoch < 4 else 4))
            yield batch


def test_a_time_limit_holds_on_a_machine_that_slows_and_the_rate_still_reaches_its_floor(run, monkeypatch):
    monkeypatch.setattr("ghostfit.train.meter.LEAST_S", 0.1)
    network, began = small_network(), time.perf_counter()
    config = TrainConfig(time_s=2.0, batch_size=16, lr=1e-3, checkpoint_s=0.3)
    records = list(fit(network, Slowing(0.005), small_val(), config, run=run))
    took = time.perf_counter() - began
    assert 1.4 < took < 2.1
    plan = run.read_json("plan-train.json")
    assert len(plan["knots"]) > 1, "the plan was set right"
    rates = [record.values["lr"] for record in records if record.kind == "epoch"]
    assert rates[-1] < 0.1 * 1e-3
    assert records[-1].step >= 0.9 * plan["total_steps"]


def test_epochs_bound_a_time_limit():
    began = time.perf_counter()
    records = list(fit(small_network(), small_batches(), None, TrainConfig(epochs=2, time_s=60.0, batch_size=16)))
    assert records[-1].step == 12 and time.perf_counter() - began < 10


class Explosive(Classify):
    """A task whose loss is no number at rates above a limit."""

    limit = 1e-3

    def train_step(self, network, x, y):
        values = dict(super().train_step(network, x, y))
        if max_lr[0] > self.limit:
            values["loss"] = values["loss"] * float("nan")
            next(network.parameters()).grad.fill_(float("nan"))
        return values


max_lr = [0.0]


@pytest.fixture
def watched_rate(monkeypatch):
    original = loop.Training.train_step

    def train_step(self, x, y):
        max_lr[0] = self.lr
        return original(self, x, y)

    monkeypatch.setattr(loop.Training, "train_step", train_step)


@pytest.mark.parametrize("has_run", [True, False])
def test_a_loss_that_is_no_number_is_retried_at_half_the_rate(has_run, run, watched_rate):
    network = small_network()
    config = TrainConfig(epochs=3, batch_size=16, lr=3.5e-3)
    records = list(fit(network, small_batches(), small_val(), config, task=Explosive(), run=run if has_run else None))
    notes = [record.values["text"] for record in records if "not a number" in record.values.get("text", "")]
    assert 1 <= len(notes) <= 2 and "0.5 of the rate" in notes[0]
    assert records[-1].step == 18
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_a_loss_that_is_never_a_number_is_an_error(run, watched_rate):
    config = TrainConfig(epochs=3, batch_size=16, lr=1.0, warmup=0)
    with pytest.raises(DivergedError, match=r"not a number at step \d+, even at 0.0625 of the learning rate 1"):
        list(fit(small_network(), small_batches(), small_val(), config, task=Explosive(), run=run))
    for line in run.records("metrics.jsonl"):
        assert line.get("loss", 0.0) is not None


def test_a_full_disk_keeps_the_earlier_checkpoint(run, monkeypatch):
    from ghostfit.train import checkpoint

    original, writes = checkpoint.write_atomically, itertools.count()

    def write(path, content):
        if next(writes) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", write)
    config = TrainConfig(epochs=2, batch_size=16, lr=1e-3, checkpoint_s=0.0)
    with pytest.warns(RuntimeWarning, match="no checkpoint could be written.*No space left") as caught:
        records = list(fit(small_network(), small_batches(), small_val(), config, run=run))
    assert len(caught) == 1, "warned once"
    assert records[-1].step == 12
    assert torch.load(run.file("checkpoints", "train.pt"), weights_only=True)["step"] == 1


@pytest.mark.parametrize(
    ("batches", "config", "changes", "text"),
    [
        ([], QUICK, {}, "no training image"),
        (None, TrainConfig(epochs=1, schedule="plateau"), {}, "give validation images"),
        (None, QUICK, {"task": Classify(), "teacher": nn.Identity()}, "leave them out"),
        (None, TrainConfig(epochs=1, trackers=("mlflow",)), {}, "unknown tracker mlflow; allowed: tensorboard, wandb"),
        (None, TrainConfig(epochs=1, trackers=("tensorboard",)), {}, "need a run folder"),
        (None, TrainConfig(epochs=1, teacher="timm:x"), {}, "pass the teacher as a module"),
        (None, TrainConfig(epochs=1, class_weights="balanced"), {}, "pass balanced_weights"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(batches, config, changes, text):
    with pytest.raises(ValueError, match=text):
        fit(small_network(), small_batches() if batches is None else batches, None, config, **changes)


def test_a_loader_that_gives_too_few_batches_is_an_error():
    class Short(Slowing):
        def __len__(self):
            return 9

    with pytest.raises(ValueError, match="epoch 0 gave 6 batches, 9 were promised"):
        list(fit(small_network(), Short(0.0), None, QUICK))


@pytest.mark.parametrize("changes", [{"epochs": 50}, {"time_s": 60.0}])
def test_stopping_while_the_plan_is_made_leaves_everything_as_it_was(changes, run):
    network = small_network()
    before, calls = weights_of(network), itertools.count()
    config = TrainConfig(batch_size=16, **changes)
    records = list(fit(network, small_batches(), None, config, run=run, stop=lambda: next(calls) >= 3))
    assert [record.values["text"] for record in records] == ["stopped before the first step"]
    assert are_equal(before, weights_of(network))
    assert not run.file("checkpoints", "train.pt").exists()
    assert list(fit(network, small_batches(), None, TrainConfig(epochs=1, batch_size=16), run=run))[-1].step == 6

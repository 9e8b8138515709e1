from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed_run import CONFIG, train
from small_training import are_equal, small_batches, small_network, small_val, weights_of

from ghostfit.run import Run
from ghostfit.train.checkpoint import Checkpoints
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit

DETERMINED = ("phase", "kind", "step", "epoch", "val_accuracy", "val_loss", "lr")


def new_run(path: Path) -> Run:
    return Run.create(path, "train", {}, seed=0)


def epochs_of(run: Run) -> list[dict]:
    return [
        {key: line.get(key) for key in DETERMINED} for line in run.records("metrics.jsonl") if line["kind"] == "epoch"
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted")
    train(path)
    return path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(uninterrupted, tmp_path):
    script = Path(__file__).with_name("killed_run.py")
    command = [sys.executable, "-W", "error", str(script), str(tmp_path), "7", "8"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    one, other = (torch.load(path / "final.pt", weights_only=True) for path in (uninterrupted, tmp_path))
    assert are_equal(one, other)
    assert epochs_of(Run(uninterrupted)) == epochs_of(Run(tmp_path)), "records are neither lost nor repeated"


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "muon"}, {"optimizer": "sgd"}, {"optimizer": "lamb"}, {"ema": False}, {"schedule": "onecycle"}],
)
def test_stopped_at_any_step_and_resumed_is_uninterrupted(changes, tmp_path):
    config = TrainConfig(**{"epochs": 2.5, "batch_size": 16, "lr": 1e-3, "checkpoint_s": 1e9, **changes})

    val = None if changes.get("ema", True) else small_val()  # without validation the average itself is the result

    def end(stop_steps):
        path = tmp_path / "-".join(map(str, (*changes.values(), "run", *stop_steps)))
        run = new_run(path)
        for stop_step in (*stop_steps, None):
            network, steps = small_network(), iter(range(10**6))
            start_step = 0 if stop_step is None else stop_step
            stop = (lambda: False) if stop_step is None else (lambda s=start_step, n=steps: next(n) + 1 >= s)
            list(fit(network, small_batches(), val, config, run=run, stop=stop))
        return weights_of(network)

    whole = end(())
    assert are_equal(whole, end((1, 4, 1)))
    assert are_equal(whole, end((6, 6)))  # at the ends of epochs


def test_a_finished_phase_loads_its_weights_and_yields_nothing(tmp_path):
    config, run = TrainConfig(epochs=1, batch_size=16, lr=1e-3), new_run(tmp_path / "run")
    first, second = small_network(), small_network(seed=5)
    assert list(fit(first, small_batches(), small_val(), config, run=run))
    assert list(fit(second, small_batches(), small_val(), config, run=run)) == []
    assert are_equal(weights_of(first), weights_of(second))
    assert list(fit(second, small_batches(), small_val(), config, run=run, resume=False)), "unless told to start anew"


def test_two_phases_share_a_run(tmp_path):
    config, run = TrainConfig(epochs=1, batch_size=16, lr=1e-3), new_run(tmp_path / "run")
    for phase in ("train", "compare:width"):
        assert list(fit(small_network(), small_batches(), None, config, run=run, phase=phase))
    assert {line["phase"] for line in run.records("metrics.jsonl")} == {"train", "compare:width"}
    assert run.read_json("plan-compare-width.json")["total_steps"] == 6


def test_draws_between_steps_do_not_matter():
    def end(disturb):
        network = small_network()
        for _ in fit(
            network, small_batches(), small_val(), TrainConfig(epochs=2, batch_size=16, lr=1e-3), stop=disturb
        ):
            pass
        return weights_of(network)

    assert are_equal(end(lambda: False), end(lambda: torch.rand(3).sum() > 5))


class Counting:
    """A task with state: how many steps it saw, which scales its loss."""

    metric = "val_accuracy"

    def __init__(self):
        self.count, self.progress, self.seen = 0, -1.0, []

    def begin_step(self, progress):
        self.progress = progress
        return False

    def train_step(self, network, x, y):
        self.count += 1
        self.seen.append(self.progress)
        loss = torch.nn.functional.cross_entropy(network(x), y) * self.count
        for part in (0.25, 0.75):  # several backwards, as a supernet has
            (loss * part).backward(retain_graph=True)
        return {"loss": loss.detach(), "count": float(self.count)}

    def evaluate(self, network, batches):
        return {"val_accuracy": 0.5, "val_loss": 1.0}

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_the_state_of_a_task_is_resumed(tmp_path):
    def end(stops):
        run = new_run(tmp_path / f"run{len(stops)}")
        for stop_step in (*stops, 10**6):
            network, task, left = small_network(), Counting(), iter(range(stop_step, -1, -1))
            config = TrainConfig(epochs=2, batch_size=16)
            list(
                fit(network, small_batches(), small_val(), config, task=task, run=run, stop=lambda n=left: next(n) <= 1)
            )
        return weights_of(network), task

    whole, task = end(())
    resumed, resumed_task = end((5,))
    assert are_equal(whole, resumed)
    assert task.count == resumed_task.count == 12
    again = Counting()
    list(
        fit(
            small_network(),
            small_batches(),
            small_val(),
            TrainConfig(epochs=2, batch_size=16),
            task=again,
            run=Run(tmp_path / "run0"),
        )
    )
    assert again.count == 12, "a finished training gives the task its state too"
    assert task.seen[-12] == 0.0 and task.seen[-1] == 1.0


def test_other_settings_or_data_are_refused(tmp_path):
    run = new_run(tmp_path / "run")
    config = TrainConfig(epochs=2, batch_size=16, lr=1e-3)
    list(fit(small_network(), small_batches(), None, config, run=run, stop=lambda: True))
    other = TrainConfig(epochs=2, batch_size=16, lr=2e-3)
    with pytest.raises(ValueError, match=r"lr was 0.001, now 0.002"):
        list(fit(small_network(), small_batches(), None, other, run=run))
    with pytest.raises(ValueError, match="6 batches an epoch, the data now gives 3"):
        list(fit(small_network(), small_batches(num_images=48), None, config, run=run))
    with pytest.raises(ValueError, match="another network"):
        list(
            fit(
                torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)), small_batches(), None, config, run=run
            )
        )


@pytest.mark.parametrize(
    ("first_s", "second_s", "expected"),
    [(None, 0.4, "fewer"), (1000.0, 0.4, "fewer"), (2.0, 1000.0, "all"), (2.0, None, "all"), (None, None, "all")],
)
def test_another_time_limit_takes_effect_in_the_phase_at_hand(first_s, second_s, expected, tmp_path):
    run, steps = new_run(tmp_path / "run"), itertools.count(1)
    config = TrainConfig(epochs=200, batch_size=16, lr=1e-3, ema=False, time_s=first_s)
    list(fit(small_network(), small_batches(), None, config, run=run, stop=lambda: next(steps) >= 12))
    stop = (lambda: False) if expected == "fewer" else (lambda: True)
    config = dataclasses.replace(config, time_s=second_s)
    records = list(fit(small_network(), small_batches(), None, config, run=run, stop=stop))
    plan = run.read_json("plan-train.json")
    assert plan["time_s"] == second_s
    if expected == "all":
        assert plan["total_steps"] == 1200
    else:
        assert plan["total_steps"] == records[-1].step < 1200, "and the loop ended there"
        assert records[-1].values["time_s"] < 2 * second_s
    assert any("another time limit" in str(record.values.get("text")) for record in records) == (first_s != second_s)


def test_the_time_that_a_caller_counts_is_spent(tmp_path):
    config = TrainConfig(epochs=200, batch_size=16, lr=1e-3, time_s=1000.0)
    records = list(fit(small_network(), small_batches(), None, config, spent_s=999.9))
    assert records[-1].values["time_s"] > 999.9 and records[-1].step < 100


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n", b"x" * 100])
def test_a_damaged_checkpoint_is_named(content, tmp_path):
    run = new_run(tmp_path / "run")
    path = run.file("checkpoints", "train.pt")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.pt.*delete it"):
        Checkpoints(run, "train").load()


def test_the_range_test_is_not_repeated(uninterrupted):
    notes = [line["text"] for line in Run(uninterrupted).records("metrics.jsonl") if line["kind"] == "note"]
    plan = Run(uninterrupted).read_json("plan-train.json")
    assert "range test" not in "".join(notes[1:])
    assert CONFIG.lr == "auto" and plan["lr_from"]


def test_the_memory_of_a_plateau_is_resumed(tmp_path):
    def end(stops):
        run = new_run(tmp_path / f"run{len(stops)}")
        config = TrainConfig(epochs=8, batch_size=16, lr=1e-3, schedule="plateau", checkpoint_s=1e9)
        for stop_step in (*stops, 10**6):
            network, left = small_network(), iter(range(stop_step, -1, -1))
            stop = lambda n=left: next(n) <= 1  # noqa: E731
            list(fit(network, small_batches(), small_val(24), config, task=Counting(), run=run, stop=stop))
        return [line["lr"] for line in run.records("metrics.jsonl") if line["kind"] == "epoch"]

    rates = end(())
    assert rates[5] == pytest.approx(0.3 * rates[1]), "the loss of this task never falls"
    assert end((20, 13)) == rates

from __future__ import annotations

import warnings

import pytest

from ghostfit.run import Run
from ghostfit.train.records import Journal, Record
from ghostfit.train.trackers import TRACKERS, open_trackers


class Listed:
    def __init__(self, fails=False):
        self.got, self.fails, self.is_closed = [], fails, False

    def log(self, values, step):
        self.got.append((step, values))
        if self.fails:
            raise ConnectionError("tracker is away")

    def close(self):
        self.is_closed = True


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", "train", {}, seed=0)


def test_a_tracker_that_raises_is_warned_about_once_and_left_out(run):
    good, bad = Listed(), Listed(fails=True)
    journal = Journal(run, "train", [bad, good])
    with pytest.warns(RuntimeWarning, match="Listed failed.*tracker is away"):
        journal.write(Record("train", 1, 0, "step", {"loss": 1.0, "text": "words are not sent"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal.write(Record("train", 2, 0, "step", {"loss": 0.5}))
        journal.close()
    assert len(bad.got) == 1
    assert good.got == [(1, {"train/loss": 1.0}), (2, {"train/loss": 0.5})]
    assert good.is_closed


def test_only_what_lies_beyond_the_checkpoint_is_forgotten(run):
    one, other = Journal(run, "train"), Journal(run, "supernet")
    for step in range(4):
        one.write(Record("train", step, 0, "step", {"loss": float(step)}))
        other.write(Record("supernet", step, 0, "step", {"loss": float("nan")}))
    one.forget_after(1)
    lines = [(line["phase"], line["step"]) for line in run.records("metrics.jsonl")]
    assert [step for phase, step in lines if phase == "train"] == [0, 1]
    assert [step for phase, step in lines if phase == "supernet"] == [0, 1, 2, 3]
    assert all(line["loss"] is None for line in run.records("metrics.jsonl") if line["phase"] == "supernet")


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_every_tracker_opens_or_names_its_extra(name, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    try:
        (tracker,) = open_trackers([name], run)
    except ValueError as error:
        assert "ghostfit[track]" in str(error)
        pytest.skip(str(error))
    tracker.log({"train/loss": 1.0}, 1)
    tracker.close()

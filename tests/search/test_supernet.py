"""The sandwich: genes open by phase, every kind of subnet learns, and a resumed task goes on in the same space."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import small_evaluator, small_space

from ghostfit.nn.sharing import Supernet
from ghostfit.search.supernet import OPENING, SHRINKING, Sandwich
from ghostfit.space import Space
from ghostfit.train.task import FollowsProgress, HasState


def test_genes_open_in_their_order() -> None:
    space, task = small_space(), Sandwich(small_space())
    assert not task.current().open_genes()
    opened: set[str] = set()
    for share, names in OPENING:
        task.progress = share
        now = {gene.rsplit(".", 1)[-1] for gene in task.current().open_genes()}
        assert opened <= now and now - opened <= set(names)
        opened = now
    assert task.current() == space


def test_the_closed_space_is_the_largest_network() -> None:
    assert Sandwich(small_space()).current().largest() == small_space().largest()


def test_a_step_reaches_weights_that_only_small_networks_use() -> None:
    torch.manual_seed(0)
    supernet = Supernet(small_space())
    task = Sandwich(small_space(), progress=0.4)
    values = task.train_step(supernet, torch.randn(4, 3, 32, 32), torch.arange(4))
    assert set(values) == {"loss", "distill_loss"}
    cheap = [p for name, p in supernet.named_parameters() if "@r2" in name and p.grad is not None]
    assert any(float(p.grad.abs().sum()) > 0 for p in cheap)


def test_the_space_shrinks_once_at_each_share() -> None:
    calls: list[int] = []

    def shrink(space: Space, phase: int) -> Space:
        calls.append(phase)
        return space.restrict("size", space.choices("size")[-1:])

    task = Sandwich(small_space(), shrink=shrink)
    supernet = Supernet(small_space())
    for progress in (0.0, SHRINKING[0], SHRINKING[0] + 0.01, SHRINKING[1], 0.99, 1.0):
        task.begin_step(progress)
        task.train_step(supernet, torch.randn(2, 3, 32, 32), torch.arange(2))
    assert calls == list(range(len(SHRINKING))) and task.space.choices("size") == (32,)


def test_a_resumed_task_has_the_same_space() -> None:
    task = Sandwich(small_space().restrict("s0.out", [16]), shrunk=2, progress=0.8)
    again = Sandwich(small_space())
    again.load_state_dict(task.state_dict())
    assert again.space == task.space and again.shrunk == 2 and again.current() == task.current()
    assert isinstance(task, HasState) and isinstance(task, FollowsProgress)


def test_evaluation_scores_the_largest_and_the_smallest(tmp_path: Path) -> None:
    evaluator = small_evaluator(tmp_path)
    values = Sandwich(small_space(), evaluator=evaluator, progress=0.5).evaluate(evaluator.supernet, [])
    assert values["val_accuracy"] == pytest.approx((values["largest_accuracy"] + values["smallest_accuracy"]) / 2)

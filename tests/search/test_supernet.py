"""The sandwich: genes open by phase, every kind of subnet learns, and a resumed task goes on in the same space."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import small_evaluator, small_space

from ghostfit.arch import Dense
from ghostfit.nn.sharing import Supernet
from ghostfit.search.evaluate import resize_to
from ghostfit.search.start import plain_start
from ghostfit.search.supernet import LATE_SHRINKING, OPENING, SHRINKING, Sandwich, learner_of
from ghostfit.space import Space
from ghostfit.train.config import TrainConfig
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


@pytest.mark.parametrize(("rule", "shares"), [("sandwich", SHRINKING), ("single", LATE_SHRINKING)])
def test_the_space_shrinks_once_at_each_share(rule: str, shares: tuple[float, ...]) -> None:
    calls: list[int] = []

    def shrink(space: Space, phase: int) -> Space:
        calls.append(phase)
        return space.restrict("size", space.choices("size")[-1:])

    task = Sandwich(small_space(), shrink=shrink, rule=rule)
    supernet = Supernet(small_space())
    for progress in (0.0, *(share + more for share in shares for more in (-0.01, 0.0, 0.01)), 1.0):
        assert task.begin_step(progress) == (progress in shares)
        task.train_step(supernet, torch.randn(2, 3, 32, 32), torch.arange(2))
    assert calls == list(range(len(shares))) and task.space.choices("size") == (32,)


def test_a_resumed_task_has_the_same_space() -> None:
    task = Sandwich(small_space().restrict("s0.out", [16]), shrunk=2, progress=0.8)
    again = Sandwich(small_space())
    again.load_state_dict(task.state_dict())
    assert again.space == task.space and again.shrunk == 2 and again.current() == task.current()
    assert isinstance(task, HasState) and isinstance(task, FollowsProgress)


def test_evaluation_scores_the_largest_and_the_smallest(tmp_path: Path) -> None:
    evaluator = small_evaluator(tmp_path)
    sandwich = Sandwich(small_space(), evaluator=evaluator, progress=0.5)
    values = sandwich.evaluate(evaluator.supernet, evaluator.judged)
    scores = [evaluator.score(arch) for arch in (small_space().largest(), small_space().smallest())]
    assert values["val_accuracy"] == pytest.approx(sum(score.metric for score in scores) / 2)
    assert values["val_loss"] == pytest.approx(sum(score.loss for score in scores) / 2)


def test_a_step_of_classification_is_cross_entropy_and_soft_cross_entropy() -> None:
    """Bit for bit what the losses by hand give, so that runs of earlier versions can be repeated."""
    x, y = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    stores = []
    for _ in range(2):
        torch.manual_seed(0)
        stores.append(Supernet(small_space()))
    random.seed(1)
    values = Sandwich(small_space(), progress=0.4).train_step(stores[0], x, y)
    random.seed(1)
    largest, *others = Sandwich(small_space(), progress=0.4)._sample(small_space())
    logits = stores[1](resize_to(x, largest), largest)
    loss = F.cross_entropy(logits, y, label_smoothing=0.1)
    loss.backward()
    for arch in others:
        distilled = F.cross_entropy(stores[1](resize_to(x, arch), arch), logits.detach().softmax(1))
        distilled.backward()
    assert values == {"loss": loss, "distill_loss": distilled}
    for (name, found), (_, wanted) in zip(*(store.named_parameters() for store in stores), strict=True):
        assert (found.grad is None) == (wanted.grad is None), name
        assert found.grad is None or torch.equal(found.grad, wanted.grad), name


def dense_space(task: str) -> Space:
    arch = plain_start(2, (64, 64), width=0.25, depth=1).as_dense(Dense(task, width=16, strides=(8, 16, 32)))  # type: ignore[arg-type]
    return Space.around(arch, widths=(0.5, 1.0), sizes=(0.75, 1.0))


@pytest.mark.parametrize("name", ["detect", "instance", "segment"])
def test_a_dense_sandwich_teaches_subnets_of_every_size(name: str) -> None:
    torch.manual_seed(0)
    space = dense_space(name)
    supernet = Supernet(space)
    y = {
        "boxes": torch.tensor([[[8.0, 8.0, 40.0, 40.0]], [[0.0, 0.0, 20.0, 30.0]]]),
        "classes": torch.tensor([[0], [1]]),
        "masks": torch.ones(2, 1, 16, 16, dtype=torch.bool),
    }
    if name == "segment":
        y = {"classes": torch.randint(0, 2, (2, 64, 64))}
    task = learner_of(supernet, space, TrainConfig(), [])  # type: ignore[arg-type]
    sandwich = Sandwich(space, task=task, num_random=2)
    single = Sandwich(space, task=task, rule="single", progress=0.05)
    assert {single._early(arch).size_hw for arch in (space.largest(), space.smallest())} == {(64, 64), (48, 48)}
    assert all(bool(value.isfinite()) for value in single.train_step(supernet, torch.randn(2, 3, 64, 64), y).values())
    for progress in (0.05, 0.5):
        sandwich.begin_step(progress)
        assert getattr(task, "progress", progress) == progress
        values = sandwich.train_step(supernet, torch.randn(2, 3, 64, 64), y)
        assert all(bool(value.isfinite()) for value in values.values())
    assert space.smallest().size_hw == (48, 48) and "distill_loss" in values
    assert sandwich.metric == task.metric != "val_accuracy"
    assert all(bool(p.grad.isfinite().all()) for p in supernet.parameters() if p.grad is not None)


def test_by_the_single_rule_one_network_learns_from_labels_and_images_grow() -> None:
    space = small_space()
    task = Sandwich(space, rule="single")
    sizes = {}
    for progress in (0.0, 0.4, 0.6):
        task.progress = progress
        sizes[progress] = {task._early(arch).size_hw[0] for arch in (space.largest(), space.smallest())}
    assert max(sizes[0.0]) == 16 and max(sizes[0.4]) == 24 and max(sizes[0.6]) == space.largest().size_hw[0]
    task.progress, x, y = 0.0, torch.randn(4, 3, 32, 32), torch.arange(4)
    stores = [Supernet(space), Supernet(space)]
    stores[1].load_state_dict(stores[0].state_dict())
    random.seed(1)
    values = task.train_step(stores[0], x, y)
    random.seed(1)
    arch = space.sample(random.Random(random.getrandbits(64))).replace(size_hw=(16, 16))
    loss = F.cross_entropy(stores[1](resize_to(x, arch), arch), y, label_smoothing=0.1)
    loss.backward()
    assert values == {"loss": loss}
    for (name, found), (_, wanted) in zip(*(store.named_parameters() for store in stores), strict=True):
        assert (found.grad is None) == (wanted.grad is None), name
        assert found.grad is None or torch.equal(found.grad, wanted.grad), name


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed: sandwich, single"):
        Sandwich(small_space(), rule="double")

"""The losses of the dense tasks against their formulas, and where formulas divide by nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ghostfit.train.tasks.losses import dice_loss, giou_of, hard_mean, imitation_loss, overlap_of, varifocal_loss


def test_giou_of_boxes_apart_grows_as_they_near():
    """Two 2 x 2 boxes with a gap g: no overlap, hull 2 x (4 + g), so GIoU is -g / (4 + g)."""
    box = torch.tensor([0.0, 0.0, 2.0, 2.0])
    for gap in (0.0, 1.0, 4.0):
        moved = box + torch.tensor([2 + gap, 0, 2 + gap, 0])
        assert float(giou_of(box, moved)) == pytest.approx(-gap / (4 + gap))
        assert float(overlap_of(box, moved)) == 0.0


def test_boxes_without_area_give_finite_gradients():
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    for other in (torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]])):
        (overlap_of(boxes, other) + giou_of(boxes, other)).sum().backward()
        assert torch.isfinite(boxes.grad).all()


def test_varifocal_loss_is_its_formula():
    torch.manual_seed(0)
    scores = torch.randn(2, 5, 3, requires_grad=True)
    where, targets = (torch.tensor([0, 1]), torch.tensor([2, 4]), torch.tensor([1, 0])), torch.tensor([0.7, 0.2])
    dense = torch.zeros(2, 5, 3).index_put(where, targets)
    weights = torch.where(dense > 0, dense, 0.75 * scores.detach().sigmoid() ** 2)
    formula = F.binary_cross_entropy_with_logits(scores, dense, weight=weights, reduction="sum")
    loss = varifocal_loss(scores, where, targets)
    assert float(loss.detach()) == pytest.approx(float(formula.detach()), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(gradient, torch.autograd.grad(formula, scores)[0])


def test_ignored_anchors_cost_nothing():
    scores = torch.full((1, 3, 2), 5.0, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    loss = varifocal_loss(scores, (nothing,) * 3, torch.zeros(0), torch.tensor([[True, False, True]]))
    loss.backward()
    assert (scores.grad[0].abs().sum(1) > 0).tolist() == [False, True, False]


def test_imitation_is_over_where_scores_agree():
    torch.manual_seed(0)
    wanted = 3 * torch.randn(2, 5, 3)
    for distance, is_near in ((0.0, True), (0.5, False)):
        scores = (wanted + distance).requires_grad_()
        loss = imitation_loss(scores, wanted)
        loss.backward()
        assert (abs(float(loss.detach())) < 1e-4) == is_near
        assert (scores.grad.abs().max() < 1e-5) == is_near
        assert is_near or (float(loss.detach()) > 0 and (scores.grad > 0).all())


def test_dice_counts_areas():
    assert float(dice_loss(torch.tensor(10.0), torch.tensor(20.0))) == 0.0
    assert float(dice_loss(torch.tensor(0.0), torch.tensor(0.0))) == 0.0
    assert float(dice_loss(torch.tensor(0.0), torch.tensor(19.0))) == pytest.approx(1 - 1 / 20)


def test_hard_pixels_are_those_below_the_threshold_but_not_too_few():
    losses = torch.tensor([3.0, 0.1, 0.5, 0.2])  # -log 0.7 is 0.357
    assert float(hard_mean(losses, 16)) == pytest.approx(1.75)
    assert float(hard_mean(losses, 48)) == pytest.approx((3.0 + 0.5 + 0.2) / 3)
    assert float(hard_mean(losses, 10_000)) == pytest.approx(0.95)
    assert float(hard_mean(losses[:0], 16)) == 0.0

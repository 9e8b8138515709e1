"""Assignments worked out by hand, and what holds for any."""

from __future__ import annotations

import math

import pytest
import torch

from ghostfit.train.tasks.assign import (
    NEAREST,
    _nearest,
    assign_aligned,
    assign_nearest,
    assign_single,
    check_sizes,
    grid_of,
    ignored_anchors,
    make_grid,
)

SMALL = make_grid((16, 16), (8,))  # four anchors: (4, 4), (12, 4), (4, 12), (12, 12)


def labels(boxes, classes):
    """Labels of one image."""
    return {"boxes": torch.tensor([boxes], dtype=torch.float32), "classes": torch.tensor([classes])}


def pairs(found):
    """Assigned (image, anchor): (object, wanted score)."""
    columns = (found.images, found.anchors, found.objects, found.targets)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {(image, anchor): (index, pytest.approx(target, rel=1e-5)) for image, anchor, index, target in rows}


def two_objects():
    """A wide object of class 0 over anchors 0 and 1, a tall one of class 1 over anchors 1 and 3.

    Anchor 0 predicts the wide one exactly, with score 1/2. Anchors 1 and 3 predict their own cell, which overlaps each
    object by half: anchor 1 with scores 1/2 and 4/5, anchor 3 with 1/5 for class 1.
    """
    y = labels([[0, 0, 16, 8], [8, 0, 16, 16]], [0, 1])
    boxes = torch.tensor([[[0, 0, 16, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]]], dtype=torch.float32)
    scores = torch.tensor([[[0.0, -9.0], [0.0, math.log(4)], [9.0, 9.0], [-9.0, -math.log(4)]]])
    return scores, boxes, y


def test_an_anchor_goes_to_the_object_that_it_is_aligned_with_best():
    """Alignments, score x overlap^6: wide 1/2 and 1/128, tall 1/80 and 1/320; so anchor 1 goes to the tall one."""
    found = assign_aligned(scores=two_objects()[0], boxes_xyxy=two_objects()[1], grid=SMALL, y=two_objects()[2])
    assert pairs(found) == {(0, 0): (0, 1.0), (0, 1): (1, 0.5), (0, 3): (1, 0.125)}
    assert found.ignored is None


def test_only_the_best_anchors_of_an_object_are_taken():
    scores, boxes, y = two_objects()
    assert pairs(assign_aligned(scores, boxes, SMALL, y, top_k=1)) == {(0, 0): (0, 1.0), (0, 1): (1, 0.5)}


def test_a_single_anchor_each_is_the_best_one():
    scores, boxes, y = two_objects()
    assert pairs(assign_single(scores, boxes, SMALL, y)) == {(0, 0): (0, 1.0), (0, 1): (1, 0.5)}


def test_where_two_want_one_anchor_the_lesser_takes_its_next():
    """With a score of 1/200 for anchor 0 the wide object prefers anchor 1 as well, where the tall one has more."""
    scores, boxes, y = two_objects()
    scores[0, 0, 0] = -math.log(199)
    assert pairs(assign_aligned(scores, boxes, SMALL, y, top_k=1)) == {(0, 1): (1, 0.5)}
    assert pairs(assign_single(scores, boxes, SMALL, y)) == {(0, 1): (1, 0.5), (0, 0): (0, 1.0)}


def test_every_object_has_one_anchor_as_long_as_there_are_enough():
    """Three equal objects over two anchors; other images and padding beside them."""
    scores, boxes, y = two_objects()
    wide = y["boxes"][:, :1]
    y = {"boxes": wide.expand(2, 4, 4), "classes": torch.tensor([[-1, 0, 0, 0], [0, -1, -1, -1]])}
    found = pairs(assign_single(scores.expand(2, -1, -1), boxes.expand(2, -1, -1), SMALL, y))
    assert found == {(0, 0): (1, 1.0), (0, 1): (2, 0.5), (1, 0): (0, 1.0)}


def test_a_single_anchor_is_found_where_nothing_overlaps():
    scores, boxes, y = two_objects()
    found = assign_single(scores, boxes * 0 + 4, SMALL, y)
    assert sorted(found.objects.tolist()) == [0, 1] and len(set(found.anchors.tolist())) == 2
    assert not found.targets.any()


def test_of_equal_alignments_the_first_object_wins():
    scores, boxes, y = two_objects()
    y = {"boxes": y["boxes"][:, [0, 0]], "classes": torch.tensor([[0, 0]])}
    assert {index for index, _ in pairs(assign_aligned(scores, boxes, SMALL, y)).values()} == {0}


def test_padding_and_other_images_are_left_out():
    scores, boxes, y = two_objects()
    y = {
        "boxes": torch.cat((y["boxes"].flip(1), y["boxes"] * 0, y["boxes"])),
        "classes": torch.tensor([[-1, 0], [-1, -1], [0, 1]]),
    }
    found = assign_aligned(scores.expand(3, -1, -1), boxes.expand(3, -1, -1), SMALL, y)
    assert pairs(found) == {
        (0, 0): (1, 1.0),
        (0, 1): (1, 0.015625),
        (2, 0): (0, 1.0),
        (2, 1): (1, 0.5),
        (2, 3): (1, 0.125),
    }


def test_predictions_without_area_are_assigned_without_a_nan():
    scores, boxes, y = two_objects()
    found = assign_aligned(scores, boxes * 0 + 4, SMALL, y)
    assert len(found.targets) and not found.targets.any()


def test_atss_takes_the_anchors_of_the_level_that_fits():
    """A 40 x 40 object around the anchor (20, 20) of stride 8, whose square it is: overlap 1.

    Its neighbours overlap by 32 x 40 / 1920 = 2/3 and, across, 1024 / 2176 = 8/17; the 9 nearest of stride 16 by 1/4.
    Mean 0.433 and deviation 0.217 make 0.650: the middle and its four neighbours.
    """
    grid = make_grid((64, 64), (8, 16))
    y = labels([[0, 0, 40, 40]], [1])
    boxes = torch.zeros(1, len(grid.points), 4)
    boxes[0, 18] = torch.tensor([0.0, 0.0, 40.0, 20.0])
    found = assign_nearest(boxes, grid, y)
    assert pairs(found) == {(0, anchor): (0, 0.5 if anchor == 18 else 0.0) for anchor in (10, 17, 18, 19, 26)}


def test_atss_gives_every_object_an_anchor():
    """A 16 x 16 object overlaps the squares of stride 8 by 0.16 and of stride 16 by 0.04; no candidate reaches 0.179.

    So the best with their centre inside are taken: all four.
    """
    grid = make_grid((32, 32), (8, 16))
    found = assign_nearest(torch.zeros(1, len(grid.points), 4), grid, labels([[0, 0, 16, 16]], [0]))
    assert sorted(found.anchors.tolist()) == [0, 1, 4, 5]


def test_an_object_between_the_centres_is_learnt():
    y = labels([[9, 9, 12, 11]], [0])
    boxes = torch.tensor([[[9.0, 9.0, 12.0, 12.0]]]).expand(1, 4, 4)
    for found in (assign_aligned(torch.zeros(1, 4, 1), boxes, SMALL, y), assign_nearest(boxes, SMALL, y)):
        assert pairs(found) == {(0, 3): (0, 2 / 3)}


def test_nothing_is_wanted_in_a_crowd():
    y = {
        "boxes": torch.tensor([[[0.0, 0, 16, 8], [0, 0, 5, 16]], [[0, 0, 1, 1]] * 2]),
        "classes": torch.tensor([[-2, -2], [-1, -1]]),
    }
    ignored = ignored_anchors(SMALL, y)
    assert ignored.tolist() == [[True, True, True, False], [False] * 4]
    assert ignored_anchors(SMALL, {**y, "classes": y["classes"].clamp(min=-1)}) is None


@pytest.mark.parametrize("size_hw", [(64, 64), (24, 96), (8, 40)])
def test_the_window_holds_the_nearest_anchors(size_hw):
    grid = make_grid(size_hw, (8, 16))
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(400, 2, generator=generator) * torch.tensor([size_hw[1], size_hw[0]])
    centres[:4] = torch.tensor([[0, 0], [size_hw[1], 0], [0, size_hw[0]], [size_hw[1], size_hw[0]]])
    found = _nearest(centres, grid, NEAREST)
    begin = column = 0
    for height, width in grid.levels_hw:
        distances = torch.cdist(centres, grid.points[begin : begin + height * width])
        num = min(NEAREST, height * width)
        wanted = distances.topk(num, largest=False).values
        near = (grid.points[found[:, column : column + num]] - centres[:, None]).norm(dim=2)
        torch.testing.assert_close(near.sort(dim=1).values, wanted, rtol=0, atol=1e-3)
        begin, column = begin + height * width, column + num


def test_outputs_tell_their_input_size():
    sizes, strides, cpu = [(64, 64), (48, 48)], (8, 16), torch.device("cpu")
    assert grid_of(64 + 16, sizes, strides, cpu).size_hw == (64, 64)
    assert grid_of(36 + 9, sizes, strides, cpu).size_hw == (48, 48)
    with pytest.raises(ValueError, match=r"77 anchors, which no input of \(64, 64\) or \(48, 48\) pixels gives"):
        grid_of(77, sizes, strides, cpu)
    with pytest.raises(ValueError, match=r"\(64, 64\) and of \(60, 60\) pixels both have 80 anchors"):
        check_sizes([(64, 64), (60, 60)], strides)

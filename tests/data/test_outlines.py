"""Outlines fill the pixels whose centres they enclose, and a traced mask comes back exactly."""

import numpy as np
import pytest

from ghostfit.data.outlines import Polygons, RunLengths, box_of, split_regions, trace
from ghostfit.vision.rle import encode_mask


def filled_slowly(points, size_hw):
    """Even-odd rule at each pixel's centre, one ray and one edge at a time."""
    mask = np.zeros(size_hw, bool)
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            x, y, is_inside = column + 0.5, row + 0.5, False
            for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
                if (ay <= y) != (by <= y) and x >= ax + (y - ay) * (bx - ax) / (by - ay):
                    is_inside = not is_inside
            mask[row, column] = is_inside
    return mask


@pytest.mark.parametrize("seed", range(8))
def test_fill_is_the_even_odd_rule(seed):
    points = np.random.default_rng(seed).uniform(-5, 25, (3 + seed, 2))
    assert np.array_equal(Polygons((points,)).fill((18, 20)), filled_slowly(points, (18, 20)))


def test_parts_are_joined_and_scaled():
    left, right = np.array([[0, 0], [0.5, 0], [0.5, 1], [0, 1]]), np.array([[0.25, 0], [1, 0], [1, 0.5], [0.25, 0.5]])
    both = Polygons((left, right))
    mask = both.fill((4, 8), (8.0, 4.0))
    assert mask[:2].all() and mask[2:, :4].all() and not mask[2:, 4:].any()
    assert both.box_xyxy() == (0, 0, 1, 1) and both.to_bytes() != Polygons((right, left)).to_bytes()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_tracing_a_mask_keeps_every_pixel(seed, share):
    mask = np.random.default_rng(seed).random((7 + seed, 13)) < share
    points = trace(mask)
    assert np.array_equal(Polygons((points.astype(float),)).fill(mask.shape), mask)
    # As shares with nine digits, as YOLO's text holds them.
    shares = np.array([[float(f"{value:.9g}") for value in point] for point in points / (13, 7 + seed)]).reshape(-1, 2)
    assert np.array_equal(Polygons((shares,)).fill(mask.shape, (13.0, 7.0 + seed)), mask)


def test_tracing_nothing_and_everything():
    assert trace(np.zeros((3, 4), bool)).shape == (0, 2)
    assert sorted(map(tuple, trace(np.ones((3, 4), bool)).tolist())) == [(0, 0), (0, 3), (4, 0), (4, 3)]


def test_regions_are_connected_by_corners_too():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    regions = split_regions(mask)
    assert [region.sum() for region in regions] == [2, 3, 5] and np.array_equal(sum(regions), mask)
    assert [box_of(region) for region in regions] == [(0, 0, 2, 2), (3, 0, 5, 2), (0, 3, 5, 4)]
    assert split_regions(np.zeros((3, 3), bool)) == [] and box_of(np.zeros((3, 3), bool)) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_regions_of_random_masks_do_not_touch(seed):
    mask = np.random.default_rng(seed).random((20, 30)) < 0.35
    regions = split_regions(mask)
    assert np.array_equal(np.sum(regions, axis=0), mask.astype(int))
    for region in regions:
        grown = np.zeros((22, 32), bool)
        for dy in range(3):
            for dx in range(3):
                grown[dy : dy + 20, dx : dx + 30] |= region
        assert np.array_equal(grown[1:-1, 1:-1] & mask, region)
        assert region.sum() == 1 or len(split_regions(region)) == 1


def test_run_lengths_are_of_one_size():
    mask = np.random.default_rng(1).random((6, 9)) < 0.5
    outline = RunLengths(encode_mask(mask)["counts"], (6, 9))
    assert np.array_equal(outline.fill((6, 9)), mask) and outline.box_xyxy() == box_of(mask)
    with pytest.raises(ValueError, match="can't be scaled"):
        outline.fill((9, 6))

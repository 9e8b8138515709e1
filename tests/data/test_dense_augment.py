"""Dense augmentation: labels stay on their pixels, enough of them stay, and the generator alone decides."""

import numpy as np
import pytest
import torch

from ghostfit.data.dense_augment import (
    MOSAIC_MIDDLE,
    PRESETS,
    SMALL_SIDE,
    DenseAugment,
    Picture,
    dense_transform,
    fitted,
)
from ghostfit.data.outlines import box_of
from ghostfit.vision.objects import IGNORE, Objects

STRENGTHS = [name for name in PRESETS if name != "none"]
NUM = 3  # squares, one a colour channel; the fourth picture of a mosaic is empty
LEVELS = (90, 130, 170, 210)
FILL = (0, 0, 0)
SIZES = [(64, 64), (48, 96), (32, 40)]


def square(channel, box, *, size_hw=(64, 64), with_mask=True):
    """A square of one colour on black, labelled; the channel is its class."""
    left, top, right, bottom = box
    mask = np.zeros((1, *size_hw), bool)
    mask[0, top:bottom, left:right] = True
    image = np.zeros((*size_hw, 3), np.uint8)
    image[mask[0], channel] = 200
    return Picture(image, Objects(np.array([box]), np.array([channel]), masks=mask if with_mask else None))


def some_squares(seed, number):
    """One picture with a square, or four, of which the last is empty."""
    rng = np.random.default_rng(seed)
    corners = [(*rng.integers(0, 36, 2), *rng.integers(10, 28, 2)) for _ in range(NUM)]
    pictures = [square(channel, (x, y, x + w, y + h)) for channel, (x, y, w, h) in enumerate(corners)]
    empty = Objects(np.zeros((0, 4)), np.zeros(0), masks=np.zeros((0, 64, 64), bool))
    return [*pictures, Picture(np.zeros((64, 64, 3), np.uint8), empty)][:number]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_boxes_and_masks_follow_their_pixels(strength, number, size_hw):
    transform = dense_transform(strength)
    num_found = 0
    for seed in range(60):
        pictures = some_squares(seed, number)
        image, label = transform.compose(pictures, np.random.default_rng(seed), size_hw, fill=FILL)
        assert image.shape == (*size_hw, 3) and image.dtype == np.uint8
        assert len(set(label.class_ids)) == len(label) >= 1
        assert (label.boxes_xyxy >= 0).all() and (label.boxes_xyxy <= [size_hw[1], size_hw[0]] * 2).all()
        for channel, box, mask in zip(label.class_ids, label.boxes_xyxy, label.masks, strict=True):
            share = image[:, :, channel] / 200  # of each pixel that the square covers
            assert np.abs(np.array(box_of(mask)) - box).max() <= 1
            assert np.abs(np.array(box_of(share >= 0.45)) - box).max() <= 1
            rim = 2 * (box[2:] - box[:2] + 2).sum()
            assert np.abs(mask - share).sum() <= 0.6 * rim
            num_found += 1
    assert num_found >= (60 if number == 1 else 90)


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("number", [1, 4])
def test_class_maps_follow_their_pixels_and_the_outside_has_no_label(number, size_hw):
    transform = DenseAugment(scale=(0.5, 1.5))
    num_outside = 0
    for seed in range(40):
        pictures = []
        for picture in some_squares(seed, number):
            is_square = picture.label.masks.any(0)
            class_map = is_square.astype(np.uint8)
            class_map[:4] = IGNORE
            image = np.stack([np.where(is_square, 200, 50), np.full((64, 64), 100), np.zeros((64, 64))], axis=2)
            image[:4, :, 2] = 200
            pictures.append(Picture(image.astype(np.uint8), class_map))
        image, class_map = transform.compose(pictures, np.random.default_rng(seed), size_hw, fill=FILL)
        is_inside = image[:, :, 1] > 50
        assert (class_map[~is_inside] == IGNORE).all()
        is_unlabelled, is_square = image[:, :, 2] >= 100, image[:, :, 0] >= 125
        wrong = (class_map == IGNORE) != is_unlabelled
        wrong |= ~is_unlabelled & (class_map != IGNORE) & ((class_map == 1) != is_square)
        assert wrong[is_inside].mean() < 0.06  # at edges
        num_outside += (~is_inside).sum()
    assert num_outside > 1000


def test_a_mosaic_is_four_images_that_meet_in_a_point():
    transform = DenseAugment(flip_share=0.0)
    empty = Objects(np.zeros((0, 4)), np.zeros(0))
    pictures = [Picture(np.full((40, 60, 3), level, np.uint8), empty) for level in LEVELS]
    middles = set()
    for seed in range(30):
        image, label = transform.compose(pictures, np.random.default_rng(seed), (60, 80), fill=FILL)
        assert len(label) == 0
        assert {int(value) for value in np.unique(image)} <= {FILL[0], *LEVELS}
        left_top, right_top, left_bottom, right_bottom = (box_of((image == level).all(2)) for level in LEVELS)
        assert max(left_top[2], left_bottom[2]) <= min(right_top[0], right_bottom[0])
        assert max(left_top[3], right_top[3]) <= min(left_bottom[1], right_bottom[1])
        assert left_top[2] <= round(MOSAIC_MIDDLE[1] * 80) and right_bottom[0] >= round(MOSAIC_MIDDLE[0] * 80)
        middles.add(left_top[2])
        assert ((image != FILL[0]).any(2)).mean() > 0.5
    assert len(middles) > 5


@pytest.mark.parametrize("box", [(0, 0, 64, 64), (0, 0, 3, 3), (61, 61, 64, 64), (0, 30, 64, 32), (30, 30, 31, 31)])
@pytest.mark.parametrize("number", [1, 4])
def test_never_all_objects_are_lost(box, number):
    for seed in range(60):
        pictures = [square(seed % NUM, box, with_mask=bool(seed % 2)) for _ in range(number)]
        label = dense_transform("medium").compose(pictures, np.random.default_rng(seed), (64, 64), fill=FILL).label
        assert len(label) >= 1


def test_small_objects_are_not_shrunk_and_one_object_stays_in_sight():
    shrinking, growing = DenseAugment(scale=(0.5, 1.0)), DenseAugment(scale=(1.5, 1.5))
    small, large = square(0, (20, 20, 25, 25)), square(1, (20, 20, 52, 52))
    sides = {"small": [], "large": []}
    for seed in range(40):
        for name, picture in (("small", small), ("large", large)):
            box = shrinking.compose([picture], np.random.default_rng(seed), (64, 64), fill=FILL).label.boxes_xyxy[0]
            sides[name].append(float((box[2:] - box[:2]).min()))
        label = growing.compose([small], np.random.default_rng(seed), (64, 64), fill=FILL).label
        assert np.abs((label.boxes_xyxy[0, 2:] - label.boxes_xyxy[0, :2]) - 7.5).max() < 0.8  # whole, though cropped
    assert min(sides["small"]) > 4 and SMALL_SIDE > 5 and min(sides["large"]) < 20


def test_what_is_hardly_visible_is_dropped_and_a_crowd_is_not():
    boxes = np.array([[0, 0, 20, 20], [22, 22, 62, 62], [0, 30, 20, 60]])
    crowd = np.array([False, False, True])
    picture = Picture(np.zeros((64, 64, 3), np.uint8), Objects(boxes, np.array([0, 1, 2]), crowd))
    found, num_slivers = set(), 0
    for seed in range(80):
        label = (
            DenseAugment(scale=(1.5, 1.5)).compose([picture], np.random.default_rng(seed), (64, 64), fill=FILL).label
        )
        area = (label.boxes_xyxy[:, 2:] - label.boxes_xyxy[:, :2]).prod(1)
        whole = np.array([400, 1600, 600])[label.class_ids] * 1.5**2
        assert (area >= 0.28 * whole)[~label.is_crowd].all()
        assert (label.is_crowd == (label.class_ids == 2)).all() and (~label.is_crowd).any()
        found.add(tuple(label.class_ids))
        num_slivers += ((area < 0.28 * whole) & label.is_crowd).sum()
    assert (1,) in found and len(found) >= 3 and num_slivers > 0


@pytest.mark.parametrize("number", [1, 4])
def test_drawn_from_the_generator_alone_and_nothing_given_is_changed(number):
    pictures = some_squares(0, number)
    kept = [(picture.image.copy(), picture.label.boxes_xyxy.copy()) for picture in pictures]
    state = torch.get_rng_state()
    compose = lambda seed: dense_transform("strong").compose(  # noqa: E731
        pictures, np.random.default_rng(seed), (64, 64), fill=FILL
    )
    first, second, third = compose(3), compose(3), compose(4)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(first.image, second.image) and not np.array_equal(first.image, third.image)
    assert np.array_equal(first.label.boxes_xyxy, second.label.boxes_xyxy)
    for picture, (image, boxes) in zip(pictures, kept, strict=True):
        assert np.array_equal(picture.image, image) and np.array_equal(picture.label.boxes_xyxy, boxes)


def test_fitting_keeps_every_object():
    picture = square(0, (30, 30, 31, 31))
    assert fitted(picture, (64, 64)) is picture
    small = fitted(picture, (16, 32)).label
    assert small.boxes_xyxy.tolist() == [[15, 7.5, 15.5, 7.75]]


def test_names():
    assert dense_transform("none") is None
    plain = dense_transform("strong", flip=False, mosaic=False)
    assert plain.flip_share == plain.mosaic_share == 0 and dense_transform("strong").mosaic_share > 0
    with pytest.raises(ValueError, match="allowed: none, light, medium, strong"):
        dense_transform("extreme")

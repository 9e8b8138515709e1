"""Labels at the input's size: on the pixels that `Prepare` gives, small, and damage is listed."""

import numpy as np
import pytest

from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.dense_cache import PackedObjects, build_targets
from ghostfit.data.outlines import box_of
from ghostfit.data.targets import KnownClassMap, KnownObjects
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.prepare import Prepare

RULES = [{"resize": "squash"}, {"resize": "letterbox"}, {"resize": "crop"}, {"resize": "crop", "crop_pct": 0.7}]
BOXES = np.array([[10, 6, 50, 40], [70, 50, 100, 60], [44, 30, 60, 42]])


def dataset_of(targets, task, *, size_hw=(64, 104), pixels=None):
    image = np.zeros((*size_hw, 3), np.uint8) if pixels is None else pixels
    samples = tuple(Sample(str(i), ArraySource(image), 0, image.size, target) for i, target in enumerate(targets))
    return Dataset("made", "made", ("a", "b", "c"), samples, {"all": tuple(range(len(samples)))}, task=task)


def masks_of(boxes, size_hw=(64, 104)):
    masks = np.zeros((len(boxes), *size_hw), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_labels_lie_on_their_pixels(rule):
    masks = masks_of(BOXES)
    pixels = np.where(masks.any(0)[:, :, None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    prepare = Prepare(size_hw=(48, 64), mean=(0.0,) * 3, **rule)
    resized = prepare.resized(pixels)[:, :, 0] / 255
    objects = Objects(BOXES, np.array([2, 0, 1]), np.array([False, False, True]), masks)
    boxes = build_targets(dataset_of([KnownObjects(objects)], "detect", pixels=pixels), prepare).read(0)
    found = build_targets(dataset_of([KnownObjects(objects)], "instance", pixels=pixels), prepare).read(0)
    assert boxes.masks is None and np.array_equal(boxes.boxes_xyxy, found.boxes_xyxy)
    assert 2 in found.class_ids and found.is_crowd[list(found.class_ids).index(1)]
    for mask, box in zip(found.masks, found.boxes_xyxy, strict=True):
        assert np.abs(np.array(box_of(mask)) - box).max() <= 0.51
    assert np.abs(found.masks.any(0) - resized).mean() < 0.03
    classes = np.where(masks.any(0), 1, 0).astype(np.uint8)
    class_map = build_targets(dataset_of([KnownClassMap(classes)], "segment", pixels=pixels), prepare).read(0)
    assert class_map.dtype == np.uint8 and class_map.shape == (48, 64)
    is_known = class_map != IGNORE
    assert is_known.all() == (rule["resize"] != "letterbox")
    assert np.abs(class_map - resized)[is_known].mean() < 0.03


def test_what_a_crop_cuts_off_is_left_out():
    objects = Objects(np.array([[0, 0, 8, 8], [40, 20, 60, 40]]), np.array([0, 1]))
    prepare = Prepare(size_hw=(32, 32), resize="crop")  # of 104 columns the middle 64
    found = build_targets(dataset_of([KnownObjects(objects)], "detect"), prepare).read(0)
    assert found.boxes_xyxy.tolist() == [[10, 10, 20, 20]] and found.class_ids.tolist() == [1]


def test_an_object_smaller_than_a_pixel_fills_its_box():
    masks = np.zeros((1, 64, 104), bool)
    masks[0, 33, 50] = True
    target = KnownObjects(Objects(np.array([[50, 33, 51, 34]]), np.array([0]), masks=masks))
    found = build_targets(dataset_of([target], "instance"), Prepare(size_hw=(8, 8))).read(0)
    assert found.masks.sum() == 1 and found.masks[0, 4, 3]


def test_masks_and_maps_are_kept_small():
    objects = Objects(BOXES, np.array([2, 0, 1]), masks=masks_of(BOXES))
    packed = build_targets(dataset_of([KnownObjects(objects)], "instance"), Prepare(size_hw=(64, 104))).packed[0]
    assert isinstance(packed, PackedObjects) and packed.objects.masks is None
    assert sum(map(len, packed.bits)) < masks_of(BOXES).size / 8 / 5
    np.testing.assert_array_equal(packed.unpack((64, 104)).masks, objects.masks)
    classes = objects.masks.any(0).astype(np.uint8)
    assert (
        len(build_targets(dataset_of([KnownClassMap(classes)], "segment"), Prepare(size_hw=(64, 104))).packed[0]) < 300
    )


def test_images_without_objects_and_damaged_labels():
    class Damaged(KnownObjects):
        def read(self):
            raise ValueError("half a file")

    empty = KnownObjects(Objects(np.zeros((0, 4)), np.zeros(0)))
    known = KnownObjects(Objects(BOXES, np.array([2, 0, 1])))
    dataset = dataset_of([empty, Damaged(Objects(BOXES, np.zeros(3))), known, None], "detect")
    done = []
    targets = build_targets(dataset, Prepare(size_hw=(32, 32)), progress=lambda *step: done.append(step))
    assert targets.valid.tolist() == [True, False, True, False] and len(targets) == 4 and done == [(4, 4)]
    assert len(targets.read(0)) == 0 and len(targets.read(2)) == 3
    assert [(skipped.id, skipped.reason) for skipped in targets.skipped] == [
        ("1", "half a file"),
        ("3", "it has no label"),
    ]
    with pytest.raises(ValueError, match="row 1 has no label"):
        targets.read(1)
    with pytest.raises(ValueError, match="none of the 1 labels of made can be read: half a file"):
        build_targets(dataset_of([Damaged(Objects(BOXES, np.zeros(3)))], "detect"), Prepare(size_hw=(32, 32)))


def test_labels_of_another_size_or_kind_are_refused():
    prepare = Prepare(size_hw=(32, 32))
    small = KnownClassMap(np.zeros((8, 9), np.uint8))
    bare = KnownObjects(Objects(BOXES, np.zeros(3)))
    for target, task, reason in ((small, "segment", "9x8 pixels"), (bare, "instance", "have no masks")):
        with pytest.raises(ValueError, match=reason):
            build_targets(dataset_of([target], task), prepare)
    with pytest.raises(ValueError, match="labelled for classify"):
        build_targets(dataset_of([None], "classify"), prepare)

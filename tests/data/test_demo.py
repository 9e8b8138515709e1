"""The built-in parts: repeatable, labelled to the pixel, and of all three dense tasks."""

import numpy as np
import pytest

from ghostfit.data import demo_scene
from ghostfit.data.demo import COUNTS, OBJECT_NAMES, PIXEL_NAMES
from ghostfit.data.demo_scene import DEFECTS, PARTS, SIZE, Scene, layers_of, paint, plan_scene, visible_masks
from ghostfit.data.demo_shapes import NUM_TRAITS, Defect, Part
from ghostfit.data.outlines import box_of
from ghostfit.data.readers import read_dataset


@pytest.mark.parametrize(
    ("task", "names"), [("detect", OBJECT_NAMES), ("instance", OBJECT_NAMES), ("segment", PIXEL_NAMES)]
)
def test_read_as_every_dense_task(task, names):
    dataset = read_dataset("demo:parts", task=task)
    assert dataset.task == task and dataset.class_names == names
    assert {name: len(indices) for name, indices in dataset.given.items()} == COUNTS
    assert len({sample.id for sample in dataset.samples}) == len(dataset) == 600
    assert dataset.stamp() == read_dataset("demo:parts", task=task).stamp()
    with pytest.raises(ValueError, match="can't be used for classify"):
        read_dataset("demo:parts", task="classify")


def test_objects_and_class_maps_agree():
    objects_set, maps = (read_dataset("demo:parts", task=task) for task in ("instance", "segment"))
    boxes_set = read_dataset("demo:parts", task="detect")
    kinds, num_empty = set(), 0
    for number in range(40):
        objects, class_map = objects_set.samples[number].target.read(), maps.samples[number].target.read()
        boxes = boxes_set.samples[number].target.read()
        assert boxes.masks is None and np.array_equal(boxes.boxes_xyxy, objects.boxes_xyxy)
        assert np.array_equal(objects_set.samples[number].target.class_ids(), objects.class_ids)
        assert set(maps.samples[number].target.class_ids()) == set(np.unique(class_map))
        is_defect = objects.class_ids >= len(PARTS)
        for mask, box in zip(objects.masks, objects.boxes_xyxy, strict=True):
            assert mask.any() and tuple(box) == box_of(mask)
        assert np.array_equal(objects.masks.any(0), class_map > 0)  # a defect lies on a part
        assert np.array_equal(objects.masks[is_defect].any(0), class_map > 1)
        assert (objects.masks[~is_defect].sum(0) <= 1).all()  # what is hidden is not labelled
        kinds |= set(objects.class_ids)
        num_empty += not len(objects)
    assert kinds == set(range(len(OBJECT_NAMES))) and 0 < num_empty < 8


def test_pictures_follow_from_their_number():
    samples = read_dataset("demo:parts").samples
    first, again, other = samples[5].source.read(), samples[5].source.read(), samples[6].source.read()
    assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert samples[5].source.stamp() == samples[5].source.stamp() != samples[6].source.stamp()
    pictures = np.stack([sample.source.read() for sample in samples[:20]])
    assert 40 < pictures.mean() < 180 and pictures.std() > 25
    assert np.ptp(pictures.mean((1, 2)), axis=0).min() > 30  # belts and light differ


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("part", PARTS)
def test_a_defect_changes_the_pixels_of_its_mask_and_no_others(kind, part, monkeypatch):
    monkeypatch.setattr(demo_scene, "_photograph", lambda scene, rng: scene.copy())
    traits = tuple(np.random.default_rng(1).random(NUM_TRAITS).tolist())
    clean = Part(part, (128.3, 120.6), 40.0, 0.7, (0.2, 0.5, 0.5))
    layer = layers_of(Scene((clean,), (9,)))[0]
    place = np.unravel_index(layer.distance.argmin(), layer.distance.shape)
    flaw = Defect(kind, (float(layer.x[place]), float(layer.y[place])), traits)
    flawed = Part(**{**vars(clean), "defects": (flaw,)})
    before, after = (paint(Scene((each,), (9,))) for each in (clean, flawed))
    changed = np.abs(after - before).max(2)
    (_, outline), (name, mask) = visible_masks(layers_of(Scene((flawed,), (9,))))
    assert name == kind and mask.sum() > 20 and outline[mask].all()
    assert np.median(changed[mask]) > 5  # it shows
    grown = np.pad(mask, 2)
    near = np.any([np.roll(grown, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)], axis=0)[2:-2, 2:-2]
    assert changed[~near].max() < 1


def test_the_upper_part_hides_the_lower():
    low, high = (
        Part("disc", (100.0, 100.0), 40.0, 0.0, (0.0, 0, 0)),
        Part("disc", (140.0, 100.0), 40.0, 0.0, (0.0, 0, 0)),
    )
    (_, below), (_, above) = visible_masks(layers_of(Scene((low, high), (1,))))
    assert above.sum() == pytest.approx(np.pi * 40**2, rel=0.01)
    assert not (below & above).any() and below.sum() < 0.7 * above.sum()
    assert box_of(above) == (101, 61, 180, 140)


def test_parts_may_stick_out():
    for x, y in ((-10.0, 128.0), (266.0, 128.0), (128.0, -10.0), (266.0, 266.0)):
        scene = Scene((Part("gear", (x, y), 46.0, 1.0, (0.5, 0.5, 0.5)),), (2,))
        ((_, mask),) = visible_masks(layers_of(scene))
        assert mask.any() and paint(scene).shape == (SIZE, SIZE, 3)
    assert plan_scene(0, 3) == plan_scene(0, 3) != plan_scene(1, 3)

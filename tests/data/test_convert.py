"""Every layout that is written is read back as it was, whatever it was made from."""

from dataclasses import replace

import dense_folders as folders
import numpy as np
import pytest

from ghostfit import api
from ghostfit.data.convert import convert
from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.readers import READERS, read_dataset
from ghostfit.data.targets import KnownClassMap, KnownObjects
from ghostfit.data.writers import WRITERS
from ghostfit.vision.objects import IGNORE, Objects

NAMES = ("Hündin: 1", "a cat", "zebra")


def label_of(task, seed):
    """Random objects, with holes and parts where they have masks, or a random class map; (20, 31) pixels."""
    rng = np.random.default_rng(seed)
    if task == "segment":
        class_map = rng.integers(0, 3, (20, 31)).astype(np.uint8)
        class_map[rng.random((20, 31)) < 0.1] = IGNORE
        return KnownClassMap(class_map)
    num = seed % 4
    left_top = rng.integers(0, 12, (num, 2))
    boxes = np.concatenate([left_top, left_top + rng.integers(2, 8, (num, 2))], axis=1).astype(np.float32)
    masks = np.zeros((num, 20, 31), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.6
        mask[[top, bottom - 1], [left, right - 1]] = True
    class_ids = (np.arange(num) + seed) % 3
    return KnownObjects(Objects(boxes, class_ids, masks=masks if task == "instance" else None))


def set_of(task, names=NAMES, **given):
    splits = given or {"train": range(6), "val": range(6, 9)}
    samples = []
    for split, indices in splits.items():
        for index in indices:
            pixels = np.random.default_rng(index).integers(0, 256, (20, 31, 3), dtype=np.uint8)
            samples.append(Sample(f"{split}/{index}.png", ArraySource(pixels), 0, pixels.size, label_of(task, index)))
    parts = {split: tuple(indices) for split, indices in splits.items()}
    return Dataset("made", "made", tuple(names), tuple(samples), parts, task=task)


def stem(sample):
    return sample.id.rsplit("/", 1)[-1].split("__")[-1]


def assert_same(before, after, *, has_masks):
    """The same images with the same labels, by the names of the classes."""
    kept = {stem(sample): sample for sample in after.samples}
    assert len(kept) == len(before) == len(after)
    for sample in before.samples:
        wanted, got = sample.target.read(), kept[stem(sample)].target.read()
        assert np.array_equal(np.frombuffer(kept[stem(sample)].source.read()[:4], np.uint8), [0x89, 0x50, 0x4E, 0x47])
        if isinstance(wanted, np.ndarray):
            assert np.array_equal(wanted, got)
            continue
        names = [before.class_names[number] for number in wanted.class_ids]
        assert names == [after.class_names[number] for number in got.class_ids]
        assert np.allclose(wanted.boxes_xyxy, got.boxes_xyxy, atol=1e-5)
        if has_masks:
            assert np.array_equal(wanted.masks, got.masks)


@pytest.mark.parametrize(("layout", "task"), [(name, task) for name, row in WRITERS.items() for task in row.tasks])
def test_round_trip(layout, task, tmp_path):
    before = set_of(task)
    written = convert(before, tmp_path / "out", layout)
    after = read_dataset(tmp_path / "out")
    assert (written.num_images, written.failed) == (9, {}) and after.skipped == ()
    assert after.task == (task if task in READERS[layout].tasks else "detect")
    assert {split: len(part) for split, part in after.given.items()} == {"train": 6, "val": 3}
    assert_same(before, after, has_masks=after.task == "instance")
    assert after.class_names == NAMES and read_dataset(tmp_path / "out", format=layout).fingerprint == after.fingerprint


@pytest.mark.parametrize("source", folders.MAKERS)
@pytest.mark.parametrize("layout", WRITERS)
def test_from_every_layout_to_every_layout(source, layout, tmp_path):
    before = read_dataset(folders.MAKERS[source](tmp_path / "in"))
    if before.task == "detect" and layout == "masks":
        with pytest.raises(ValueError, match="boxes without outlines, of which masks can't be made; allowed: coco"):
            convert(before, tmp_path / "out", layout)
        return
    written = convert(before, tmp_path / "out", layout)
    after = read_dataset(tmp_path / "out")
    assert len(after) == written.num_images == 4 and after.skipped == ()
    if before.task in WRITERS[layout].tasks and after.task == before.task:
        for one, other in zip(before.samples, after.samples, strict=True):
            wanted, got = one.target.read(), other.target.read()
            if before.task == "segment":
                assert np.array_equal(wanted, got)
            else:
                assert np.allclose(wanted.boxes_xyxy, got.boxes_xyxy, atol=1e-5)


def test_a_set_without_splits(tmp_path):
    for layout in ("coco", "yolo", "voc"):
        convert(set_of("detect", all=range(6)), tmp_path / layout, layout)
        after = read_dataset(tmp_path / layout)
        assert len(after) == 6 and len(after.given) == 1
    convert(set_of("segment", all=range(6)), tmp_path / "masks", "masks")
    assert list(read_dataset(tmp_path / "masks").given) == ["all"]


def test_names_that_would_collide(tmp_path):
    before = set_of("detect")
    renamed = [replace(sample, id=f"{sample.id.split('/')[0]}/cam{i}/x.png") for i, sample in enumerate(before.samples)]
    for layout in ("coco", "yolo", "voc"):
        convert(replace(before, samples=tuple(renamed)), tmp_path / layout, layout)
        assert len(read_dataset(tmp_path / layout)) == 9


def test_pixels_become_regions_and_back(tmp_path):
    before = set_of("segment", names=("background", "cat", "dog"))
    convert(before, tmp_path / "coco", "coco")
    objects = read_dataset(tmp_path / "coco")
    assert objects.task == "instance" and objects.class_names == ("cat", "dog")
    convert(objects, tmp_path / "masks", "masks")
    after = read_dataset(tmp_path / "masks")
    assert after.class_names == before.class_names
    for one, other in zip(before.samples, after.samples, strict=True):
        class_map = one.target.read()
        assert np.array_equal(np.where(class_map == IGNORE, 0, class_map), other.target.read())


def test_crowds_are_kept_where_they_can_be(tmp_path):
    objects = Objects(np.array([[1, 1, 9, 9], [2, 2, 6, 6]]), np.array([0, 1]), np.array([False, True]))
    before = set_of("detect", train=range(1))
    before = replace(before, samples=(replace(before.samples[0], target=KnownObjects(objects)),))
    for layout in ("coco", "voc", "yolo"):
        written = convert(before, tmp_path / layout, layout)
        got = read_dataset(tmp_path / layout).samples[0].target.read()
        assert got.is_crowd.tolist() == ([False, True] if layout != "yolo" else [False])
        assert sum(written.losses.values()) == (layout == "yolo")


def test_what_cannot_be_read_is_left_out(tmp_path):
    folders.write_masks(tmp_path / "in")
    folders.put(tmp_path / "in", "masks/train/a.png", b"no image")
    written = convert(read_dataset(tmp_path / "in"), tmp_path / "out", "masks")
    assert written.num_images == 3 and list(written.failed) == ["images/train/a.jpg"]


def test_what_cannot_be_converted(tmp_path, dataset_of):
    with pytest.raises(ValueError, match="to='png'; allowed: coco, yolo, voc, masks"):
        convert(set_of("detect"), tmp_path, "png")
    with pytest.raises(ValueError, match="a class for each image"):
        convert(dataset_of([0, 1]), tmp_path, "coco")
    folders.put(tmp_path, "full/file", "x")
    with pytest.raises(ValueError, match="not an empty folder"):
        convert(set_of("detect"), tmp_path / "full", "coco")


def test_the_verb(tmp_path):
    folders.write_coco(tmp_path / "in")
    result = api.convert(str(tmp_path / "in"), out=str(tmp_path / "out"), to="yolo", boxes_only=True)
    assert result.to_dict()["num_objects"] == 4 and result.to_dict()["left_out"] == {}
    assert read_dataset(tmp_path / "out").task == "detect"
    assert "4 images, 4 objects, from labels for detect to yolo" in result.to_text()
    folders.put(tmp_path / "in", "annotations/instances_val2017.json", "{}")
    lossy = api.convert(str(tmp_path / "in"), out=str(tmp_path / "voc"), to="voc")
    assert lossy.losses == {"masks, of which the layout keeps the boxes": 3} and "lost: 3 masks" in lossy.to_text()

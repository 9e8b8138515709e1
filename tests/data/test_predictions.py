"""What a model found is written, and read back by our own readers as it was."""

import json
from pathlib import Path

import dense_folders as folders
import numpy as np
import pytest
from PIL import Image

from ghostfit.data.outlines import box_of
from ghostfit.data.predictions import COVERED, FORMS, TOO_MANY, Found, Kept, choose_form, names_of, object_map
from ghostfit.data.readers import read_dataset
from ghostfit.data.writers import EMPTY_MASKS
from ghostfit.vision.results import ClassMap, Detections
from ghostfit.vision.rle import decode_mask

NAMES = ("Hündin: 1", "a cat", "zebra")
SIZE_HW = (24, 32)


def detections(seed, *, has_masks, num=4):
    """Objects side by side, best first; masks with holes and parts that reach the edges of their boxes."""
    rng = np.random.default_rng(seed)
    boxes = np.array(
        [[8 * i, rng.integers(0, 8), 8 * i + rng.integers(3, 9), rng.integers(12, 25)] for i in range(num)]
    )
    scores = np.sort(rng.random(num))[::-1]
    masks = np.zeros((num, *SIZE_HW), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.6
        mask[[top, bottom - 1], [left, right - 1]] = True
    class_ids = rng.integers(0, 3, num)
    return Detections(boxes, scores, class_ids, NAMES, SIZE_HW, masks if has_masks else None)


def found_of(results, root):
    """The results beside images of their size in `images/`, so that a reader finds both."""
    for number, _ in enumerate(results):
        folders.put(root, f"images/{number}.png", folders.image_bytes(number))
    return [Found(f"images/{number}.png", str(number), result) for number, result in enumerate(results)]


def write(form, results, root):
    kept = Kept()
    FORMS[form].write(found_of(results, root), root, NAMES, kept)
    assert kept.num_images == len(results)
    return kept


def assert_same(objects, result, *, has_masks):
    order = np.lexsort((objects.class_ids, objects.boxes_xyxy[:, 0]))
    wanted = np.lexsort((result.class_ids, result.boxes_xyxy[:, 0]))
    assert np.array_equal(objects.class_ids[order], result.class_ids[wanted]) and not objects.is_crowd.any()
    if has_masks:
        assert np.array_equal(objects.masks[order], result.masks[wanted])
    assert np.allclose(objects.boxes_xyxy[order], result.boxes_xyxy[wanted], atol=2e-3)


@pytest.mark.parametrize(
    ("form", "has_masks"), [("coco", False), ("coco", True), ("yolo", False), ("yolo", True), ("png", True)]
)
def test_objects_come_back_as_they_were(form, has_masks, tmp_path):
    results = [detections(seed, has_masks=has_masks, num=4 - seed) for seed in range(5)]
    kept = write(form, results, tmp_path)
    assert kept.num_objects == sum(map(len, results)) and not kept.losses
    root = tmp_path
    if form == "coco":  # the two files together are a data set
        listed = json.loads((root / "images.json").read_text())
        entries = json.loads((root / "predictions.json").read_text())
        assert [entry["score"] for entry in entries[:4]] == pytest.approx(results[0].scores.tolist(), abs=1e-6)
        listed["annotations"] = [{**entry, "id": number} for number, entry in enumerate(entries, start=1)]
        root = folders.put(root, "both.json", json.dumps(listed))
    dataset = read_dataset(root)
    assert dataset.class_names == NAMES and dataset.task == ("instance" if has_masks else "detect")
    assert dataset.skipped == () and len(dataset) == len(results)
    for sample, result in zip(dataset.samples, results, strict=True):
        assert_same(sample.target.read(), result, has_masks=has_masks)


def test_class_maps_come_back_as_they_were(tmp_path):
    maps = [np.random.default_rng(seed).integers(0, 3, SIZE_HW).astype(np.uint8) for seed in range(3)]
    write("png", [ClassMap(class_map, NAMES) for class_map in maps], tmp_path)
    dataset = read_dataset(tmp_path)
    assert dataset.task == "segment" and dataset.class_names == NAMES and dataset.skipped == ()
    assert all(np.array_equal(sample.target.read(), one) for sample, one in zip(dataset.samples, maps, strict=True))
    with Image.open(tmp_path / "masks" / "0.png") as image:  # in colour for people, by number for programs
        assert image.mode == "P" and len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize("has_masks", [False, True])
def test_the_tools_of_coco_read_the_results(has_masks, tmp_path):
    coco = pytest.importorskip("faster_coco_eval")
    results = [detections(seed, has_masks=has_masks) for seed in range(2)] + [detections(2, has_masks=has_masks, num=0)]
    write("coco", results, tmp_path)
    listed = coco.COCO(str(tmp_path / "images.json"))
    loaded = listed.loadRes(str(tmp_path / "predictions.json"))
    for number, result in enumerate(results, start=1):
        rows = loaded.loadAnns(loaded.getAnnIds(imgIds=[number]))
        assert listed.loadImgs([number])[0]["file_name"] == f"images/{number - 1}.png"
        names = [listed.loadCats([row["category_id"]])[0]["name"] for row in rows]
        assert names == [NAMES[number] for number in result.class_ids]
        if has_masks:
            masks = [decode_mask(row["segmentation"]) for row in rows]
            assert np.array_equal(np.reshape(masks, (-1, *SIZE_HW)), result.masks)


def test_nothing_found_is_written_too(tmp_path):
    for form in ("coco", "yolo", "png"):
        write(form, [detections(0, has_masks=True, num=0)], tmp_path / form)
    assert json.loads((tmp_path / "coco" / "predictions.json").read_text()) == []
    assert len(read_dataset(tmp_path / "yolo", format="yolo").samples[0].target.read()) == 0
    assert len(read_dataset(tmp_path / "png").samples[0].target.read()) == 0


def test_where_masks_overlap_the_better_object_has_the_pixel():
    masks = np.zeros((4, *SIZE_HW), bool)
    masks[0, 2:10, 2:10] = masks[1, 5:15, 5:15] = masks[2, 3:5, 3:5] = True  # the third lies under the first
    boxes = np.array([box_of(mask) for mask in masks])
    result = Detections(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 1, 0]), NAMES, SIZE_HW, masks)
    kept = Kept()
    numbers = object_map(result, kept)
    assert numbers.dtype == np.uint16 and np.array_equal(numbers == 1, masks[0])
    assert np.array_equal(numbers == 1001, masks[1] & ~masks[0]) and set(np.unique(numbers)) == {0, 1, 1001}
    assert kept.losses == {COVERED: 1, EMPTY_MASKS: 1} and kept.num_objects == 2


def test_more_objects_than_a_map_can_number():
    masks = np.zeros((1001, 40, 40), bool)
    masks[np.arange(1001), np.arange(1001) // 40, np.arange(1001) % 40] = True
    boxes, class_ids = np.zeros((1001, 4)), np.zeros(1001, int)
    kept = Kept()
    numbers = object_map(Detections(boxes, np.ones(1001), class_ids, NAMES, (40, 40), masks), kept)
    assert numbers.max() == 999 and kept.losses == {TOO_MANY: 2}


def test_an_empty_mask_has_no_outline(tmp_path):
    result = Detections(
        np.array([[0, 0, 4, 4]]), np.ones(1), np.zeros(1), NAMES, SIZE_HW, np.zeros((1, *SIZE_HW), bool)
    )
    assert write("yolo", [result], tmp_path).losses == {EMPTY_MASKS: 1}
    assert (tmp_path / "labels" / "0.txt").read_text() == ""


@pytest.mark.parametrize(
    ("to", "task", "num_classes", "message"),
    [
        ("voc", "detect", 2, "to='voc'; allowed: coco, yolo, png"),
        ("png", "detect", 2, "can't hold results of a bundle for detect; allowed: coco, yolo"),
        ("yolo", "segment", 2, "can't hold results of a bundle for segment; allowed: png"),
        ("png", "instance", 66, "66 classes; a map of objects with 16 bits holds 65"),
        (None, "classify", 2, "--csv and --json write it"),
    ],
)
def test_results_that_a_layout_cannot_hold(to, task, num_classes, message):
    with pytest.raises(ValueError, match=message):
        choose_form(to, task, num_classes)


def test_the_layout_that_suits_the_task():
    assert [choose_form(None, task, 80) for task in ("detect", "instance", "segment")] == ["coco", "coco", "png"]
    assert choose_form("png", "instance", 65) == "png"


def test_no_two_images_have_one_name():
    paths = ["x/1.jpg", "y/1.jpg", "y/1.png", "z/y__1.jpg", "2.png", "a/b/Q.png", "c/b/q.png", "c/b/q.png"]
    names = names_of([Path(path) for path in paths])
    assert len({name.casefold() for name in names}) == len(names)
    assert names[0] == "x__1" and names[4] == "2"

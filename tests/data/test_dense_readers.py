"""Each layout for objects or pixels gives what was written, and says what it could not use."""

import json
import pickle

import dense_folders as folders
import numpy as np
import pytest

from ghostfit.data import annotations, yolo
from ghostfit.data.label_images import LabelError
from ghostfit.data.readers import READERS, read_dataset
from ghostfit.vision.objects import IGNORE
from ghostfit.vision.rle import encode_mask

put, OBJECTS, CLASS_MAPS, MAKERS = folders.put, folders.OBJECTS, folders.CLASS_MAPS, folders.MAKERS


def stem_of(sample):
    return sample.id.rsplit("/", 1)[-1][0]


def found_objects(dataset, sample):
    objects = sample.target.read()
    names = [dataset.class_names[number] for number in objects.class_ids]
    return [(name, *box) for name, box in zip(names, objects.boxes_xyxy.round(3).tolist(), strict=True)]


def kinds(dataset):
    return sorted(entry.kind for entry in dataset.skipped)


PAINTED = ("demo", "demo-masks")  # no folder to write: tests/data/test_demo.py
DENSE = [name for name, reader in READERS.items() if "classify" not in reader.tasks and name not in PAINTED]


@pytest.mark.parametrize("format", DENSE)
def test_contract_of_a_dense_reader(format, tmp_path):
    dataset = read_dataset(MAKERS[format](tmp_path / "set"))
    again = read_dataset(tmp_path / "set", format=format)
    assert dataset.task == again.task == READERS[format].tasks[0] and dataset.skipped == ()
    assert dataset.fingerprint == again.fingerprint and len({sample.id for sample in dataset.samples}) == 4
    by_split = {split: sorted(stem_of(dataset.samples[i]) for i in dataset.given[split]) for split in dataset.given}
    assert by_split == {"train": ["a", "b"], "val": ["c", "d"]}
    for sample in pickle.loads(pickle.dumps(dataset.samples)):
        name = next(name for name in OBJECTS if name.endswith(stem_of(sample)))
        label = sample.target.read()
        if dataset.task == "segment":
            assert label.dtype == np.uint8 and np.array_equal(label, CLASS_MAPS[name])
            assert sample.target.class_ids().tolist() == [0, 1, 2]
            continue
        assert sorted(found_objects(dataset, sample)) == sorted(OBJECTS[name])
        assert np.array_equal(sample.target.class_ids(), label.class_ids) and not label.is_crowd.any()
        if dataset.task == "instance":
            assert label.masks.shape == (len(label), folders.HEIGHT, folders.WIDTH)
            for (left, top, right, bottom), mask in zip(label.boxes_xyxy.round().astype(int), label.masks, strict=True):
                assert mask.sum() == (right - left) * (bottom - top) and mask[top:bottom, left:right].all()


@pytest.mark.parametrize("format", ["coco", "yolo", "instances"])
def test_boxes_only_of_objects_with_masks(format, tmp_path):
    root = MAKERS[format](tmp_path / "set")
    whole, boxes = read_dataset(root), read_dataset(root, task="detect")
    assert (whole.task, boxes.task) == ("instance", "detect") and whole.fingerprint != boxes.fingerprint
    for one, other in zip(whole.samples, boxes.samples, strict=True):
        assert other.target.read().masks is None
        assert found_objects(whole, one) == found_objects(boxes, other)


def test_a_task_that_the_labels_cannot_serve(tmp_path):
    folders.write_yolo(tmp_path / "boxes", outlines=False)
    assert read_dataset(tmp_path / "boxes").task == "detect"
    with pytest.raises(ValueError, match="have no outlines"):
        read_dataset(tmp_path / "boxes", task="instance")
    with pytest.raises(ValueError, match="has labels for segment, read as masks; they can't be used for detect"):
        read_dataset(MAKERS["masks"](tmp_path / "masks"), task="detect")
    with pytest.raises(ValueError, match="task='pose'; allowed: classify, detect"):
        read_dataset(tmp_path, task="pose")
    with pytest.raises(ValueError, match="option 'ignored'; options of masks: ignore"):
        read_dataset(tmp_path / "masks", format="masks:ignored=11")


def test_a_folder_of_voc_has_boxes_and_pixels(tmp_path):
    folders.write_voc(folders.write_voc_masks(tmp_path))
    assert read_dataset(tmp_path).task == "detect"
    assert read_dataset(tmp_path, task="segment").class_names[:2] == ("background", "aeroplane")


# ---- COCO


def test_category_ids_keep_their_order_whatever_gaps_they_have(tmp_path):
    content = folders.coco_content("train", outlines=False, ids=(90, 4))
    put(tmp_path, "train/_annotations.coco.json", json.dumps(content))
    for stem in "ab":
        put(tmp_path, f"train/{stem}.png", folders.image_bytes(0))
    dataset = read_dataset(tmp_path)
    assert dataset.class_names == ("dog", "cat") and kinds(dataset) == ["GF617"]
    assert sorted(found_objects(dataset, dataset.samples[0])) == sorted(OBJECTS["train/a"])


def test_files_must_agree_on_the_categories(tmp_path):
    folders.write_coco(tmp_path)
    content = folders.coco_content("val", outlines=True, ids=(2, 1))
    put(tmp_path, "annotations/instances_val2017.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"category [12] is '(dog|cat)', in another file '(cat|dog)'"):
        read_dataset(tmp_path)
    content["categories"] = [{"id": 3, "name": "cat"}, {"id": 7, "name": "cat"}]
    put(tmp_path / "one", "labels.json", json.dumps(content))
    with pytest.raises(ValueError, match="several categories are called cat"):
        read_dataset(tmp_path / "one" / "labels.json")


def test_roboflows_group_is_no_class(tmp_path):
    dataset = read_dataset(folders.write_roboflow(tmp_path))
    assert set(dataset.class_names) == {"cat", "dog"} and kinds(dataset) == ["GF105"]
    by_stem = {stem_of(sample): sorted(found_objects(dataset, sample)) for sample in dataset.samples}
    assert by_stem == {name[-1]: sorted(objects) for name, objects in OBJECTS.items()}


def coco_of(root, items, **image):
    """A set of one image with these annotations."""
    images = [{"id": 1, "file_name": "a.png", "height": folders.HEIGHT, "width": folders.WIDTH, **image}]
    items = [{"image_id": 1, "category_id": 1, **item} for item in items]
    content = {"images": images, "annotations": items, "categories": [{"id": 1, "name": "cat"}]}
    put(root, "a.png", folders.image_bytes(0))
    return put(root, "labels.json", json.dumps(content))


def test_run_lengths_compressed_and_not(tmp_path):
    mask = np.random.default_rng(0).random((folders.HEIGHT, folders.WIDTH)) > 0.5
    flat = mask.ravel(order="F").astype(int)
    borders = np.flatnonzero(np.diff(flat)) + 1
    starts = [0, *borders] if not flat[0] else [0, 0, *borders]
    plain = {"size": list(mask.shape), "counts": np.diff([*starts, flat.size]).tolist()}
    box = [0, 0, 32, 24]
    items = [{"bbox": box, "segmentation": plain}, {"bbox": box, "segmentation": encode_mask(mask), "iscrowd": 1}]
    items.append({"segmentation": [[1, 1, 5, 1, 5, 5, 1, 5], [10, 10, 12, 10, 12, 12, 10, 12]]})
    dataset = read_dataset(coco_of(tmp_path, items))
    objects = dataset.samples[0].target.read()
    assert dataset.task == "instance" and dataset.skipped == ()
    assert np.array_equal(objects.masks[0], mask) and np.array_equal(objects.masks[1], mask)
    assert objects.is_crowd.tolist() == [False, True, False]
    assert objects.masks[2].sum() == 20 and objects.boxes_xyxy[2].tolist() == [1, 1, 12, 12]


WRONG_OBJECTS = {
    "unknown category": ({"category_id": 5}, "GF603", 0),
    "no category": ({"category_id": None}, "GF603", 0),
    "no area": ({"bbox": [1, 1, 0, 5]}, "GF604", 0),
    "negative width": ({"bbox": [5, 5, -3, 5]}, "GF604", 0),
    "beyond the edge": ({"bbox": [20, 1, 30, 5]}, "GF605", 1),
    "outside": ({"bbox": [50, 1, 30, 5]}, "GF606", 0),
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "GF607", 0),
    "odd numbers": ({"segmentation": [[1, 1, 5, 5, 9, 9, 2]]}, "GF607", 0),
    "words": ({"segmentation": [["a", "b", "c", "d", "e", "f"]]}, "GF607", 0),
    "run lengths too short": ({"segmentation": {"size": [24, 32], "counts": [3, 4]}}, "GF607", 0),
    "run lengths of another size": ({"segmentation": {"size": [2, 2], "counts": [4]}}, "GF607", 0),
    "endless run lengths": ({"segmentation": {"size": [24, 32], "counts": [10**15]}}, "GF607", 0),
    "damaged run lengths": ({"segmentation": {"size": [24, 32], "counts": "~~~~~"}}, "GF607", 0),
    "run lengths of nothing": ({"segmentation": {"counts": None}}, "GF607", 0),
    "three numbers": ({"bbox": [1, 1, 5]}, "GF608", 0),
    "not finite": ({"bbox": [1, 1, float("inf"), 5]}, "GF608", 0),
    "no box": ({"bbox": None}, "GF608", 0),
}


@pytest.mark.parametrize("name", WRONG_OBJECTS)
def test_wrong_objects_of_coco_are_named(name, tmp_path):
    change, kind, num_kept = WRONG_OBJECTS[name]
    dataset = read_dataset(coco_of(tmp_path, [{"bbox": [1, 1, 5, 5], **change}, {"bbox": [2, 2, 5, 5]}]))
    objects = dataset.samples[0].target.read()
    assert kinds(dataset) == [kind] and dataset.skipped[0].id == "a.png object 1" and len(objects) == 1 + num_kept
    assert objects.boxes_xyxy[:, 2].max() <= folders.WIDTH


def test_images_that_coco_lists_wrongly(tmp_path):
    path = coco_of(tmp_path, [{"bbox": [1, 1, 5, 5]}, {"bbox": [1, 1, 5, 5], "image_id": 99}])
    content = json.loads(path.read_text())
    content["images"] += [{"id": 2, "file_name": "gone.png"}, {"id": 3, "file_name": "../../etc/passwd"}, {"id": 4}]
    content["images"] += [{"id": 5, "file_name": "a.png"}]
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert len(dataset) == 1 and kinds(dataset) == ["GF105", "GF601", "GF602", "GF602", "GF602"]


def test_a_label_for_another_size_is_an_error_of_the_label(tmp_path):
    dataset = read_dataset(coco_of(tmp_path, [{"bbox": [1, 1, 5, 5]}], height=48, width=64))
    with pytest.raises(LabelError, match="is of 64x48 pixels, its image of 32x24") as caught:
        dataset.samples[0].target.read()
    assert caught.value.kind == pickle.loads(pickle.dumps(caught.value)).kind == "GF610"


@pytest.mark.parametrize("text", ["{", "[1]", '{"images": 3}', "[" * 100_000, "\xff"])
def test_damaged_json(text, tmp_path):
    path = put(tmp_path, "labels.json", text.encode("latin1"))
    with pytest.raises(ValueError, match=r"no readable JSON|no COCO file"):
        read_dataset(path)


def test_nearly_all_objects_have_an_outline(tmp_path):
    square = {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    bare = {"bbox": [10, 10, 4, 4]}
    dataset = read_dataset(coco_of(tmp_path, [square] * 19 + [bare]))
    objects = dataset.samples[0].target.read()
    assert dataset.task == "instance" and kinds(dataset) == ["GF609"]
    assert objects.is_crowd.sum() == 1 and objects.is_crowd[-1] and objects.masks[-1].sum() == 16
    assert read_dataset(coco_of(tmp_path, [square] * 2 + [bare])).task == "detect"


# ---- YOLO


def test_yolo_in_folders_of_splits_without_yaml(tmp_path):
    for split in ("train", "valid"):
        put(tmp_path, f"images/{split}/x.v1.jpg", folders.image_bytes(len(split), "JPEG"))
        put(tmp_path, f"labels/{split}/x.v1.txt", "4 0.5 0.5 0.25 0.5\n")
    dataset = read_dataset(tmp_path)
    assert dataset.class_names == ("0", "1", "2", "3", "4") and set(dataset.given) == {"train", "val"}
    assert dataset.samples[0].target.read().boxes_xyxy.tolist() == [[12, 6, 20, 18]]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("2 0.5 0.5 0.1 0.1", "GF603"),
        ("-1 0.5 0.5 0.1 0.1", "GF603"),
        ("0 0.5 0.5 0 0.1", "GF604"),
        ("0 0.95 0.5 0.2 0.1", "GF605"),
        ("0 2.5 0.5 0.1 0.1", "GF606"),
        ("0 0.1 0.1 0.2 0.2 0.3", "GF607"),
        ("0 0.1 0.1", "GF608"),
        ("0.5 0.5 0.5 0.1 0.1", "GF608"),
        ("cat 0.5 0.5 0.1 0.1", "GF608"),
        ("0 nan 0.5 0.1 0.1", "GF608"),
        ("1e400 0.5 0.5 0.1 0.1", "GF608"),
    ],
)
def test_wrong_lines_of_yolo_are_named(line, kind, tmp_path):
    folders.write_yolo(tmp_path, outlines=False)
    put(tmp_path, "labels/train/a.txt", f"\n{line}\n1 0.5 0.5 0.1 0.1\n")
    dataset = read_dataset(tmp_path)
    assert kinds(dataset) == [kind] and dataset.skipped[0].id == "images/train/a.png line 2"
    assert len(dataset.samples[0].target.read()) == (2 if kind == "GF605" else 1)


def test_yolo_files_that_do_not_fit(tmp_path, monkeypatch):
    folders.write_yolo(tmp_path)
    put(tmp_path, "labels/train/gone.txt", "0 0.5 0.5 0.1 0.1")
    put(tmp_path, "labels/train/b.txt", b"\xff\xfe\x00")
    put(tmp_path, "labels/val/d.txt", "")
    dataset = read_dataset(tmp_path)
    assert kinds(dataset) == ["GF601", "GF602"] and len(dataset) == 3, "an unread label is no background"
    put(tmp_path, "labels/train/b.txt", "0 0.5 0.5 0.1 0.1\n" * 50)
    monkeypatch.setattr(yolo, "read_text", lambda path, limit=0: annotations.read_text(path, 500))
    assert any("larger than" in entry.reason for entry in read_dataset(tmp_path).skipped)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b", "no readable YAML"),
        ("train: images", "must name the classes"),
        ("names: {1: a, 2: b}", "wanted 0, 1, 2"),
        ("names: [a, a]", "several classes are called a"),
        ("names: [a, b]\nnc: 3", "says nc: 3 and names 2"),
        ("names: [a, b]\ntrain: /etc", "where no images are"),
        ("names: !!python/object/apply:os.system ['true']", "no readable YAML"),
    ],
)
def test_wrong_yaml(text, message, tmp_path):
    put(folders.write_yolo(tmp_path), "data.yaml", text)
    with pytest.raises(ValueError, match=message):
        read_dataset(tmp_path)


def test_yolo_lists_of_images(tmp_path):
    folders.write_yolo(tmp_path)
    put(tmp_path, "data.yaml", "train: train.txt\nval: [images/val]\nnames: {0: cat, 1: dog}\n")
    put(tmp_path, "train.txt", "./images/train/a.png\nimages/train/gone.png\n../../etc/passwd\n")
    dataset = read_dataset(tmp_path)
    assert {split: len(indices) for split, indices in dataset.given.items()} == {"train": 1, "val": 2}
    assert kinds(dataset) == ["GF602", "GF602", "GF602"]  # two lines, and the labels of b


# ---- VOC


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><object>", "no readable XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "document type"),
        ("<other/>", "not <annotation>"),
        ("", "no readable XML"),
    ],
)
def test_xml_that_cannot_be_used(text, reason, tmp_path):
    put(folders.write_voc(tmp_path), "Annotations/a.xml", text)
    dataset = read_dataset(tmp_path)
    assert len(dataset) == 3 and kinds(dataset) == ["GF601"] and reason in dataset.skipped[0].reason


def test_an_entity_in_another_encoding_is_refused(tmp_path):
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'
    put(folders.write_voc(tmp_path), "Annotations/a.xml", text.encode("utf-16"))
    assert "document type" in read_dataset(tmp_path).skipped[0].reason


def test_objects_of_voc_that_are_odd(tmp_path):
    folders.write_voc(tmp_path)
    objects = [("cat", 5, 5, 5, 9), ("", 1, 1, 4, 4), ("dog", "x", 1, 4, 4), ("dog", 3, 3, 40, 9)]
    put(tmp_path, "Annotations/a.xml", folders.voc_xml("a", objects, size=(0, 0)))
    difficult = folders.voc_xml("b", OBJECTS["train/b"]).replace("<bndbox>", "<difficult>1</difficult><bndbox>")
    put(tmp_path, "Annotations/b.xml", difficult)
    (tmp_path / "JPEGImages" / "c.png").unlink()
    (tmp_path / "Annotations" / "d.xml").unlink()
    put(tmp_path, "Annotations/e.xml", folders.voc_xml("e", []))
    put(tmp_path, "JPEGImages/e.png", folders.image_bytes(9))
    dataset = read_dataset(tmp_path)
    assert kinds(dataset) == ["GF105", "GF601", "GF602", "GF604", "GF605", "GF608", "GF608"]
    assert found_objects(dataset, dataset.samples[0]) == [("dog", 3, 3, 32, 9)]
    assert dataset.samples[1].target.read().is_crowd.tolist() == [True]


def test_the_challenges_own_files_count_pixels_from_one(tmp_path):
    source = "<source><database>The VOC2007 Database</database></source>"
    put(tmp_path, "Annotations/a.xml", folders.voc_xml("a", [("cat", 1, 1, 32, 24)], source))
    put(tmp_path, "JPEGImages/a.png", folders.image_bytes(0))
    dataset = read_dataset(tmp_path)
    assert list(dataset.given) == ["all"] and found_objects(dataset, dataset.samples[0]) == [("cat", 0, 0, 32, 24)]


def test_xml_beside_images(tmp_path):
    for split in ("train", "valid"):
        put(tmp_path, f"{split}/a.png", folders.image_bytes(1))
        put(tmp_path, f"{split}/a.xml", folders.voc_xml("a", OBJECTS["train/a"]))
    dataset = read_dataset(tmp_path)
    assert (
        set(dataset.given) == {"train", "val"}
        and sorted(found_objects(dataset, dataset.samples[1])) == OBJECTS["train/a"]
    )


# ---- masks


def masks_of(root, values, classes=""):
    for number, pixels in enumerate(values):
        put(root, f"images/{number}.png", folders.image_bytes(number))
        put(root, f"masks/{number}.png", folders.png_bytes(pixels))
    if classes:
        put(root, "classes.txt", classes)
    return root


def plane(*values):
    return np.resize(np.array(values, np.uint8), (folders.HEIGHT, folders.WIDTH))


def test_classes_that_the_values_tell(tmp_path):
    dataset = read_dataset(masks_of(tmp_path / "a", [plane(0, 1, 3), plane(3, 255)]))
    assert dataset.class_names == ("0", "1", "2", "3") and list(dataset.given) == ["all"]
    assert dataset.samples[1].target.class_ids().tolist() == [3]
    ignoring = read_dataset(tmp_path / "a", format="masks:ignore=3")
    assert ignoring.class_names == ("0", "1") and set(np.unique(ignoring.samples[0].target.read())) == {0, 1, IGNORE}
    shifted = read_dataset(tmp_path / "a", format="masks:ignore=0")
    assert shifted.class_names == ("1", "2", "3") and shifted.samples[1].target.class_ids().tolist() == [2]
    binary = read_dataset(masks_of(tmp_path / "b", [plane(0, 255), plane(0)]))
    assert binary.class_names == ("background", "foreground")
    assert binary.samples[0].target.class_ids().tolist() == [0, 1]
    with pytest.raises(ValueError, match="don't look like classes"):
        read_dataset(masks_of(tmp_path / "c", [plane(0, 100, 200)]))
    with pytest.raises(ValueError, match="wanted values of pixels"):
        read_dataset(tmp_path / "a", format="masks:ignore=x")


def test_masks_in_colour(tmp_path):
    colours = np.array([[128, 0, 0], [0, 128, 64], [0, 0, 0]], np.uint8)
    pixels = colours[plane(0, 1, 2)]
    dataset = read_dataset(masks_of(tmp_path, [pixels], "sky 128 0 0\nold road,0,128,64\nvoid 0 0 0\n"))
    assert dataset.class_names == ("sky", "old road")
    assert np.array_equal(dataset.samples[0].target.read(), plane(0, 1, IGNORE))
    put(tmp_path, "classes.txt", "sky 128 0 0\nroad 1 1 1\n")
    with pytest.raises(LabelError, match="the colour 0,128,64 in 512 pixels is none of the 2 classes") as caught:
        read_dataset(tmp_path).samples[0].target.read()
    assert caught.value.kind == "GF612"
    put(tmp_path, "classes.txt", "sky\nroad\n")
    with pytest.raises(LabelError, match="a mask in colour"):
        read_dataset(tmp_path).samples[0].target.read()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (folders.png_bytes(plane(0, 7)), "GF612"),
        (folders.png_bytes(np.zeros((5, 5), np.uint8)), "GF610"),
        (b"", "GF611"),
        (b"no image", "GF611"),
        (folders.image_bytes(0, "JPEG"), "GF611"),
        (folders.image_bytes(0), "GF611"),
    ],
)
def test_masks_that_cannot_be_used(content, kind, tmp_path):
    folders.write_masks(tmp_path)
    put(tmp_path, "masks/train/a.png", content)
    with pytest.raises(LabelError) as caught:
        read_dataset(tmp_path).samples[0].target.read()
    assert caught.value.kind == kind


def test_images_and_masks_without_each_other(tmp_path):
    folders.write_masks(tmp_path)
    put(tmp_path, "images/train/x.jpg", folders.image_bytes(9))
    put(tmp_path, "masks/train/y.png", folders.png_bytes(plane(0)))
    put(tmp_path, "masks/train/notes.txt", "x")
    dataset = read_dataset(tmp_path)
    assert len(dataset) == 4 and kinds(dataset) == ["GF105", "GF105", "GF602"]


def test_withheld_labels_of_cityscapes(tmp_path):
    folders.write_cityscapes(tmp_path)
    put(tmp_path, "leftImg8bit/test/bonn/x_leftImg8bit.png", folders.image_bytes(7))
    put(tmp_path, "gtFine/test/bonn/x_gtFine_labelIds.png", folders.png_bytes(plane(0, 3)))
    dataset = read_dataset(tmp_path)
    assert set(dataset.given) == {"train", "val"} and dataset.class_names[-1] == "bicycle"
    assert [entry.reason for entry in dataset.skipped] == ["its labels are withheld"]


def test_label_maps_of_one_class(tmp_path):
    labels = np.zeros((folders.HEIGHT, folders.WIDTH), np.uint16)
    labels[2:4, 3:9], labels[10:12, 3:9], labels[20:, 30:] = 300, 300, 65535
    put(tmp_path, "images/a.png", folders.image_bytes(0))
    put(tmp_path, "instances/a.png", folders.png_bytes(labels))
    dataset = read_dataset(tmp_path)
    objects = dataset.samples[0].target.read()
    assert dataset.class_names == ("object",) and objects.boxes_xyxy.tolist() == [[3, 2, 9, 12], [30, 20, 32, 24]]
    assert objects.masks.sum(axis=(1, 2)).tolist() == [24, 8]
    put(tmp_path, "classes.txt", "cat\ndog\n")
    with pytest.raises(LabelError, match="the number 65535 is of class 65; there are 2 classes"):
        read_dataset(tmp_path).samples[0].target.read()


@pytest.mark.parametrize("format", MAKERS)
def test_images_that_are_gone_or_split_wrongly(format, tmp_path):
    root = MAKERS[format](tmp_path)
    for file in sorted(root.rglob("*")):
        if file.suffix in (".png", ".jpg") and file.parts[-2] not in ("masks", "instances", "SegmentationClass"):
            file.unlink()
    with pytest.raises(ValueError, match=r"holds no labelled images|where no images are"):
        read_dataset(root, format=format)

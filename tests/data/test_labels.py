"""What the check finds in labels of objects and pixels, and how dense sets are divided."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ghostfit.data.check import check
from ghostfit.data.dataset import ArraySource, Dataset, Sample, Skipped
from ghostfit.data.facts import measure_images
from ghostfit.data.findings import KINDS
from ghostfit.data.label_images import LabelError
from ghostfit.data.labels import measure_labels
from ghostfit.data.readers import read_dataset
from ghostfit.data.split import make_splits
from ghostfit.data.targets import KnownClassMap, KnownObjects
from ghostfit.vision.objects import IGNORE, Objects


class Broken:
    """A label that can't be read."""

    def __init__(self, error):
        self.error = error

    def read(self):
        raise self.error

    class_ids = read

    def stamp(self):
        return "broken"


def objects_of(*rows, masks=None):
    """Objects of rows (class, left, top, right, bottom)."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return KnownObjects(Objects(table[:, 1:], table[:, 0].astype(np.int64), masks=masks))


@pytest.fixture
def set_of(picture):
    """A dataset in memory of these targets; each image its own, unless `pictures` numbers them."""

    def make(targets, task="detect", names=("cat", "dog"), pictures=None, skipped=(), **given):
        numbers = pictures or range(len(targets))
        samples = tuple(
            Sample(f"{i:03d}", ArraySource(picture(number, 64)), 0, 64 * 64 * 3, target)
            for i, (number, target) in enumerate(zip(numbers, targets, strict=True))
        )
        splits = {name: tuple(indices) for name, indices in given.items()} or {"all": tuple(range(len(targets)))}
        return Dataset("made", "made", tuple(names), samples, splits, tuple(skipped), task)

    return make


def found(dataset, **options):
    report = check(dataset, in_memory=True, **options)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["task"] == dataset.task and set(data["labels"]["image_counts"]) == set(dataset.class_names)
    assert all(finding.id in report.to_text() for finding in report.findings)
    return report, {finding.id: finding for finding in report.findings}


CAT, DOG = (0, 0, 0, 20, 20), (1, 10, 10, 50, 60)


def test_a_clean_set_of_objects(set_of):
    report, findings = found(set_of([objects_of(CAT, DOG) for _ in range(20)]))
    assert findings == {} and report.labels.object_counts == {"cat": 20, "dog": 20} == report.class_counts
    assert report.labels.sizes == {"small": 20, "medium": 20, "large": 0} and report.labels.most_in_an_image == 2
    assert "objects: 40 (20 small, 20 medium, 0 large), at most 2 in an image" in report.to_text()


def test_what_is_odd_about_objects(set_of):
    good = [objects_of(CAT, DOG) for _ in range(20)]
    tiny, twice = objects_of((0, 1, 1, 5, 6), DOG), objects_of(DOG, CAT, DOG)
    crowd = KnownObjects(Objects(np.array([[0, 0, 3, 3]]), np.array([0]), np.array([True])))
    broken = Broken(LabelError("GF610", "the label is of 9x9 pixels, its image of 64x64"))
    dataset = set_of([*good, objects_of(), tiny, twice, crowd, broken, Broken(OSError("gone"))])
    report, findings = found(dataset)
    assert set(findings) == {"GF610", "GF611", "GF613", "GF614", "GF615"}
    assert findings["GF613"].items == ("020",) and findings["GF610"].items == ("024",)
    assert findings["GF614"].count == 1 and findings["GF614"].items == ("021: 1",)
    assert findings["GF615"].items == ("022: dog at 10, 10, 50, 60",)
    assert report.num_usable == 24 and report.labels.num_broken == 2 and report.labels.num_crowds == 1
    assert not report.is_ok and measure_labels(dataset).broken() == {24: str(broken.error), 25: "gone"}


def test_tiny_is_what_the_network_sees(set_of):
    dataset = set_of([objects_of((0, 0, 0, 20, 20), (1, 0, 0, 40, 40)) for _ in range(20)])
    assert "GF614" not in found(dataset)[1] and found(dataset, size_hw=(16, 16))[1]["GF614"].count == 20


def test_sizes_of_masks_and_not_of_their_boxes(set_of):
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 0, :40], masks[0, :40, 0] = True, True
    report, _ = found(set_of([objects_of((0, 0, 0, 40, 40), masks=masks)] * 20, "instance"))
    assert report.labels.sizes["small"] == 20


def test_pixels_of_each_class(set_of):
    class_map = np.zeros((64, 64), np.uint8)
    class_map[:16], class_map[16:32] = 1, IGNORE
    report, findings = found(set_of([KnownClassMap(class_map)] * 20, "segment"))
    assert findings == {} and report.labels.pixel_shares == pytest.approx({"cat": 2 / 3, "dog": 1 / 3})
    assert report.labels.share_without_label == 0.25 and "pixels without a label: 25.0%" in report.to_text()
    nothing = KnownClassMap(np.full((64, 64), IGNORE, np.uint8))
    _, findings = found(set_of([KnownClassMap(class_map)] * 20 + [nothing], "segment"))
    assert set(findings) == {"GF616"} and findings["GF616"].items == ("020",)


def test_classes_are_counted_by_the_images_that_show_them(set_of):
    targets = [objects_of(CAT, CAT)] * 40 + [objects_of(CAT, DOG)] * 3
    _, findings = found(set_of(targets, train=range(40), val=range(40, 43)))
    assert set(findings) == {"GF401", "GF402", "GF403", "GF615"}
    assert findings["GF402"].detail == "dog has 3." and findings["GF403"].items == ("dog",)


def test_copies_and_their_labels(set_of):
    targets = [objects_of(CAT, DOG) for _ in range(24)]
    targets[21] = objects_of(DOG)
    pictures = [*range(20), 0, 1, 22, 23]
    _, findings = found(set_of(targets, pictures=pictures, train=range(20), val=range(20, 24)))
    assert findings["GF502"].groups == (("000", "020"), ("001", "021")) and findings["GF505"].groups == (
        ("001", "021"),
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "GF601" <= kind <= "GF609" or kind >= "GF617"])
def test_what_a_reader_passed_over_is_a_finding_of_its_kind(set_of, kind):
    skipped = [Skipped("a.xml", "some reason", kind)] * 2
    _, findings = found(set_of([objects_of(CAT, DOG)] * 20, skipped=skipped))
    assert set(findings) == {kind} and findings[kind].count == 2
    assert findings[kind].detail == "Such as a.xml: some reason."


# ---- splits


def test_each_image_counts_for_its_rarest_class(set_of):
    targets = [objects_of(CAT, DOG) if i < 12 else objects_of(CAT) if i < 90 else objects_of() for i in range(100)]
    splits = make_splits(set_of(targets), seed=0)
    shown = {name: [sum(i < 12 for i in part), sum(i >= 90 for i in part)] for name, part in splits_of(splits).items()}
    assert min(dogs for dogs, _ in shown.values()) >= 1 and min(empty for _, empty in shown.values()) >= 1
    assert sorted(index for part in splits_of(splits).values() for index in part) == list(range(100))
    assert make_splits(set_of(targets), seed=0) == splits != make_splits(set_of(targets), seed=1)


def test_given_splits_of_a_dense_set_are_kept(set_of):
    maps = [KnownClassMap(np.full((64, 64), i % 2, np.uint8)) for i in range(60)]
    splits = make_splits(set_of(maps, "segment", train=range(40), val=range(40, 60)), seed=0)
    assert splits.val == tuple(range(40, 60)) and len(splits.test) == 6 and len(splits.search) == 4
    broken = [Broken(ValueError("x"))] * 8 + maps
    assert set(make_splits(set_of(broken, "segment"), seed=0, exclude=range(8)).train).isdisjoint(range(8))


def splits_of(splits):
    return {name: getattr(splits, name) for name in ("train", "val", "search", "test")}


# ---- real sets


@pytest.fixture
def data_folder():
    """Where the real sets lie."""
    if "GHOSTFIT_DATA" not in os.environ:
        pytest.skip("GHOSTFIT_DATA does not name the folder of the real sets")
    return Path(os.environ["GHOSTFIT_DATA"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format", "task", "counts", "expected"),
    [
        ("bccd", None, "detect", {"train": 205, "val": 87, "test": 72}, {"GF604": 2}),
        ("camvid", "masks:ignore=11", "segment", {"train": 367, "val": 101, "test": 233}, {"GF503": 28}),
        ("nuclei", None, "instance", {"train": 430, "val": 108}, {"GF614": 2287}),
    ],
)
def test_real_sets(data_folder, name, format, task, counts, expected, tmp_path):
    dataset = read_dataset(data_folder / name, format=format)
    facts, labels = measure_images(dataset, cache_dir=tmp_path), measure_labels(dataset)
    report = check(dataset, facts=facts, labels=labels)
    assert dataset.task == task and {split: len(part) for split, part in dataset.given.items()} == counts
    assert {finding.id: finding.count for finding in report.findings} == expected and labels.broken() == {}
    if name == "bccd":
        (finding,) = report.findings
        assert [item.split("/")[1][:16] for item in finding.items] == ["BloodImage_00338", "BloodImage_00343"]
        assert report.labels.object_counts == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    splits = make_splits(dataset, seed=0).counts()
    assert (
        all(splits.values()) and splits["val"] == counts["val"] and splits["test"] == counts.get("test", splits["test"])
    )

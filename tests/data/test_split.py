"""Splits are disjoint, stratified, seeded, and keep copies on one side."""

import json

import numpy as np
import pytest

from ghostfit.data.dataset import SPLIT_NAMES, Splits
from ghostfit.data.split import group_identical_files, make_splits


def parts_of(splits):
    return {name: set(getattr(splits, name)) for name in SPLIT_NAMES}


@pytest.mark.parametrize("counts", [[100, 100], [4, 200], [7, 5, 30], [1, 2, 3, 4, 50]])
def test_every_class_is_learned_and_each_image_used_once(dataset_of, counts):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    dataset = dataset_of(labels)
    parts = parts_of(make_splits(dataset, seed=3))
    assert sorted(index for part in parts.values() for index in part) == list(range(len(labels)))
    assert {labels[index] for index in parts["train"]} == set(range(len(counts)))
    for label, count in enumerate(counts):
        have = {name: sum(labels[index] == label for index in part) for name, part in parts.items()}
        assert have["train"] >= 1
        if count >= 4:
            assert min(have.values()) >= 1
        if count >= 20:
            for name, share in (("val", 0.1), ("search", 0.1), ("test", 0.15)):
                assert abs(have[name] - share * count) <= 1


def test_a_seed_gives_the_same_splits(dataset_of):
    dataset = dataset_of([0, 1] * 50)
    assert make_splits(dataset, seed=1) == make_splits(dataset, seed=1)
    assert make_splits(dataset, seed=1).train != make_splits(dataset, seed=2).train
    splits = make_splits(dataset, seed=1)
    assert Splits.from_dict(json.loads(json.dumps(splits.to_dict()))) == splits
    with pytest.raises(ValueError, match="not a set of splits"):
        Splits.from_dict({"train": [1]})


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_on_one_side(dataset_of, picture, seed):
    labels = [0, 1] * 40
    arrays = [picture(number // 4) for number in range(80)]  # groups of four, with conflicting labels
    dataset = dataset_of(labels, arrays=arrays)
    groups = group_identical_files(dataset)
    assert groups == [number // 4 * 4 for number in range(80)]
    for part in parts_of(make_splits(dataset, seed=seed)).values():
        assert {index for index in range(80) if groups[index] in {groups[i] for i in part}} == part


def test_given_groups_are_kept_together(dataset_of):
    dataset = dataset_of([0, 1] * 30)
    groups = [index // 6 for index in range(60)]
    for part in parts_of(make_splits(dataset, seed=0, groups=groups)).values():
        assert all(group * 6 + i in part for group in {groups[index] for index in part} for i in range(6))
    with pytest.raises(ValueError, match="3 groups for 60 samples"):
        make_splits(dataset, seed=0, groups=[1, 2, 3])


def test_given_splits_are_respected(dataset_of):
    labels = [0, 1] * 60
    dataset = dataset_of(labels, train=list(range(80)), test=list(range(80, 120)))
    splits = make_splits(dataset, seed=0)
    assert splits.test == tuple(range(80, 120)) and splits.notes == ("test as the data gives it",)
    assert len(splits.val) == len(splits.search) == 8 and len(splits.train) == 64
    dataset = dataset_of(labels, train=list(range(80)), val=list(range(80, 100)), test=list(range(100, 120)))
    splits = make_splits(dataset, seed=0)
    assert splits.val == tuple(range(80, 100)) and len(splits.search) == 8 and len(splits.train) == 72


def test_excluded_images_are_nowhere(dataset_of):
    dataset = dataset_of([0, 1] * 40, train=list(range(60)), test=list(range(60, 80)))
    splits = make_splits(dataset, seed=0, exclude={0, 1, 79})
    assert not {0, 1, 79} & set().union(*parts_of(splits).values()) and sum(splits.counts().values()) == 77


def test_a_share_of_zero_leaves_a_split_empty(dataset_of):
    splits = make_splits(dataset_of([0, 1] * 20), seed=0, search=0, test=0)
    assert splits.search == splits.test == () and len(splits.val) == 4


def test_shares_that_leave_nothing(dataset_of):
    dataset = dataset_of([0, 1] * 20)
    for shares in ({"val": 1.0}, {"val": -0.1}, {"val": 0.5, "test": 0.45}):
        with pytest.raises(ValueError, match="shares lie in"):
            make_splits(dataset, seed=0, **shares)
    with pytest.raises(ValueError, match="no image left for the val split: 4 images of 2 classes"):
        make_splits(dataset_of([0, 0, 1, 1]), seed=0)


def test_labels_are_counted(dataset_of):
    dataset = dataset_of([0, 2, 2])
    assert dataset.class_counts == {"class0": 1, "class1": 0, "class2": 2}
    assert dataset.labels.dtype == np.int64

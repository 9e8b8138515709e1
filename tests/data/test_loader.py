"""Batches: the same from (seed, epoch, number) alone, equal to what prediction sees, and threads that end."""

import threading
import time

import numpy as np
import pytest
import torch

from ghostfit.data.augment import training_transform
from ghostfit.data.cache import build_cache
from ghostfit.data.loader import Batches, eval_batches
from ghostfit.data.readers import read_dataset
from ghostfit.vision.prepare import Prepare, prepare_batch, read_image

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def batches_of():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (37, 12, 10, 3), dtype=np.uint8)

    def make(**options):
        settings = {"batch_size": 8, "size_hw": (12, 10), "mean": HALF, "std": HALF} | options
        return Batches(images, np.arange(37), settings.pop("indices", range(37)), **settings)

    return make


def joined(epoch):
    return [(x.numpy().copy(), y.tolist()) for x, y in epoch]


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) and la == lb for (a, la), (b, lb) in zip(first, second, strict=True)
    )


def test_what_a_batch_is(batches_of):
    for x, y in batches_of().epoch(0):
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and x.shape[1:] == (3, 12, 10)
        assert x.is_contiguous(memory_format=torch.channels_last) and x.abs().max() <= 1


@pytest.mark.parametrize("strength", ["none", "light", "medium", "strong"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_epoch_can_be_entered_anywhere(batches_of, strength, prefetch):
    make = lambda **options: batches_of(transform=training_transform(strength), seed=7, **options)  # noqa: E731
    whole = joined(make(prefetch=0).epoch(3))
    fresh = make(prefetch=prefetch)
    joined(fresh.epoch(0))
    for start in (0, 2, 4, 5):
        assert same(joined(fresh.epoch(3, start)), whole[start:])
    assert not same(joined(fresh.epoch(4)), whole)
    assert not same(joined(batches_of(transform=training_transform(strength), seed=8).epoch(3)), whole)


def test_every_image_once(batches_of):
    batches = batches_of(indices=range(5, 37))
    for epoch in range(2):
        labels = [label for _, y in joined(batches.epoch(epoch)) for label in y]
        assert sorted(labels) == list(range(5, 37)) and labels != list(range(5, 37))
    assert len(batches) == 4 and batches.num_images == 32
    dropping = batches_of(drop_last=True)
    assert [len(y) for _, y in dropping.epoch(0)] == [8] * 4 and len(dropping) == 4 and dropping.num_images == 32
    assert [len(y) for _, y in batches_of(drop_last=True, batch_size=100).epoch(0)] == [37]


def test_evaluation_sees_what_prediction_sees(flowers):
    dataset, prepare = read_dataset(flowers), Prepare(size_hw=(16, 24))
    cached = build_cache(dataset, prepare, in_memory=True)
    batches = eval_batches(
        cached.images, cached.labels, range(16), batch_size=5, size_hw=(16, 24), mean=prepare.mean, std=prepare.std
    )
    got = torch.cat([x for x, _ in batches.epoch()]).numpy()
    expected = prepare_batch([read_image(sample.source.read()) for sample in dataset.samples], prepare)
    assert np.array_equal(got, expected)
    assert [label for _, y in batches.epoch() for label in y.tolist()] == cached.labels.tolist()


def test_another_size(batches_of):
    shapes = {tuple(x.shape[2:]) for x, _ in batches_of(size_hw=(6, 8)).epoch(0)}
    assert shapes == {(6, 8)}
    assert {tuple(x.shape[2:]) for x, _ in batches_of().epoch(0, size_hw=(20, 20))} == {(20, 20)}


@pytest.mark.parametrize("prefetch", [0, 3])
def test_errors_cross_the_thread(batches_of, prefetch):
    def fail(images, rng, size_hw):
        raise RuntimeError("no augmentation today")

    with pytest.raises(RuntimeError, match="no augmentation today"):
        list(batches_of(transform=fail, prefetch=prefetch).epoch(0))
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_leaving_early_ends_the_thread(batches_of):
    epoch = batches_of(prefetch=1).epoch(0)
    next(epoch)
    assert [thread for thread in threading.enumerate() if thread.name == "batches"]
    epoch.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_at_most_so_many_batches_ahead(batches_of):
    made = []

    def count(images, rng, size_hw):
        made.append(len(images))
        return images

    epoch = batches_of(transform=count, prefetch=1).epoch(0)
    next(epoch)
    time.sleep(0.3)
    assert len(made) <= 3  # one taken, one in the queue, one in the making
    epoch.close()


def test_wrong_settings(batches_of):
    with pytest.raises(ValueError, match="batch_size=0 of 37"):
        batches_of(batch_size=0)
    with pytest.raises(ValueError, match="of 0 images"):
        batches_of(indices=[])
    with pytest.raises(ValueError, match="1 means and 3 deviations"):
        batches_of(mean=(0.5,))

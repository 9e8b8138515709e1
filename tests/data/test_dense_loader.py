"""Dense batches: the same from (seed, epoch, number) alone, labels on their pixels, equal to what prediction sees."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from ghostfit.data.augment import Augment
from ghostfit.data.cache import build_cache
from ghostfit.data.dataset import ArraySource, Dataset, Sample
from ghostfit.data.dense_augment import DenseAugment, dense_transform
from ghostfit.data.dense_cache import CachedTargets, build_targets
from ghostfit.data.dense_loader import (
    CROWD,
    NONE,
    DenseBatches,
    dense_eval_batches,
    mosaic_factor,
    shrink_masks,
)
from ghostfit.data.outlines import box_of
from ghostfit.data.readers import read_dataset
from ghostfit.data.targets import KnownObjects
from ghostfit.train.task import FadesAugmentation
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.prepare import Prepare, prepare_batch

TASKS = ["detect", "instance", "segment"]
PREPARE = Prepare(size_hw=(64, 64))


@pytest.fixture(scope="module")
def parts():
    """Images and targets of some of the built-in parts, by task."""

    def make(task):
        dataset = read_dataset("demo:parts", task=task)
        dataset = replace(dataset, samples=dataset.samples[:21], given={"all": tuple(range(21))})
        return dataset, build_cache(dataset, PREPARE, in_memory=True).images, build_targets(dataset, PREPARE)

    return {task: make(task) for task in TASKS}


@pytest.fixture
def batches_of(parts):
    def make(task, **options):
        _, images, targets = parts[task]
        settings = {"batch_size": 6, "size_hw": (64, 64), "mean": PREPARE.mean, "std": PREPARE.std} | options
        return DenseBatches(images, targets, settings.pop("indices", range(21)), **settings)

    return make


def joined(epoch):
    return [{"x": x, **y} for x, y in epoch]


def same(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("task", TASKS)
def test_what_a_batch_is(batches_of, task):
    for x, y in batches_of(task, transform=dense_transform("medium")).epoch(0):
        assert x.dtype == torch.float32 and x.shape[1:] == (3, 64, 64)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y["index"].shape == (len(x),) and y["classes"].dtype == torch.int64
        if task == "segment":
            assert y.keys() == {"classes", "index"} and y["classes"].shape == (len(x), 64, 64)
            assert set(y["classes"].unique().tolist()) <= {*range(5), IGNORE}
            continue
        most = y["classes"].shape[1]
        assert y["boxes"].shape == (len(x), most, 4) and y["boxes"].dtype == torch.float32
        assert set(y["classes"].unique().tolist()) <= {*range(7), NONE, CROWD}
        assert ((y["boxes"][y["classes"] != NONE][:, 2:] - y["boxes"][y["classes"] != NONE][:, :2]) > 0).all()
        assert (y["boxes"][y["classes"] == NONE] == 0).all()
        assert ("masks" in y) == (task == "instance")
        if task == "instance":
            assert y["masks"].shape == (len(x), most, 16, 16) and y["masks"].dtype == torch.bool
            assert torch.equal(y["masks"].flatten(2).any(2), y["classes"] != NONE)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strength", ["none", "light", "medium", "strong"])
def test_an_epoch_can_be_entered_anywhere(batches_of, task, strength):
    make = lambda **options: batches_of(task, transform=dense_transform(strength), seed=7, **options)  # noqa: E731
    state = torch.get_rng_state()
    whole = joined(make(prefetch=0).epoch(3))
    fresh = make(prefetch=2)
    joined(fresh.epoch(0))
    for start in (0, 1, 3, 4):
        assert same(joined(fresh.epoch(3, start)), whole[start:])
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(joined(fresh.epoch(4)), whole)
    assert not same(joined(batches_of(task, transform=dense_transform(strength), seed=8).epoch(3)), whole)


@pytest.mark.parametrize("task", TASKS)
def test_every_image_once(batches_of, task):
    batches = batches_of(task, indices=range(4, 21), transform=dense_transform("medium"))
    index = [number for each in joined(batches.epoch(1)) for number in each["index"].tolist()]
    assert sorted(index) == list(range(4, 21)) and index != list(range(4, 21))
    assert len(batches) == 3 and batches.num_images == 17
    dropping = batches_of(task, indices=range(4, 21), drop_last=True)
    assert [len(each["x"]) for each in joined(dropping.epoch())] == [6, 6] and dropping.num_images == 12


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_sees_what_prediction_sees(parts, task):
    dataset, images, targets = parts[task]
    batches = dense_eval_batches(
        images, targets, range(21), batch_size=8, size_hw=(64, 64), mean=PREPARE.mean, std=PREPARE.std
    )
    seen = joined(batches.epoch())
    expected = prepare_batch([sample.source.read() for sample in dataset.samples], PREPARE)
    assert np.array_equal(torch.cat([each["x"] for each in seen]).numpy(), expected)
    assert torch.cat([each["index"] for each in seen]).tolist() == list(range(21))
    if task == "segment":
        assert np.array_equal(torch.cat([each["classes"] for each in seen]), [targets.read(row) for row in range(21)])
        return
    rows = [(boxes, classes) for each in seen for boxes, classes in zip(each["boxes"], each["classes"], strict=True)]
    for row, (boxes, classes) in enumerate(rows):
        known, wanted = dataset.samples[row].target.read(), classes != NONE
        assert np.allclose(boxes[wanted], known.boxes_xyxy * (64 / 256))
        assert np.array_equal(classes[wanted], np.where(known.is_crowd, CROWD, known.class_ids))


@pytest.mark.parametrize("strength", ["none", "light", "medium", "strong"])
@pytest.mark.parametrize("size_hw", [(64, 64), (48, 80)])
def test_a_square_stays_under_its_box_through_everything(strength, size_hw):
    """Colours change, mosaics come, sizes differ: what stands out from the ground lies in the boxes."""
    rng = np.random.default_rng(0)
    images = np.full((12, 64, 64, 3), 30, np.uint8)
    labels = []
    for image in images:
        (x, y), (w, h) = rng.integers(2, 34, 2), rng.integers(14, 28, 2)
        image[y : y + h, x : x + w] = 110
        labels.append(Objects(np.array([[x, y, x + w, y + h]]), np.array([0])))
    targets = CachedTargets("detect", (64, 64), tuple(labels))
    batches = DenseBatches(
        images,
        targets,
        range(12),
        batch_size=12,
        size_hw=size_hw,
        mean=(30 / 255,) * 3,
        std=(1.0,) * 3,
        transform=dense_transform(strength),
    )
    num_seen = 0
    for epoch in range(12):
        for x, y in batches.epoch(epoch):
            for image, boxes, classes in zip(
                *(each.numpy() for each in (x.mean(1), y["boxes"], y["classes"])), strict=True
            ):
                ground = np.median(image)
                stands_out = np.abs(image - ground)
                stands_out = stands_out > stands_out.max() / 2
                for box in boxes[classes == 0]:
                    left, top, right, bottom = np.rint(box).astype(int)
                    inside = np.zeros(size_hw, bool)
                    inside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = True
                    found = np.abs(np.array(box_of(stands_out & inside)) - box).max() <= 1.6
                    is_alone = len(boxes[classes == 0]) == 1 or not _touches(box, boxes[classes == 0])
                    assert found or not is_alone
                    num_seen += is_alone
    assert num_seen > 120


def _touches(box, others):
    near = (others[:, :2] < box[2:] + 3).all(1) & (others[:, 2:] > box[:2] - 3).all(1)
    return near.sum() > 1


def test_masks_agree_with_boxes(batches_of):
    for _, y in batches_of("instance", transform=dense_transform("medium"), size_hw=(128, 128)).epoch(2):
        for boxes, masks, classes in zip(y["boxes"], y["masks"], y["classes"], strict=True):
            for box, mask in zip(boxes[classes >= 0], masks[classes >= 0], strict=True):
                about = 4 * np.array(box_of(mask.numpy()))
                assert np.abs(about - box.numpy()).max() <= 6  # a cell is 4 pixels


def test_shrinking_keeps_thin_masks_and_areas():
    masks = np.zeros((4, 32, 32), bool)
    masks[0, 4:20, 8:24] = True
    masks[1, 13, 2:30] = True  # a line of one pixel
    masks[2, 17, 17] = True
    shrunk = shrink_masks(masks)
    assert shrunk.shape == (4, 8, 8)
    expected = np.zeros((8, 8), bool)
    expected[1:5, 2:6] = True
    assert np.array_equal(shrunk[0], expected)
    assert shrunk[1].sum() >= 6 and not np.delete(shrunk[1], 3, axis=0).any()
    assert shrunk[2].sum() == 1 and shrunk[2, 4, 4] and not shrunk[3].any()
    assert shrink_masks(np.zeros((0, 32, 32), bool)).shape == (0, 8, 8)
    blob = np.random.default_rng(0).random((1, 32, 32)) < 0.5
    assert abs(shrink_masks(blob).sum() - blob.sum() / 16) < 12


def test_images_without_objects_give_full_batches():
    empty = KnownObjects(Objects(np.zeros((0, 4)), np.zeros(0), masks=np.zeros((0, 32, 32), bool)))
    samples = tuple(Sample(str(i), ArraySource(np.zeros((32, 32, 3), np.uint8)), 0, 1, empty) for i in range(4))
    dataset = Dataset("made", "made", ("a",), samples, {"all": (0, 1, 2, 3)}, task="instance")
    prepare = Prepare(size_hw=(32, 32))
    images, targets = build_cache(dataset, prepare, in_memory=True).images, build_targets(dataset, prepare)
    for strength in ("none", "strong"):
        batches = DenseBatches(
            images,
            targets,
            range(4),
            batch_size=4,
            size_hw=(32, 32),
            mean=prepare.mean,
            std=prepare.std,
            transform=dense_transform(strength),
        )
        ((_, y),) = batches.epoch(0)
        assert y["classes"].tolist() == [[NONE]] * 4 and y["boxes"].shape == (4, 1, 4)
        assert y["masks"].shape == (4, 1, 8, 8) and not y["masks"].any()


def test_mosaics_fade_with_the_training(batches_of):
    numbers = []

    class Counting(DenseAugment):
        def compose(self, pictures, rng, size_hw, *, fill):
            numbers.append(len(pictures))
            return super().compose(pictures, rng, size_hw, fill=fill)

    batches = batches_of("detect", transform=Counting(mosaic_share=1.0))
    assert isinstance(batches, FadesAugmentation)
    joined(batches.epoch(0))
    assert set(numbers) == {4}
    numbers.clear()
    batches.begin_epoch(0.725)
    epoch = batches.epoch(1)
    batches.begin_epoch(1.0)  # an epoch keeps what held when it was asked for
    joined(epoch)
    assert set(numbers) == {1, 4}
    numbers.clear()
    joined(batches.epoch(2))
    assert set(numbers) == {1}
    factors = [mosaic_factor(progress) for progress in np.linspace(0, 1, 21)]
    assert factors == sorted(factors, reverse=True) and factors[0] == 1 and factors[-1] == 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strength", ["none", "medium"])
def test_another_size(batches_of, task, strength):
    batches = batches_of(task, transform=dense_transform(strength))
    for x, y in batches.epoch(0, size_hw=(96, 40)):
        assert x.shape[2:] == (96, 40)
        if task == "segment":
            assert y["classes"].shape[1:] == (96, 40)
        else:
            assert (y["boxes"].amax((0, 1)) <= torch.tensor([40, 96, 40, 96])).all() and y["boxes"][..., 3].max() > 64


@pytest.mark.parametrize("prefetch", [0, 3])
def test_errors_cross_the_thread(batches_of, prefetch):
    class Failing(DenseAugment):
        def compose(self, pictures, rng, size_hw, *, fill):
            raise RuntimeError("no augmentation today")

    with pytest.raises(RuntimeError, match="no augmentation today"):
        list(batches_of("detect", transform=Failing(), prefetch=prefetch).epoch(0))
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_images_of_a_read_only_map(parts):
    _, images, targets = parts["segment"]
    frozen = images.copy()
    frozen.flags.writeable = False
    transform = DenseAugment(scale=(0.5, 1.5), mosaic_share=0.5, colour=Augment(flip_share=0, jitter=0.2))
    for each in (None, transform):
        batches = DenseBatches(
            frozen,
            targets,
            range(21),
            batch_size=7,
            size_hw=(48, 48),
            mean=(0.5,) * 3,
            std=(1.0,) * 3,
            transform=each,
        )
        assert len(joined(batches.epoch())) == 3


def test_wrong_settings(batches_of, parts):
    with pytest.raises(ValueError, match="batch_size=0 of 21"):
        batches_of("detect", batch_size=0)
    with pytest.raises(ValueError, match="1 means and 3 deviations"):
        batches_of("detect", mean=(0.5,))
    with pytest.raises(ValueError, match="both must be multiples of 4"):
        batches_of("instance").epoch(0, size_hw=(30, 32))
    _, images, targets = parts["detect"]
    with pytest.raises(ValueError, match="build both from one data set and one Prepare"):
        DenseBatches(images[:5], targets, [0], batch_size=1, size_hw=(64, 64), mean=PREPARE.mean, std=PREPARE.std)

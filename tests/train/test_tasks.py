"""The contract of every task of the registry, on small networks of the real kind; and single dense tasks."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
import torch
import torch.nn.functional as F
from shapes import NUM_CLASSES, Shapes
from small_training import small_val
from torch import nn

from ghostfit.arch import Dense
from ghostfit.nn.build import build
from ghostfit.nn.fuse import with_nms
from ghostfit.presets import preset
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit
from ghostfit.train.task import FollowsProgress
from ghostfit.train.tasks import TASKS, make_task
from ghostfit.train.tasks.assign import assign_single, make_grid
from ghostfit.train.tasks.detect import Detect, make_detect, resize_levels
from ghostfit.train.tasks.instance import MOST_MASKS, Instance, rank_within
from ghostfit.train.tasks.segment import Segment, count_pixels, interpolate

SIZE, STRIDES = 64, (8, 16, 32)
DENSE = ("detect", "instance", "segment")
GRID = make_grid((SIZE, SIZE), STRIDES)


def network_for(task, size=SIZE, width=16, nms_free=False):
    torch.manual_seed(0)
    num_classes = {"classify": 3, "segment": NUM_CLASSES + 1}.get(task, NUM_CLASSES)
    if task == "classify":
        return build(preset("ghostnet_050", num_classes=num_classes, size_hw=(32, 32)))
    dense = Dense(task, width=width, strides=() if task == "segment" else STRIDES, nms_free=nms_free)
    return build(preset("ghostnet_050", num_classes=num_classes, size_hw=(size, size)).as_dense(dense))


def data_for(task):
    return small_val(8) if task == "classify" else Shapes(task, num_images=4, size=SIZE, batch_size=2)


def task_for(task, network=None, **settings):
    settings.setdefault("label_smoothing", 0.0)
    return make_task(network or network_for(task), TrainConfig(**settings), data_for(task))


def perfect(y, num_classes=NUM_CLASSES):
    """Outputs of a detector that knows the labels: each object is found by the anchors in its middle."""
    num = len(y["classes"])
    scores = torch.full((num, len(GRID.points), num_classes), -12.0)
    boxes = torch.ones(num, len(GRID.points), 4)
    for image, slot in (y["classes"] >= 0).nonzero().tolist():
        left, top, right, bottom = y["boxes"][image, slot]
        xs, ys = GRID.points.T
        anchors = ((xs > left) & (xs < right) & (ys > top) & (ys < bottom)).nonzero()[:, 0]
        scores[image, anchors, y["classes"][image, slot]] = 12.0
        boxes[image, anchors] = torch.stack(
            (xs[anchors] - left, ys[anchors] - top, right - xs[anchors], bottom - ys[anchors]), 1
        )
    return scores, boxes


class Once:
    """One batch, as given."""

    def __init__(self, x, y):
        self.batch, self.num_images = (x, y), len(x)

    def __len__(self):
        return 1

    def epoch(self, epoch=0, start_batch=0):
        yield self.batch


class Knowing(nn.Module):
    """A network that gives the outputs it was made with, batch after batch."""

    def __init__(self, *batches):
        super().__init__()
        self.batches = list(batches)

    def forward(self, x):
        return self.batches.pop(0)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_made_from_the_network_and_trains_it(name):
    network = network_for(name)
    task = task_for(name, network)
    assert task.metric.startswith("val_")
    x, y = next(data_for(name).epoch())
    if isinstance(task, FollowsProgress):
        assert task.begin_step(0.5) is False
    values = task.train_step(network, x, y)
    assert all(value.ndim == 0 and not value.requires_grad for value in values.values())
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert math.isfinite(values["loss"]) and len(grads) > 20 and all(bool(grad.isfinite().all()) for grad in grads)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_scores_a_split(name):
    network = network_for(name).train()
    metrics = task_for(name, network).evaluate(network, data_for(name))
    metric = task_for(name).metric
    assert {metric, "val_loss"} <= set(metrics)
    assert 0 <= metrics[metric] <= 1 and metrics["val_loss"] > 0
    assert network.training, "as before"


@pytest.mark.parametrize("name", TASKS)
def test_a_student_like_its_teacher_has_little_to_learn(name):
    network, task = network_for(name), task_for(name)
    x, y = next(data_for(name).epoch())
    outputs = network(x)
    outputs = [output.detach() for output in ((outputs,) if name == "classify" else outputs)]
    if name in ("detect", "instance"):
        outputs[0][:, ::7, 0] = 2.0  # here the teacher is confident: boxes and masks count
    leaves = [output.clone().requires_grad_() for output in outputs]
    pack = (lambda tensors: tensors[0]) if name == "classify" else tuple
    same = task.distill(pack(leaves), pack(outputs), y)
    (gradient, *_) = torch.autograd.grad(same, leaves, allow_unused=True)
    assert float(gradient.abs().max()) < 1e-5
    for changed in range(len(leaves)):
        others = [leaf + (index == changed) * torch.rand_like(leaf) for index, leaf in enumerate(leaves)]
        assert float(task.distill(pack(others), pack(outputs), y).detach()) > float(same.detach()) + 1e-5


@pytest.mark.parametrize("name", DENSE)
def test_a_teacher_takes_its_share_of_the_loss(name):
    network, teacher = network_for(name), network_for(name).eval()
    task = make_task(network, TrainConfig(distill_weight=0.25), data_for(name), teacher=teacher, class_weights=None)
    values = task.train_step(network, *next(data_for(name).epoch()))
    total = 0.75 * values["label_loss"] + 0.25 * values["distill_loss"]
    assert float(values["loss"]) == pytest.approx(float(total), rel=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("name", ["detect", "instance"])
def test_without_nms_each_object_is_one_anchors_from_the_first_step_on(name, monkeypatch):
    network = network_for(name, nms_free=True)
    task, (x, y) = task_for(name, network), next(data_for(name).epoch())
    seen = []

    def assign(*args):
        seen.append(assign_single(*args))
        return seen[-1]

    monkeypatch.setattr("ghostfit.train.tasks.detect.assign_single", assign)
    outputs = tuple(output.detach() for output in network(x))
    half = len(outputs) // 2
    for progress in (0.0, 0.5):
        task.begin_step(progress)
        values = task.loss(outputs, y)
        objects = {(int(image), int(slot)) for image, slot in (y["classes"] >= 0).nonzero()}
        assert len(seen[-1].objects) == len(objects)
        assert set(zip(seen[-1].images.tolist(), seen[-1].objects.tolist(), strict=True)) == objects
        guide = dataclasses.replace(task, nms_free=False).loss(outputs[:half], y)
        single = task.loss(outputs[half:], y)["loss"]
        assert float(values["score_loss"]) == float(guide["score_loss"]), "parts are the guide's"
        assert float(values["nms_free_loss"]) == float(single)
        assert float(values["loss"]) == pytest.approx(float(guide["loss"] + single))
    assert task.evaluate(network, data_for(name))["val_loss"] > 0


def test_duplicates_count_as_mistakes_without_nms():
    """Several anchors find each object: right with suppression, and once right, then wrong without."""
    x, y = next(Shapes("detect", size=SIZE, num_images=4).epoch())
    free = task_for("detect", network_for("detect", nms_free=True))
    maps = [
        dataclasses.replace(free, nms_free=nms_free).evaluate(Knowing(perfect(y)), Once(x, y))["val_map"]
        for nms_free in (False, True)
    ]
    assert maps[0] == pytest.approx(1.0) and maps[1] < 0.9


@pytest.mark.parametrize("name", ["detect", "instance"])
def test_a_teacher_of_either_kind_teaches_the_guide(name):
    """The answers of a teacher free of NMS are its guide's; the head that runs learns from labels alone."""
    network, (x, y) = network_for(name, nms_free=True), next(data_for(name).epoch())
    free, plain = network_for(name, nms_free=True), network_for(name)
    wanted = [with_nms(free).eval(), plain.eval()]
    for teacher, other in zip((free, plain), wanted, strict=True):
        task = make_task(network, TrainConfig(), data_for(name), teacher=teacher)
        assert not task.teacher.arch.dense.nms_free
        taught = task.teacher.state_dict()
        assert taught.keys() == other.state_dict().keys()
        assert all(torch.equal(taught[key], value) for key, value in other.state_dict().items())
        outputs = network(x)
        guide = outputs[: len(outputs) // 2]
        both, alone = (task.distill(given, task.teacher(x), y) for given in (outputs, guide))
        assert float(both.detach()) == float(alone.detach())


@pytest.mark.parametrize("name", DENSE)
def test_mixed_precision_leaves_the_loss_in_float32(name):
    network, task = network_for(name), task_for(name)
    x, y = next(data_for(name).epoch())
    outputs = tuple(output.detach().bfloat16() for output in network(x))
    random.seed(0)
    plain = task.loss(tuple(output.float() for output in outputs), y)
    random.seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = task.loss(outputs, y)
    assert values == plain and all(value.dtype == torch.float32 for value in values.values())


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("classify", {"hard_pixels": True}, "hard_pixels=True has no effect"),
        ("detect", {"mixup": 0.2}, "mixup=0.2 has no effect on the task 'detect'"),
        ("detect", {"label_smoothing": 0.2}, "label_smoothing=0.2 has no effect"),
        ("instance", {"class_weights": "balanced"}, "class_weights='balanced' has no effect"),
        ("instance", {"distill_temperature": 3.0}, "distill_temperature=3.0 has no effect"),
        ("segment", {"cutmix": 1.0}, "cutmix=1.0 has no effect"),
    ],
)
def test_a_setting_without_effect_is_refused(name, settings, text):
    with pytest.raises(ValueError, match=text):
        make_task(network_for(name), TrainConfig(**settings), data_for(name))


def test_a_teacher_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="can't teach 'detect'"):
        make_task(network_for("detect"), TrainConfig(), data_for("detect"), teacher=network_for("instance"))
    with pytest.raises(ValueError, match="a network for classify can't learn 'detect'"):
        make_detect(network_for("classify"), TrainConfig(), data_for("detect"))


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_images_without_objects_teach_that_there_is_nothing(progress):
    y = {"boxes": torch.zeros(2, 3, 4), "classes": torch.full((2, 3), -1), "masks": torch.zeros(2, 3, 16, 16).bool()}
    scores = torch.zeros(2, len(GRID.points), NUM_CLASSES, requires_grad=True)
    boxes = torch.ones(2, len(GRID.points), 4, requires_grad=True)
    coefficients, prototypes = torch.zeros(2, len(GRID.points), 4), torch.zeros(2, 4, 16, 16)
    task = Instance(strides=STRIDES, sizes_hw=((SIZE, SIZE),), progress=progress)
    values = task.loss((scores, boxes, coefficients, prototypes), y)
    values["loss"].backward()
    assert (scores.grad > 0).all() and not boxes.grad.any()
    assert float(values["box_loss"].detach()) == float(values["mask_loss"]) == 0.0


def test_boxes_that_are_right_cost_nothing():
    _, y = next(Shapes("detect", size=SIZE).epoch())
    task = Detect(strides=STRIDES, sizes_hw=((SIZE, SIZE),), progress=0.5)
    values = task.loss(perfect(y), y)
    assert float(values["box_loss"]) == pytest.approx(0.0, abs=1e-5)
    assert float(values["loss"]) < 0.5


def test_the_loss_of_a_smaller_input_is_that_of_smaller_labels():
    """A subnet of half the input size gets labels in pixels of the whole size."""
    half = make_grid((32, 32), STRIDES)
    _, y = next(Shapes("detect", size=SIZE).epoch())
    torch.manual_seed(0)
    outputs = (torch.randn(8, len(half.points), NUM_CLASSES), 8 * torch.rand(8, len(half.points), 4))
    both = Detect(strides=STRIDES, sizes_hw=((SIZE, SIZE), (32, 32)), progress=0.5).loss(outputs, y)
    own = Detect(strides=STRIDES, sizes_hw=((32, 32),), progress=0.5).loss(outputs, {**y, "boxes": y["boxes"] / 2})
    assert both == own


def test_a_teacher_of_another_input_size_is_resized_level_by_level():
    half = make_grid((32, 32), STRIDES)
    rising = GRID.points[None, :, :1] / SIZE
    resized = resize_levels(rising, GRID, half)
    assert resized.shape == (1, len(half.points), 1)
    torch.testing.assert_close(resized[0, :, 0], half.points[:, 0] / 32)
    scores = torch.full((1, len(GRID.points), 1), 2.0)
    boxes = torch.full((1, len(GRID.points), 4), 6.0)
    task = Detect(strides=STRIDES, sizes_hw=((SIZE, SIZE), (32, 32)))
    student = scores[:, : len(half.points)], boxes[:, : len(half.points)] / 2
    assert float(task.distill(student, (scores, boxes), {})) == pytest.approx(0.0, abs=1e-5)
    assert float(task.distill((student[0], student[1] * 2), (scores, boxes), {})) > 0.5


@pytest.mark.parametrize("name", ["detect", "instance"])
def test_what_is_right_scores_one(name):
    """Crowds are no mistakes, padding is no object, an image without objects counts."""
    (x, y), *_ = Shapes(name, size=SIZE, num_images=4).epoch()
    crowd = torch.tensor([[[0.0, 0.0, 5.0, 5.0]]]).expand(4, 1, 4)
    masks = {}
    scores, boxes = perfect(y)
    outputs = (scores, boxes)
    if name == "instance":
        masks = {"masks": torch.cat((y["masks"], torch.zeros(4, 1, 16, 16).bool()), 1)}
        masks["masks"][:, -1, 0, 0] = True
        prototypes = torch.cat((y["masks"].float(), torch.ones(4, 1, 16, 16)), 1)
        owner = torch.zeros(4, len(GRID.points), prototypes.shape[1])
        for image, slot in (y["classes"] >= 0).nonzero().tolist():
            left, top, right, bottom = y["boxes"][image, slot]
            xs, ys = GRID.points.T
            owner[image, (xs > left) & (xs < right) & (ys > top) & (ys < bottom), slot] = 40.0
        owner[..., -1] = -20.0
        outputs = (scores, boxes, owner, prototypes)
    y = {
        **y,
        "boxes": torch.cat((y["boxes"], crowd), 1),
        "classes": torch.cat((y["classes"], torch.full((4, 1), -2)), 1),
        **masks,
    }

    kind = {"detect": Detect, "instance": Instance}[name]
    task = kind(strides=STRIDES, sizes_hw=((SIZE, SIZE),))
    metrics = task.evaluate(Knowing(outputs), Once(x, y))
    assert metrics["val_map"] == pytest.approx(1.0)
    broken = tuple(output * math.nan for output in outputs)
    assert task.evaluate(Knowing(broken), Once(x, y)) == {"val_map": 0.0, "val_map50": 0.0, "val_loss": math.inf}


def test_segmentation_that_is_right_scores_one():
    (x, y), *_ = Shapes("segment", size=SIZE, num_images=4).epoch()
    right = 9.0 * F.one_hot(y["classes"], NUM_CLASSES + 1).permute(0, 3, 1, 2).float()
    y["classes"][:, :4] = 255
    right[:, :, :4] = torch.randn(4, NUM_CLASSES + 1, 4, SIZE)

    metrics = Segment(num_classes=NUM_CLASSES + 1).evaluate(Knowing((right,)), Once(x, y))
    assert metrics["val_miou"] == pytest.approx(1.0) and metrics["val_loss"] < 0.01


@pytest.mark.parametrize(("every", "offset"), [(1, (0, 0)), (2, (1, 0)), (3, (2, 1))])
def test_logits_at_some_pixels_are_those_of_the_whole_map(every, offset):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7)
    whole = F.interpolate(logits, (40, 50), mode="bilinear", align_corners=False)
    found = interpolate(logits, (40, 50), every, offset)
    torch.testing.assert_close(found, whole[:, :, offset[0] :: every, offset[1] :: every], rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 1.0, 3.0])])
def test_the_cross_entropy_is_torchs(weights):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    labels[0, :3] = 255
    values = Segment(num_classes=3, class_weights=weights)._loss((logits,), {"classes": labels}, 1, (0, 0))
    wanted = F.cross_entropy(logits, labels, weight=weights, ignore_index=255)
    assert float(values["cross_loss"]) == pytest.approx(float(wanted), rel=1e-5)
    chances = logits.softmax(1) * (labels != 255)[:, None]
    truth = F.one_hot(labels.where(labels != 255, 3), 4)[..., :3].permute(0, 3, 1, 2)
    both, total = (chances * truth).sum((0, 2, 3)), (chances + truth).sum((0, 2, 3))
    assert float(values["dice_loss"]) == pytest.approx(float((1 - (2 * both + 1) / (total + 1)).mean()), rel=1e-5)


@pytest.mark.parametrize("is_hard", [False, True])
def test_pixels_without_a_label_teach_nothing(is_hard):
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    values = Segment(num_classes=3, is_hard=is_hard).loss((logits,), {"classes": torch.full((2, 64, 64), 255)})
    values["loss"].backward()
    assert float(values["loss"].detach()) == 0.0 and not logits.grad.any()


def test_classes_are_counted_in_pixels():
    data = Shapes("segment", size=SIZE, num_images=4)
    ((_, y),) = data.epoch()
    assert count_pixels(data, 3) == torch.bincount(y["classes"].flatten(), minlength=3).tolist()
    task = task_for("segment", class_weights="balanced")
    assert task.class_weights[1] > task.class_weights[0]


def test_masks_outside_of_their_box_are_not_looked_at():
    """The loss of an object's mask is that of the prototypes within its box."""
    y = {
        "boxes": torch.tensor([[[16.0, 16.0, 48.0, 48.0]]]),
        "classes": torch.tensor([[0]]),
        "masks": torch.zeros(1, 1, 16, 16).bool(),
    }
    y["masks"][..., 6:10, 6:10] = True
    scores, boxes = perfect(y)
    coefficients = torch.ones(1, len(GRID.points), 1)
    right = torch.where(y["masks"], 20.0, -20.0)
    task = Instance(strides=STRIDES, sizes_hw=((SIZE, SIZE),), progress=0.5)
    outside = right.clone()
    outside[..., :3, :] = 20.0
    for prototypes, is_right in ((right, True), (outside, True), (-right, False)):
        loss = float(task.loss((scores, boxes, coefficients, prototypes), y)["mask_loss"])
        assert (loss < 1e-3) == is_right


def test_every_object_gets_a_mask_before_one_gets_two():
    ranks = rank_within(torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0.1, 0.9, 0.3, 0.5, 0.4]))
    assert ranks.tolist() == [2, 0, 1, 1, 0]
    assert MOST_MASKS >= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lr", "width", "epochs", "least"),
    [("detect", 2e-3, 32, 160, 0.95), ("instance", 4e-3, 32, 160, 0.85), ("segment", 1e-2, 128, 320, 0.9)],
)
def test_eight_images_are_learnt_by_heart(name, lr, width, epochs, least):
    """Masks lose where a coarse prototype of 24 x 24 places ends, class maps where a cell of 8 x 8 pixels does."""
    network, data = network_for(name, size=96, width=width), Shapes(name, size=96)
    config = TrainConfig(epochs=epochs, batch_size=8, lr=lr, ema=False, weight_decay=0.0)
    for _ in fit(network, data, data, config):
        pass
    task = make_task(network, config, data)
    assert task.evaluate(network, data)[task.metric] > least

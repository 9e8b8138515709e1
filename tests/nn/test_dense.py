"""Necks and dense heads: shapes, what they start from, and that sharing, fusing and sorting change nothing."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from torch import nn

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem
from ghostfit.counting import count
from ghostfit.nn.build import build
from ghostfit.nn.fuse import add_branches, deploy, fuse, with_nms
from ghostfit.nn.importance import sort_channels
from ghostfit.nn.pretrained import load_weights
from ghostfit.nn.sharing import Supernet, recalibrate
from ghostfit.presets import list_presets, preset
from ghostfit.search.start import plain_start
from ghostfit.space import Space

DENSE = [
    Dense("detect", width=32),
    Dense("detect", width=24, ratio=2, expand=1, kernel=3, head_depth=1, strides=(16, 32)),
    Dense("instance", width=32, ratio=2, head_depth=1, num_prototypes=12),
    Dense("instance", width=32, expand=2, act="hard_swish"),
    Dense("detect", width=24, ratio=2, head_depth=1, strides=(16, 32), nms_free=True),
    Dense("instance", width=32, ratio=2, expand=1, nms_free=True),
    Dense("segment", width=64, ratio=2, strides=(4, 8, 16, 32)),
    Dense("segment", width=48, head_depth=0, expand=1),
]


SMALL = Arch(  # the map of stride 4 is joined by an identity, that of stride 8 written by a Ghost module
    stem=Stem(8),
    stages=(
        Stage(12, (Block(mid=16, stride=2), Block(mid=16))),
        Stage(20, (Block(mid=24, stride=2, shortcut_kernel=3), Block(mid=24, ratio=2)), project_ratio=2),
        Stage(24, (Block(mid=32, stride=2),)),
        Stage(28, (Block(mid=32, stride=2, se=8, act="hard_swish"),)),
    ),
    head=Head(conv=32),
    num_classes=3,
    size_hw=(64, 96),
)


def backbone(name: str) -> Arch:
    if name == "plain":
        return plain_start(3, (224, 224), width=0.5)
    return preset(name, num_classes=3)


def image(arch: Arch, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, arch.in_channels, *arch.size_hw, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def shaken(network: nn.Module) -> nn.Module:
    """Norms and predictions of a size that a wrong channel would show in."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        key = name.replace("/", ".")
        if ".bn." in f".{key}" and tensor.dim():
            tensor.uniform_(0.5, 1.5)
        elif key.endswith(
            ("scores.conv.weight", "boxes.conv.weight", "coefficients.conv.weight", "classes.conv.weight")
        ):
            tensor.normal_(0, 0.2)
    return network.eval()


def shapes(outputs: tuple[torch.Tensor, ...]) -> list[tuple[int, ...]]:
    return [tuple(output.shape) for output in outputs]


@pytest.mark.parametrize("size_hw", [(64, 96), (45, 77)], ids=str)
@pytest.mark.parametrize("name", [*list_presets(), "plain"])
def test_every_backbone_gives_the_outputs_of_every_task(name, size_hw):
    height, width = size_hw
    points = sum(-(-height // stride) * -(-width // stride) for stride in (8, 16, 32, 64))
    quarter, eighth = ((-(-height // stride), -(-width // stride)) for stride in (4, 8))
    wanted = {
        "detect": [(2, points, 3), (2, points, 4)],
        "instance": [(2, points, 3), (2, points, 4), (2, points, 32), (2, 32, *quarter)],
        "segment": [(2, 3, *eighth)],
    }
    for task, expected in wanted.items():
        arch = backbone(name).replace(size_hw=size_hw).as_dense(Dense(task, width=32))
        outputs = build(arch).eval()(image(arch))
        assert isinstance(outputs, tuple) and shapes(outputs) == expected
        assert len(arch.output_names) == len(outputs)


def test_points_run_by_level_row_and_column():
    """The level with a box of its own size, and in it the place with its own score, are where the contract says."""
    network = build(SMALL.as_dense(Dense("detect", width=16, head_depth=0, strides=(8, 16)))).eval()
    levels = [torch.zeros(1, 16, 3, 4), torch.zeros(1, 16, 2, 2)]
    levels[0][0, :, 1, 2] = 1
    with torch.no_grad():
        for head in network.head.levels:
            head.scores.conv.weight.fill_(1)
        scores, boxes = network.head(levels, {})
    assert scores[0, :, 0].argmax() == 1 * 4 + 2
    assert torch.allclose(boxes[0, :12].median(), torch.tensor(16.0))
    assert torch.allclose(boxes[0, 12:], torch.tensor(32.0))


@torch.no_grad()
def test_every_map_of_the_backbone_has_a_share_in_the_classes():
    """A value in one place of the coarsest map is added to the scores of all pixels of that place, and nowhere else."""
    network = build(SMALL.as_dense(Dense("segment", width=32, strides=(8, 16, 32)))).eval()
    channels = {stride: len(skip.in_slots) for stride, skip in zip((8, 16, 32), network.head.skips, strict=True)}
    features = {stride: torch.zeros(1, channels[stride], 64 // stride, 96 // stride) for stride in (8, 16, 32)}
    level = torch.rand(1, len(network.head.classes.in_slots), 8, 12)
    (before,) = network.head([level], features)
    for stride, skip in zip((8, 16, 32), network.head.skips, strict=True):
        features[stride][0, :, 1, 2] = 1
        (after,) = network.head([level], features)
        features[stride].zero_()
        cells = stride // 8
        wanted = torch.zeros_like(before)
        wanted[0, :, cells : 2 * cells, 2 * cells : 3 * cells] = skip.conv.weight.sum((1, 2, 3))[:, None, None]
        assert wanted.any() and torch.allclose(after - before, wanted, atol=1e-5)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_a_fresh_detector_sees_nothing_much(task):
    arch = SMALL.as_dense(Dense(task))
    scores, boxes, *rest = build(arch).train()(image(arch))
    assert scores.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
    assert boxes.min() >= 0 and boxes[:, 0].mean().item() == pytest.approx(16, rel=0.2)
    assert all(value.abs().max() <= 1 for value in rest[:1])


@pytest.mark.parametrize("dense", DENSE)
def test_a_training_step_reaches_every_parameter(dense):
    network = build(SMALL.as_dense(dense))
    sum(output.square().sum() for output in network(image(network.arch))).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_one_image_is_enough_to_train_on():
    network = build(SMALL.as_dense(Dense("segment")))
    assert torch.isfinite(network.train()(image(network.arch, 1))[0]).all()


@pytest.mark.parametrize("dense", DENSE)
@torch.no_grad()
def test_rewriting_keeps_the_outputs(dense, assert_close):
    network = shaken(build(SMALL.as_dense(dense))).double()
    x = image(network.arch).double()
    wanted = network(x)
    for rewritten in (fuse, sort_channels, lambda network: add_branches(network, 2)):
        for found, output in zip(rewritten(network).double().eval()(x), wanted, strict=True):
            assert_close(found, output, 1e-5)


@torch.no_grad()
def test_the_training_form_is_deployed_and_fused(assert_close):
    network = shaken(build(SMALL.as_dense(Dense("instance", width=16, ratio=2, expand=1)).replace(branches=2))).double()
    x = image(network.arch).double()
    for rewritten in (deploy(network), fuse(network)):
        for found, output in zip(rewritten(x), network(x), strict=True):
            assert_close(found, output, 1e-6)


@pytest.mark.parametrize("dense", DENSE)
@torch.no_grad()
def test_a_subnet_on_slices_is_the_plain_network(dense, assert_close):
    start = SMALL.as_dense(dense)
    space = Space.around(start, widths=(0.5, 1.0), expands=(1.0,), ratios=(1, 2, 4), se=False, sizes=(0.75, 1.0))
    supernet, rng = shaken(Supernet(space)), random.Random(0)
    for arch in [start, space.smallest(), space.largest(), *(space.sample(rng) for _ in range(5))]:
        x = image(arch)
        for found, wanted in zip(supernet(x, arch), supernet.extract(arch).eval()(x), strict=True):
            assert_close(found, wanted, 1e-4)


NMS_FREE = [dense for dense in DENSE if dense.nms_free]


@pytest.mark.parametrize("dense", NMS_FREE)
@torch.no_grad()
def test_a_guide_runs_in_training_only(dense):
    """Its outputs come first and are the head's at the start; the form that runs is as large as without."""
    network = build(SMALL.as_dense(dense))
    x, num = image(network.arch), len(network.arch.output_names)
    both, last = network.train()(x), network.eval()(x)
    assert len(both) == 2 * num and shapes(both[:num]) == shapes(both[num:]) == shapes(last)
    assert all(torch.equal(guiding, own) for guiding, own in zip(both[:num], both[num:], strict=True))
    plain = build(SMALL.as_dense(dataclasses.replace(dense, nms_free=False)))
    assert fuse(network).state_dict().keys() == fuse(plain).state_dict().keys()
    assert count(network.arch) == count(plain.arch)


@pytest.mark.parametrize("dense", NMS_FREE)
def test_only_the_guide_teaches_backbone_and_neck(dense):
    network = build(SMALL.as_dense(dense))
    outputs = network(image(network.arch))
    sum(output.square().sum() for output in outputs[len(outputs) // 2 :] if output.requires_grad).backward()
    taught = {
        name.rsplit(".conv.", 1)[0].rsplit(".bn.", 1)[0] for name, p in network.named_parameters() if p.grad is not None
    }
    assert taught and all(name.startswith("head.levels.") for name in taught)


@pytest.mark.parametrize("dense", NMS_FREE)
@torch.no_grad()
def test_a_guide_on_slices_is_that_of_the_plain_network(dense, assert_close):
    start = SMALL.as_dense(dense)
    space = Space.around(start, widths=(0.5, 1.0), expands=(1.0,), ratios=(1, 2), se=False, sizes=(1.0,))
    supernet = shaken(Supernet(space)).train()
    for arch in (start, space.smallest()):
        found, network = supernet(image(arch), arch), supernet.extract(arch)
        for one, other in zip(found, network(image(arch)), strict=True):
            assert_close(one, other, 1e-4)


@torch.no_grad()
def test_the_dense_form_is_the_guide(assert_close):
    """Also where statistics are set anew: the guide's are, though only the other head runs in evaluation."""
    network = shaken(build(SMALL.as_dense(Dense("instance", width=16, ratio=2, nms_free=True))))
    dense, x = with_nms(network), image(network.arch, 4)
    assert not dense.arch.dense.nms_free
    for found, wanted in zip(dense.train()(x), network.train()(x)[:4], strict=True):
        assert torch.equal(found, wanted)
    for each in (network.eval(), dense.eval()):
        recalibrate(each, [x])
    for found, wanted in zip(with_nms(network)(x), dense(x), strict=True):
        assert_close(found, wanted)


@torch.no_grad()
def test_a_detector_that_needs_nms_becomes_both_heads():
    arch = SMALL.as_dense(Dense("detect", width=16))
    trained = shaken(build(arch))
    free = build(SMALL.as_dense(Dense("detect", width=16, nms_free=True)).replace(num_classes=5))
    load_weights(free, trained.state_dict())
    x = image(arch)
    for network in (free.eval(), with_nms(free).eval()):
        assert torch.equal(network(x)[1], trained(x)[1]) and network(x)[0].shape[2] == 5


@torch.no_grad()
def test_a_classifier_becomes_the_backbone():
    classifier = build(SMALL.replace(num_classes=7)).eval()
    detector = build(SMALL.as_dense(Dense("detect")))
    before = detector.head.levels[0].scores.conv.weight.clone()
    load_weights(detector, classifier.state_dict())
    assert torch.equal(detector.head.levels[0].scores.conv.weight, before)
    x = image(detector.arch)
    for found, wanted in zip(*(net.eval().forward_features(x).values() for net in (detector, classifier)), strict=True):
        assert torch.equal(found, wanted)


@torch.no_grad()
def test_a_detector_of_other_classes_keeps_all_but_the_scores():
    arch = SMALL.as_dense(Dense("detect", width=16))
    trained, fresh = shaken(build(arch)), build(arch.replace(num_classes=5))
    load_weights(fresh, trained.state_dict())
    x = image(arch)
    assert torch.equal(fresh.eval()(x)[1], trained(x)[1]) and fresh(x)[0].shape[2] == 5
    with pytest.raises(ValueError, match="another architecture"):
        load_weights(build(SMALL), trained.state_dict())

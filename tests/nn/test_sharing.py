"""Weight sharing: a subnet on slices of the store is the plain network, for every gene."""

from __future__ import annotations

import random

import pytest
import torch

from ghostfit.arch import Arch, Block, Head, Stage, Stem
from ghostfit.nn.build import build
from ghostfit.nn.importance import sort_channels
from ghostfit.nn.sharing import Supernet, covering_archs, recalibrate
from ghostfit.presets import list_presets, preset
from ghostfit.search.start import plain_start
from ghostfit.space import Space

START = Arch(
    stem=Stem(out=16, stride=1),
    stages=(
        Stage(out=16, blocks=(Block(mid=32, shortcut_kernel=3),), project_ratio=2),  # joined to the stem by an identity
        Stage(out=24, blocks=(Block(mid=48, stride=2, shortcut_kernel=3, start_kernel=3), Block(mid=48, kernel=0))),
        Stage(out=32, blocks=(Block(mid=64, stride=2, se=16, dfc=True, mid_act=False), Block(mid=64, ratio=4))),
        Stage(out=32, blocks=(Block(kind="conv", kernel=1),)),
        Stage(out=48, blocks=(Block(kind="conv", stride=2), Block(kind="conv"))),
    ),
    head=Head(conv=64, hidden=32),
    num_classes=5,
    size_hw=(32, 32),
)


def wide_space() -> Space:
    return Space.around(
        START,
        widths=(0.5, 1.0),
        ratios=(1, 2, 4),
        kernels=(0, 3, 5),
        cheap_kernels=(1, 3, 5),
        dfc=True,
        sizes=(0.75, 1.0),
        max_extra_depth=1,
        stem_strides=(1, 2),
    )


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return randomised(Supernet(wide_space()))


def randomised(supernet: Supernet) -> Supernet:
    """Statistics and scales that a mistaken slot would change the output by."""
    with torch.no_grad():
        for name, tensor in [*supernet.named_parameters(), *supernet.named_buffers()]:
            if "bn/" in name and tensor.dim():
                tensor.uniform_(0.5, 1.5)
    return supernet


@torch.no_grad()
def assert_equal_to_extracted(supernet: Supernet, arch: Arch) -> None:
    x = torch.randn(2, arch.in_channels, *arch.size_hw)
    for mode in (True, False):
        network = supernet.train(mode).extract(arch)
        shared, plain = supernet(x, arch), network(x)
        assert torch.allclose(shared, plain, atol=1e-5 * float(plain.abs().max()) + 1e-5), arch.to_json()


def test_every_choice_of_every_gene_equals_its_extract(supernet: Supernet) -> None:
    for arch in covering_archs(supernet.space):
        assert_equal_to_extracted(supernet, arch)


def test_random_networks_equal_their_extracts(supernet: Supernet) -> None:
    rng = random.Random(1)
    for _ in range(25):
        assert_equal_to_extracted(supernet, supernet.space.sample(rng))


def test_gradients_reach_the_slices_and_nothing_else(supernet: Supernet) -> None:
    arch = supernet.space.smallest()
    supernet.zero_grad()
    supernet.train()(torch.randn(2, 3, *arch.size_hw), arch).square().sum().backward()
    weight = supernet.get_parameter("stages/1/0/expand/primary/conv/weight")
    mid, ratio = arch.stages[1].blocks[0].mid, arch.stages[1].blocks[0].ratio
    touched = weight.grad.abs().sum((1, 2, 3)).nonzero().flatten().tolist()  # type: ignore[union-attr]
    assert touched == list(range(0, mid, ratio))


def test_put_and_extract_are_inverse(supernet: Supernet) -> None:
    arch = supernet.space.sample(random.Random(5))
    network = build(arch).eval()
    copy = Supernet(supernet.space)
    copy.put(network)
    x = torch.randn(2, 3, *arch.size_hw)
    assert torch.equal(copy.eval().extract(arch).eval()(x), network(x))


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_a_point_whose_weights_can_be_shared(name: str) -> None:
    arch = preset(name, num_classes=4, size_hw=(64, 64)).deployed()
    space = Space.around(arch, widths=(0.5, 1.0), expands=(1.0,), kernels=(), ratios=(), se=False)
    supernet = Supernet(space)
    network = build(arch).eval()
    supernet.put(network)
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(supernet.eval()(x, arch), network(x), atol=1e-5)
    assert supernet(x, space.smallest()).shape == (1, 4)


@pytest.mark.parametrize("name", [*list_presets(), "plain"])
def test_sorting_channels_keeps_the_outputs(name: str) -> None:
    arch = plain_start(4, (32, 32)) if name == "plain" else preset(name, 4, (64, 64)).deployed()
    network = build(arch).eval()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if "bn." in key and tensor.dim():
                tensor.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, *arch.size_hw)
    before, after = network(x), sort_channels(network)(x)
    assert torch.allclose(before, after, atol=2e-5 * float(before.detach().abs().max()))


def test_sorting_puts_the_important_channels_first() -> None:
    network = sort_channels(build(plain_start(4, (32, 32))).eval())
    block = network.stages[0][1]
    read = block.project.primary.conv.weight.abs().sum((0, 2, 3))
    assert torch.all(read[:-1] >= read[1:])


def test_recalibration_sets_the_statistics_of_the_batches() -> None:
    network = build(plain_start(4, (32, 32)))
    batches = [torch.randn(8, 3, 32, 32) + 3 for _ in range(3)]
    recalibrate(network, batches)
    outputs = [network.stem.conv(x) for x in batches]
    mean = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    assert torch.allclose(network.stem.bn.running_mean, mean, atol=1e-5)
    assert network.stem.bn.momentum == 0.1 and network.training

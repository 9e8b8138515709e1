"""Built networks: shapes, slots, features, and parameters that can be swapped from outside."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from ghostfit.arch import Arch, Block, Head, Stage, Stem, memory_slots
from ghostfit.nn.block import DropPath, GhostBlock, Reorder
from ghostfit.nn.build import build, channel_orders
from ghostfit.nn.ghost import ConvBN, GhostModule, LinearBN, TrainingConv
from ghostfit.presets import list_presets, preset


def arch_of(*stages: Stage, stem: int = 8) -> Arch:
    return Arch(stem=Stem(stem), stages=stages, head=Head(conv=16), num_classes=3, size_hw=(16, 16))


MIXED = arch_of(
    Stage(8, (Block(mid=12, ratio=2, se=4),), project_ratio=2),
    Stage(8, (Block(mid=10, ratio=4), Block()), project_ratio=4),
    Stage(8, (Block(mid=16), Block(kind="conv")), project_ratio=1),
    Stage(11, (Block(mid=9, ratio=2, dfc=True, stride=2, shortcut_kernel=3), Block(mid=9, ratio=4)), project_ratio=4),
    Stage(11, (Block(kind="conv"), Block(mid=6), Block(kind="conv", cheap_kernel=5)), project_ratio=2),
)


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47)])
def test_runs_at_any_size_classes_and_channels(name, size_hw, randomise_norms):
    network = randomise_norms(build(preset(name, num_classes=5, size_hw=size_hw, in_channels=1)))
    assert network(torch.rand(2, 1, *size_hw)).shape == (2, 5)


@pytest.mark.parametrize("name", list_presets())
def test_training_step_reaches_every_parameter(name):
    network = build(preset(name, num_classes=5, size_hw=(32, 32)), drop_path=0.1, dropout=0.1)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", list_presets())
def test_features_by_stride(name, randomise_norms):
    network = randomise_norms(build(preset(name)))
    features = network.forward_features(torch.rand(1, 3, 64, 64))
    assert {stride: tuple(map_.shape[-2:]) for stride, map_ in features.items()} == {
        4: (16, 16),
        8: (8, 8),
        16: (4, 4),
        32: (2, 2),
    }


@pytest.mark.parametrize("arch", [MIXED, MIXED.replace(branches=2), *map(preset, list_presets())])
def test_every_weight_has_slots_that_its_neighbours_share(arch):
    network = build(arch, device="meta")
    order = network.stem.out_slots
    for stage in network.stages:
        for block in stage:
            assert block_input(block) == order
            order = block.out_slots if isinstance(block, GhostModule) else block.project.out_slots
            check_inside(block)
    assert (network.head.conv or network.head.hidden).in_slots == order
    for module in network.modules():
        if isinstance(module, ConvBN | LinearBN):
            layer = module.conv if isinstance(module, ConvBN) else module.linear
            assert layer.weight.shape[0] == len(module.out_slots) == len(set(module.out_slots))
            if module.in_slots is not None:
                assert layer.weight.shape[1] == len(module.in_slots)


def block_input(block):
    if isinstance(block, GhostModule):
        return block.in_slots
    first = block.start or block.expand or block.depthwise or block.project
    return first.out_slots if first in (block.start, block.depthwise) else first.in_slots


def check_inside(block):
    if isinstance(block, GhostModule):
        return
    assert isinstance(block, GhostBlock)
    if block.expand is not None:
        mid = block.expand.out_slots
        assert block.project.in_slots == mid
        assert block.depthwise is None or block.depthwise.out_slots == mid
        assert block.se is None or block.se.reduce.in_slots == block.se.expand.out_slots == mid
        assert block.expand.gate is None or block.expand.gate.pointwise.out_slots == mid
    for module in (block.expand, block.project):
        if module is not None and module.ratio > 1:
            assert module.out_slots == memory_slots(len(module.out_slots), module.ratio)
            assert (module.primary.out_slots + module.cheap.out_slots)[: len(module.out_slots)] == module.out_slots


def test_plain_writers_take_the_order_of_the_ghost_stage_they_are_added_to():
    ghost, plain = memory_slots(8, 2), tuple(range(8))
    block = Block(mid=8)
    stages = (Stage(8, (block,), project_ratio=2), Stage(8, (block,)), Stage(8, (Block(stride=2),)))
    assert channel_orders(arch_of(*stages)) == (ghost, ghost, ghost, plain)
    assert channel_orders(arch_of(*stages, stem=4)) == ((0, 1, 2, 3), ghost, ghost, plain)
    assert channel_orders(arch_of(Stage(8, (block,)), *stages)) == (ghost, ghost, ghost, ghost, plain)


def test_shortcut_between_two_ghost_orders_adds_slot_to_slot():
    network = build(MIXED).eval()
    block = network.stages[1][0]
    assert isinstance(block.shortcut, Reorder)
    by_slot = torch.rand(1, 8, 4, 4)
    before, after = memory_slots(8, 2), memory_slots(8, 4)
    assert torch.equal(block.shortcut(by_slot[:, list(before)]), by_slot[:, list(after)])
    kinds = [type(b.shortcut) for stage in network.stages for b in stage if isinstance(b, GhostBlock)]
    assert kinds.count(Reorder) == 1


def test_published_networks_need_no_reordering():
    for name in list_presets():
        assert not any(isinstance(module, Reorder) for module in build(preset(name), device="meta").modules())


def test_meta_network_runs_on_weights_given_from_outside(randomise_norms):
    network, skeleton = randomise_norms(build(MIXED)), build(MIXED, device="meta").eval()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(functional_call(skeleton, network.state_dict(), (x,)), network(x))
    with torch.device("meta"):
        assert next(build(MIXED).parameters()).is_meta


def test_cut_only_where_it_cuts():
    modules = [m for m in build(MIXED, device="meta").modules() if isinstance(m, GhostModule)]
    assert all(m.num_cut == (-len(m.out_slots)) % m.ratio for m in modules)
    assert any(m.num_cut for m in modules)
    published = [m for name in ("ghostnet_050", "ghostnet_130") for m in build(preset(name), device="meta").modules()]
    assert not any(m.num_cut for m in published if isinstance(m, GhostModule))


@torch.no_grad()
def test_same_padding_puts_the_odd_pixel_right_and_below():
    stem = build(arch_of(Stage(4, (Block(),)), stem=1).replace(in_channels=1, padding="same")).eval().stem
    stem.conv.weight.zero_()
    stem.conv.weight[0, 0, 2, 2] = 1  # reads pixel (2i + 2, 2j + 2) if the padding is at the far sides only
    output = stem(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert output.squeeze().round().tolist() == [[10, 0], [0, 0]]


def test_drop_path_keeps_the_mean_and_acts_only_in_training():
    torch.manual_seed(0)
    layer = DropPath(0.25)
    x = torch.ones(4000, 1, 1, 1)
    kept = layer(x)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert layer.eval()(x) is x


def test_same_seed_same_weights():
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build(MIXED).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_fused_form_has_no_branches():
    with pytest.raises(ValueError, match="no training branches"):
        build(MIXED.replace(branches=2), is_fused=True)


def test_training_form_names_its_parts():
    network = build(preset("ghostnetv3_100").replace(branches=3), device="meta")
    block = network.stages[1][0]
    assert isinstance(block.depthwise, TrainingConv) and block.depthwise.scale is not None
    assert block.depthwise.skip is None and block.project.cheap.skip is not None
    assert block.expand.primary.scale is None and len(block.expand.primary.branches) == 3


def test_a_dense_convolution_passes_each_slot_on_to_itself():
    stages = (Stage(8, (Block(kind="conv", act="none"), Block(kind="conv", act="none")), project_ratio=2),)
    network = build(Arch(Stem(8), stages, Head(), num_classes=3, size_hw=(16, 16)))
    unit = network.stages[0][1].primary
    rows, columns = zip(*((i, unit.in_slots.index(slot)) for i, slot in enumerate(unit.out_slots)), strict=True)
    centre = unit.conv.weight[:, :, 1, 1]
    others = centre.clone()
    others[rows, columns] -= 1
    assert others.abs().max() < 1 and centre[rows, columns].mean() > 0.5

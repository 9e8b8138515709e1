"""Closed-form counts against hooks on the built network (meta device), and peak memory on networks small enough to do
by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem
from ghostfit.counting import count, operations
from ghostfit.nn.build import build
from ghostfit.presets import list_presets, preset


def hooked_macs(network: nn.Module, size_hw: tuple[int, int], in_channels: int = 3) -> int:
    total = 0

    def add(module, _, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    for module in network.modules():
        module.register_forward_hook(add)
    network.eval()(torch.empty(1, in_channels, *size_hw, device="meta"))
    return total


ODD = Arch(
    stem=Stem(9),
    stages=(
        Stage(9, (Block(mid=13, ratio=4, cheap_kernel=5, dfc=True), Block()), project_ratio=2),
        Stage(
            7, (Block(mid=11, ratio=3, stride=2, start_kernel=5, kernel=0, se=3, shortcut_kernel=5),), project_ratio=3
        ),
        Stage(5, (Block(kind="conv", kernel=5, stride=2), Block(mid=8, start_kernel=3))),
        Stage(7, (Block(kind="conv", stride=2), Block(kind="conv", cheap_kernel=5)), project_ratio=3),
    ),
    head=Head(hidden=6, hidden_norm=True),
)


FORMS = [((224, 224), "symmetric", 0), ((33, 47), "symmetric", 2)]


@pytest.mark.parametrize(
    ("arch", "size_hw", "padding", "branches"),
    [(ODD, (35, 64), "same", 1), *((arch, *form) for arch in (ODD, *map(preset, list_presets())) for form in FORMS)],
)
def test_equals_hooks(arch, size_hw, padding, branches):
    arch = arch.replace(size_hw=size_hw, padding=padding, branches=branches)
    network = build(arch, device="meta")
    counts = count(arch)
    assert counts.params == sum(weight.numel() for weight in network.parameters())
    assert counts.macs == hooked_macs(network, size_hw)
    assert sum(block.params for block in counts.by_block) == counts.params
    assert sum(block.macs for block in counts.by_block) == counts.macs


DENSE = [
    *(Dense(task) for task in ("detect", "instance", "segment")),
    Dense("instance", width=50, ratio=3, kernel=3, expand=2, head_depth=1, num_prototypes=10, strides=(4, 8, 16, 32)),
    Dense("segment", width=50, ratio=2, expand=1, head_depth=0, strides=(4, 8, 16, 32)),
    Dense("detect", width=24, head_depth=0, strides=(8, 16)),
]


@pytest.mark.parametrize(("size_hw", "padding", "branches"), [((64, 96), "symmetric", 0), ((33, 47), "same", 2)])
@pytest.mark.parametrize("dense", DENSE)
@pytest.mark.parametrize("name", ["ghostnet_050", "mobilenetv4_conv_small"])
def test_dense_networks_equal_hooks(name, dense, size_hw, padding, branches):
    arch = preset(name, 7, size_hw).as_dense(dense).replace(padding=padding, branches=branches)
    network, counts = build(arch, device="meta"), count(arch)
    assert counts.params == sum(weight.numel() for weight in network.parameters())
    assert counts.macs == hooked_macs(network, size_hw)
    assert [block.name for block in counts.by_block[-2:]] == ["neck", "head"]


def test_outputs_of_a_dense_network_stay_in_memory():
    arch = Arch(Stem(1), (Stage(1, (Block(kernel=0),)), Stage(1, (Block(stride=2),))), Head(), 50, (8, 8), 1)
    arch = arch.as_dense(Dense("detect", width=1, head_depth=0, kernel=1, strides=(4,)))
    # at the end, with 4 points: the scores and the boxes of the level, and the scores and the boxes put out
    assert count(arch).peak_activation_bytes == 4 * 4 * max(50 + 4 + 50, 50 + 4 + 4)


def test_by_block_names_the_network_s_blocks():
    names = [block.name for block in count(ODD).by_block]
    assert names == [
        "stem",
        *("stages.0.0", "stages.0.1", "stages.1.0", "stages.2.0", "stages.2.1", "stages.3.0", "stages.3.1"),
        "head",
    ]
    assert count(ODD).by_block[3].out == (7, 56, 56)


def test_peak_memory_of_a_residual_block_by_hand():
    arch = Arch(Stem(4), (Stage(4, (Block(mid=12),)),), Head(), num_classes=2, size_hw=(8, 8))
    # at the depthwise convolution: 12 expanded maps read, 12 written, 4 kept for the shortcut; 4 x 4 pixels, 4 bytes
    assert count(arch).peak_activation_bytes == (12 + 12 + 4) * 16 * 4


def test_peak_memory_of_a_ghost_module_by_hand():
    arch = Arch(Stem(4), (Stage(8, (Block(mid=16, ratio=2, kernel=0),)),), Head(), num_classes=2, size_hw=(8, 8))
    # at the concatenation: 8 + 8 maps read, 16 written; no shortcut
    assert count(arch).peak_activation_bytes == 32 * 16 * 4


def test_a_map_that_is_read_again_is_not_written_over():
    arch = Arch(Stem(16), (Stage(16, (Block(kernel=0, se=2),)),), Head(), num_classes=2, size_hw=(8, 8))
    multiply = next(step for step in operations(arch) if step.name == "stages.0.0.se.multiply")
    assert multiply.is_in_place
    # the stem's 16 maps stay for the shortcut, beside 16 scaled ones, while 16 are projected
    assert count(arch).peak_activation_bytes == 48 * 16 * 4

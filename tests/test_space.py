"""Search spaces: every point decodes, encodes back, and shrinking keeps what it says."""

from __future__ import annotations

import random

import pytest

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem
from ghostfit.space import Space

START = Arch(
    stem=Stem(out=16, stride=1),
    stages=(
        Stage(out=32, blocks=(Block(mid=64, stride=2, shortcut_kernel=3), Block(mid=64, kernel=0)), project_ratio=2),
        Stage(out=64, blocks=(Block(mid=128, stride=2, se=32, dfc=True), Block(mid=128, ratio=4))),
        Stage(out=96, blocks=(Block(kind="conv", kernel=1),)),
    ),
    head=Head(conv=128, hidden=64),
    num_classes=10,
    size_hw=(32, 32),
)


def wide_space() -> Space:
    return Space.around(
        START, ratios=(1, 2, 4), kernels=(3, 5), cheap_kernels=(1, 3), dfc=True, sizes=(0.75, 1.0), stem_strides=(1, 2)
    )


def test_start_is_a_point() -> None:
    space = wide_space()
    assert START in space
    assert space.decode(space.encode(START)) == START


def test_every_sampled_network_encodes_back() -> None:
    space, rng = wide_space(), random.Random(0)
    for _ in range(200):
        arch = space.sample(rng)
        assert space.decode(space.encode(arch)) == arch
        assert space.mutate(arch, rng) in space


def test_ends_are_ordered_by_cost() -> None:
    space = wide_space()
    assert space.choices("s0.b0.ratio") == (4, 2, 1)
    assert space.choices("stem.stride") == (2, 1)
    assert space.smallest().size_hw == (24, 24)
    assert space.largest().stages[1].blocks[1].mid == 128


def test_space_survives_json() -> None:
    space = wide_space()
    again = Space.from_dict(space.to_dict())
    assert again == space and again.id == space.id


def test_restrict_shrinks_and_refuses_nothing_left() -> None:
    space = wide_space()
    smaller = space.restrict("s0.out", [16])
    assert smaller.choices("s0.out") == (16,)
    assert START not in smaller and smaller.num_points() < space.num_points()
    with pytest.raises(ValueError, match="none of"):
        space.restrict("s0.out", [7])


def test_fix_keeps_the_choices_of_a_network() -> None:
    space = wide_space().fix(START, ["s0.out", "size"])
    assert space.choices("s0.out") == (32,) and space.choices("size") == (32,)


def test_wrong_gene_and_choice_are_named() -> None:
    space = wide_space()
    with pytest.raises(ValueError, match=r"unknown gene 's9\.out'"):
        space.choices("s9.out")
    with pytest.raises(ValueError, match=r"s0\.out: 33"):
        space.decode({"s0.out": 33})
    with pytest.raises(ValueError, match="multipliers"):
        Space.around(START, widths=(0.0, 1.0))


def test_foreign_network_is_outside() -> None:
    assert START.replace(num_classes=3) not in wide_space()
    assert "no network" not in wide_space()


@pytest.mark.parametrize("task", ["detect", "instance", "segment"])
def test_neck_and_head_have_genes(task: str) -> None:
    start = START.as_dense(Dense(task, width=64, ratio=4, kernel=5, strides=(4, 8)))  # type: ignore[arg-type]
    space, rng = Space.around(start, sizes=(0.75, 1.0)), random.Random(0)
    assert start in space and "head.conv" not in space.by_name
    assert space.choices("dense.width") == (32, 48, 64) and space.choices("dense.ratio") == (4, 2, 1)
    assert space.choices("dense.kernel") == (3, 5) and space.choices("dense.head_depth") == (1, 2)
    assert space.smallest().dense == Dense(task, 32, 4, 3, 0, 1, (4, 8))  # type: ignore[arg-type]
    for _ in range(50):
        arch = space.sample(rng)
        assert space.decode(space.encode(arch)) == arch and space.mutate(arch, rng) in space
    assert Space.from_dict(space.to_dict()) == space
    assert START not in space and start not in wide_space()


def test_the_levels_of_a_dense_network_fix_its_strides() -> None:
    with pytest.raises(ValueError, match=r"stem_strides=\(1, 2\)"):
        Space.around(START.as_dense(Dense("detect", strides=(4, 8))), stem_strides=(1, 2))

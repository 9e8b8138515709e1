"""The largest network of each kind within limits."""

from __future__ import annotations

import itertools

import pytest

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.search.largest import largest_of_kinds
from ghostfit.search.start import conv_start, plain_start
from ghostfit.space import Space

SPACE = Space.around(conv_start(10, (32, 32), width=1.5), ratios=(), sizes=(0.75, 1.0), align=16, least_depth=2)


def kind_of(arch: Arch) -> tuple[object, ...]:
    return (arch.size_hw, *(len(stage.blocks) for stage in arch.stages))


@pytest.mark.parametrize("most", [6e6, 12e6, 25e6])
def test_each_is_the_largest_of_its_kind(most: float) -> None:
    found = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= most, 100)
    everything = [SPACE.decode(point) for point in _points()]
    within = [arch for arch in everything if count(arch).macs <= most]
    assert {kind_of(arch) for arch in found} == {kind_of(arch) for arch in within}
    for arch in found:
        assert count(arch).macs == max(count(other).macs for other in within if kind_of(other) == kind_of(arch))


def test_input_sizes_come_in_turn_the_largest_first() -> None:
    found = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= 12e6, 4)
    assert [arch.size_hw[0] for arch in found] == [32, 24, 32, 24]
    assert count(found[0]).macs > count(found[2]).macs


def test_nothing_is_found_where_nothing_is_within() -> None:
    assert largest_of_kinds(SPACE, lambda arch: False, 4) == []


def test_when_time_is_over_one_kind_is_enough() -> None:
    assert len(largest_of_kinds(SPACE, lambda arch: True, 4, is_over=lambda: True)) == 1


def test_a_space_too_large_to_be_listed_gives_networks_within_that_are_the_same_again() -> None:
    space = Space.around(plain_start(10, (32, 32)), kernels=(3, 5), ratios=(1, 2), sizes=(0.75, 1.0))
    assert space.num_points() > 10_000
    found, again = (largest_of_kinds(space, lambda arch: count(arch).macs <= 8e6, 3, seed=1) for _ in range(2))
    assert found and found == again
    assert all(4e6 < count(arch).macs <= 8e6 and arch in space for arch in found)


def _points() -> list[dict[str, int]]:
    genes = SPACE.open_genes()
    return [dict(zip(genes, values, strict=True)) for values in itertools.product(*map(SPACE.choices, genes))]

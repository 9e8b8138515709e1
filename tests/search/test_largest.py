"""The largest network of each kind within limits."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.search.largest import balance, in_turn, largest_of_kinds
from ghostfit.search.start import conv_start, plain_start
from ghostfit.space import Space

SPACE = Space.around(conv_start(10, (32, 32), width=1.5), ratios=(), sizes=(0.75, 1.0), align=16, least_depth=2)


def kind_of(arch: Arch) -> tuple[object, ...]:
    return (arch.size_hw, *(len(stage.blocks) for stage in arch.stages))


@pytest.mark.parametrize("most", [6e6, 12e6, 25e6])
def test_each_is_nearly_the_largest_of_its_kind_and_the_most_balanced_of_these(most: float) -> None:
    found = list(itertools.chain.from_iterable(largest_of_kinds(SPACE, lambda arch: count(arch).macs <= most)))
    everything = [SPACE.decode(point) for point in _points()]
    within = [arch for arch in everything if count(arch).macs <= most]
    assert {kind_of(arch) for arch in found} == {kind_of(arch) for arch in within}
    for arch in found:
        alike = [other for other in within if kind_of(other) == kind_of(arch)]
        largest = max(count(other).macs for other in alike)
        assert count(arch).macs >= 0.88 * largest
        assert balance(arch) >= max(balance(other) for other in alike if count(other).macs >= 0.9 * largest)


def test_input_sizes_come_in_turn_the_largest_first_then_the_best_of_them() -> None:
    kinds = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= 12e6)
    assert [[arch.size_hw[0] for arch in archs] for archs in kinds] == [[32] * 4, [24] * 4]
    for archs in kinds:
        assert [sum(len(stage.blocks) for stage in arch.stages) for arch in archs] == [4 + 1, 5 + 1, 5 + 1, 6 + 1]
    for best in (32, 24):
        asked: list[int] = []
        turns = in_turn(kinds, 4, lambda best=best, asked=asked: asked.append(best) or (best, best))
        first = [next(turns), next(turns)]
        assert not asked
        tried = [*first, *turns]
        assert [arch.size_hw[0] for arch in tried] == [32, 24, best, best]
        assert len({arch.id for arch in tried}) == 4 and len(asked) == 1
    assert [arch.size_hw[0] for arch in in_turn(kinds, 1, lambda: (0, 0))] == [32]


def test_of_equal_cost_widths_that_double_where_the_map_is_halved_are_balanced() -> None:
    even, late, early = (_chain(widths) for widths in ((64, 128, 256), (64, 96, 320), (96, 96, 208)))
    assert balance(even) > max(balance(late), balance(early))


def test_a_network_that_is_dearer_than_multiply_adds_tell_is_passed_over() -> None:
    most = 12e6
    free = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= most)[0][0]
    other = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= most and arch != free)[0]
    assert free not in other and len(other) == 4


def test_without_limits_the_largest_is_first() -> None:
    for archs in largest_of_kinds(SPACE, lambda arch: True):
        macs = [count(arch).macs for arch in archs]
        assert macs == sorted(macs, reverse=True) and macs[1] < 0.9 * macs[0]


def test_few_networks_are_measured() -> None:
    measured: set[str] = set()

    def is_within(arch: Arch) -> bool:
        measured.add(arch.id)
        return count(arch).macs <= 12e6

    kinds = largest_of_kinds(SPACE, is_within)
    assert len(measured) <= 6 * sum(map(len, kinds))


@pytest.mark.parametrize("number", [0, 1, 10, 21, 22])
def test_one_network_that_is_measured_too_dear_hides_no_others(number: int) -> None:
    most, measured = 25e6, list[str]()

    def is_within(arch: Arch) -> bool:
        if arch.id not in measured:
            measured.append(arch.id)
        return count(arch).macs <= most and measured.index(arch.id) != number

    free = largest_of_kinds(SPACE, lambda arch: count(arch).macs <= most)
    disturbed = largest_of_kinds(SPACE, is_within)
    largest = {kind_of(arch): count(arch).macs for arch in itertools.chain.from_iterable(free)}
    found = {kind_of(arch): count(arch).macs for arch in itertools.chain.from_iterable(disturbed)}
    assert found.keys() == largest.keys()
    assert all(macs >= 0.85 * largest[kind] for kind, macs in found.items())


def test_nothing_is_found_where_nothing_is_within() -> None:
    assert largest_of_kinds(SPACE, lambda arch: False) == []
    assert list(in_turn([], 4, lambda: (0, 0))) == []


def test_when_time_is_over_one_kind_is_enough() -> None:
    assert len(largest_of_kinds(SPACE, lambda arch: True, is_over=lambda: True)) == 1


def test_a_space_too_large_to_be_listed_gives_networks_within_that_are_the_same_again() -> None:
    space = Space.around(plain_start(10, (32, 32)), kernels=(3, 5), ratios=(1, 2), sizes=(0.75, 1.0))
    assert space.num_points() > 10_000
    found, again = (largest_of_kinds(space, lambda arch: count(arch).macs <= 8e6, seed=1) for _ in range(2))
    assert found and found == again
    assert all(count(arch).macs <= 8e6 and arch in space for archs in found for arch in archs)


def _chain(widths: tuple[int, ...]) -> Arch:
    start = conv_start(10, (32, 32), width=2.0)
    stages = [dataclasses.replace(stage, out=out) for stage, out in zip(start.stages, widths, strict=True)]
    return start.replace(stages=tuple(stages))


def _points() -> list[dict[str, int]]:
    genes = SPACE.open_genes()
    return [dict(zip(genes, values, strict=True)) for values in itertools.product(*map(SPACE.choices, genes))]

"""The largest network of each kind within the limits: what is chosen from where each can be trained for a while.

Of dense networks at one latency, those of most multiply-adds learn most, and among them kinds differ: input sizes and
numbers of blocks. Where a network learns fast there is no need of shared weights to tell them apart (measured,
docs/LOG.md, 2026-12-01).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.space import Point, Space

MOST_KINDS = 16  # that are looked at, each with some eight measured latencies
MOST_POINTS = 500  # of a kind, the rest is left out by chance
KINDS = ("size", "depth")  # genes, by the last part of their names


def largest_of_kinds(
    space: Space,
    is_within: Callable[[Arch], bool],
    num: int,
    *,
    seed: int = 0,
    is_over: Callable[[], bool] = lambda: False,
) -> list[Arch]:
    """For `num` kinds at most, the network of most multiply-adds that `is_within` accepts; input sizes in turn.

    A kind is an input size with a depth of each stage. Costs are taken to grow as multiply-adds do. Empty where nothing
    is within.
    """
    rng = random.Random(seed)
    found: list[Arch] = []
    for kind in _kinds(space, rng):
        if found and is_over():
            break
        ordered = sorted(_points(space, kind, rng), key=lambda arch: count(arch).macs)
        if (arch := _last(ordered, is_within)) is not None:
            found.append(arch)
    by_size: dict[tuple[int, int], list[Arch]] = {}
    for arch in sorted(found, key=lambda arch: -count(arch).macs):
        by_size.setdefault(arch.size_hw, []).append(arch)
    sizes = [by_size[size] for size in sorted(by_size, reverse=True)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*sizes))
    return [arch for arch in turns if arch is not None][:num]


def _kinds(space: Space, rng: random.Random) -> list[Point]:
    genes = [gene for gene in space.open_genes() if gene.rsplit(".", 1)[-1] in KINDS]
    choices = [space.choices(gene) for gene in genes]
    kinds = [dict(zip(genes, values, strict=True)) for values in _some(choices, MOST_KINDS, rng)]
    return sorted(kinds, key=lambda kind: -kind.get("size", 0))


def _points(space: Space, kind: Point, rng: random.Random) -> list[Arch]:
    genes = [gene for gene in space.open_genes() if gene not in kind]
    points = _some([space.choices(gene) for gene in genes], MOST_POINTS, rng)
    archs = [space.decode({**kind, **dict(zip(genes, values, strict=True))}) for values in points]
    return list({arch.id: arch for arch in archs}.values())


def _some(choices: list[tuple[int, ...]], most: int, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """All combinations of choices; of more than `most` the cheapest, the costliest and others by chance."""
    if math.prod(map(len, choices)) <= most:
        yield from itertools.product(*choices)
        return
    yield tuple(values[0] for values in choices)
    yield tuple(values[-1] for values in choices)
    for _ in range(most - 2):
        yield tuple(rng.choice(values) for values in choices)


def _last(ordered: list[Arch], is_within: Callable[[Arch], bool]) -> Arch | None:
    """The last of the networks that are within, by bisection."""
    low, high = -1, len(ordered)
    while high - low > 1:
        middle = (low + high) // 2
        if is_within(ordered[middle]):
            low = middle
        else:
            high = middle
    return ordered[low] if low >= 0 else None

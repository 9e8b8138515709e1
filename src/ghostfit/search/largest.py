"""The largest network of each kind within the limits: what is chosen from where each can be trained for a while.

Of dense networks at one latency, those of most multiply-adds learn most, among these the balanced ones, and kinds
differ: input sizes and numbers of blocks. Where a network learns fast there is no need of shared weights to tell them
apart (measured, docs/LOG.md, 2026-12-01).
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.space import Point, Space

MOST_KINDS = 16  # that are looked at, each with some five measured latencies
ALIKE = 1.02  # times the multiply-adds: networks nearer to each other need not be told apart
NEARLY = 0.9  # of the multiply-adds
# Balanced networks of a kind that are tried: those that are dearer than multiply-adds tell are passed over.
MOST_TRIED, MOST_DEARER = 12, 3
MOST_POINTS = 600  # of a kind, the rest is left out by chance
KINDS = ("size", "depth")  # genes, by the last part of their names


def largest_of_kinds(
    space: Space,
    is_within: Callable[[Arch], bool],
    *,
    seed: int = 0,
    is_over: Callable[[], bool] = lambda: False,
) -> list[list[Arch]]:
    """For each input size, the largest first, a network of each kind that `is_within` accepts, the shallowest first.

    Those that use less of the limits come after these, the largest first.
    A kind is an input size with a depth of each stage. Costs are taken to grow about as multiply-adds do: the network
    is the most balanced (`balance`) of those of about as many as the limits allow. Empty where nothing is within.
    """
    rng = random.Random(seed)
    found: dict[tuple[int, int], list[Arch]] = {}
    likely: int | None = None
    for kind in _kinds(space, rng):
        if found and is_over():
            break
        ordered = sorted(_points(space, kind, rng), key=lambda arch: count(arch).macs)
        if (arch := _last(ordered, is_within, likely)) is not None:
            likely = count(arch).macs
            arch = _balanced(arch, ordered, is_within)
            found.setdefault(arch.size_hw, []).append(arch)
    return [_in_order(found[size]) for size in sorted(found, reverse=True)]


def in_turn(kinds: Sequence[Sequence[Arch]], most: int, best_size: Callable[[], tuple[int, int]]) -> Iterator[Arch]:
    """Of the networks of `largest_of_kinds` one of each input size, then those of the size that is best by then.

    `best_size` is asked when the first have been taken. At most `most` networks.
    """
    yield from (archs[0] for archs in kinds[:most])
    left = most - len(kinds)
    if left > 0 and kinds:
        size = best_size()
        yield from next(archs for archs in kinds if archs[0].size_hw == size)[1 : 1 + left]


def balance(arch: Arch) -> float:
    """Sum of the logarithms of all layers' widths: of networks of one depth and cost, highest for an even one.

    It is what a network's entropy depends on (DeepMAD, arXiv 2303.02165, section 4); under a limit of cost the widths
    that it favours double where the map is halved.
    """
    widths = [arch.stem.out, *(stage.out for stage in arch.stages for _ in stage.blocks)]
    return sum(map(math.log, widths))


def _in_order(archs: list[Arch]) -> list[Arch]:
    """The shallowest of about the most multiply-adds first: it takes the least time to train, and learns no less."""
    most = max(count(arch).macs for arch in archs)

    def place(arch: Arch) -> tuple[bool, int, int]:
        macs, num_blocks = count(arch).macs, sum(len(stage.blocks) for stage in arch.stages)
        is_less = macs < NEARLY * most
        return is_less, 0 if is_less else num_blocks, -macs

    return sorted(archs, key=place)


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


def _balanced(largest: Arch, ordered: list[Arch], is_within: Callable[[Arch], bool]) -> Arch:
    """The most balanced network that is within, of those of nearly the multiply-adds of `largest`, which is within.

    Some of a few more are cheaper than these tell, or `largest` was found beside one that was measured too dear.
    """
    macs = count(largest).macs
    near = [arch for arch in ordered if NEARLY * macs <= count(arch).macs <= macs / NEARLY]
    near.sort(key=balance, reverse=True)
    alike = macs * ALIKE**2  # what is below may be no dearer than `largest`
    dearer = [arch for arch in near if count(arch).macs > alike][:MOST_DEARER]
    others = [arch for arch in near if count(arch).macs <= alike][:MOST_TRIED]
    return next(filter(is_within, sorted([*dearer, *others], key=balance, reverse=True)), largest)


def _last(ordered: list[Arch], is_within: Callable[[Arch], bool], likely: int | None) -> Arch | None:
    """About the last of the networks that are within, by bisection, which begins at those of `likely` multiply-adds.

    Then one beyond is asked: a network that was measured too dear, beside other work, would hide all that lie above it.
    """
    macs = [count(arch).macs for arch in ordered]
    low, high, asked = -1, len(ordered), set()
    if likely is None:
        place, stride = high // 2, high
    else:
        place, stride = max(bisect.bisect_right(macs, likely) - 1, 0), 1
    while high - low > 1 and not (low >= 0 and high < len(ordered) and macs[high] <= ALIKE * macs[low]):
        asked.add(place)
        if is_within(ordered[place]):
            low, beyond = place, place + stride
        else:
            high, beyond = place, place - stride
        place, stride = beyond if low < beyond < high else (low + high) // 2, 2 * stride
    if low < 0:
        return None
    above = next((i for i in range(high, len(ordered)) if NEARLY * macs[i] > macs[low] and i not in asked), None)
    if above is None or not is_within(ordered[above]):
        return ordered[low]
    return _last(ordered[above:], is_within, None)

"""Evidence drops what it rules out, and only that."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from helpers import small_evaluator, small_space

from ghostfit.run import Run
from ghostfit.search.limits import Limits
from ghostfit.search.shrink import Shrinker, balanced_sample, drop_by_evidence, is_rising
from ghostfit.space import Space

GENE = "s1.b0.ratio"


def evidence(
    space: Space, gain: float, slowdown: float, noise: float, num: int = 60
) -> list[tuple[int, dict[str, int], float, float]]:
    """Networks in which ratio 1 brings `gain` of accuracy and takes `slowdown` times as long as ratio 2."""
    rng = random.Random(0)
    rows = []
    for arch in balanced_sample(space, num, rng):
        point = space.encode(arch)
        plain, large = point[GENE] == 1, point["s0.out"] == space.choices("s0.out")[-1]
        accuracy = 0.5 + gain * plain + 0.05 * large + rng.gauss(0, noise)
        rows.append((0, point, accuracy, (1.0 + 0.5 * large) * (slowdown if plain else 1.0)))
    return rows


def test_a_choice_that_is_better_and_as_fast_rules_out_the_other() -> None:
    smaller, log = drop_by_evidence(small_space(), evidence(small_space(), 0.2, 1.0, 0.01), 1)
    assert smaller.choices(GENE) == (1,)
    entry = next(entry for entry in log if entry.gene == GENE)
    assert entry.dropped == (2,) and entry.kept == (1,) and "points below 1" in entry.reason


def test_a_choice_that_is_better_and_slower_is_left_to_the_study() -> None:
    space = small_space()
    smaller, _ = drop_by_evidence(space, evidence(space, 0.2, 2.0, 0.01), 1)
    assert smaller.choices(GENE) == space.choices(GENE)


def test_no_evidence_closes_an_input_size() -> None:
    space = small_space()
    rows = [
        (phase, point, metric - 0.5 * (point["size"] == 32), cost)
        for phase, point, metric, cost in evidence(space, 0.2, 1.0, 0.01)
    ]
    smaller, log = drop_by_evidence(space, rows, 1)
    assert smaller.choices("size") == space.choices("size") and smaller.choices(GENE) == (1,)
    assert "size" not in {entry.gene for entry in log}


def test_without_a_limit_time_does_not_save_a_choice() -> None:
    smaller, _ = drop_by_evidence(small_space(), evidence(small_space(), 0.2, 2.0, 0.01), 1, has_limit=False)
    assert smaller.choices(GENE) == (1,)


def test_the_slower_of_two_is_dropped_when_it_is_less_accurate() -> None:
    smaller, _ = drop_by_evidence(small_space(), evidence(small_space(), -0.1, 2.0, 0.01), 1)
    assert smaller.choices(GENE) == (2,)


def test_noise_drops_little() -> None:
    space = small_space()
    rng = random.Random(1)
    rows = [(0, space.encode(a), rng.gauss(0.5, 0.05), 1.0) for a in balanced_sample(space, 40, rng)]
    smaller, log = drop_by_evidence(space, rows, 1)
    assert len(log) <= len(space.open_genes()) // 3
    assert smaller.num_points() > 1


def test_a_balanced_sample_shows_every_choice_equally() -> None:
    space = small_space()
    archs = balanced_sample(space, 12, random.Random(0))
    counts = Counter(space.encode(arch)["s0.out"] for arch in archs)
    assert set(counts.values()) == {12 // len(space.choices("s0.out"))}


def test_a_repeated_phase_leaves_one_log(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "search", {}, 0)

    def shrink() -> tuple[Space, list[dict[str, object]]]:
        shrinker = Shrinker(small_evaluator(tmp_path), Limits(), run, num_networks=6)
        return shrinker(small_space(), 0), list(run.records("shrink.jsonl"))

    assert shrink() == shrink()


def test_a_store_that_still_learns_fast_closes_nothing(tmp_path: Path) -> None:
    """What is small leads then; the same evidence from a store that has settled closes a choice."""
    space = small_space()
    later = [(1, point, metric, cost) for _, point, metric, cost in evidence(space, 0.2, 1.0, 0.01)]
    mean = sum(metric for _, _, metric, _ in later) / len(later)

    def closed(before: float) -> int:
        earlier = [(0, point, before, cost) for _, point, _, cost in later]
        return 0 if is_rising([*earlier, *later], 1) else len(drop_by_evidence(space, [*earlier, *later], 2)[1])

    assert closed(mean / 2) == 0 < closed(mean / 1.1)
    assert not is_rising(later, 1), "nothing is known of the phase before"

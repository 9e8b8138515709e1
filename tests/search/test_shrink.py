"""Evidence drops what it rules out, and only that."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

from helpers import small_evaluator, small_space

from ghostfit.run import Run
from ghostfit.search.limits import Limits
from ghostfit.search.shrink import Shrinker, balanced_sample, drop_by_evidence, price_near
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
    smaller, log = drop_by_evidence(small_space(), evidence(small_space(), 0.2, 1.0, 0.01), 1, limit=1.5)
    assert smaller.choices(GENE) == (1,)
    entry = next(entry for entry in log if entry.gene == GENE)
    assert entry.dropped == (2,) and entry.kept == (1,) and "points less" in entry.reason


def test_a_choice_that_only_costs_time_is_dropped() -> None:
    smaller, _ = drop_by_evidence(small_space(), evidence(small_space(), 0.0, 2.0, 0.01), 1, limit=1.5)
    assert smaller.choices(GENE) == (2,)


def test_noise_drops_little() -> None:
    space = small_space()
    rng = random.Random(1)
    rows = [(0, space.encode(a), rng.gauss(0.5, 0.05), 1.0) for a in balanced_sample(space, 40, rng)]
    smaller, log = drop_by_evidence(space, rows, 1, limit=1.0)
    assert len(log) <= len(space.open_genes()) // 3
    assert smaller.num_points() > 1


def test_the_price_of_latency_is_what_networks_pay() -> None:
    space = small_space()
    rows = []
    for arch in balanced_sample(space, 40, random.Random(2)):
        point = space.encode(arch)
        ms = 1.0 + point["s0.out"] / 16
        rows.append((0, point, 0.1 * math.log(ms), ms))
    assert abs(price_near(2.0, rows) - 0.1) < 1e-6


def test_latency_is_cheap_where_more_of_it_buys_nothing() -> None:
    space, rng = small_space(), random.Random(3)
    rows = []
    for arch in balanced_sample(space, 40, rng):
        ms = math.exp(rng.uniform(0, 3))
        rows.append((0, space.encode(arch), 0.1 * min(math.log(ms), 1.0), ms))
    assert price_near(1.5, rows) > 0.06 > 0.02 > price_near(15.0, rows)


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

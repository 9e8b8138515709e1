"""One contract for every strategy: points of the space, learning by tell, the same questions after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_space

from ghostfit.counting import count
from ghostfit.search.strategies import STRATEGIES, Strategy, open_strategy


def answer(strategy: Strategy) -> str:
    proposal = strategy.ask()
    macs = count(proposal.arch).macs
    strategy.tell(proposal.number, proposal.arch.stages[0].out, macs, max(0.0, macs / 1e6 - 2))
    return proposal.arch.id


@pytest.mark.parametrize("name", STRATEGIES)
def test_proposals_are_points_of_the_space(name: str, tmp_path: Path) -> None:
    space = small_space()
    strategy = open_strategy(name, space, seed=1, journal=tmp_path / "journal")
    for _ in range(5):
        proposal = strategy.ask()
        assert proposal.arch in space and space.decode(proposal.point) == proposal.arch
        strategy.tell(proposal.number, 0.5, 1.0, 0.0)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_killed_study_asks_what_an_unbroken_one_asks(name: str, tmp_path: Path) -> None:
    space = small_space()
    unbroken = open_strategy(name, space, seed=3, journal=tmp_path / "a", first=[space.largest()])
    expected = [answer(unbroken) for _ in range(28)]
    asked: list[str] = []
    killed = open_strategy(name, space, seed=3, journal=tmp_path / "b", first=[space.largest()])
    for number in range(28):
        if number in (4, 26):
            killed.ask()  # and never told
            killed = open_strategy(name, space, seed=3, journal=tmp_path / "b", first=[space.largest()])
            if name == "random":  # has no memory: the study passes over what it knows
                for _ in range(number):
                    killed.ask()
        asked.append(answer(killed))
    assert asked == expected


@pytest.mark.parametrize("name", ["nsga2", "tpe"])
def test_the_first_proposals_are_those_wished_for(name: str, tmp_path: Path) -> None:
    space = small_space()
    strategy = open_strategy(name, space, seed=0, journal=tmp_path / "j", first=[space.smallest(), space.largest()])
    assert [strategy.ask().arch for _ in range(2)] == [space.smallest(), space.largest()]


def test_an_unknown_strategy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="strategy 'magic'; allowed: nsga2, tpe, random"):
        open_strategy("magic", small_space(), seed=0, journal=tmp_path / "j")

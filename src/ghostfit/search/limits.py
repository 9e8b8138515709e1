"""Hard limits on what a network may cost, and the explanation of limits that nothing can meet.

>>> Limits(latency_ms=3.0).violations(Costs(params=10, macs=10, size_bytes=40, memory_bytes=64, latency_ms=4.5))
{'latency_ms': 1.5}
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

from ghostfit.arch import Arch
from ghostfit.config import option
from ghostfit.space import Space

MARGIN = 0.97  # aim a little below a latency limit: medians of one file differ by 2 to 3 % between measurements


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a network costs. `size_bytes` is the exported file, `memory_bytes` the peak of live activations."""

    params: int
    macs: int
    size_bytes: int
    memory_bytes: int
    latency_ms: float
    latency_p90_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds; None means no bound."""

    latency_ms: float | None = option(None, "hard limit on the median latency in milliseconds, batch 1, on this device")
    size_mb: float | None = option(None, "hard limit on the size of the exported network in megabytes")
    macs_m: float | None = option(None, "hard limit on millions of multiply-adds")
    params_m: float | None = option(None, "hard limit on millions of parameters")
    memory_mb: float | None = option(None, "hard limit on the peak memory of activations in megabytes")

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} {value}: a limit must be above zero")

    def given(self) -> dict[str, float]:
        """The bounds that are set."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if name in LIMIT_UNITS and value is not None
        }

    def violations(self, costs: Costs) -> dict[str, float]:
        """By how much each broken limit is exceeded, in its own unit; empty when all hold."""
        excess = {name: read(costs) - bound for name, bound in self.given().items() for read in [LIMIT_UNITS[name]]}
        return {name: value for name, value in excess.items() if value > 0}

    def tightened(self) -> Limits:
        """The limits a search aims at, so that a later measurement of the found file still holds the asked ones."""
        return dataclasses.replace(self, latency_ms=None if self.latency_ms is None else self.latency_ms * MARGIN)


LIMIT_UNITS: dict[str, Callable[[Costs], float]] = {
    "latency_ms": lambda costs: costs.latency_ms,
    "size_mb": lambda costs: costs.size_bytes / 1e6,
    "macs_m": lambda costs: costs.macs / 1e6,
    "params_m": lambda costs: costs.params / 1e6,
    "memory_mb": lambda costs: costs.memory_bytes / 1e6,
}


def find_feasible(space: Space, limits: Limits, costs_of: Callable[[Arch], Costs], *, seed: int = 0) -> Arch:
    """A network of `space` within `limits`: the smallest, or one of 20 neighbours of it.

    A choice that is small on paper can be slow, hence the neighbours. Raises ValueError that shows the least that was
    found when none of them meets the limits.
    """
    rng = random.Random(seed)
    smallest = space.smallest()
    least: dict[str, float] = {}
    for number in range(21):
        arch = smallest if number == 0 else space.mutate(smallest, rng)
        costs = costs_of(arch)
        if not limits.violations(costs):
            return arch
        for name in limits.given():
            least[name] = min(least.get(name, float("inf")), LIMIT_UNITS[name](costs))
    broken = [
        f"{name} {bound:g} (the least found in this space is {least[name]:.3g})"
        for name, bound in limits.given().items()
        if least[name] > bound
    ]
    reason = "; ".join(broken) or "each limit can be met alone, but not all together"
    raise ValueError(
        f"no network of this space meets the limits: {reason}. Raise the limit, or lower the input size with --size"
    )


def main_cost(limits: Limits, costs: Costs) -> float:
    """The cost a study minimises beside quality: the first limit's, or latency when there is none."""
    name = next(iter(limits.given()), "latency_ms")
    return LIMIT_UNITS[name](costs)

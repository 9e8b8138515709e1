"""What each choice of each gene costs on this device: the start network, changed in one gene, measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ghostfit.arch import Arch
from ghostfit.event import Event, OnEvent
from ghostfit.search.latency import LatencyStore
from ghostfit.space import Space


def measure_genes(
    space: Space, start: Arch, latencies: LatencyStore, is_over: Callable[[], bool], on_event: OnEvent
) -> list[dict[str, Any]]:
    """Rows for ``gene_time.json``: gene, choice, latency and its difference from the base network, both in ms.

    The base is `start`, or the middle of the space where `start` is ruled out. Ends early when `is_over` says so.
    """
    base = start if start in space else middle(space)
    point = space.encode(base)
    base_ms = latencies.measure(base).median_ms
    genes = [gene for gene in space.open_genes() if gene in point]
    rows: list[dict[str, Any]] = []
    for number, gene in enumerate(genes, start=1):
        for choice in space.choices(gene):
            if is_over():
                return rows
            arch = space.decode({**point, gene: choice})
            latency_ms = latencies.measure(arch).median_ms
            rows.append(
                {
                    "gene": gene,
                    "choice": choice,
                    "latency_ms": latency_ms,
                    "delta_ms": round(latency_ms - base_ms, 5),
                    "is_base": point[gene] == choice,
                }
            )
        on_event(Event("space", "progress", "timing genes", number, len(genes)))
    return rows


def middle(space: Space) -> Arch:
    """The network of the middle choice of every gene."""
    return space.decode({name: choices[len(choices) // 2] for name, choices in space.genes})

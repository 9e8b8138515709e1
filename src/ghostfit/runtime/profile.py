"""Where the time goes inside a network: ONNX Runtime's profiler, added up by block.

A node belongs to the block whose name stands in its own: ``/stages.0.1/depthwise/Conv`` to ``stages.0.1``,
``/stem/Conv`` to ``stem``. The runtime names a node that it fused by its output, so outputs should be named likewise;
nodes that it adds itself, such as layout changes, count to the block before them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.runtime.backends import OnnxRuntime, read_network

_BLOCK = re.compile(r"(stages\.\d+\.\d+)(?:/|$)")
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class BlockTime:
    """Median time of a block's nodes in one run, and its share (0..1) of all blocks' time.

    The profiler itself takes about a microsecond a node, so that `share` is the figure to trust.
    """

    block: str
    ms: float
    share: float
    num_nodes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dict ready for JSON."""
        return asdict(self)


def measure_blocks(
    model: bytes | str | Path, input_shape: Sequence[int], *, threads: int = 1, num_runs: int = 30
) -> list[BlockTime]:
    """Time of each block of the network in `model` (bytes or a path), in the order in which they run.

    `input_shape` (N, C, H, W). Raises ValueError when ONNX Runtime can't open the network or take the shape.
    """
    batch = np.random.default_rng(0).standard_normal(tuple(input_shape), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        options = {"enable_profiling": True, "profile_file_prefix": str(Path(folder, "profile"))}
        backend = OnnxRuntime(read_network(model), threads, options)
        try:
            for _ in range(num_runs + 2):
                backend.run(batch)
        finally:
            written = backend.session.end_profiling()
        events = json.loads(Path(written).read_text(encoding="utf-8"))
    return _by_block(events, num_runs)


def block_of(node: str, before: str) -> str:
    """The block that a node belongs to; `before` where its name says nothing.

    >>> block_of("/stages.0.1/expand/cheap/Conv_nchwc", "stem"), block_of("ReorderOutput_token_3", "stem")
    ('stages.0.1', 'stem')
    """
    if match := _BLOCK.search(node):
        return match[1]
    return node.split("/")[1] if node.startswith("/") else before


def _by_block(events: Sequence[dict[str, Any]], num_runs: int) -> list[BlockTime]:
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)]
    nodes.sort(key=lambda event: int(event["ts"]))
    num_nodes = len(nodes) // (num_runs + 2)
    if not num_nodes:
        return []
    assert len(nodes) == num_nodes * (num_runs + 2), "each run has the same nodes"
    times_ms = np.array([event["dur"] for event in nodes]).reshape(-1, num_nodes)[2:] / 1000  # two runs are warm-up
    blocks: list[str] = []
    for event in nodes[:num_nodes]:
        blocks.append(block_of(event["name"].removesuffix(_SUFFIX), blocks[-1] if blocks else "other"))
    order = list(dict.fromkeys(blocks))
    of_block = np.array([order.index(block) for block in blocks])
    sums = np.stack([times_ms[:, of_block == number].sum(axis=1) for number in range(len(order))])
    medians = np.median(sums, axis=1)
    total = max(float(medians.sum()), 1e-9)
    return [
        BlockTime(block, round(float(ms), 5), round(float(ms) / total, 5), int((of_block == number).sum()))
        for number, (block, ms) in enumerate(zip(order, medians, strict=True))
    ]

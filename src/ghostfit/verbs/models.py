"""``ghostfit models``: the presets, with what they count at an input size."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import asdict, dataclass
from typing import Any

from ghostfit.config import option
from ghostfit.counting import count
from ghostfit.event import OnEvent, ignore
from ghostfit.presets import list_presets, preset


@dataclass(frozen=True, kw_only=True)
class ModelsConfig:
    """Settings of the list."""

    size_hw: tuple[int, int] = option((224, 224), "input size that multiply-adds are counted at", unit="size")
    num_classes: int = option(1000, "classes that parameters are counted with")


@dataclass(frozen=True)
class Row:
    """A preset and its counts, in the form that runs."""

    name: str
    params: int
    macs: int
    blocks: int
    ghost_blocks: int


@dataclass(frozen=True)
class ModelsResult:
    """The table."""

    rows: tuple[Row, ...]
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {"models": [asdict(row) for row in self.rows]}

    def to_csv(self) -> str:
        """One line a preset."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(Row.__dataclass_fields__)
        writer.writerows(list(asdict(row).values()) for row in self.rows)
        return buffer.getvalue().rstrip("\n")

    def to_text(self) -> str:
        """A table for a terminal."""
        width = max(len(row.name) for row in self.rows)
        return "\n".join(
            f"{row.name:<{width}}  {row.params / 1e6:6.2f} M params  {row.macs / 1e6:7.1f} M MACs  "
            f"{row.blocks:2d} blocks, {row.ghost_blocks:2d} with Ghost modules"
            for row in self.rows
        )


def models(config: ModelsConfig | None = None, *, on_event: OnEvent = ignore, **settings: Any) -> ModelsResult:
    """Every preset with its counts."""
    config = dataclasses.replace(config or ModelsConfig(), **settings)
    rows = []
    for name in list_presets():
        arch = preset(name, num_classes=config.num_classes, size_hw=config.size_hw).deployed()
        counts = count(arch)
        blocks = [(stage, block) for stage in arch.stages for block in stage.blocks]
        num_ghost = sum(block.ratio > 1 or stage.project_ratio > 1 for stage, block in blocks)
        rows.append(Row(name, counts.params, counts.macs, len(blocks), num_ghost))
    return ModelsResult(tuple(rows))

"""``ghostfit convert``: the same labels in another layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Settings of a conversion."""

    data: str = argument("labelled images: a folder of any layout for objects or pixels, or its annotation file")
    out: str = argument("new folder that the converted set is written to")
    to: Literal["coco", "yolo", "voc", "masks"] = option("coco", "layout to write")
    format: str = option("", "how DATA is laid out, when looking at it does not tell")
    boxes_only: bool = option(False, "leave masks of objects out")


@dataclass(frozen=True)
class ConvertResult:
    """What was written, and what the layout could not hold."""

    out: str
    to: str
    task: str
    num_images: int
    num_objects: int
    losses: Mapping[str, int]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {**vars(self), "losses": dict(self.losses), "left_out": dict(self.left_out)}

    def to_text(self) -> str:
        """For a terminal."""
        objects = f", {self.num_objects} objects" if self.num_objects else ""
        lines = [f"{self.out}: {self.num_images} images{objects}, from labels for {self.task} to {self.to}"]
        lines += [f"lost: {count} {what}" for what, count in self.losses.items()]
        if self.left_out:
            id, reason = next(iter(self.left_out.items()))
            lines.append(f"left out: {len(self.left_out)} images or labels, such as {id}: {reason}")
        return "\n".join(lines)


def convert(config: ConvertConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> ConvertResult:
    """Write the labelled images of `config.data` to `config.out` in another layout.

    Raises ValueError when the labels can't be had in that layout, or the folder holds something already.
    """
    config = settle(ConvertConfig, config, settings)
    from ghostfit.data.convert import convert as convert_dataset
    from ghostfit.data.readers import read_dataset

    on_event(Event("convert", "start", config.data))
    dataset = read_dataset(config.data, format=config.format or None, task="detect" if config.boxes_only else None)
    written = convert_dataset(dataset, Path(config.out), config.to)
    left_out = {**{entry.id: entry.reason for entry in dataset.skipped}, **written.failed}
    on_event(Event("convert", "done", f"{written.num_images} images"))
    return ConvertResult(
        config.out, config.to, dataset.task, written.num_images, written.num_objects, written.losses, left_out
    )

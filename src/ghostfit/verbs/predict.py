"""``ghostfit predict``: results of a bundle for images. No torch."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.runtime.predict import find_images, load, predict_many
from ghostfit.vision.draw import draw
from ghostfit.vision.prepare import ImageError, read_image
from ghostfit.vision.results import Classification, ClassMap, Detections, Result


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Settings of a prediction."""

    bundle: str = argument("a bundle (.ghost file or folder), or the folder of a run")
    images: tuple[str, ...] = argument("images, folders or patterns such as 'photos/*.jpg'")
    draw: str = option("", "folder to write the images with their results to")
    runtime: str = option("onnxruntime", "onnxruntime or openvino")
    threads: int | None = option(None, "threads (default: what the bundle was measured with)")


@dataclass(frozen=True)
class PredictResult:
    """A result or an error for each image, in order."""

    rows: tuple[tuple[str, Result | str], ...]

    @property
    def has_failed(self) -> bool:
        """Whether any image could not be read."""
        return any(isinstance(result, str) for _, result in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {
            "predictions": [
                {"image": path, **({"error": result} if isinstance(result, str) else result.to_dict())}
                for path, result in self.rows
            ]
        }

    def to_csv(self) -> str:
        """One line an image: image, label, confidence, unsure, error; of objects and class maps one line each.

        Then the columns are image, label, score or share of the image, left, top, right, bottom, error.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        results = [result for _, result in self.rows if not isinstance(result, str)]
        columns = HEADS[type(results[0])] if results else HEADS[Classification]
        writer.writerow(["image", *columns, "error"])
        for path, result in self.rows:
            if isinstance(result, str):
                writer.writerow([path, *[""] * len(columns), result])
            else:
                writer.writerows([path, *cells, ""] for cells in cells_of(result))
        return buffer.getvalue().rstrip("\n")

    def to_text(self) -> str:
        """A table for a terminal."""
        width = min(max(len(path) for path, _ in self.rows), 60)
        lines = []
        for path, result in self.rows:
            name = path if len(path) <= width else "..." + path[3 - width :]
            if isinstance(result, str):
                lines.append(f"{name:<{width}}  error: {result}")
                continue
            lines.append(f"{name:<{width}}  {line_of(result)}")
        return "\n".join(lines)


@singledispatch
def line_of(result: Any) -> str:
    """What a terminal says of a result."""
    raise TypeError(f"a {type(result).__name__} can't be told")


@line_of.register
def _(result: Classification) -> str:
    others = ", ".join(f"{label} {100 * share:.0f} %" for label, share in result.top[1:3])
    mark = "unsure: " if result.is_unsure else ""
    return f"{mark}{result.label} {100 * result.confidence:.1f} %  ({others})"


@line_of.register
def _(result: Detections) -> str:
    counts = Counter(result.class_names[class_id] for class_id in result.class_ids)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing found"


@line_of.register
def _(result: ClassMap) -> str:
    order = np.argsort(-result.shares, kind="stable")
    return ", ".join(f"{result.class_names[i]} {100 * result.shares[i]:.0f} %" for i in order if result.shares[i] > 0)


HEADS: dict[type, tuple[str, ...]] = {
    Classification: ("label", "confidence", "unsure"),
    Detections: ("label", "score", "left", "top", "right", "bottom"),
    ClassMap: ("label", "share"),
}


@singledispatch
def cells_of(result: Any) -> list[list[Any]]:
    """The lines of a result in a table of `HEADS`' columns."""
    raise TypeError(f"a {type(result).__name__} can't be told")


@cells_of.register
def _(result: Classification) -> list[list[Any]]:
    return [[result.label, f"{result.confidence:.4f}", int(result.is_unsure)]]


@cells_of.register
def _(result: Detections) -> list[list[Any]]:
    return [
        [result.class_names[class_id], f"{score:.4f}", *(f"{edge:.1f}" for edge in box)]
        for box, score, class_id in zip(result.boxes_xyxy, result.scores, result.class_ids, strict=True)
    ]


@cells_of.register
def _(result: ClassMap) -> list[list[Any]]:
    return [[name, f"{share:.4f}"] for name, share in zip(result.class_names, result.shares, strict=True) if share > 0]


def predict(config: PredictConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> PredictResult:
    """Predict every image; one that can't be read has an error in its place.

    Raises ValueError when nothing is named.
    """
    config = settle(PredictConfig, config, settings)
    model = load(config.bundle, runtime=config.runtime, threads=config.threads)
    paths = find_images(config.images)
    rows: list[tuple[str, Result | str]] = []
    for number, (path, result) in enumerate(predict_many(model, paths), start=1):
        rows.append((str(path), str(result) if isinstance(result, ImageError) else result))
        if config.draw and not isinstance(result, ImageError):
            _draw(path, result, Path(config.draw), number)
        on_event(Event("predict", "progress", path.name, number, len(paths)))
    return PredictResult(tuple(rows))


def _draw(path: Path, result: Result, folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}.jpg"
    if target.exists():
        target = folder / f"{path.stem}-{number}.jpg"
    Image.fromarray(draw(result, read_image(path))).save(target, quality=90)

"""``ghostfit predict``: results of a bundle for images. No torch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.runtime.predict import find_images, load, predict_many
from ghostfit.vision.draw import annotate
from ghostfit.vision.prepare import ImageError, read_image
from ghostfit.vision.results import Classification


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

    rows: tuple[tuple[str, Classification | str], ...]

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
        """One line an image: image, label, confidence, unsure, error."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", "label", "confidence", "unsure", "error"])
        for path, result in self.rows:
            if isinstance(result, str):
                writer.writerow([path, "", "", "", result])
            else:
                writer.writerow([path, result.label, f"{result.confidence:.4f}", int(result.is_unsure), ""])
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
            others = ", ".join(f"{label} {100 * share:.0f} %" for label, share in result.top[1:3])
            mark = "unsure: " if result.is_unsure else ""
            lines.append(f"{name:<{width}}  {mark}{result.label} {100 * result.confidence:.1f} %  ({others})")
        return "\n".join(lines)


def predict(config: PredictConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> PredictResult:
    """Predict every image; one that can't be read has an error in its place.

    Raises ValueError when nothing is named.
    """
    config = settle(PredictConfig, config, settings)
    model = load(config.bundle, runtime=config.runtime, threads=config.threads)
    paths = find_images(config.images)
    rows: list[tuple[str, Classification | str]] = []
    for number, (path, result) in enumerate(predict_many(model, paths), start=1):
        rows.append((str(path), str(result) if isinstance(result, ImageError) else result))
        if config.draw and isinstance(result, Classification):
            _draw(path, result, Path(config.draw), number)
        on_event(Event("predict", "progress", path.name, number, len(paths)))
    return PredictResult(tuple(rows))


def _draw(path: Path, result: Classification, folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}.jpg"
    if target.exists():
        target = folder / f"{path.stem}-{number}.jpg"
    Image.fromarray(annotate(read_image(path), result)).save(target, quality=90)

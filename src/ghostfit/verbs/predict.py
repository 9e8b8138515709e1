"""``ghostfit predict``: results of a bundle for images. No torch."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ghostfit.config import argument, option, settle
from ghostfit.data.predictions import FORMS, Found, Kept, choose_form, names_of
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.runtime.predict import Model, find_images, load, predict_many
from ghostfit.vision.draw import draw
from ghostfit.vision.prepare import ImageError, read_image
from ghostfit.vision.results import Classification, ClassMap, Detections


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Settings of a prediction."""

    bundle: str = argument("a bundle (.ghost file or folder), or the folder of a run")
    images: tuple[str, ...] = argument("images, folders or patterns such as 'photos/*.jpg'")
    draw: str = option("", "folder to write the images with their results to")
    write: str = option("", "new folder to write objects, masks or class maps to, for other tools")
    to: Literal["coco", "yolo", "png"] | None = option(
        None, "layout of --write (default: coco for objects, png for class maps)"
    )
    score_from: float | None = option(None, "tell objects from this score on, 0 to 1 (default: what the bundle says)")
    runtime: str = option("onnxruntime", "onnxruntime or openvino")
    threads: int | None = option(None, "threads (default: what the bundle was measured with)")


@dataclass(frozen=True)
class Answer:
    """What is told of one image: the JSON entry, the lines of a table and the words of its result, or an error.

    Masks are run lengths in it, so that thousands of answers fit in memory; `ghostfit.load` gives the arrays.
    """

    image: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    cells: Sequence[Sequence[Any]] = ()
    words: str = ""
    error: str = ""


@dataclass(frozen=True)
class PredictResult:
    """An answer for each image, in order; `columns` name the cells of a table. `notes` tell what was written."""

    rows: tuple[Answer, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether any image could not be read."""
        return any(row.error for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        entries = [{"image": row.image, **({"error": row.error} if row.error else row.entry)} for row in self.rows]
        return {"predictions": entries, **({"notes": list(self.notes)} if self.notes else {})}

    def to_csv(self) -> str:
        """One line an image: image, label, confidence, unsure, error; of objects and class maps one line each.

        Then the columns are image, label, score or share of the image, left, top, right, bottom, error.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", *self.columns, "error"])
        for row in self.rows:
            cells = [[""] * len(self.columns)] if row.error else row.cells
            writer.writerows([row.image, *line, row.error] for line in cells)
        return buffer.getvalue().rstrip("\n")

    def to_text(self) -> str:
        """A table for a terminal."""
        width = min(max(len(row.image) for row in self.rows), 60)
        lines = []
        for row in self.rows:
            name = row.image if len(row.image) <= width else "..." + row.image[3 - width :]
            lines.append(f"{name:<{width}}  {f'error: {row.error}' if row.error else row.words}")
        return "\n".join([*lines, *self.notes])


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


_OBJECT_COLUMNS = ("label", "score", "left", "top", "right", "bottom")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "classify": ("label", "confidence", "unsure"),
    "detect": _OBJECT_COLUMNS,
    "instance": _OBJECT_COLUMNS,
    "segment": ("label", "share"),
}


@singledispatch
def cells_of(result: Any) -> list[list[Any]]:
    """The lines of a result in a table of `COLUMNS`."""
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

    Raises ValueError when nothing is named, a layout can't hold the results, or a folder would be overwritten.
    """
    config = settle(PredictConfig, config, settings)
    model = load(config.bundle, runtime=config.runtime, threads=config.threads)
    task, class_names = model.manifest.task, model.manifest.class_names
    paths = find_images(config.images)
    _check(config, task, paths)
    rows: list[Answer] = []
    found = _find(config, model, paths, rows, on_event)
    if not config.write:
        deque(found, maxlen=0)
        return PredictResult(tuple(rows), COLUMNS[task])
    form, kept = choose_form(config.to, task, len(class_names)), Kept()
    FORMS[form].write(found, Path(config.write), class_names, kept)
    objects = "" if task == "segment" else f", {kept.num_objects} objects"
    notes = [f"{config.write}: {kept.num_images} images{objects}, as {form}: {FORMS[form].help}"]
    notes += [f"lost: {count} {what}" for what, count in kept.losses.items()]
    return PredictResult(tuple(rows), COLUMNS[task], tuple(notes))


def _check(config: PredictConfig, task: str, paths: Sequence[Path]) -> None:
    """Raise ValueError on a setting that can't take effect, and on a folder whose files would be lost."""
    if config.score_from is not None and (task not in ("detect", "instance") or not 0 <= config.score_from <= 1):
        raise ValueError(
            f"score_from={config.score_from}; scores of objects lie in 0..1, and this bundle is for {task}"
        )
    if config.draw and any(path.resolve().parent == Path(config.draw).resolve() for path in paths):
        raise ValueError(f"{config.draw} holds images to look at, which drawn ones could replace; give another folder")
    if config.to is not None and not config.write:
        raise ValueError(f"to={config.to!r} is the layout of what is written; name the folder, --write FOLDER")
    out = Path(config.write)
    if config.write and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and not an empty folder; give a new one, so that nothing is mixed")


def _find(
    config: PredictConfig, model: Model, paths: Sequence[Path], rows: list[Answer], on_event: OnEvent
) -> Iterator[Found]:
    """The results one by one, each drawn where that is wanted, and told in `rows`."""
    names = names_of(paths)
    results = predict_many(model, paths, score_from=config.score_from)
    for number, (path, result) in enumerate(results):
        if isinstance(result, ImageError):
            rows.append(Answer(str(path), error=str(result)))
        else:
            rows.append(Answer(str(path), result.to_dict(), cells_of(result), line_of(result)))
            if config.draw:
                picture = Image.fromarray(draw(result, read_image(path, range_16=model.manifest.prepare.range_16)))
                Path(config.draw).mkdir(parents=True, exist_ok=True)
                picture.save(Path(config.draw, f"{names[number]}.jpg"), quality=90)
            if not isinstance(result, Classification):
                yield Found(path.as_posix(), names[number], result)
        on_event(Event("predict", "progress", path.name, number + 1, len(paths)))

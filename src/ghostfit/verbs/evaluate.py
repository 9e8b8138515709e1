"""``ghostfit evaluate``: a bundle scored on labelled images with the runtime it will run in. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostfit.config import argument, option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.run import Run
from ghostfit.runtime.predict import load
from ghostfit.runtime.score import score_bundle
from ghostfit.verbs.kinds import content_of
from ghostfit.vision.objects import Objects

if TYPE_CHECKING:
    from ghostfit.data.dataset import Dataset, Sample
    from ghostfit.data.targets import Target


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of an evaluation."""

    bundle: str = argument("a bundle (.ghost file or folder), or the folder of a run")
    data: str = argument("labelled images in the classes of the bundle")
    split: str = option("", "only this split, as the run dealt it or DATA's folders give it (default: test, else all)")
    format: str = option("", "how DATA is laid out, when looking at it does not tell")
    runtime: str = option("onnxruntime", "onnxruntime or openvino")
    threads: int | None = option(None, "threads (default: what the bundle was measured with)")


@dataclass(frozen=True)
class EvaluateResult:
    """The figures."""

    report: dict[str, Any]
    split: str
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {"split": self.split, **self.report}

    def to_text(self) -> str:
        """For a terminal."""
        report = self.report
        lines = _MAIN[next(name for name in _MAIN if name in report)](report, self.split)
        if report["skipped"]:
            lines.append(f"skipped            {len(report['skipped'])} images that can't be read")
        return "\n".join(lines)


def _classes(report: dict[str, Any], split: str) -> list[str]:
    lines = [
        f"accuracy           {100 * report['accuracy']:.2f} % ± {100 * report['standard_error']:.2f} "
        f"({report['num_images']} images, {split})",
        f"balanced accuracy  {100 * report['balanced_accuracy']:.2f} %",
        f"calibration error  {100 * report['ece']:.1f} points",
        f"unsure             {100 * report['unsure_fraction']:.1f} % of the answers"
        + (f", the others {100 * report['accuracy_when_sure']:.2f} % right" if report["accuracy_when_sure"] else ""),
    ]
    for entry in report["per_class"]:
        shares = [_percent(entry[name]) for name in ("precision", "recall")]
        lines.append(f"  {entry['name']:<20} precision {shares[0]}  recall {shares[1]}")
    return lines


def _objects(report: dict[str, Any], split: str) -> list[str]:
    sizes = ", ".join(f"{name} {_percent(report[f'map_{name}']).strip()}" for name in ("small", "medium", "large"))
    lines = [
        f"mAP 50-95          {_percent(report['map']).strip()} ({report['num_images']} images, {split})",
        f"mAP 50             {_percent(report['map50']).strip()}",
        f"by size            {sizes}",
    ]
    lines += [f"  {entry['name']:<20} mAP 50-95 {_percent(entry['map'])}" for entry in report["per_class"]]
    return lines


def _pixels(report: dict[str, Any], split: str) -> list[str]:
    lines = [
        f"mIoU               {_percent(report['miou']).strip()} ({report['num_images']} images, {split})",
        f"pixel accuracy     {_percent(report['pixel_accuracy']).strip()}",
    ]
    lines += [f"  {entry['name']:<20} IoU {_percent(entry['iou'])}" for entry in report["per_class"]]
    return lines


def _percent(share: float | None) -> str:
    return f"{100 * share:6.1f} %" if share is not None else "      -"


# How a report is told, by the figure that its task is judged by (`runtime.score.MAIN_METRIC`).
_MAIN: Mapping[str, Callable[[dict[str, Any], str], list[str]]] = {
    "accuracy": _classes,
    "map": _objects,
    "miou": _pixels,
}


def evaluate(config: EvaluateConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> EvaluateResult:
    """Score a bundle on the images of `config.data`, matched by class name.

    Raises ValueError for classes that the bundle does not know.
    """
    config = settle(EvaluateConfig, config, settings)
    from ghostfit.data.readers import read_dataset

    model = load(config.bundle, runtime=config.runtime, threads=config.threads)
    task = model.manifest.task
    dataset = read_dataset(config.data, format=config.format or None, task=None if task == "classify" else task)
    if dataset.task != task:
        raise ValueError(f"{config.data} is labelled for the task {dataset.task}, the bundle's is {task}")
    names = model.manifest.class_names
    unknown = sorted(set(dataset.class_names) - set(names))
    if unknown:
        raise ValueError(
            f"{config.data} has classes that the bundle does not know: {', '.join(unknown)}; "
            f"it knows: {', '.join(names)}"
        )
    given = _splits_of_run(Path(config.bundle), dataset) or dataset.given
    split = config.split or ("test" if "test" in given else "all")
    if split != "all" and split not in given:
        raise ValueError(f"--split {split}: there are {', '.join(given)}")
    indices = given[split] if split in given else range(len(dataset))
    places = [names.index(name) for name in dataset.class_names]
    total = len(indices)
    sources = (
        (_told(dataset.samples[index], number, total, on_event), _label(dataset.samples[index], places))
        for number, index in enumerate(indices, start=1)
    )
    return EvaluateResult(score_bundle(model, sources), split)


def _splits_of_run(path: Path, dataset: Dataset) -> Mapping[str, Sequence[int]] | None:
    """The splits of the run in `path` if it is one and was made with this very data: its test images are new to it."""
    run = Run(path)
    if not run.file("splits.json").is_file():
        return None
    if run.read_json("data.json", {}).get("fingerprint") != dataset.fingerprint:
        return None
    splits = run.read_json("splits.json")
    return {name: splits[name] for name in ("train", "val", "search", "test")}


def _label(sample: Sample, places: Sequence[int]) -> Any:
    """The label in the bundle's classes; that of a dense task is read when its image is."""
    return places[sample.label] if sample.target is None else Renamed(sample.target, tuple(places))


@dataclass(frozen=True)
class Renamed:
    """A target whose class k is class ``places[k]`` of the bundle."""

    target: Target
    places: tuple[int, ...]

    def read(self) -> Objects | np.ndarray:
        """The label. Raises ValueError or OSError when it is damaged."""
        label = self.target.read()
        if isinstance(label, Objects):
            return dataclasses.replace(label, class_ids=np.asarray(self.places)[label.class_ids])
        table = np.arange(256, dtype=np.uint8)
        table[: len(self.places)] = self.places
        renamed: np.ndarray = table[label]
        return renamed


def _told(sample: Any, number: int, total: int, on_event: OnEvent) -> Any:
    on_event(Event("evaluate", "progress", "scoring", number, total))
    return content_of(sample)

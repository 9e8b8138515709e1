"""The images as all sides get them: one division into train, val and test, in the layouts that each side reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dense_peers.settings import Setting
from ghostfit.data.dataset import Dataset, Sample
from ghostfit.data.readers import read_dataset
from ghostfit.data.split import make_splits
from ghostfit.vision.prepare import read_image


@dataclass(frozen=True)
class Images:
    """The images of a setting; `data` is the folder of all sets, `work` where other layouts are written to."""

    setting: Setting
    data: Path
    work: Path

    @cached_property
    def folder(self) -> Path:
        """What `ghostfit fit` is given: the set itself, or a copy whose validation images are the test."""
        given = self.data / self.setting.name
        if self.setting.task != "instance" or "test" in read_dataset(given).given:
            return given
        return _divided(given, self.work / f"{self.setting.name}-divided")

    @cached_property
    def yolo(self) -> Path:
        """The same images in YOLO's layout, by ``ghostfit convert``: its data.yaml."""
        target = self.work / f"{self.setting.name}-yolo"
        if not (target / "data.yaml").exists():  # written last
            shutil.rmtree(target, ignore_errors=True)
            words = ["convert", str(self.folder), str(target), "--to", "yolo"]
            subprocess.run([sys.executable, "-m", "ghostfit", *words], check=True)
        return target / "data.yaml"

    @cached_property
    def dataset(self) -> Dataset:
        """The images with their labels."""
        return read_dataset(self.folder, format=self.setting.format or None)

    @property
    def test(self) -> list[Sample]:
        """The images that all are scored on."""
        return [self.dataset.samples[index] for index in self.dataset.given["test"]]


def size_of(sample: Sample) -> tuple[int, int]:
    """Rows and columns of the upright image."""
    height, width = read_image(sample.source.read()).shape[:2]
    return height, width


def _divided(given: Path, target: Path) -> Path:
    """A copy of images and label maps in which the images of val are the test, and val is drawn from train."""
    done = target / "classes.txt"
    if done.exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    dataset = read_dataset(given)
    tested = set(dataset.given["val"])
    rest = Dataset(
        dataset.name,
        dataset.root,
        dataset.class_names,
        dataset.samples,
        {"train": dataset.given["train"]},
        task=dataset.task,
    )
    splits = make_splits(rest, seed=0, test=0.0, search=0.0, exclude=tuple(tested))
    for split, indices in {"train": splits.train, "val": splits.val, "test": tuple(sorted(tested))}.items():
        for index in indices:
            image = Path(dataset.samples[index].id)  # images/SPLIT/NAME
            for part in ("images", "instances"):
                source = given / part / Path(*image.parts[1:])
                place = target / part / split / image.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
    done.write_text("".join(f"{name}\n" for name in dataset.class_names), encoding="utf-8")
    return target

"""Objects as label maps: `images/SPLIT/1.png` under `instances/SPLIT/1.png`, whose pixels are numbers of objects.

0 is background, k the k-th object, with 8 or 16 bits. Without `classes.txt` there is one class, called object. With
more than one line in it, a pixel is class * 1000 + number, as in Cityscapes' instanceIds.
"""

from __future__ import annotations

from pathlib import Path

from ghostfit.data.annotations import Row, make_dense
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.masks import CLASS_FILE, pair_images, read_class_names
from ghostfit.data.targets import ObjectMapFile

ONLY_CLASS = "object"


def is_instances(path: Path) -> bool:
    """Whether a folder has `images` and `instances`."""
    return path.is_dir() and (path / "images").is_dir() and (path / "instances").is_dir()


def read_instances(path: Path) -> Dataset:
    """The dataset, of task ``instance``. Raises ValueError when nothing pairs."""
    skipped: list[Skipped] = []
    file = path / CLASS_FILE
    names = [name for name, _ in read_class_names(file)] if file.is_file() else [ONLY_CLASS]
    rows = []
    for split, image, labels in pair_images(path, "instances", skipped):
        source, id = FileSource(image), image.relative_to(path).as_posix()
        target = ObjectMapFile(FileSource(labels), len(names), source)
        rows.append(Row(id, split, source, image.stat().st_size, target=target))
    return make_dense(rows, skipped, path=path, class_names=names, task="instance")

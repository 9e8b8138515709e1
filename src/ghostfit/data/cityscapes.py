"""Cityscapes: `leftImg8bit/SPLIT/CITY/X_leftImg8bit.png` under `gtFine/SPLIT/CITY/X_gtFine_labelIds.png`.

Of the 34 ids of `labelIds`, 19 are scored; the others are no label. Source of the table: Cordts et al., "The Cityscapes
Dataset", 2016, and https://www.cityscapes-dataset.com/dataset-overview/.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ghostfit.data.annotations import Row, make_dense
from ghostfit.data.dataset import Dataset, FileSource, Skipped
from ghostfit.data.folder import FOLDER_SPLITS, files_below
from ghostfit.data.label_images import Legend
from ghostfit.data.targets import ClassMapFile
from ghostfit.vision.objects import IGNORE

LABEL_IDS = {  # id -> name; their order is that of the train ids 0..18
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
NUM_IDS = 34  # 0..33; a number plate is -1, stored as 255
IMAGE_END, LABEL_ENDS = "_leftImg8bit.png", ("_gtFine_labelIds.png", "_gtFine_labelTrainIds.png")
PROBED = 3  # label images of the test split that are looked at: the public ones hold nothing


def is_cityscapes(path: Path) -> bool:
    """Whether a folder has `leftImg8bit` and `gtFine`."""
    return path.is_dir() and (path / "leftImg8bit").is_dir() and (path / "gtFine").is_dir()


def read_cityscapes(path: Path) -> Dataset:
    """The dataset, of task ``segment``, with the 19 classes that are scored. A test split whose labels are withheld is
    passed over."""
    classes = dict.fromkeys((*range(NUM_IDS), IGNORE), IGNORE) | {id: n for n, id in enumerate(LABEL_IDS)}
    by_id, by_train_id = Legend(classes, {}, len(LABEL_IDS)), Legend.of_values(len(LABEL_IDS))
    skipped: list[Skipped] = []
    rows: list[Row] = []
    for file in files_below(path / "leftImg8bit", path, skipped):
        source, id, parts = FileSource(file), file.relative_to(path).as_posix(), file.relative_to(path).parts[1:]
        split = FOLDER_SPLITS.get(parts[0].lower(), "")
        if not split or not file.name.endswith(IMAGE_END):
            skipped.append(Skipped(id, f"not in a folder of a split, or its name does not end with {IMAGE_END}"))
            continue
        stem = file.name.removesuffix(IMAGE_END)
        labels = [path.joinpath("gtFine", *parts[:-1], stem + end) for end in LABEL_ENDS]
        label = next((file for file in labels if file.is_file()), None)
        if label is None:
            skipped.append(Skipped(id, f"no {stem}{LABEL_ENDS[0]}", "GF601"))
            continue
        legend = by_id if label == labels[0] else by_train_id
        target = ClassMapFile(FileSource(label), legend, source)
        rows.append(Row(id, split, source, file.stat().st_size, target=target))
    if _is_withheld(rows):
        skipped += [Skipped(row.id, "its labels are withheld") for row in rows if row.split == "test"]
        rows = [row for row in rows if row.split != "test"]
    return make_dense(rows, skipped, path=path, class_names=tuple(LABEL_IDS.values()), task="segment")


def _is_withheld(rows: list[Row]) -> bool:
    """Whether the first label images of the test split hold nothing."""
    targets = [row.target for row in islice((row for row in rows if row.split == "test"), PROBED)]
    try:
        return bool(targets) and not any(len(target.class_ids()) for target in targets if target)
    except (ValueError, OSError):
        return False

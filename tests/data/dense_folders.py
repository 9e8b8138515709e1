"""Small folders of each layout for objects and pixels, written by hand: no code of the writers is used."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32
# Two images of train and one of val, the last without objects: (class, left, top, right, bottom).
OBJECTS = {
    "train/a": [("cat", 2, 3, 10, 9), ("dog", 12, 4, 30, 20)],
    "train/b": [("dog", 0, 0, 32, 24)],
    "val/c": [("cat", 5, 5, 6, 7)],
    "val/d": [],
}
NAMES = ["cat", "dog"]
CLASS_MAPS = {name: np.random.default_rng(i).integers(0, 3, (HEIGHT, WIDTH)) for i, name in enumerate(OBJECTS)}
for class_map in CLASS_MAPS.values():
    class_map[:2] = 255


def image_bytes(number: int, format: str = "PNG") -> bytes:
    """An image of the common size that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return png_bytes(pixels, format)


def png_bytes(pixels: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def put(root: Path, name: str, content: bytes | str) -> Path:
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def coco_content(split: str, *, outlines: bool, ids: tuple[int, int] = (7, 3)) -> dict:
    """One annotation file; the category ids of cat and dog are `ids`, listed in any order."""
    names = [name for name in OBJECTS if name.startswith(f"{split}/")]
    images = [
        {"id": 10 + i, "file_name": f"{name[-1]}.png", "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names)
    ]
    annotations = []
    for i, name in enumerate(names):
        for label, left, top, right, bottom in OBJECTS[name]:
            item = {"id": len(annotations), "image_id": 10 + i, "category_id": ids[NAMES.index(label)], "iscrowd": 0}
            item["bbox"] = [left, top, right - left, bottom - top]
            if outlines:
                item["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
            annotations.append(item)
    categories = [{"id": ids[1], "name": "dog"}, {"id": ids[0], "name": "cat"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, *, outlines: bool = True) -> Path:
    for split in ("train", "val"):
        content = coco_content(split, outlines=outlines, ids=(1, 2))
        put(root, f"annotations/instances_{split}2017.json", json.dumps(content))
    for i, name in enumerate(OBJECTS):
        put(root, f"{name.replace('/', '2017/')}.png", image_bytes(i))
    return root


def write_roboflow(root: Path) -> Path:
    for split, folder in (("train", "train"), ("val", "valid")):
        content = coco_content(split, outlines=True, ids=(1, 2))
        group = {"id": 0, "name": "pets", "supercategory": "none"}
        content["categories"] = [group, *({**item, "supercategory": "pets"} for item in content["categories"])]
        put(root, f"{folder}/_annotations.coco.json", json.dumps(content))
        for i, name in enumerate(OBJECTS):
            if name.startswith(split):
                put(root, f"{folder}/{name[-1]}.png", image_bytes(i))
    return root


def write_yolo(root: Path, *, outlines: bool = True) -> Path:
    put(root, "data.yaml", "path: ../somewhere\ntrain: ../images/train\nval: images/val\nnc: 2\nnames: [cat, dog]\n")
    for i, (name, objects) in enumerate(OBJECTS.items()):
        put(root, f"images/{name}.png", image_bytes(i))
        lines = []
        for label, left, top, right, bottom in objects:
            corners = (left, top, right, top, right, bottom, left, bottom)
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            numbers = [value / (HEIGHT if i % 2 else WIDTH) for i, value in enumerate(corners if outlines else box)]
            lines.append(" ".join(map(str, [NAMES.index(label), *numbers])))
        if lines:  # the image without objects has no file
            put(root, f"labels/{name}.txt", "\n".join(lines) + "\n")
    return root


def voc_xml(name: str, objects: list, extra: str = "", size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    items = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for label, a, b, c, d in objects
    )
    width, height = size
    return (
        f"<annotation><filename>{name}.png</filename>{extra}<size><width>{width}</width><height>{height}</height></size>"
        f"{items}</annotation>"
    )


def write_voc(root: Path) -> Path:
    lists: dict[str, str] = {}
    for i, (name, objects) in enumerate(OBJECTS.items()):
        split, stem = name.split("/")
        put(root, f"JPEGImages/{stem}.png", image_bytes(i))
        put(root, f"Annotations/{stem}.xml", voc_xml(stem, objects))
        lists[split] = lists.get(split, "") + f"{stem}\n"
    for split, text in lists.items():
        put(root, f"ImageSets/Main/{split}.txt", text)
    return root


def write_masks(root: Path) -> Path:
    put(root, "classes.txt", "sky\nroad\ncar\n")
    for i, (name, class_map) in enumerate(CLASS_MAPS.items()):
        put(root, f"images/{name}.jpg", image_bytes(i, "JPEG"))
        put(root, f"masks/{name}.png", png_bytes(class_map.astype(np.uint8)))
    return root


def write_voc_masks(root: Path) -> Path:
    lists: dict[str, str] = {}
    for i, (name, class_map) in enumerate(CLASS_MAPS.items()):
        split, stem = name.split("/")
        palette = Image.fromarray(class_map.astype(np.uint8))
        palette.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
        stream = io.BytesIO()
        palette.save(stream, "PNG")
        put(root, f"JPEGImages/{stem}.jpg", image_bytes(i, "JPEG"))
        put(root, f"SegmentationClass/{stem}.png", stream.getvalue())
        lists[split] = lists.get(split, "") + f"{stem}\n"
    for split, text in lists.items():
        put(root, f"ImageSets/Segmentation/{split}.txt", text)
    return root


def write_cityscapes(root: Path) -> Path:
    ids = np.full(256, 4)  # "static", which is not scored
    ids[:3] = (7, 8, 11)  # road, sidewalk, building
    for i, (name, class_map) in enumerate(CLASS_MAPS.items()):
        split, stem = name.split("/")
        put(root, f"leftImg8bit/{split}/ulm/{stem}_leftImg8bit.png", image_bytes(i))
        put(root, f"gtFine/{split}/ulm/{stem}_gtFine_labelIds.png", png_bytes(ids[class_map].astype(np.uint8)))
    return root


def write_instances(root: Path) -> Path:
    put(root, "classes.txt", "cat\ndog\n")
    for i, (name, objects) in enumerate(OBJECTS.items()):
        labels = np.zeros((HEIGHT, WIDTH), np.uint16)
        for number, (label, left, top, right, bottom) in enumerate(objects, start=1):
            labels[top:bottom, left:right] = 1000 * NAMES.index(label) + number
        put(root, f"images/{name}.png", image_bytes(i))
        put(root, f"instances/{name}.png", png_bytes(labels))
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
    "voc-masks": write_voc_masks,
    "masks": write_masks,
    "cityscapes": write_cityscapes,
    "instances": write_instances,
}

"""Damage that a user's folder may hold, in every dense layout: told by name, and the rest is read."""

import os
import sys
import zlib

import dense_folders as folders
import numpy as np
import pytest

from ghostfit.data.check import check
from ghostfit.data.label_images import LabelError
from ghostfit.data.readers import read_dataset

put, MAKERS = folders.put, folders.MAKERS
JUNK = bytes(np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8))
LABEL_FOLDERS = ("masks", "instances", "SegmentationClass", "gtFine", "labels", "Annotations", "annotations")


def bomb(width=60_000, height=60_000):
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 0, 0, 0, 0))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def is_label(file, root):
    return any(part in LABEL_FOLDERS for part in file.relative_to(root).parts[:-1])


def files_of(root, *, labels):
    """Images, or the label files that belong to one image each."""
    found = [file for file in sorted(root.rglob("*")) if file.is_file() and is_label(file, root) == labels]
    suffixes = (".png", ".txt", ".xml") if labels else (".png", ".jpg")
    return [file for file in found if file.suffix in suffixes]


DAMAGE = {"bomb": bomb(), "empty": b"", "junk": JUNK}


@pytest.mark.parametrize("format", MAKERS)
@pytest.mark.parametrize("damage", [*DAMAGE, "folder", "cut"])
def test_an_image_that_is_none_costs_only_itself(format, damage, tmp_path):
    root = MAKERS[format](tmp_path / "set")
    image = files_of(root, labels=False)[0]
    content = image.read_bytes()
    if damage == "folder":
        image.unlink()
        image.mkdir()
    else:
        image.write_bytes(DAMAGE.get(damage, content[: len(content) // 2]))
    dataset = read_dataset(root)
    report = check(dataset, in_memory=True)
    assert report.num_usable == 3
    named = "".join(entry.id + entry.reason for entry in dataset.skipped) if damage == "folder" else report.to_text()
    assert image.stem in named
    if damage == "bomb":
        assert "many more pixels than the 89,478,485 that are read" in report.to_text()
    if damage != "folder":
        assert {finding.id for finding in report.findings} & {"GF101", "GF102", "GF103"}


@pytest.mark.parametrize("format", [name for name in MAKERS if name != "coco"])  # one file for all its images
@pytest.mark.parametrize("damage", [*DAMAGE, "folder"])
def test_a_label_that_is_none_costs_only_itself(format, damage, tmp_path):
    root = MAKERS[format](tmp_path / "set")
    label = files_of(root, labels=True)[0]
    label.unlink()
    if damage == "folder":
        label.mkdir()
    else:
        label.write_bytes(DAMAGE[damage])
    dataset = read_dataset(root)
    report = check(dataset, in_memory=True)
    is_background = format == "yolo" and damage in ("empty", "folder")  # says that there is nothing in the image
    assert report.num_usable == (4 if is_background else 3)
    if not is_background:
        assert label.stem.removesuffix("_gtFine_labelIds") in report.to_text(max_items=99)
        assert any(finding.id in ("GF105", "GF601", "GF611") for finding in report.findings)


@pytest.mark.parametrize("format", MAKERS)
def test_a_path_with_dots(format, tmp_path):
    root = MAKERS[format](tmp_path / "set")
    (tmp_path / "other").mkdir()
    dataset = read_dataset(tmp_path / "other" / ".." / "set")
    assert len(dataset) == 4 and dataset.fingerprint == read_dataset(root).fingerprint


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
@pytest.mark.parametrize("format", [name for name in MAKERS if name != "coco"])
def test_a_name_that_is_no_text(format, tmp_path):
    root = MAKERS[format](tmp_path / "set")
    for file in (files_of(root, labels=False)[0], files_of(root, labels=True)[0]):
        odd = os.fsencode(file.parent) + b"/\xff" + os.fsencode(file.name)
        with open(odd, "wb") as stream:
            stream.write(file.read_bytes())
    dataset = read_dataset(root)
    assert len(dataset) == 4 and any("no UTF-8" in entry.reason for entry in dataset.skipped)
    assert check(dataset, in_memory=True).num_usable == 4


def test_a_label_of_too_many_pixels(tmp_path):
    folders.write_masks(tmp_path)
    put(tmp_path, "masks/train/a.png", bomb(9_500, 9_500))  # beyond ours, below the one from which Pillow refuses
    with pytest.warns(match="exceeds limit"), pytest.raises(LabelError, match="9500x9500 pixels; at most"):
        read_dataset(tmp_path, format="masks").samples[0].target.read()

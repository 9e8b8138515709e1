"""A zip of any dense layout is read like the folder that it holds; nothing leaves the cache, damage is told."""

import zipfile

import dense_folders as folders
import numpy as np
import pytest

from ghostfit.data import unpacked
from ghostfit.data.check import check
from ghostfit.data.readers import read_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "ghostfit" / "unpacked"


def zip_of(root, path, top="", extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for item in sorted(root.rglob("*")):
            if item.is_file():
                file.writestr(f"{top}{item.relative_to(root).as_posix()}", item.read_bytes())
        for name, content in extra:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("top", ["", "export/"])
@pytest.mark.parametrize("format", folders.MAKERS)
def test_a_zip_is_read_like_its_folder(format, top, tmp_path, cache):
    root = folders.MAKERS[format](tmp_path / "set")
    path = zip_of(root, tmp_path / "set.zip", top, [("__MACOSX/x.png", b"x")])
    folder, packed = read_dataset(root), read_dataset(path)
    assert packed.task == folder.task and packed.fingerprint == folder.fingerprint and packed.skipped == ()
    assert (packed.name, packed.root) == ("set", str(path))
    for one, other in zip(folder.samples, packed.samples, strict=True):
        wanted, got = one.target.read(), other.target.read()
        assert np.array_equal(wanted, got) if folder.task == "segment" else len(wanted) == len(got)
    assert check(packed, in_memory=True).num_usable == 4
    times = [file.stat().st_ctime_ns for file in sorted(cache.rglob("*.png"))]
    assert read_dataset(path, format=format, task=folder.task).stamp() == packed.stamp()
    assert times == [file.stat().st_ctime_ns for file in sorted(cache.rglob("*.png"))], "unpacked once"


def test_what_was_kept_of_the_pixels_stays_valid(tmp_path, cache):
    path = zip_of(folders.write_yolo(tmp_path / "set"), tmp_path / "set.zip")
    stamp = read_dataset(path).stamp()
    unpacked.shutil.rmtree(cache)
    assert read_dataset(path).stamp() == stamp


def test_a_zip_of_class_folders_is_not_unpacked(make_folder, picture, tmp_path, cache):
    files = {f"{label}/{i}.png": folders.png_bytes(picture(i)) for label in ("images", "masked") for i in range(3)}
    path = zip_of(make_folder(files), tmp_path / "set.zip")
    assert read_dataset(path).task == "classify" and not cache.exists()
    with pytest.raises(ValueError, match="labels for classify, read as zip; they can't be used for detect"):
        read_dataset(path, task="detect")


def test_members_that_may_not_be_written(tmp_path, cache):
    root = folders.write_yolo(tmp_path / "set")
    extra = [("../../evil.txt", b"x"), ("/evil.txt", b"x"), ("labels/train/" + "n" * 300 + ".txt", b"x")]
    path = zip_of(root, tmp_path / "set.zip", extra=extra)
    content = bytearray(path.read_bytes())
    start = content.index(b"images/train/a.png") + len("images/train/a.png")
    content[start + 20] ^= 255  # the first image is damaged
    path.write_bytes(bytes(content))
    dataset = read_dataset(path)
    reasons = [entry.reason for entry in dataset.skipped]
    assert len(dataset) == 3 and reasons.count("its path leaves the archive") == 2
    assert reasons.count("damaged in the archive, or no name for a file") == 2
    assert not list(tmp_path.rglob("evil*")) and not list(cache.parent.parent.parent.glob("evil*"))
    assert all(file.is_relative_to(cache) for file in cache.rglob("*"))


def test_a_zip_that_the_cache_cannot_hold(tmp_path, cache, monkeypatch):
    path = zip_of(folders.write_masks(tmp_path / "set"), tmp_path / "set.zip")
    monkeypatch.setattr(unpacked, "DISK_BYTES", 100)
    with pytest.raises(ValueError, match="unpack it yourself and give the folder"):
        read_dataset(path)
    assert not list(cache.iterdir())


def test_a_full_disk(tmp_path, cache, monkeypatch):
    path = zip_of(folders.write_masks(tmp_path / "set"), tmp_path / "set.zip")

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(unpacked.os, "utime", refuse)
        with pytest.raises(ValueError, match="No space left"):
            read_dataset(path)
    assert not list(cache.iterdir()) and len(read_dataset(path)) == 4


def test_the_zip_used_longest_ago_makes_room(tmp_path, cache, monkeypatch):
    paths = []
    for number in range(3):
        root = folders.write_masks(tmp_path / str(number))
        folders.put(root, "images/train/extra.png", folders.image_bytes(number))
        paths.append(zip_of(root, tmp_path / f"{number}.zip"))
    read_dataset(paths[0])
    size = unpacked._size_of(cache)
    monkeypatch.setattr(unpacked, "DISK_BYTES", 2 * size + size // 2)
    for path in (paths[1], paths[0], paths[2]):
        read_dataset(path)
    assert sorted(item.name[0] for item in cache.iterdir()) == ["0", "2"]


def test_damaged_zips(tmp_path):
    folders.put(tmp_path, "set.zip", b"PK no zip")
    with pytest.raises(ValueError, match="no readable zip"):
        read_dataset(tmp_path / "set.zip")
    path = zip_of(folders.write_coco(tmp_path / "set"), tmp_path / "cut.zip")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="no readable zip"):
        read_dataset(path)


def test_a_format_that_is_not_that_of_the_place(tmp_path):
    folders.write_instances(tmp_path)
    with pytest.raises(ValueError, match="masks is images/ and masks/ of class indices"):
        read_dataset(tmp_path, format="masks")

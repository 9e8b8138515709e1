"""The cache holds what `Prepare` gives, survives kills and damage, and keeps to its room."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ghostfit.data import cache as cache_module
from ghostfit.data.cache import build_cache, default_cache_dir
from ghostfit.data.readers import read_dataset
from ghostfit.vision.prepare import Prepare, read_image

PREPARE = Prepare(size_hw=(16, 24))


def entries(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_it_holds_what_prepare_gives(flowers, tmp_path, resize, in_channels):
    prepare = Prepare(
        size_hw=(16, 24), resize=resize, in_channels=in_channels, mean=(0.5,) * in_channels, std=(0.5,) * in_channels
    )
    dataset = read_dataset(flowers)
    cached = build_cache(dataset, prepare, cache_dir=tmp_path / "cache")
    memory = build_cache(dataset, prepare, in_memory=True)
    assert cached.images.shape == (16, 16, 24, in_channels) and cached.images.dtype == np.uint8
    assert np.array_equal(cached.images, memory.images) and memory.path is None
    for image, sample in zip(cached.images, dataset.samples, strict=True):
        assert np.array_equal(image, prepare.resized(read_image(sample.source.read(), in_channels=in_channels)))
    assert cached.valid.all() and not cached.skipped and cached.labels.tolist() == [0] * 8 + [1] * 8


def test_the_second_time_nothing_is_decoded(flowers, tmp_path, monkeypatch):
    first = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(cache_module, "_decode", None)
    second = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
    assert np.array_equal(first.images, second.images) and second.path == first.path


def test_another_size_rule_or_content_is_another_entry(flowers, tmp_path, picture, encoded):
    folder = tmp_path / "cache"
    build_cache(read_dataset(flowers), PREPARE, cache_dir=folder)
    build_cache(read_dataset(flowers), Prepare(size_hw=(8, 8)), cache_dir=folder)
    build_cache(read_dataset(flowers), Prepare(size_hw=(16, 24), interpolation="bicubic"), cache_dir=folder)
    assert len(entries(folder)) == 3
    build_cache(read_dataset(flowers), Prepare(size_hw=(16, 24), mean=(0.1,) * 3), cache_dir=folder)
    assert len(entries(folder)) == 3  # the pixels are the same
    target = flowers / "rose" / "0.png"
    before, size = target.stat(), len(target.read_bytes())
    new = encoded(255 - read_image(target))
    target.write_bytes(new[:size].ljust(size, b"\0") if len(new) > size else new.ljust(size, b"\0"))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    build_cache(read_dataset(flowers), PREPARE, cache_dir=folder)
    assert len(entries(folder)) == 4


def test_broken_images_are_marked(flowers, tmp_path):
    (flowers / "rose" / "0.png").write_bytes(b"")
    (flowers / "tulip" / "7.png").write_bytes((flowers / "tulip" / "6.png").read_bytes()[:200])
    for _ in range(2):
        cached = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
        assert [entry.id for entry in cached.skipped] == ["rose/0.png", "tulip/7.png"]
        assert np.flatnonzero(~cached.valid).tolist() == [0, 15] and not cached.images[[0, 15]].any()


def test_only_broken_images(make_folder, tmp_path):
    root = make_folder({f"{label}/{i}.jpg": b"\xff\xd8junk" for label in "ab" for i in range(3)})
    with pytest.raises(ValueError, match="none of the 6 images"):
        build_cache(read_dataset(root), PREPARE, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("damage", ["content", "cut", "meta", "no meta", "other shape"])
def test_a_damaged_entry_is_built_anew(flowers, tmp_path, damage):
    good = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
    images, meta = good.path / "images.u8", good.path / "meta.json"
    if damage == "content":
        content = bytearray(images.read_bytes())
        content[1000] ^= 255
        images.write_bytes(content)
    elif damage == "cut":
        images.write_bytes(images.read_bytes()[:-7])
    elif damage == "meta":
        meta.write_text("{")
    elif damage == "no meta":
        meta.unlink()
    else:
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "shape": [1, 2, 3, 4]}))
    again = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
    assert np.array_equal(again.images, good.images) and len(entries(tmp_path / "cache")) == 1


def killed_build(flowers, folder, monkeypatch, after):
    """A build that ends after some images, as a kill would end it, left by a process that is gone."""
    monkeypatch.setattr(cache_module, "CHUNK", 4)
    decode, count = cache_module._decode, [0]

    def dying(sample, prepare):
        count[0] += 1
        if count[0] > after:
            raise KeyboardInterrupt
        return decode(sample, prepare)

    monkeypatch.setattr(cache_module, "_decode", dying)
    with pytest.raises(KeyboardInterrupt):
        build_cache(read_dataset(flowers), PREPARE, cache_dir=folder, num_threads=1)
    monkeypatch.setattr(cache_module, "_decode", decode)
    (left,) = entries(folder)
    left.rename(left.with_name(left.name.replace(f".{os.getpid()}.", ".4194999.")))
    return count


def test_a_killed_build_is_taken_up(flowers, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    killed_build(flowers, folder, monkeypatch, after=10)
    seen = []
    cached = build_cache(
        read_dataset(flowers), PREPARE, cache_dir=folder, progress=lambda done, _: seen.append(done), num_threads=1
    )
    assert seen == [12, 16]  # the first 8 were done
    whole = build_cache(read_dataset(flowers), PREPARE, in_memory=True)
    assert np.array_equal(cached.images, whole.images) and len(entries(folder)) == 1


def test_a_killed_build_that_is_damaged_starts_over(flowers, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    killed_build(flowers, folder, monkeypatch, after=10)
    (left,) = entries(folder)
    content = bytearray((left / "images.u8").read_bytes())
    content[5] ^= 255
    (left / "images.u8").write_bytes(content)
    seen = []
    build_cache(read_dataset(flowers), PREPARE, cache_dir=folder, progress=lambda done, _: seen.append(done))
    assert seen == [4, 8, 12, 16]


def test_a_callback_that_raises_ends_the_build(flowers, tmp_path):
    def fail(done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache", progress=fail)
    assert build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache").valid.all()


def test_the_entry_used_longest_ago_makes_room(flowers, tmp_path):
    folder, dataset = tmp_path / "cache", read_dataset(flowers)
    sizes = [(16, 24), (24, 16), (12, 32)]
    num_bytes = 16 * 16 * 24 * 3
    for age, size_hw in enumerate(sizes[:2]):
        path = build_cache(dataset, Prepare(size_hw=size_hw), cache_dir=folder, max_disk_bytes=2 * num_bytes).path
        os.utime(path, (1e9 - age, 1e9 - age))
    build_cache(dataset, Prepare(size_hw=sizes[2]), cache_dir=folder, max_disk_bytes=2 * num_bytes)
    assert len(entries(folder)) == 2 and path not in entries(folder)
    with pytest.raises(ValueError, match="choose a smaller image size"):
        build_cache(dataset, Prepare(size_hw=(64, 64)), cache_dir=folder, max_disk_bytes=num_bytes)


def test_a_full_disk_is_told_before_decoding(flowers, tmp_path, monkeypatch):
    usage = cache_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ValueError, match=r"0\.0 GiB free"):
        build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")


def test_large_entries_are_mapped(flowers, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "MEMORY_BYTES", 10)
    cached = build_cache(read_dataset(flowers), PREPARE, cache_dir=tmp_path / "cache")
    assert isinstance(cached.images, np.memmap) and not cached.images.flags.writeable


def test_default_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/ghostfit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "ghostfit"

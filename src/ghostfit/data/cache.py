"""Images decoded once into one uint8 array, so that small networks are not starved by JPEG decoding.

The array holds exactly what `Prepare.resized` gives, on disk as a memory map or in memory. An entry on disk is keyed
by the data, the size and the rule; it is built beside its place in chunks, taken up again after a kill, and built
anew when it is damaged.

>>> from ghostfit.data.readers import read_dataset
>>> cached = build_cache(read_dataset("digits"), Prepare(size_hw=(16, 16)), in_memory=True)
>>> cached.images.shape, int(cached.valid.sum())
((1797, 16, 16, 3), 1797)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import ArraySource, Dataset, Sample, Skipped
from ghostfit.data.parallel import map_samples
from ghostfit.run import write_atomically
from ghostfit.vision.prepare import RANGE_16, Prepare

Progress = Callable[[int, int], None]  # images done, images in all

SCHEMA = "ghostfit.cache/1"
CHUNK = 1024  # images between two notes of progress: a kill costs at most these
MEMORY_BYTES = 2**30  # an entry up to this size is read into memory when it is opened
CHECKED_BYTES = 2**28  # up to this size the content's checksum is compared at opening (0.1 s)
DISK_BYTES = 20 * 2**30  # what the folder may hold in all; the entries used longest ago go first
STALE_S = 7 * 24 * 3600.0  # a half-built entry that nobody took up for so long is deleted


@dataclass(frozen=True)
class CachedImages:
    """Decoded images of a dataset: `images` (N, H, W, C), uint8, rows in the order of its samples.

    A row whose `valid` is false is black: the image couldn't be decoded, `skipped` says why. `path` is the entry's
    folder, None in memory.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    valid: NDArray[np.bool_]
    skipped: tuple[Skipped, ...]
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.images)


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/ghostfit``, or ``~/.cache/ghostfit``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ghostfit"


def build_cache(
    dataset: Dataset,
    prepare: Prepare,
    *,
    cache_dir: str | Path | None = None,
    in_memory: bool | None = None,
    num_threads: int | None = None,
    max_disk_bytes: int = DISK_BYTES,
    progress: Progress | None = None,
) -> CachedImages:
    """Every image of `dataset` as `prepare` resizes it, decoded now or found in the cache.

    `in_memory` keeps off the disk; by default only images that are arrays already do. An image that can't be decoded is
    marked and listed, never raised. Raises ValueError when none can be decoded, or the disk has no room.
    """
    if in_memory is None:
        in_memory = all(isinstance(sample.source, ArraySource) for sample in dataset.samples)
    if in_memory:
        cached = _build_in_memory(dataset, prepare, num_threads, progress)
    else:
        folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        entry = folder / f"{dataset.name[:40]}-{_key(dataset, prepare)}"
        cached = _open_entry(entry, dataset, prepare) or _build_entry(
            entry, dataset, prepare, num_threads, max_disk_bytes, progress
        )
    if not cached.valid.any():
        raise ValueError(
            f"none of the {len(dataset)} images of {dataset.root} can be decoded: {cached.skipped[0].reason}"
        )
    return cached


def _decode(sample: Sample, prepare: Prepare) -> NDArray[np.uint8] | str:
    try:
        return prepare.resized(prepare.read(sample.source.read()))
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _fill(
    images: NDArray[np.uint8], dataset: Dataset, prepare: Prepare, start: int, stop: int, num_threads: int | None
) -> dict[int, str]:
    """Decode rows start..stop into `images`; gives the reasons of those that failed."""
    failed: dict[int, str] = {}
    decoded = map_samples(lambda sample: _decode(sample, prepare), dataset.samples[start:stop], num_threads)
    for index, image in enumerate(decoded, start=start):
        if isinstance(image, str):
            failed[index] = image
            images[index] = 0
        else:
            images[index] = image
    return failed


def _build_in_memory(
    dataset: Dataset, prepare: Prepare, num_threads: int | None, progress: Progress | None
) -> CachedImages:
    images = np.zeros(_shape(dataset, prepare), np.uint8)
    failed: dict[int, str] = {}
    for start in range(0, len(dataset), CHUNK):
        stop = min(start + CHUNK, len(dataset))
        failed |= _fill(images, dataset, prepare, start, stop, num_threads)
        if progress:
            progress(stop, len(dataset))
    return _cached(images, dataset, failed, None)


def _cached(images: NDArray[np.uint8], dataset: Dataset, failed: dict[int, str], path: Path | None) -> CachedImages:
    valid = np.ones(len(dataset), bool)
    valid[list(failed)] = False
    skipped = tuple(Skipped(dataset.samples[index].id, reason) for index, reason in sorted(failed.items()))
    return CachedImages(images, dataset.labels, valid, skipped, path)


def _shape(dataset: Dataset, prepare: Prepare) -> tuple[int, int, int, int]:
    return len(dataset), *prepare.size_hw, prepare.in_channels


def _key(dataset: Dataset, prepare: Prepare) -> str:
    """What the pixels depend on: the data, its files' times or checksums, and the resize rule."""
    rule = {name: getattr(prepare, name) for name in ("size_hw", "resize", "crop_pct", "interpolation", "in_channels")}
    if prepare.resize == "letterbox":
        rule["mean"] = prepare.mean  # the colour of the bars
    if prepare.range_16 != RANGE_16:  # named only then, so that entries made before it are still found
        rule["range_16"] = prepare.range_16
    return hashlib.sha256(f"{SCHEMA}{dataset.stamp()}{sorted(rule.items())}".encode()).hexdigest()[:16]


def _open_entry(entry: Path, dataset: Dataset, prepare: Prepare) -> CachedImages | None:
    """The finished entry, or None when there is none or it is damaged."""
    shape = _shape(dataset, prepare)
    num_bytes = int(np.prod(shape))
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        failed = {int(index): str(reason) for index, reason in meta["failed"].items()}
        is_sound = meta["schema"] == SCHEMA and tuple(meta["shape"]) == shape
        if not is_sound or (entry / "images.u8").stat().st_size != num_bytes:
            return None
        if num_bytes <= MEMORY_BYTES:
            images = np.fromfile(entry / "images.u8", np.uint8).reshape(shape)
        else:
            images = np.memmap(entry / "images.u8", np.uint8, "r", shape=shape)
        if num_bytes <= CHECKED_BYTES and zlib.crc32(images.data) != meta["crc32"]:
            return None
        os.utime(entry)  # used now: the last to be evicted
        return _cached(images, dataset, failed, entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _build_entry(
    entry: Path,
    dataset: Dataset,
    prepare: Prepare,
    num_threads: int | None,
    max_disk_bytes: int,
    progress: Progress | None,
) -> CachedImages:
    shape = _shape(dataset, prepare)
    _make_room(entry.parent, int(np.prod(shape)), max_disk_bytes)
    partial = _claim_partial(entry)
    done, failed, checksum = _read_progress(partial, shape)
    if not done:
        with (partial / "images.u8").open("wb") as stream:
            stream.truncate(int(np.prod(shape)))
    images = np.memmap(partial / "images.u8", np.uint8, "r+", shape=shape)
    for start in range(done, len(dataset), CHUNK):
        stop = min(start + CHUNK, len(dataset))
        failed |= _fill(images, dataset, prepare, start, stop, num_threads)
        checksum = zlib.crc32(images[start:stop].data, checksum)
        images.flush()
        _write_meta(partial / "progress.json", shape, failed, checksum, stop)
        if progress:
            progress(stop, len(dataset))
    del images
    _write_meta(partial / "meta.json", shape, failed, checksum, len(dataset))
    (partial / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(entry, ignore_errors=True)  # a damaged one
    try:
        partial.replace(entry)
    except OSError:  # another process finished the same entry meanwhile
        shutil.rmtree(partial, ignore_errors=True)
    cached = _open_entry(entry, dataset, prepare)
    if cached is None:
        raise ValueError(
            f"{entry} was damaged as soon as it was written; check the disk, or choose another cache folder"
        )
    return cached


def _write_meta(path: Path, shape: Sequence[int], failed: dict[int, str], checksum: int, done: int) -> None:
    meta = {"schema": SCHEMA, "shape": list(shape), "failed": failed, "crc32": checksum, "done": done}
    write_atomically(path, json.dumps(meta).encode())


def _read_progress(partial: Path, shape: Sequence[int]) -> tuple[int, dict[int, str], int]:
    """Images done, failures and checksum of a half-built entry; zeros when there is none worth taking up."""
    try:
        meta = json.loads((partial / "progress.json").read_text(encoding="utf-8"))
        if meta["schema"] != SCHEMA or meta["shape"] != list(shape):
            return 0, {}, 0
        done = int(meta["done"])
        images = np.memmap(partial / "images.u8", np.uint8, "r", shape=tuple(shape))
        if zlib.crc32(images[:done].data) != meta["crc32"]:
            return 0, {}, 0
        return done, {int(index): str(reason) for index, reason in meta["failed"].items()}, int(meta["crc32"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}, 0


def _claim_partial(entry: Path) -> Path:
    """A folder to build in, of this process alone: one that a dead process left, or a new one."""
    mine = entry.with_name(f"{entry.name}.{socket.gethostname()}.{os.getpid()}.partial")
    if not mine.exists():
        for left in entry.parent.glob(f"{entry.name}.{socket.gethostname()}.*.partial"):
            if not _is_alive(left):
                try:
                    left.replace(mine)
                    break
                except OSError:  # another process took it
                    continue
    mine.mkdir(parents=True, exist_ok=True)
    return mine


def _is_alive(partial: Path) -> bool:
    """Whether the process that builds `partial` still runs."""
    number = partial.name.split(".")[-2]
    if not number.isdigit() or int(number) == os.getpid():
        return number.isdigit()
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _make_room(folder: Path, num_bytes: int, max_disk_bytes: int) -> None:
    """Delete the entries used longest ago until `num_bytes` more fit. Raises ValueError when they can't."""
    folder.mkdir(parents=True, exist_ok=True)
    remedy = "choose a smaller image size, another cache folder, or in_memory=True"
    if num_bytes > max_disk_bytes:
        raise ValueError(
            f"the decoded images take {num_bytes / 2**30:.1f} GiB; the cache may hold "
            f"{max_disk_bytes / 2**30:.1f}: {remedy}"
        )
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        if not (path / "images.u8").exists():
            continue
        age_s = time.time() - path.stat().st_mtime
        if path.name.endswith(".partial"):
            if age_s > STALE_S and not _is_alive(path):
                shutil.rmtree(path, ignore_errors=True)
            continue
        found.append((-age_s, (path / "images.u8").stat().st_size, path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held + num_bytes <= max_disk_bytes:
            break
        shutil.rmtree(path, ignore_errors=True)
        held -= size
    free = shutil.disk_usage(folder).free
    if free < num_bytes + 2**26:
        raise ValueError(
            f"{folder} has {free / 2**30:.1f} GiB free; the decoded images take {num_bytes / 2**30:.1f}: {remedy}"
        )

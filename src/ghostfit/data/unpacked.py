"""A zip of labels for objects or pixels, as annotation tools export them: unpacked into the cache, once.

Readers of these layouts look for files by name, so they want a folder. What is written is checked as in reading a zip
in place: no path leaves its folder, no links, sizes as declared and bounded. A zip of class folders is never unpacked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ghostfit.data.cache import DISK_BYTES, default_cache_dir
from ghostfit.data.dataset import Skipped
from ghostfit.data.folder import IMAGE_SUFFIXES, ZipEntry, is_ignored, list_zip

SKETCHED_DEPTH = 4  # folders below which no reader looks to tell its layout
BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
ALIKE = frozenset((*IMAGE_SUFFIXES, ".xml", ".txt"))  # of these files, the first in a folder stands for all


def unpack(path: Path, wants: Callable[[Path], bool], skipped: list[Skipped]) -> Path | None:
    """The folder with the files of a zip, when one of that form is what `wants` accepts; else None.

    Members that can't be had are told in `skipped`. Raises ValueError for a damaged zip, or one that needs more than
    the cache may hold.
    """
    told: list[Skipped] = []
    entries = list_zip(path, told)
    with tempfile.TemporaryDirectory() as folder:
        _sketch(entries, Path(folder))
        if not wants(_top(Path(folder))):
            return None
    skipped += told
    target = default_cache_dir() / "unpacked" / f"{path.stem[:40]}-{_key(entries)}"
    if not target.is_dir():
        _write_all(entries, target, path)
    os.utime(target)  # used now: the last to be deleted
    for entry in entries:
        if not os.path.isfile(target.joinpath(*entry.parts)):
            skipped.append(Skipped("/".join(entry.parts), "damaged in the archive, or no name for a file"))
    return _top(target)


def _sketch(entries: Sequence[ZipEntry], folder: Path) -> None:
    """The folders of a zip with empty files in them, which is all that a layout is told by."""
    seen: set[tuple[str, ...]] = set()
    for entry in entries:
        *folders, name = entry.parts
        place, suffix = folders[:SKETCHED_DEPTH], Path(name).suffix.lower()
        kind = suffix if suffix in ALIKE else name
        if (*place, kind) in seen:
            continue
        seen.add((*place, kind))
        try:
            folder.joinpath(*place).mkdir(parents=True, exist_ok=True)
            if len(folders) <= SKETCHED_DEPTH:
                folder.joinpath(*place, name).touch()
        except OSError:  # a name that this file system can't hold
            continue


def _top(folder: Path) -> Path:
    """The folder below all those that hold nothing else, such as the name of the set inside its zip."""
    while True:
        below = [item for item in folder.iterdir() if not is_ignored(item.name)]
        if len(below) != 1 or not below[0].is_dir():
            return folder
        folder = below[0]


def _key(entries: Sequence[ZipEntry]) -> str:
    """Equal for equal contents, wherever the zip lies."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{'/'.join(entry.parts)}\0{entry.source.stamp()}\0{entry.num_bytes}\n".encode())
    return digest.hexdigest()[:16]


def _write_all(entries: Sequence[ZipEntry], target: Path, path: Path) -> None:
    """Unpack beside the target and move there, so that it is whole or not there."""
    num_bytes = sum(entry.num_bytes for entry in entries)
    target.parent.mkdir(parents=True, exist_ok=True)
    _make_room(target.parent, num_bytes, path)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        for entry in entries:
            file = partial.joinpath(*entry.parts)
            try:
                content = entry.source.read()
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            except ValueError:  # told by `unpack`, which misses the file
                continue
            except OSError as error:
                if error.errno not in BAD_NAME:
                    raise
                continue
            # Its checksum as its time: what is kept of the pixels stays valid when the same zip is unpacked anew.
            os.utime(file, ns=(entry.source.member.CRC, entry.source.member.CRC))
        partial.replace(target)
    except OSError as error:
        if not target.is_dir():  # or else another process was faster
            raise ValueError(f"{path} can't be unpacked below {target.parent}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make_room(folder: Path, num_bytes: int, path: Path) -> None:
    """Delete what was used longest ago until `num_bytes` more fit. Raises ValueError when they can't."""
    remedy = "unpack it yourself and give the folder"
    if num_bytes > DISK_BYTES:
        raise ValueError(f"{path} unpacks to {num_bytes / 2**30:.1f} GiB, the cache holds {DISK_BYTES >> 30}: {remedy}")
    found = [(item.stat().st_mtime, _size_of(item), item) for item in folder.iterdir() if item.is_dir()]
    held = sum(size for _, size, _ in found)
    for _, size, item in sorted(found):
        if held + num_bytes <= DISK_BYTES:
            break
        shutil.rmtree(item, ignore_errors=True)
        held -= size
    if (free := shutil.disk_usage(folder).free) < num_bytes + 2**26:
        raise ValueError(
            f"{path} unpacks to {num_bytes / 2**30:.1f} GiB; {folder} has {free / 2**30:.1f} GiB free: {remedy}"
        )


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

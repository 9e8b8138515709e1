"""A bundle is a model to ship: a folder or zip (``.ghost``) of the network, and a manifest that says how to use it.

``manifest.json`` holds the schema, task, class names, architecture, preparation, decode settings, measured figures and
the hash of every other file. Bundles come from anywhere, so opening one checks everything first and executes nothing.

>>> import tempfile
>>> manifest = {"class_names": ["cat", "dog"], "prepare": {"size_hw": [32, 32]}, "network": "model.onnx"}
>>> with tempfile.TemporaryDirectory() as folder:
...     path = write_bundle(Path(folder) / "pets.ghost", manifest, {"model.onnx": b""})
...     open_bundle(path).manifest.class_names
('cat', 'dog')
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ghostfit.run import installed_versions, write_atomically
from ghostfit.runtime.manifest import SCHEMA, Manifest, file_entry
from ghostfit.runtime.onnx_wire import check_self_contained

MANIFEST = "manifest.json"
ZIP_SUFFIXES = (".ghost", ".zip")
MAX_MANIFEST_BYTES = 16 << 20
MAX_FILE_BYTES = 1 << 30  # the networks of this package are below 100 MB; protobuf itself ends at 2 GB
MAX_BUNDLE_BYTES = 2 << 30
MAX_FILES = 64
SUFFIXES = (".onnx", ".xml", ".bin", ".tflite", ".safetensors", ".json", ".txt", ".md", ".png", ".jpg")  # data, no code
FIXED = ("schema", "files", "network")


class BundleError(ValueError):
    """A bundle that is refused, with the reason: damaged, changed after writing, unsafe, or no bundle at all."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the manifest, and the files exactly as they were when their hashes were checked."""

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """Content of a file of the bundle. Raises BundleError when the manifest doesn't list it."""
        if name not in self.contents:
            raise BundleError(f"{self.path} holds no {name!r}; it holds: {', '.join(sorted(self.contents))}")
        return self.contents[name]

    @property
    def network(self) -> bytes:
        """The network's file."""
        return self.read(self.manifest.network)


def open_bundle(path: str | Path) -> Bundle:
    """The bundle at `path`, a folder or a zip, fully checked and read into memory.

    Raises BundleError when it is missing, truncated, of another schema, or holds a file that is unlisted, missing,
    changed, too large, a link, outside the bundle, or not data.
    """
    path = Path(path)
    try:
        if path.is_dir():
            contents = _read_folder(path)
        elif path.is_file():
            contents = _read_zip(path)
        else:
            raise BundleError(f"{path}: no such bundle; one is written by ghostfit fit or ghostfit export")
        manifest = _parse_manifest(contents.pop(MANIFEST, None))
        _check_files(manifest, contents)
        _check_network(manifest, contents)
    except BundleError as error:
        raise error if str(error).startswith(str(path)) else BundleError(f"{path}: {error}") from error
    except OSError as error:
        raise BundleError(f"{path}: {error}") from error
    return Bundle(path, manifest, contents)


def write_bundle(path: str | Path, manifest: Mapping[str, Any], files: Mapping[str, bytes | Path]) -> Path:
    """Write a bundle whole or not at all: a zip where `path` ends in .ghost or .zip, elsewhere a folder.

    Schema, hashes, sizes, date and versions are filled in. A bundle at `path` is replaced; any other folder there is
    left alone. Raises ValueError when the manifest is wrong or a file would be refused on opening.
    """
    path = Path(path)
    contents = {
        name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files.items()
    }
    filled = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": installed_versions(),
        **manifest,
        "schema": SCHEMA,
        "files": {name: vars(file_entry(content)) for name, content in contents.items()},
    }
    checked = _parse_manifest(json.dumps(filled).encode())
    for name in contents:
        _check_name(name)
    _check_sizes({name: len(content) for name, content in contents.items()})
    _check_network(checked, contents)
    _write(path, {MANIFEST: checked.to_json().encode(), **contents})
    return path


def update_manifest(path: str | Path, **changes: Any) -> Manifest:
    """Change entries of a bundle's manifest, such as `latency` or `metrics`, whole or not at all.

    Raises BundleError when the bundle is refused, ValueError for an entry that is unknown or belongs to the files.
    """
    fixed = sorted(set(changes) & set(FIXED))
    if fixed:
        raise ValueError(f"{', '.join(fixed)} can't be changed in a bundle; write a new one with write_bundle")
    bundle = open_bundle(path)
    manifest = _parse_manifest(json.dumps({**bundle.manifest.to_dict(), **changes}).encode())
    content = manifest.to_json().encode()
    if bundle.path.is_dir():
        write_atomically(bundle.path / MANIFEST, content)
    else:
        _write(bundle.path, {MANIFEST: content, **bundle.contents})
    return manifest


def _read_folder(path: Path) -> dict[str, bytes]:
    sizes: dict[str, int] = {}
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            inner = Path(folder, name)
            if name.startswith("."):  # a partial file of a killed write, or the file manager's; never read
                continue
            relative = inner.relative_to(path).as_posix()
            mode = inner.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise BundleError(f"{relative!r} is a link; a bundle holds only files of its own")
            if stat.S_ISREG(mode):
                _check_name(relative)
                sizes[relative] = inner.lstat().st_size
            elif not stat.S_ISDIR(mode):
                raise BundleError(f"{relative!r} is not a plain file")
        folders[:] = [name for name in folders if not name.startswith(".")]
        if len(sizes) > MAX_FILES:
            break
    if MANIFEST not in sizes:
        raise BundleError(f"not a bundle: the folder has no {MANIFEST}")
    _check_sizes(sizes)
    return {name: _read_at_most(path / name, sizes[name]) for name in sizes}


def _read_zip(path: Path) -> dict[str, bytes]:
    if path.stat().st_size > MAX_BUNDLE_BYTES:
        raise BundleError(f"larger than {MAX_BUNDLE_BYTES >> 20} MB")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len({entry.filename for entry in entries}) != len(entries):
                raise BundleError("the zip holds two files of one name")
            for entry in entries:
                _check_zip_entry(entry)
            _check_sizes({entry.filename: entry.file_size for entry in entries})
            return {entry.filename: _read_entry(archive, entry) for entry in entries}
    except BundleError:
        raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, RuntimeError, OSError) as error:
        raise BundleError(f"not a bundle, or a truncated or damaged one: {error}") from error
    except Exception as error:  # zlib.error, struct.error: a damaged zip fails in many ways
        raise BundleError(f"damaged: {error}") from error


def _check_zip_entry(entry: zipfile.ZipInfo) -> None:
    _check_name(entry.filename)
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BundleError(f"{entry.filename!r} is a link or device; a bundle holds only files of its own")
    if entry.flag_bits & 1:
        raise BundleError(f"{entry.filename!r} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(f"{entry.filename!r} is packed by a method other than stored and deflate")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)  # never more than declared, and that is bounded
    if len(content) != entry.file_size:
        raise BundleError(f"{entry.filename!r} is not as long as the zip says")
    return content


def _read_at_most(path: Path, size: int) -> bytes:
    with os.fdopen(
        os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb"
    ) as stream:
        return stream.read(size + 1)


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    is_inside = bool(parts) and not name.startswith("/") and not any(part in ("..", ".") for part in name.split("/"))
    if not is_inside or "\\" in name or ":" in name or "\0" in name:
        raise BundleError(f"{name!r} points outside the bundle")
    if not name.lower().endswith(SUFFIXES):
        raise BundleError(f"{name!r} is no file for a bundle; allowed: {', '.join(SUFFIXES)}")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    if len(sizes) > MAX_FILES:
        raise BundleError(f"more than {MAX_FILES} files")
    for name, size in sizes.items():
        bound = MAX_MANIFEST_BYTES if name == MANIFEST else MAX_FILE_BYTES
        if size > bound:
            raise BundleError(f"{name!r} would be {size:,} bytes; at most {bound:,} are read")
    if sum(sizes.values()) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the files would be {sum(sizes.values()):,} bytes; at most {MAX_BUNDLE_BYTES:,} are read")


def _parse_manifest(content: bytes | None) -> Manifest:
    if content is None:
        raise BundleError(f"not a bundle: it has no {MANIFEST}")
    try:
        return Manifest.from_json(content)
    except ValueError as error:
        raise BundleError(f"{MANIFEST}: {error}") from error


def _check_files(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    missing = sorted(set(manifest.files) - set(contents))
    unlisted = sorted(set(contents) - set(manifest.files))
    if missing:
        raise BundleError(f"{missing[0]!r} is missing")
    if unlisted:
        raise BundleError(f"{unlisted[0]!r} is not listed in {MANIFEST}")
    for name, entry in manifest.files.items():
        if len(contents[name]) != entry.bytes or hashlib.sha256(contents[name]).hexdigest() != entry.sha256:
            raise BundleError(f"{name!r} is not the file that was written: its hash differs from {MANIFEST}'s")


def _check_network(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    if manifest.network not in contents:
        raise BundleError(f"the network {manifest.network!r} is not among the files")
    if manifest.network.endswith(".onnx"):
        try:
            check_self_contained(contents[manifest.network])
        except ValueError as error:
            raise BundleError(f"{manifest.network!r}: {error}") from error


def _write(path: Path, contents: Mapping[str, bytes]) -> None:
    if path.suffix.lower() in ZIP_SUFFIXES:
        write_atomically(path, _zip(contents))
    else:
        _write_folder(path, contents)


def _zip(contents: Mapping[str, bytes]) -> bytes:
    """A zip that is equal for equal contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content)  # stored: weights don't pack
    return stream.getvalue()


def _write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write beside `path`, then move there; an old bundle is moved aside first and deleted last."""
    if path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is no bundle; choose another path or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        for name, content in contents.items():
            write_atomically(partial / name, content)
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except OSError:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)

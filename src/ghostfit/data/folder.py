"""ImageFolder: a folder for each class, with or without train / val / test folders above; as a folder or as a zip of
it.

Labels come from the names of folders, never from files. Links are followed, each real folder once, so that a loop
ends. A zip is read in place: nothing is unpacked, so no member can be written anywhere.
"""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ghostfit.data.dataset import MAX_FILE_BYTES, Archive, Dataset, FileSource, Sample, Skipped, Source, ZipSource
from ghostfit.vision.prepare import SUFFIXES

IMAGE_SUFFIXES = frozenset((*SUFFIXES, ".jfif", ".jpe", ".pbm", ".pnm"))
FOLDER_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
IGNORED_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found"})
MAX_DEPTH = 32  # folders within folders; deeper is a loop that real paths do not show
MAX_MEMBERS = 5_000_000  # entries of a zip's directory


@dataclass(frozen=True, slots=True)
class Entry:
    """A file found: its path below the root in parts, and where to read it."""

    parts: tuple[str, ...]
    source: Source
    num_bytes: int


@dataclass(frozen=True, slots=True)
class FileEntry(Entry):
    """One of a folder."""

    source: FileSource


@dataclass(frozen=True, slots=True)
class ZipEntry(Entry):
    """One of a zip."""

    source: ZipSource


def read_folder(path: Path) -> Dataset:
    """The dataset in a folder. Raises ValueError when it holds no images or fewer than two classes."""
    skipped: list[Skipped] = []
    entries = list(walk(path, (), set(), skipped))
    return label_by_folder(entries, skipped, name=path.resolve().name, root=str(path))


def read_zip(path: Path) -> Dataset:
    """The dataset in a zip of such a folder. Raises ValueError when it is damaged, empty or has fewer than two
    classes."""
    skipped: list[Skipped] = []
    entries = list_zip(path, skipped)
    return label_by_folder(entries, skipped, name=path.stem, root=str(path))


def list_zip(path: Path, skipped: list[Skipped]) -> list[ZipEntry]:
    """The files of a zip that may be read. Raises ValueError when it is damaged, or lists too many."""
    archive = Archive(path)
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is no readable zip file ({error}); copy or download it again") from error
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{path} lists {len(members)} members; at most {MAX_MEMBERS} are read")
    return [entry for member in members if (entry := _entry_of(member, archive, skipped))]


def label_by_folder(entries: Sequence[Entry], skipped: list[Skipped], *, name: str, root: str) -> Dataset:
    """Give each image the class and split that its folders say.

    A folder called train (val, test, ...) is a split only when it holds class folders: a class may be called "train".
    """
    images = _without_common_folder([entry for entry in entries if _is_image(entry, skipped)])
    has_splits = _has_splits(images)
    labelled: list[tuple[str, str, str, Entry]] = []  # id, split, class name, entry
    for entry in images:
        split, folders = "all", entry.parts[:-1]
        if has_splits:
            split, folders = FOLDER_SPLITS.get(folders[0].lower(), "") if folders else "", folders[1:]
        if not split or not folders:
            where = "a split folder (train, val, test)" if not split else "a class folder"
            skipped.append(Skipped("/".join(entry.parts), f"not inside {where}, so it has no label"))
            continue
        labelled.append(("/".join(entry.parts), split, unicodedata.normalize("NFC", folders[0]), entry))
    labelled.sort(key=lambda row: row[0])
    return make_dataset(
        [(identity, split, label, entry.source, entry.num_bytes) for identity, split, label, entry in labelled],
        skipped,
        name=name,
        root=root,
    )


def make_dataset(
    rows: Sequence[tuple[str, str, str, Source, int]], skipped: Sequence[Skipped], *, name: str, root: str
) -> Dataset:
    """Dataset of rows (id, split, class name, source, bytes). Raises ValueError when there is nothing to learn from."""
    class_names = tuple(sorted({row[2] for row in rows}))
    if not rows:
        raise ValueError(
            f"{root} holds no labelled images{_example(skipped)}; expected a folder for each class with images in it "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}), as CLASS/*.jpg or train/CLASS/*.jpg"
        )
    if len(class_names) < 2:
        raise ValueError(
            f"{root} has the single class {class_names[0]!r} ({len(rows)} images); a classifier needs two or more: "
            "one folder for each class"
        )
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    given: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        given.setdefault(row[1], []).append(index)
    if "train" not in given and "all" not in given:
        raise ValueError(
            f"{root} has {' and '.join(sorted(given))} but no train images; name the folder to learn from train"
        )
    return Dataset(
        name=name,
        root=root,
        class_names=class_names,
        samples=tuple(Sample(identity, source, numbers[label], size) for identity, _, label, source, size in rows),
        given={split: tuple(indices) for split, indices in given.items()},
        skipped=tuple(sorted(skipped, key=lambda entry: entry.id)),
    )


def is_ignored(name: str) -> bool:
    """Hidden files and what operating systems leave behind."""
    return name.startswith(".") or name.lower() in IGNORED_NAMES


def printable(name: str) -> str:
    """The name with bytes that are no UTF-8 replaced, so that it can be written anywhere."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def walk(folder: Path, parts: tuple[str, ...], seen: set[str], skipped: list[Skipped]) -> Iterator[FileEntry]:
    """Files below `folder`, whose own parts are `parts`, in the order of their names; each real folder once."""
    real = os.path.realpath(folder)
    if real in seen or len(parts) > MAX_DEPTH:
        skipped.append(Skipped("/".join(parts) + "/", "link to a folder that was already read"))
        return
    seen.add(real)
    try:
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda item: item.name)
    except OSError as error:
        skipped.append(Skipped("/".join(parts) + "/", f"folder can't be read: {error.strerror}"))
        return
    if parts and not any(not is_ignored(item.name) for item in found):
        skipped.append(Skipped("/".join(parts) + "/", "empty folder"))
    for item in found:
        if is_ignored(item.name):
            continue
        below = (*parts, printable(item.name))
        try:
            if item.is_dir():
                yield from walk(Path(item.path), below, seen, skipped)
            elif item.is_file():
                yield FileEntry(below, FileSource(Path(item.path)), item.stat().st_size)
            else:
                skipped.append(Skipped("/".join(below), "broken link or special file"))
        except OSError as error:
            skipped.append(Skipped("/".join(below), f"can't be read: {error.strerror}"))


def files_below(folder: Path, root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Files below `folder`, in order, for readers that pair them by name; what is passed over is named from `root`."""
    for entry in walk(folder, folder.relative_to(root).parts, set(), skipped):
        file = root.joinpath(*entry.parts)
        if file == entry.source.path:
            yield file
        else:
            skipped.append(Skipped("/".join(entry.parts), "its name is no UTF-8 text; rename it"))


def _entry_of(member: zipfile.ZipInfo, archive: Archive, skipped: list[Skipped]) -> ZipEntry | None:
    if member.is_dir():
        return None
    name = _member_name(member)
    parts = tuple(part for part in name.split("/") if part and part != ".")
    if any(part != ".." and is_ignored(part) for part in parts):
        return None
    reason = ""
    if name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
        reason = "its path leaves the archive"
    elif member.flag_bits & 0x1:
        reason = "encrypted"
    elif (member.external_attr >> 16) & 0o170000 == 0o120000:
        reason = "a link, not a file"
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = f"compressed by method {member.compress_type}; only stored and deflated members are read"
    elif member.file_size > MAX_FILE_BYTES:
        reason = f"unpacks to {member.file_size // 2**20} MiB; at most {MAX_FILE_BYTES // 2**20} are read"
    if reason:
        skipped.append(Skipped(name, reason))
        return None
    return ZipEntry(parts, ZipSource(archive, member), member.file_size)


def _member_name(member: zipfile.ZipInfo) -> str:
    """The name as it was meant: many programs write UTF-8 without saying so, which `zipfile` reads as code page 437."""
    if not member.flag_bits & 0x800:
        try:
            return member.filename.encode("cp437").decode("utf-8").replace("\\", "/")
        except UnicodeError:
            pass
    return member.filename.replace("\\", "/")


def _is_image(entry: Entry, skipped: list[Skipped]) -> bool:
    suffix = os.path.splitext(entry.parts[-1])[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    skipped.append(Skipped("/".join(entry.parts), f"not an image file ({suffix or 'no extension'})"))
    return False


def _without_common_folder(entries: list[Entry]) -> list[Entry]:
    """Drop folders that hold everything, such as the name of the set inside its zip."""
    while (
        entries and len({entry.parts[0] for entry in entries}) == 1 and all(len(entry.parts) > 2 for entry in entries)
    ):
        entries = [Entry(entry.parts[1:], entry.source, entry.num_bytes) for entry in entries]
    return entries


def _has_splits(entries: Sequence[Entry]) -> bool:
    """Whether the first folders are splits: a train folder with at least two class folders, or only split folders."""
    tops = {entry.parts[0].lower() for entry in entries if len(entry.parts) > 2}
    train = {
        entry.parts[1]
        for entry in entries
        if len(entry.parts) > 2 and FOLDER_SPLITS.get(entry.parts[0].lower()) == "train"
    }
    return len(train) > 1 or (bool(tops) and tops <= FOLDER_SPLITS.keys())


def _example(skipped: Sequence[Skipped]) -> str:
    return f" (skipped {len(skipped)}, such as {skipped[0].id}: {skipped[0].reason})" if skipped else ""

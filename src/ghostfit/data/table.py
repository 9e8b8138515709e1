"""CSV of paths and labels: a header, then one line an image, with an optional column that gives the split.

    path,label,split
    cats/1.jpg,cat,train

Paths are relative to the folder of the CSV (or to `root`) and may not leave it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from ghostfit.data.dataset import Dataset, FileSource, Skipped, Source
from ghostfit.data.folder import FOLDER_SPLITS, make_dataset

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")
SPLIT_COLUMNS = ("split", "subset", "set", "fold")
MAX_BYTES = 1 << 30


def read_csv(path: Path, *, root: Path | None = None) -> Dataset:
    """The dataset that a CSV lists. Raises ValueError on a wrong header, text that is no UTF-8, or fewer than two
    classes."""
    folder = root or path.parent
    lines = _read_lines(path)
    header, delimiter = _read_header(lines, path)
    path_column, label_column = (_find_column(header, names, path) for names in (PATH_COLUMNS, LABEL_COLUMNS))
    split_column = next((header.index(name) for name in SPLIT_COLUMNS if name in header), None)
    rows: list[tuple[str, str, str, Source, int]] = []
    skipped: list[Skipped] = []
    labels_of: dict[str, set[str]] = {}
    top = os.path.realpath(folder)
    try:
        for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) <= max(path_column, label_column, split_column or 0):
                skipped.append(Skipped(f"line {number}", f"{len(cells)} columns where the header has {len(header)}"))
                continue
            name, label = cells[path_column].strip().replace("\\", "/"), cells[label_column].strip()
            split = cells[split_column].strip().lower() if split_column is not None else "all"
            file = Path(top, name)
            if reason := _reason_to_skip(name, label, split, file, top, labels_of.get(name, set())):
                skipped.append(Skipped(name or f"line {number}", reason))
                continue
            known = labels_of.setdefault(name, set())
            identity = f"{name} (line {number})" if known else name
            known.add(label)
            rows.append((identity, FOLDER_SPLITS.get(split, "all"), label, FileSource(file), file.stat().st_size))
    except csv.Error as error:
        raise ValueError(f"{path} is no readable CSV: {error}") from error
    return make_dataset(sorted(rows, key=lambda row: row[0]), skipped, name=path.stem, root=str(path))


def _read_lines(path: Path) -> list[str]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; split it, or use a folder for each class")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def _read_header(lines: Sequence[str], path: Path) -> tuple[list[str], str]:
    """Column names in lower case, and the delimiter."""
    if not lines:
        raise ValueError(f"{path} is empty; its first line must name the columns: path,label")
    delimiter = max(",;\t", key=lines[0].count)
    cells = next(csv.reader([lines[0]], delimiter=delimiter))
    return [cell.strip().lower() for cell in cells], delimiter


def _find_column(header: list[str], names: Sequence[str], path: Path) -> int:
    found = [header.index(name) for name in names if name in header]
    if not found:
        raise ValueError(
            f"{path} has the columns {', '.join(header)}; one must be named {names[0]} (or {', '.join(names[1:])}): "
            "the first line names the columns"
        )
    return found[0]


def _reason_to_skip(name: str, label: str, split: str, file: Path, top: str, known: set[str]) -> str:
    """Why a line is no sample, or nothing."""
    if not name or not label:
        return "no path" if not name else "no label"
    if split != "all" and split not in FOLDER_SPLITS:
        return f"unknown split {split!r}; allowed: {', '.join(FOLDER_SPLITS)}"
    try:
        real = os.path.realpath(file)
    except ValueError:  # a zero byte in the name
        return "not a path"
    if os.path.commonpath([real, top]) != top and not os.path.islink(file):
        return "its path leaves the folder of the CSV"
    if not file.is_file():
        return "file not found"
    if label in known:
        return "listed before with the same label"
    return ""

"""CIFAR-10 and CIFAR-100 as their authors publish them (https://www.cs.toronto.edu/~kriz/cifar.html): pickles or
binary files, in a folder or in the ``.tar.gz``.

A pickle can run any code when it is loaded. These are read by an unpickler that knows plain containers and one
stand-in for a NumPy array, and refuses everything else.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import ArraySource, Dataset, Sample

SIZE = 32  # pixels a side
PIXELS = 3 * SIZE * SIZE
MAX_BYTES = 512 * 2**20  # CIFAR-100's train file, the largest, has 155 MB
TRAIN_FILES = ("train", *(f"data_batch_{number}" for number in range(1, 6)))
TEST_FILES = ("test", "test_batch")
META_FILES = ("batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt")


def is_cifar(path: Path) -> bool:
    """Whether `path` is CIFAR's folder or tar archive, told by the names in it."""
    if path.is_file():
        return path.name.startswith("cifar") and path.name.endswith((".tar.gz", ".tgz", ".tar"))
    return _folder_of(path) is not None


def read_cifar(path: Path) -> Dataset:
    """The dataset, in memory, with the given train and test splits. Raises ValueError on missing or damaged files."""
    folder = _folder_of(path)
    if folder is not None:
        files = {name: (folder / name).read_bytes() for name in _wanted() if _is_small_file(folder / name)}
    elif path.is_file():
        files = _read_tar(path)
    else:
        files = {}
    parts: list[tuple[str, NDArray[np.uint8], NDArray[np.int64]]] = []
    for split, names in (("train", TRAIN_FILES), ("test", TEST_FILES)):
        for name in names:
            if name in files:
                parts.append((split, *_read_pickle_batch(files[name], name)))
            elif f"{name}.bin" in files:
                parts.append((split, *_read_binary_batch(files[f"{name}.bin"], f"{name}.bin")))
    if not any(split == "train" for split, _, _ in parts):
        raise ValueError(f"{path} holds no CIFAR files; expected {', '.join(TRAIN_FILES)} or the same with .bin")
    num_classes = 1 + max(int(labels.max(initial=0)) for _, _, labels in parts)
    class_names = _class_names(files, num_classes)
    samples: list[Sample] = []
    given: dict[str, list[int]] = {}
    for split, images, labels in parts:
        indices = given.setdefault(split, [])
        for image, label in zip(images, labels.tolist(), strict=True):
            samples.append(Sample(f"{split}/{len(indices):05d}", ArraySource(image), label, PIXELS))
            indices.append(len(samples) - 1)
    return Dataset(
        name=path.name.split(".")[0],
        root=str(path),
        class_names=class_names,
        samples=tuple(samples),
        given={split: tuple(indices) for split, indices in given.items()},
    )


def unpickle_plain(content: bytes) -> Any:
    """Load a pickle of containers, numbers, text and uint8 arrays. Raises ValueError on anything else, before it
    runs."""
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(f"damaged pickle: {type(error).__name__}: {error}") from error


class _PlainArray:
    """Stands in for a NumPy array while a pickle is read: keeps the bytes, allocates nothing that the file does not
    hold."""

    array: NDArray[np.uint8]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _PlainDtype) or dtype.name not in ("u1", b"u1") or not isinstance(content, bytes):
            raise ValueError("an array that is not uint8")
        flat = np.frombuffer(content, np.uint8)
        self.array = flat.reshape(shape, order="F" if is_fortran else "C")


class _PlainDtype:
    def __init__(self, name: str | bytes = "", *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like mean nothing for uint8."""


def _make_array(*_: Any) -> _PlainArray:
    return _PlainArray()


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in the pickle protocol of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    allowed: Mapping[tuple[str, str], Callable[..., Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _make_array,
        ("numpy._core.multiarray", "_reconstruct"): _make_array,
        ("numpy", "ndarray"): _PlainArray,
        ("numpy", "dtype"): _PlainDtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise ValueError(f"the pickle asks for {module}.{name}, which no CIFAR file needs; refused")
        return self.allowed[module, name]


def _read_pickle_batch(content: bytes, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        batch = unpickle_plain(content)
        labels = batch[b"labels"] if b"labels" in batch else batch[b"fine_labels"]
        images = batch[b"data"].array
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name} is no CIFAR batch: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return _as_images(images, np.asarray(labels), name)


def _read_binary_batch(content: bytes, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """CIFAR-10 has one label byte before each image, CIFAR-100 two: coarse and fine."""
    num_label_bytes = 2 if name in ("train.bin", "test.bin") else 1
    row = num_label_bytes + PIXELS
    if not content or len(content) % row:
        raise ValueError(
            f"{name} has {len(content)} bytes, not a multiple of {row}; it is truncated: download it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    return _as_images(rows[:, num_label_bytes:], rows[:, num_label_bytes - 1], name)


def _as_images(flat: Any, labels: Any, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 3072) planes to (N, 32, 32, 3)."""
    if (
        flat.shape != (len(labels), PIXELS)
        or labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or labels.min(initial=0) < 0
    ):
        raise ValueError(
            f"{name} holds data {flat.shape} with {len(labels)} labels; expected (N, {PIXELS}) and N labels"
        )
    images = flat.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _class_names(files: Mapping[str, bytes], num_classes: int) -> tuple[str, ...]:
    names: list[str] = []
    for name in META_FILES:
        if name not in files:
            continue
        if name.endswith(".txt"):
            names = files[name].decode("utf-8", "replace").split()
        else:
            meta = unpickle_plain(files[name])
            fields: dict[bytes, Any] = meta if isinstance(meta, dict) else {}
            raw = fields.get(b"label_names", fields.get(b"fine_label_names", []))
            names = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in raw]
        break
    return tuple(names) if len(names) >= num_classes else tuple(str(number) for number in range(num_classes))


def _folder_of(path: Path) -> Path | None:
    """The folder with the batches: `path`, or the one below it that the archive unpacks to."""
    if not path.is_dir():
        return None
    candidates = [
        path,
        *(
            path / name
            for name in ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python", "cifar-100-binary")
        ),
    ]
    for folder in candidates:
        if any((folder / f"data_batch_1{suffix}").is_file() for suffix in ("", ".bin")):
            return folder
        if all((folder / name).is_file() for name in ("train", "test", "meta")) or (folder / "train.bin").is_file():
            return folder
    return None


def _read_tar(path: Path) -> dict[str, bytes]:
    """The files by name; nothing is unpacked to the disk."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in _wanted() and name not in files and member.size <= MAX_BYTES:
                    stream = archive.extractfile(member)
                    files[name] = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no readable archive ({error}); download it again") from error
    return files


def _wanted() -> frozenset[str]:
    data = (*TRAIN_FILES, *TEST_FILES)
    return frozenset((*data, *(f"{name}.bin" for name in data), *META_FILES))


def _is_small_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MAX_BYTES

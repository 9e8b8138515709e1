"""Small image sets, made anew for each test; makes dense_folders of this folder importable."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostfit.data.dataset import ArraySource, Dataset, Sample

sys.path.insert(0, str(Path(__file__).parent))

MakeFolder = Callable[..., Path]


def _picture(number: int, size: int = 32) -> np.ndarray:
    """A smooth picture that no other number gives: (size, size, 3), uint8."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _encoded(pixels: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """The pixels as the bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def _dataset_of(labels: list[int], *, arrays: list[np.ndarray] | None = None, **given: list[int]) -> Dataset:
    """A dataset in memory with these labels; each image its own unless `arrays` says otherwise."""
    pixels = arrays or [_picture(number) for number in range(len(labels))]
    samples = tuple(Sample(f"{i:03d}", ArraySource(pixels[i]), label, pixels[i].size) for i, label in enumerate(labels))
    names = tuple(f"class{number}" for number in range(max(labels) + 1))
    splits = {name: tuple(indices) for name, indices in given.items()} or {"all": tuple(range(len(labels)))}
    return Dataset("made", "made", names, samples, splits)


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """A smooth picture that no other number gives."""
    return _picture


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Pixels as the bytes of an image file."""
    return _encoded


@pytest.fixture
def dataset_of() -> Callable[..., Dataset]:
    """A dataset in memory of given labels."""
    return _dataset_of


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write files below a new folder: path -> bytes, or a number for a picture."""

    def make(files: dict[str, bytes | int], name: str = "images") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_encoded(_picture(content)) if isinstance(content, int) else content)
        return root

    return make


@pytest.fixture
def flowers(make_folder: MakeFolder) -> Path:
    """Two classes of eight images."""
    return make_folder({f"{label}/{i}.png": 100 * c + i for c, label in enumerate(("rose", "tulip")) for i in range(8)})

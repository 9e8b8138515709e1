"""A tiny labelled set that small networks learn in seconds: a square, a bar or noise, on a dark ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("bar", "noise", "square")


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    image = rng.integers(0, 60, (32, 32, 3), np.uint8)
    top, left = rng.integers(2, 14, 2)
    if kind == "square":
        image[top : top + 14, left : left + 14] += 150
    elif kind == "bar":
        image[top : top + 4, 2:30] += 150
    else:
        image += rng.integers(0, 120, (32, 32, 3), np.uint8)
    return Image.fromarray(image)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images in three folders, one of them broken and one no image."""
    folder, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for kind in CLASSES:
        (folder / kind).mkdir()
        for number in range(40):
            draw(kind, rng).save(folder / kind / f"{number}.png")
    (folder / "bar" / "broken.png").write_bytes((folder / "bar" / "0.png").read_bytes()[:200])
    (folder / "bar" / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or left in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))

"""Load a bundle and ask it about images: ``load("model.ghost")("photo.jpg").label``.

The way of an image is the one that was measured: `read_image`, the bundle's `Prepare`, a backend, the one decode.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from ghostfit.runtime.backends import Backend, open_backend
from ghostfit.runtime.bundle import BundleError, open_bundle
from ghostfit.runtime.manifest import Manifest
from ghostfit.vision.decode import decode_classification
from ghostfit.vision.prepare import SUFFIXES, ImageError, ImageSource, read_image
from ghostfit.vision.results import Classification

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """A loaded bundle; call it with an image, or with a list of images. `load` makes one."""

    manifest: Manifest
    backend: Backend

    @overload
    def __call__(self, image: ImageSource) -> Classification: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Classification]: ...

    def __call__(self, image: ImageSource | list[Any] | tuple[Any, ...]) -> Classification | list[Classification]:
        """The result for an image (a path, bytes, an RGB array or a PIL image), or the results for a list of them.

        Raises ImageError for one that can't be read; `predict_many` goes on instead.
        """
        if isinstance(image, (list, tuple)):
            return self.decode(self.logits([self.pixels(one) for one in image]))
        return self.decode(self.logits([self.pixels(image)]))[0]

    def pixels(self, image: ImageSource) -> np.ndarray:
        """`image` read and resized: (h, w, C), uint8. Raises ImageError."""
        prepare = self.manifest.prepare
        return prepare.resized(read_image(image, in_channels=prepare.in_channels))

    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Raw outputs (N, num_classes), float32, of `images` (h, w, C), uint8, as `pixels` gives them."""
        if not len(images):
            return np.empty((0, len(self.manifest.class_names)), np.float32)
        batch = self.manifest.prepare.normalised(np.stack(images))
        name = self.manifest.outputs[0]
        if self.backend.input_shape[0] == 1 and len(batch) > 1:
            return np.concatenate([self.backend.run(batch[i : i + 1])[name] for i in range(len(batch))])
        return self.backend.run(batch)[name]

    def decode(self, logits: np.ndarray) -> list[Classification]:
        """Results of raw outputs (N, num_classes), by the bundle's temperature and threshold."""
        rule = self.manifest.decode
        return decode_classification(
            logits, class_names=self.manifest.class_names, temperature=rule.temperature, threshold=rule.threshold
        )


def load(path: str | Path, *, runtime: str = "onnxruntime", threads: int | None = None) -> Model:
    """The bundle at `path`, or in the run folder `path`, ready to predict.

    `threads` is by default what the bundle's latency was measured with. Raises BundleError when the bundle is refused
    or doesn't fit its own manifest, ValueError for an unknown runtime.
    """
    path = Path(path)
    if (path / "run.json").is_file():
        path = path / "model.ghost"
    bundle = open_bundle(path)
    manifest = bundle.manifest
    backend = open_backend(runtime, bundle.network, threads=threads or _measured_threads(manifest))
    model = Model(manifest, backend)
    try:
        blank = np.zeros((*manifest.prepare.size_hw, manifest.prepare.in_channels), np.uint8)
        shape = model.logits([blank]).shape  # the first run also allocates
    except (ValueError, KeyError) as error:
        raise BundleError(f"{path}: the network does not fit its manifest: {error}") from error
    if shape != (1, len(manifest.class_names)):
        raise BundleError(f"{path}: the network gives {shape}, its manifest names {len(manifest.class_names)} classes")
    return model


def predict_many(
    model: Model, inputs: str | Path | Iterable[str | Path], *, batch: int = 16, readers: int = 2
) -> Iterator[tuple[Path, Classification | ImageError]]:
    """(path, result) of each image that `inputs` names: files, folders and glob patterns, in `find_images`' order.

    A file that can't be read gives its ImageError in place of a result. `readers` threads decode the next `batch`
    while the network runs. Raises ValueError when `inputs` names nothing.
    """
    paths = find_images(inputs)
    return _predict_paths(model, paths, batch, readers)


def find_images(inputs: str | Path | Iterable[str | Path]) -> list[Path]:
    """Image files that `inputs` names, each once: files as given, folders searched below and sorted, patterns sorted.

    Raises ValueError for a path that doesn't exist, and for a folder or pattern without images.
    """
    entries = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    found: dict[Path, None] = {}
    for entry in entries:
        found.update(dict.fromkeys(_images_of(entry)))
    if not found:
        raise ValueError("no images given; name files, folders or patterns such as 'photos/*.jpg'")
    return list(found)


def _images_of(entry: str | Path) -> list[Path]:
    path = Path(entry)
    if path.is_dir():
        below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        images = sorted(file for file in below if file.suffix.lower() in SUFFIXES)
    elif path.exists():
        return [path]
    else:
        images = sorted(Path(name) for name in glob.glob(str(entry), recursive=True) if Path(name).is_file())
        if not images and not glob.has_magic(str(entry)):
            raise ValueError(f"{entry}: no such file or folder")
    if not images:
        raise ValueError(f"{entry}: no images there; looked for {', '.join(SUFFIXES)}")
    return images


def _predict_paths(
    model: Model, paths: Iterable[Path], batch: int, readers: int
) -> Iterator[tuple[Path, Classification | ImageError]]:
    def read(path: Path) -> np.ndarray | ImageError:
        try:
            return model.pixels(path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(max(1, readers)) as pool:
        waiting = _chunks(paths, max(1, batch))
        chunk = next(waiting, [])
        coming = [pool.submit(read, path) for path in chunk]
        while chunk:
            images = [future.result() for future in coming]
            following = next(waiting, [])
            coming = [pool.submit(read, path) for path in following]
            results = iter(model.decode(model.logits([image for image in images if isinstance(image, np.ndarray)])))
            for path, image in zip(chunk, images, strict=True):
                yield path, image if isinstance(image, ImageError) else next(results)
            chunk = following


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _measured_threads(manifest: Manifest) -> int:
    """Threads of the first measurement in the manifest, as far as this machine has them; 1 without one."""
    measured = manifest.latency[0].get("threads") if manifest.latency else None
    return max(1, min(measured, os.cpu_count() or 1)) if isinstance(measured, int) else 1

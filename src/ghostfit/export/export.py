"""From a trained network to a bundle: fuse, lower, write ONNX, certify on real images, pack.

The certificate is part of the export: a file that differs from its network never becomes a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.export.choose import choose_lowering
from ghostfit.export.lower import Lowering
from ghostfit.export.onnx import to_onnx
from ghostfit.export.parity import certify
from ghostfit.nn.build import Network
from ghostfit.runtime.bundle import write_bundle
from ghostfit.vision.prepare import Prepare

__all__ = ["export"]

NETWORK_FILE = "model.onnx"


def export(
    network: Network,
    path: str | Path,
    *,
    class_names: Sequence[str],
    images: Sequence[np.ndarray],
    prepare: Prepare | None = None,
    temperature: float = 1.0,
    threshold: float = 0.0,
    lowering: str | Lowering = "auto",
    runtime: str = "onnxruntime",
    threads: int = 1,
    metrics: Mapping[str, Any] | None = None,
    latency: Sequence[Mapping[str, Any]] = (),
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write `network` as the bundle `path` (a folder, or a zip where it ends in .ghost) and return the path.

    images: at least one real image (H, W, C), uint8, for the certificate. `prepare` is the network's own unless given.
    `lowering` "auto" measures which form is fastest here with `runtime` and `threads`. Raises ParityError (a
    ValueError) when the file differs from the network, ValueError when the parts don't fit each other.
    """
    prepare = network.prepare if prepare is None else prepare
    _check(network, class_names, prepare)
    assert prepare is not None
    if lowering == "auto":
        lowering = choose_lowering(network, size_hw=prepare.size_hw, runtime=runtime, threads=threads).lowering
    model = to_onnx(network, lowering=lowering, size_hw=prepare.size_hw)
    parity = certify(
        network, model, images, prepare, class_names=class_names, temperature=temperature, threshold=threshold,
        runtime=runtime,
    )  # fmt: skip
    arch = network.arch.deployed().replace(size_hw=prepare.size_hw)
    manifest = {
        "task": "classify",
        "class_names": list(class_names),
        "arch": arch.to_dict(),
        "arch_id": arch.id,
        "prepare": prepare.to_dict(),
        "decode": {"kind": "softmax", "temperature": temperature, "threshold": threshold},
        "network": NETWORK_FILE,
        "parity": parity,
        "metrics": dict(metrics or {}),
        "latency": [dict(entry) for entry in latency],
        "trained": None if trained is None else dict(trained),
    }
    return write_bundle(path, manifest, {NETWORK_FILE: model})


def _check(network: Network, class_names: Sequence[str], prepare: Prepare | None) -> None:
    arch = network.arch
    if len(class_names) != arch.num_classes:
        raise ValueError(
            f"{len(class_names)} class names for a network of {arch.num_classes} classes; give one for each"
        )
    if prepare is None:
        raise ValueError("the network doesn't say how images become its input; pass prepare=Prepare(size_hw=...)")
    if prepare.in_channels != arch.in_channels:
        raise ValueError(f"preparation of {prepare.in_channels} channels for a network of {arch.in_channels}")

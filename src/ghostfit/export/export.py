"""From a trained network to a bundle: fuse, lower, write ONNX, certify on real images, pack.

The certificate is part of the export: a file that differs from its network never becomes a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostfit.export.agreement import Compare, compare_class_maps, compare_labels, compare_objects
from ghostfit.export.choose import choose_lowering
from ghostfit.export.lower import Lowering, lowering_of
from ghostfit.export.onnx import to_onnx
from ghostfit.export.parity import certify
from ghostfit.nn.build import Network
from ghostfit.runtime.bundle import write_bundle
from ghostfit.runtime.manifest import TASKS, Decode
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
    decode: Mapping[str, Any] | None = None,
    lowering: str | Lowering = "auto",
    runtime: str = "onnxruntime",
    threads: int = 1,
    metrics: Mapping[str, Any] | None = None,
    latency: Sequence[Mapping[str, Any]] = (),
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write `network` as the bundle `path` (a folder, or a zip where it ends in .ghost) and return the path.

    images: at least one real image (H, W, C), uint8, for the certificate. `prepare` is the network's own unless given.
    `temperature` and `threshold` belong to classifiers; `decode` has the settings of objects, ``score_threshold`` and
    ``iou_threshold`` (see `ghostfit.runtime.manifest.Decode`).
    `lowering` is a name in `LOWERINGS` or one of your own; "auto" measures which is fastest here with `runtime` and
    `threads`. Raises ParityError (a
    ValueError) when the file differs from the network, ValueError when the parts don't fit each other.
    """
    prepare = network.prepare if prepare is None else prepare
    _check(network, class_names, prepare)
    assert prepare is not None
    rule = _decode_rule(network, temperature, threshold, decode or {})
    if lowering == "auto":
        lowering = choose_lowering(network, size_hw=prepare.size_hw, runtime=runtime, threads=threads).name
    model = to_onnx(network, lowering=lowering, size_hw=prepare.size_hw)
    compare = _comparison(class_names, images, prepare, rule)
    parity = certify(network, model, images, prepare, compare=compare, runtime=runtime)
    arch = network.arch.deployed().replace(size_hw=prepare.size_hw)
    manifest = {
        "task": arch.task,
        "class_names": list(class_names),
        "arch": arch.to_dict(),
        "arch_id": arch.id,
        "prepare": prepare.to_dict(),
        "outputs": list(arch.output_names),
        "decode": rule.to_dict(),
        "network": NETWORK_FILE,
        "lowering": {"name": lowering if isinstance(lowering, str) else "own", **lowering_of(lowering).to_dict()},
        "parity": parity,
        "metrics": dict(metrics or {}),
        "latency": [dict(entry) for entry in latency],
        "trained": None if trained is None else dict(trained),
    }
    return write_bundle(path, manifest, {NETWORK_FILE: model})


def _decode_rule(network: Network, temperature: float, threshold: float, settings: Mapping[str, Any]) -> Decode:
    """How the outputs of the network's task are decoded. Raises ValueError for a setting that it doesn't have."""
    arch, kind = network.arch, TASKS[network.arch.task].decode
    given = dict(settings)
    if arch.dense is None or (temperature, threshold) != (1.0, 0.0):
        given |= {"temperature": temperature, "threshold": threshold}
    allowed = [name for name in TASKS[arch.task].settings if name != "strides"]
    if unknown := sorted(set(given) - set(allowed)):
        raise ValueError(
            f"{', '.join(unknown)} for a network of the task {arch.task!r}; allowed: {', '.join(allowed) or 'none'}"
        )
    if "strides" in TASKS[arch.task].settings and arch.dense is not None:
        given = {"nms": not arch.dense.nms_free, **given, "strides": arch.dense.strides}
    return Decode(kind=kind, **given)


def _comparison(class_names: Sequence[str], images: Sequence[np.ndarray], prepare: Prepare, rule: Decode) -> Compare:
    if rule.kind == "softmax":
        return compare_labels(class_names, rule.temperature, rule.threshold)
    placements = [prepare.placement((image.shape[0], image.shape[1])) for image in images]
    if rule.kind == "argmax":
        return compare_class_maps(class_names, placements)
    return compare_objects(
        class_names, placements, strides=rule.strides, size_hw=prepare.size_hw,
        score_threshold=rule.score_threshold, iou_threshold=rule.iou_threshold, nms=rule.nms,
    )  # fmt: skip


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

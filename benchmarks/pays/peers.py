"""Hand-made networks as their authors' packages build them, each at several treatments of the early strides.

timm and torchvision build them; a treatment sets the first strides to 1 until the total stride is the one wanted, which
is what a person does who puts a network drawn for 224 pixels on small images.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ghostfit.runtime.bench import measure_interleaved

TOTAL_STRIDES = (32, 16, 8)
TIMM = (
    "lcnet_050",
    "lcnet_075",
    "lcnet_100",
    "mobilenetv4_conv_small_035",
    "mobilenetv4_conv_small_050",
    "mobilenetv4_conv_small",
    "mobilenetv3_small_050",
    "mobilenetv3_small_075",
    "mobilenetv3_small_100",
    "ghostnet_050",
    "ghostnet_100",
    "repghostnet_050",
)
SHUFFLE = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0")
LITE_WIDTHS = (0.35, 0.5)
RESNETS = {"resnet8": 1, "resnet14": 2, "resnet20": 3}  # blocks a stage (arXiv 1512.03385, section 4.2: 6n + 2 layers)


def peers() -> dict[str, Callable[[int, int], nn.Module]]:
    """Every peer by name, made for (num_classes, size in pixels)."""
    found: dict[str, Callable[[int, int], nn.Module]] = {}
    for name, blocks in RESNETS.items():
        found[name] = lambda classes, size, blocks=blocks: ResNet(blocks, classes, 1 if size <= 48 else 4)
    for stride in TOTAL_STRIDES:
        for name in TIMM:
            found[f"{name}, stride {stride}"] = lambda classes, size, n=name, s=stride: from_timm(n, classes, s)
        for name in SHUFFLE:
            found[f"{name}, stride {stride}"] = lambda classes, size, n=name, s=stride: from_torchvision(n, classes, s)
        for width in LITE_WIDTHS:
            found[f"efficientnet_lite0 x{width}, stride {stride}"] = lambda classes, size, w=width, s=stride: (
                efficientnet_lite(w, classes, size, s)
            )
    return found


def from_timm(name: str, num_classes: int, total_stride: int) -> nn.Module:
    """A timm network."""
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: nn.Module = timm.create_model(name, num_classes=num_classes)
    blocks = network.blocks
    return with_stride(
        network, [network.conv_stem, *(block for stage in blocks for block in _parts(stage))], total_stride
    )


def from_torchvision(name: str, num_classes: int, total_stride: int) -> nn.Module:
    """A torchvision ShuffleNet V2."""
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, num_classes=num_classes)
    return with_stride(network, [network.conv1, network.maxpool], total_stride)


def efficientnet_lite(width: float, num_classes: int, size: int, total_stride: int) -> nn.Module:
    """EfficientNet-Lite0 scaled in width, as our presets describe it."""
    from ghostfit.nn.build import build
    from ghostfit.presets import preset
    from ghostfit.search.start import scale_width

    network = build(scale_width(preset("efficientnet_lite0", num_classes, (size, size)), width))
    return with_stride(network, [network.stem, *(block for stage in network.stages for block in stage)], total_stride)


def with_stride(network: nn.Module, parts: list[nn.Module], total_stride: int) -> nn.Module:
    """`network` with the strides of its first `parts` set to 1, in place, until 32 has become `total_stride`."""
    left = {32: 0, 16: 1, 8: 2}[total_stride]
    for part in parts:
        strided = [
            module
            for module in part.modules()
            if isinstance(module, nn.Conv2d | nn.MaxPool2d) and module.stride in (2, (2, 2))
        ]
        if strided and left:
            left -= 1
            for module in strided:
                module.stride = 1 if isinstance(module, nn.MaxPool2d) else (1, 1)
    assert not left, f"no {total_stride}: too few strided parts"
    return network


def deployed(network: nn.Module) -> nn.Module:
    """The form that runs: training branches merged, evaluation mode."""
    from timm.utils.model import reparameterize_model

    return reparameterize_model(network, inplace=False).eval()


def to_onnx(network: nn.Module, size: int) -> bytes:
    """The file that a person would export."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(deployed(network), (torch.zeros(1, 3, size, size),), stream, dynamo=False)
    return stream.getvalue()


def interleaved(
    files: Mapping[str, bytes | str | Path], sizes_hw: Mapping[str, tuple[int, int]], *, budget_s: float = 1.0
) -> dict[str, dict[str, Any]]:
    """Latency of each file, an input size each, measured in turns."""
    shapes = {name: (1, 3, *size_hw) for name, size_hw in sizes_hw.items()}
    measured = measure_interleaved(files, shapes, runtime="onnxruntime", threads=1, budget_s=budget_s)
    return {name: latency.to_dict() for name, latency in measured.items()}


class ResNet(nn.Module):
    """The small residual network for 32 px (arXiv 1512.03385, section 4.2), widths 16, 32, 64; `stem_stride` above."""

    def __init__(self, blocks: int, num_classes: int, stem_stride: int) -> None:
        super().__init__()
        strides = [stem_stride > 1, stem_stride > 2]
        self.stem = nn.Sequential(
            *_conv(3, 16, 3, 1 + strides[0]), nn.ReLU(), *((*_conv(16, 16, 3, 2), nn.ReLU()) if strides[1] else ())
        )
        widths, before = (16, 32, 64), 16
        layers: list[nn.Module] = []
        for width in widths:
            for number in range(blocks):
                layers.append(Residual(before, width, 2 if number == 0 and width > 16 else 1))
                before = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class Residual(nn.Module):
    """Two convolutions and a shortcut, a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(before, width, 3, stride), nn.ReLU(), *_conv(width, width, 3, 1))
        is_same = stride == 1 and before == width
        self.shortcut = nn.Identity() if is_same else nn.Sequential(*_conv(before, width, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _conv(before: int, width: int, kernel: int, stride: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
    yield nn.BatchNorm2d(width)


def _parts(stage: nn.Module) -> list[nn.Module]:
    return list(stage) if isinstance(stage, nn.Sequential) else [stage]

"""Published networks as architectures, by name.

Sources: GhostNet (arXiv 1911.11907, table 1), GhostNetV2 (arXiv 2211.12905), GhostNetV3 (arXiv 2404.11202), MobileNetV3
(arXiv 1905.02244, tables 1 and 2), MobileNetV4-Conv-Small (arXiv 2404.10518, table 5), EfficientNet-Lite0
(github.com/tensorflow/tpu, models/official/efficientnet/lite). Names are timm's, where timm has the network.

>>> preset("ghostnet_100").stages[1].out
24
>>> preset("ghostnet_101")
Traceback (most recent call last):
ValueError: no preset named 'ghostnet_101'; did you mean ghostnet_130, ghostnet_100 or ghostnetv3_160?
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from ghostfit.arch import Arch, Block, Head, Stage, Stem, make_divisible

__all__ = ["list_presets", "preset"]

# kernel, expanded channels, output channels, has SE, stride
GHOSTNET_ROWS = (
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)

# kernel, expanded channels (0: depthwise-separable), output channels, has SE, activation, stride
MOBILENETV3_LARGE_ROWS = (
    (3, 0, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
MOBILENETV3_SMALL_ROWS = (
    (3, 0, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)

# start kernel, kernel, expanded channels, output channels, stride
MOBILENETV4_CONV_SMALL_ROWS = (
    (5, 5, 192, 96, 2),
    (0, 3, 192, 96, 1),
    (0, 3, 192, 96, 1),
    (0, 3, 192, 96, 1),
    (0, 3, 192, 96, 1),
    (3, 0, 384, 96, 1),
    (3, 3, 576, 128, 2),
    (5, 5, 512, 128, 1),
    (0, 5, 512, 128, 1),
    (0, 5, 384, 128, 1),
    (0, 3, 512, 128, 1),
    (0, 3, 512, 128, 1),
)

# kernel, expansion factor, output channels, blocks, stride
EFFICIENTNET_LITE0_ROWS = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def list_presets() -> list[str]:
    """Names of all presets."""
    return list(PRESETS)


def preset(name: str, num_classes: int = 1000, size_hw: tuple[int, int] = (224, 224), in_channels: int = 3) -> Arch:
    """The published network `name` for any number of classes, input size and input channels.

    GhostNetV3 comes in the form that runs; ``.replace(branches=3)`` is its training form. Raises ValueError for an
    unknown name, with the names that are close.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.5)
        hint = f"; did you mean {_either(close)}?" if close else f"; allowed: {', '.join(PRESETS)}"
        raise ValueError(f"no preset named {name!r}{hint}")
    return PRESETS[name]().replace(num_classes=num_classes, size_hw=size_hw, in_channels=in_channels)


def _ghostnet(width: float, has_dfc: bool) -> Arch:
    """GhostNet at a width multiplier; V2 and V3 have the DFC gate from the third block on."""

    def scale(channels: int) -> int:
        return make_divisible(channels * width, 4)

    rows = []
    for index, (kernel, mid, out, has_se, stride) in enumerate(GHOSTNET_ROWS):
        block = Block(
            mid=scale(mid),
            stride=stride,
            kernel=kernel if stride > 1 else 0,
            ratio=2,
            se=make_divisible(scale(mid) * 0.25, 4) if has_se else 0,
            dfc=has_dfc and index > 1,
            mid_act=False,
            shortcut_kernel=kernel,
        )
        rows.append((scale(out), block))
    return Arch(
        stem=Stem(out=scale(16)),
        stages=_stages(rows, project_ratio=2),
        head=Head(conv=scale(960), hidden=1280),
    )


def _mobilenetv3(rows: Sequence[tuple[int, int, int, bool, str, int]], hidden: int) -> Arch:
    blocks, channels = [], 16
    for kernel, mid, out, has_se, act, stride in rows:
        se = make_divisible((mid or channels) * 0.25, 8) if has_se else 0
        blocks.append((out, Block(mid=mid, stride=stride, kernel=kernel, se=se, act=act)))
        channels = out
    head = Head(conv=6 * channels, hidden=hidden, act="hard_swish")
    return Arch(stem=Stem(out=16, act="hard_swish"), stages=_stages(blocks), head=head)


def _mobilenetv4_conv_small() -> Arch:
    rows = [(out, Block(kind="conv", kernel=k, stride=stride)) for k, out, stride in _V4_CONVS]
    for start_kernel, kernel, mid, out, stride in MOBILENETV4_CONV_SMALL_ROWS:
        rows.append((out, Block(mid=mid, stride=stride, start_kernel=start_kernel, kernel=kernel)))
    return Arch(
        stem=Stem(out=32),
        stages=_stages(rows),
        head=Head(conv=960, hidden=1280, hidden_norm=True),
    )


_V4_CONVS = ((3, 32, 2), (1, 32, 1), (3, 96, 2), (1, 64, 1))  # kernel, output channels, stride


def _efficientnet_lite0() -> Arch:
    rows, channels = [], 32
    for kernel, expand, out, num_blocks, first_stride in EFFICIENTNET_LITE0_ROWS:
        for index in range(num_blocks):
            mid = channels * expand if expand > 1 else 0
            rows.append((out, Block(mid=mid, stride=1 if index else first_stride, kernel=kernel, act="relu6")))
            channels = out
    return Arch(
        stem=Stem(out=32, act="relu6"),
        stages=_stages(rows),
        head=Head(conv=1280, act="relu6"),
        bn_eps=1e-3,
        padding="same",
    )


def _stages(rows: Sequence[tuple[int, Block]], project_ratio: int = 1) -> tuple[Stage, ...]:
    """Blocks gathered into stages: a stride or another width starts a new one."""
    stages: list[tuple[int, list[Block]]] = []
    for out, block in rows:
        if not stages or block.stride > 1 or out != stages[-1][0]:
            stages.append((out, []))
        stages[-1][1].append(block)
    return tuple(Stage(out, tuple(blocks), project_ratio) for out, blocks in stages)


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


PRESETS: dict[str, Callable[[], Arch]] = {
    "ghostnet_050": lambda: _ghostnet(0.5, has_dfc=False),
    "ghostnet_100": lambda: _ghostnet(1.0, has_dfc=False),
    "ghostnet_130": lambda: _ghostnet(1.3, has_dfc=False),
    "ghostnetv2_100": lambda: _ghostnet(1.0, has_dfc=True),
    "ghostnetv2_130": lambda: _ghostnet(1.3, has_dfc=True),
    "ghostnetv2_160": lambda: _ghostnet(1.6, has_dfc=True),
    "ghostnetv3_050": lambda: _ghostnet(0.5, has_dfc=True),
    "ghostnetv3_100": lambda: _ghostnet(1.0, has_dfc=True),
    "ghostnetv3_130": lambda: _ghostnet(1.3, has_dfc=True),
    "ghostnetv3_160": lambda: _ghostnet(1.6, has_dfc=True),
    "mobilenetv3_small_100": lambda: _mobilenetv3(MOBILENETV3_SMALL_ROWS, hidden=1024),
    "mobilenetv3_large_100": lambda: _mobilenetv3(MOBILENETV3_LARGE_ROWS, hidden=1280),
    "mobilenetv4_conv_small": _mobilenetv4_conv_small,
    "efficientnet_lite0": _efficientnet_lite0,
}

"""An architecture is a value: what a network is made of, with no weights and no torch.

`Arch` describes a stem, stages of universal Ghost blocks and a head, as frozen dataclasses that turn into JSON and
back. Its `id`, a hash of the canonical JSON, keys caches, measurements, runs and exports.

The universal Ghost block unites GhostNet (arXiv 1911.11907), GhostNetV2 (arXiv 2211.12905), MobileNetV2 to V4
(arXiv 1801.04381, 1905.02244, 2404.10518) and EfficientNet-Lite: each is a setting of its fields.

>>> arch = Arch(stem=Stem(out=16), stages=(Stage(out=16, blocks=(Block(mid=16),)),), head=Head(conv=64))
>>> Arch.from_json(arch.to_json()) == arch
True

With a `Dense` in place of the classifier the same backbone finds objects or labels pixels:

>>> from ghostfit.presets import preset
>>> preset("ghostnet_050", num_classes=3, size_hw=(320, 320)).as_dense(Dense("detect")).output_names
('scores', 'boxes')
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "none")
SCHEMA = "ghostfit.arch/1"
OUTPUTS = {
    "classify": ("logits",),
    "detect": ("scores", "boxes"),
    "instance": ("scores", "boxes", "coefficients", "prototypes"),
    "segment": ("classes",),
}
DENSE_TASKS = ("detect", "instance", "segment")
OBJECT_TASKS = ("detect", "instance")
COARSEST_TAP = 32  # stride of the last map that a neck reads of a backbone, as in every published detector
PROTOTYPE_STRIDE = 4
CHEAP_KERNEL = 3  # of a neck's and a head's Ghost modules, GhostNet's
CONTEXT_BINS = (1, 2, 4)  # cells a side of the pooled context of `segment`: PP-LiteSeg, section 3.3


@dataclass(frozen=True)
class Stem:
    """The first convolution: dense, with batch norm and activation."""

    out: int
    kernel: int = 3
    stride: int = 2
    act: str = "relu"


@dataclass(frozen=True)
class Block:
    """One universal Ghost block; its output width is its stage's.

    ``kind="ghost"``: [depthwise `start_kernel`] -> expand to `mid` (a pointwise convolution as a Ghost module of ratio
    `ratio`) [+ DFC gate] -> [depthwise `kernel`, carries the stride] -> [SE] -> project (Ghost module of the stage's
    `project_ratio`) + shortcut. ``kind="conv"``: one dense `kernel` x `kernel` convolution with batch norm and
    activation, no shortcut (the 'cn' block of MobileNetV4); with a `project_ratio` above 1 in its stage it is a Ghost
    module of that kernel (Ghost-VGG, section 4.1 of the paper).

    The shortcut is the identity wherever stride is 1 and the widths agree; elsewhere it is a depthwise
    `shortcut_kernel` + pointwise pair (GhostNet, figure 3), or absent when `shortcut_kernel` is 0.
    """

    kind: Literal["ghost", "conv"] = "ghost"
    mid: int = 0  # channels after the expansion; 0: no expansion, a depthwise-separable block
    stride: int = 1
    start_kernel: int = 0  # depthwise before the expansion; 0: none
    kernel: int = 3  # depthwise on the expanded maps; 0: none (then a stride above 1 falls to `start_kernel`)
    ratio: int = 1  # Ghost ratio s of the expansion; 1: a plain convolution
    cheap_kernel: int = 3  # kernel d of the cheap operations, of the expansion and of the projection
    se: int = 0  # channels inside squeeze-and-excitation; 0: none
    dfc: bool = False  # decoupled fully connected attention on the expansion (GhostNetV2)
    act: str = "relu"
    mid_act: bool = True  # activation after the depthwise convolution (GhostNet has none)
    shortcut_kernel: int = 0


@dataclass(frozen=True)
class Stage:
    """Blocks of one output width. A stride may only stand in the first block."""

    out: int
    blocks: tuple[Block, ...]
    project_ratio: int = 1  # Ghost ratio of every projection in the stage: residual sums need one channel order


@dataclass(frozen=True)
class Head:
    """Classifier: 1x1 convolution to `conv` with batch norm -> global average pool -> `hidden` -> class scores."""

    conv: int = 0  # 0: pool the last stage directly
    hidden: int = 0  # 0: no layer between pool and classifier
    hidden_norm: bool = False  # the hidden layer has batch norm and no bias (MobileNetV4), else a bias
    act: str = "relu"


@dataclass(frozen=True)
class Dense:
    """Neck and head of a network for every place of the image; they take the classifier's place.

    ``detect``: Ghost-PAN and an anchor-free head (PicoDet, arXiv 2111.00902); ``instance``: with prototype masks as
    well (YOLACT, arXiv 1904.02689); ``segment``: pooled context and a top-down path (PP-LiteSeg, arXiv 2204.02681),
    whose maps are half as wide at each finer level.

    `strides` are the levels in pixels, fine to coarse, each twice the one before: those that the backbone has are read
    from it, coarser ones are made by the neck. Empty `strides`, and 0 for `width` and `num_prototypes`, stand for the
    task's default and are filled in. `nms_free` is for `detect` and `instance`: each object gets one answer, so that
    nothing needs to be suppressed; a second head, which is there in training only, teaches backbone and neck (YOLOv10,
    arXiv 2405.14458, section 3.1).
    """

    task: Literal["detect", "instance", "segment"]
    width: int = 0  # channels of a level; of the coarsest one for `segment`
    ratio: int = 1  # Ghost ratio of the pointwise convolutions
    kernel: int = 5  # of the depthwise convolutions
    expand: int = 0  # expansion of the neck's blocks, times their width; 0: depthwise-separable blocks
    head_depth: int = 2  # depthwise-separable convolutions before the predictions
    strides: tuple[int, ...] = ()
    num_prototypes: int = 0
    act: str = "relu"
    nms_free: bool = False

    def __post_init__(self) -> None:
        if self.task not in DENSE_TASKS:
            raise ValueError(f"task={self.task!r}; allowed: {', '.join(DENSE_TASKS)}")
        is_segment, is_instance = self.task == "segment", self.task == "instance"
        defaults = {"width": 128 if is_segment else 96, "strides": (8, 16, 32) if is_segment else (8, 16, 32, 64)}
        if is_instance:
            defaults["num_prototypes"] = 32  # YOLACT, section 3.1
        for name, value in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        _check_dense(self)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, fine to coarse."""
        if self.task != "segment":
            return (self.width,) * len(self.strides)
        halvings = range(len(self.strides) - 1, -1, -1)
        return tuple(max(8, make_divisible(self.width / 2**halving)) for halving in halvings)

    def block(self, width: int) -> Block:
        """The block that joins maps of `width` channels in the neck."""
        ratio = self.ratio if self.expand else 1
        return Block(mid=width * self.expand, kernel=self.kernel, ratio=ratio, act=self.act)


@dataclass(frozen=True)
class Arch:
    """A whole network as a value. See the module's docstring.

    `size_hw` is the input size in pixels. `branches` > 0 is the re-parameterised training form (GhostNetV3, section 3)
    with that many parallel convolutions; `deployed()` gives the form that runs. With `dense` there is no classifier:
    `head` is set to an empty one, so that equal networks are equal values.
    """

    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    num_classes: int = 1000
    size_hw: tuple[int, int] = (224, 224)
    in_channels: int = 3
    bn_eps: float = 1e-5
    padding: Literal["symmetric", "same"] = "symmetric"  # "same": TensorFlow's rule, the odd pixel right and below
    branches: int = 0
    dense: Dense | None = None

    def __post_init__(self) -> None:
        if self.dense is not None:
            object.__setattr__(self, "head", Head())
        _check(self)

    @cached_property
    def id(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain dict with a ``schema`` entry, ready for JSON."""
        fields = dataclasses.asdict(self)
        if self.dense is None:  # the ids of classifiers are those from before there was anything else
            del fields["dense"]
        elif not self.dense.nms_free:  # likewise those of heads
            del fields["dense"]["nms_free"]
        return {"schema": SCHEMA, **fields}

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. Equal archs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Arch:
        """Inverse of `to_dict`. Raises ValueError that names a wrong or missing field."""
        fields = dict(data)
        schema = fields.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise ValueError(f"architecture of schema {schema!r}; this version reads {SCHEMA!r}")
        try:
            fields["stem"] = Stem(**fields["stem"])
            fields["head"] = Head(**fields["head"])
            fields["stages"] = tuple(
                Stage(**{**stage, "blocks": tuple(Block(**block) for block in stage["blocks"])})
                for stage in fields["stages"]
            )
            height, width = fields.get("size_hw", (224, 224))
            fields["size_hw"] = (height, width)
            if fields.get("dense") is not None:
                fields["dense"] = Dense(**{**fields["dense"], "strides": tuple(fields["dense"].get("strides", ()))})
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an architecture: {error}; write one with Arch.to_json()") from error

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """Inverse of `to_json`. Raises ValueError on text that is no architecture."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"architecture is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ValueError(f"architecture must be a JSON object, got {type(data).__name__}")
        return cls.from_dict(data)

    def replace(self, **changes: Any) -> Arch:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)

    def deployed(self) -> Arch:
        """The same network without training branches."""
        return self.replace(branches=0)

    @property
    def task(self) -> str:
        """``classify``, or the task of `dense`."""
        return "classify" if self.dense is None else self.dense.task

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the raw outputs, in the order in which the network gives them (docs/design/dense.md)."""
        return OUTPUTS[self.task]

    @property
    def features(self) -> dict[int, int]:
        """Index of the last stage of each stride from 4 on that the backbone has, by stride: {4: 1, 8: 2, ...}."""
        strides = enumerate(_strides(self))
        return {stride: index for index, stride in strides if stride >= 4}

    @property
    def taps(self) -> tuple[int, ...]:
        """Strides of the maps that the neck reads as its levels, fine to coarse; none for a classifier."""
        return () if self.dense is None else tuple(s for s in self.dense.strides if s in self.features)

    def as_dense(self, dense: Dense) -> Arch:
        """A copy that is the backbone of `dense`, without the stages that are coarser than its neck reads.

        Raises ValueError when the stages miss a stride that the neck needs.
        """
        coarsest = min(COARSEST_TAP, dense.strides[-1])
        stages = tuple(stage for stage, s in zip(self.stages, _strides(self), strict=True) if s <= coarsest)
        return self.replace(stages=stages, dense=dense)


def make_divisible(value: float, divisor: int = 8, floor: float = 0.9) -> int:
    """Nearest multiple of `divisor`, at least `divisor`, never below `floor` x `value` (MobileNet's rule).

    >>> make_divisible(16 * 1.3, 4)
    20
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < floor * value else rounded


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and behind along one axis by TensorFlow's rule: ceil(size / stride) outputs, the odd one behind.

    >>> same_pads(8, 3, 2)
    (0, 1)
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def memory_slots(channels: int, ratio: int) -> tuple[int, ...]:
    """Slot number of each channel, in memory order, of a feature map that a Ghost module of `ratio` writes.

    Primary map i has slot ``i * ratio``; its cheap maps the slots after it. In memory the primaries come first, then
    the cheap maps, cut to `channels`. The slots are always 0..channels-1 in some order.

    >>> memory_slots(6, 2)
    (0, 2, 4, 1, 3, 5)
    >>> memory_slots(4, 1)
    (0, 1, 2, 3)
    """
    primaries = -(-channels // ratio)
    order = [i * ratio for i in range(primaries)]
    order += [i * ratio + j for i in range(primaries) for j in range(1, ratio)]
    return tuple(order[:channels])


def _check(arch: Arch) -> None:
    if not arch.stages or any(not stage.blocks for stage in arch.stages):
        raise ValueError("an architecture needs at least one stage and each stage at least one block")
    if arch.num_classes < 1 or arch.in_channels < 1 or min(arch.size_hw) < 1:
        raise ValueError(
            f"num_classes={arch.num_classes}, in_channels={arch.in_channels}, size_hw={arch.size_hw}: "
            "all must be positive"
        )
    if arch.padding not in ("symmetric", "same"):
        raise ValueError(f"padding={arch.padding!r}; allowed: 'symmetric', 'same'")
    for number, stage in enumerate(arch.stages):
        for index, block in enumerate(stage.blocks):
            where = f"stage {number} block {index}"
            if block.kind not in ("ghost", "conv"):
                raise ValueError(f"{where}: kind={block.kind!r}; allowed: 'ghost', 'conv'")
            if index and block.stride != 1:
                raise ValueError(f"{where}: stride {block.stride}; only a stage's first block may have a stride")
            if block.stride > 1 and not block.kernel and not block.start_kernel:
                raise ValueError(f"{where}: stride {block.stride} needs a depthwise kernel to carry it")
            if block.act not in ACTIVATIONS:
                raise ValueError(f"{where}: act={block.act!r}; allowed: {', '.join(ACTIVATIONS)}")
            kernels = (block.kernel, block.start_kernel, block.shortcut_kernel, block.cheap_kernel)
            if any(kernel and kernel % 2 == 0 for kernel in kernels):
                raise ValueError(f"{where}: kernels must be odd, got {kernels}")
            if block.ratio < 1 or stage.project_ratio < 1:
                raise ValueError(f"{where}: Ghost ratios start at 1 (a plain convolution)")
            if block.mid == 0 and (block.ratio > 1 or block.dfc):
                raise ValueError(f"{where}: Ghost ratio and DFC act on the expansion; mid=0 has none")
    if arch.dense is not None:
        _check_taps(arch, arch.dense)


def _check_dense(dense: Dense) -> None:
    doubled = tuple(dense.strides[0] * 2**level for level in range(len(dense.strides)))
    if dense.strides != doubled or dense.strides[0] < PROTOTYPE_STRIDE or dense.strides[0] & (dense.strides[0] - 1):
        raise ValueError(f"strides={dense.strides}; allowed: powers of two from 4 on, each twice the one before")
    if min(dense.width, dense.ratio) < 1 or min(dense.expand, dense.head_depth, dense.num_prototypes) < 0:
        raise ValueError(f"{dense}: width and ratio start at 1, expand, head_depth and num_prototypes at 0")
    if dense.kernel < 1 or dense.kernel % 2 == 0:
        raise ValueError(f"kernel={dense.kernel} of neck and head; it must be odd")
    if dense.act not in ACTIVATIONS:
        raise ValueError(f"act={dense.act!r} of neck and head; allowed: {', '.join(ACTIVATIONS)}")
    if dense.num_prototypes and dense.task != "instance":
        raise ValueError(f"num_prototypes={dense.num_prototypes} for {dense.task!r}; only 'instance' has prototypes")
    if dense.nms_free and dense.task not in OBJECT_TASKS:
        raise ValueError(
            f"nms_free=True for {dense.task!r}; only {' and '.join(OBJECT_TASKS)} have anything to suppress"
        )


def _check_taps(arch: Arch, dense: Dense) -> None:
    have, last = arch.features, _strides(arch)[-1]
    wanted = {dense.strides[0], *(stride for stride in dense.strides if stride <= last)}
    if dense.task == "instance":
        wanted.add(PROTOTYPE_STRIDE)
    if missing := sorted(wanted - set(have)):
        raise ValueError(
            f"the neck reads maps of stride {_listed(missing)}, the backbone has {_listed(have) or 'none'}; "
            "choose other strides for Dense(...), or a backbone with a stage for each"
        )
    if last > dense.strides[-1]:
        raise ValueError(
            f"the backbone goes on to stride {last}, the neck reads no further than {dense.strides[-1]}; "
            "arch.as_dense(dense) leaves out the stages that nobody reads"
        )


def _strides(arch: Arch) -> list[int]:
    """Pixels from one place of the map to the next, after each stage."""
    stride, strides = arch.stem.stride, []
    for stage in arch.stages:
        stride *= stage.blocks[0].stride
        strides.append(stride)
    return strides


def _listed(strides: Iterable[int]) -> str:
    return ", ".join(map(str, strides))

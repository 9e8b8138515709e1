"""State dicts of other implementations under our module names.

timm names blocks by stage and place (``blocks.3.1``), efficientnet_lite_pytorch by number (``_blocks.7``); ours go by
the architecture's stages. Blocks therefore map by their order, parts by the tables below. timm's `ghostnet.py` (V1 to
V3), `mobilenetv3.py` (V3 and V4) and `efficientnet.py` are covered: every model of theirs that `Arch` can describe.

>>> from ghostfit.presets import preset
>>> from torch import zeros
>>> weights = {"conv_stem.weight": zeros(16, 3, 3, 3), "blocks.0.0.ghost1.primary_conv.0.weight": zeros(8, 16, 1, 1)}
>>> list(translate(weights, preset("ghostnet_100")))
['stem.conv.weight', 'stages.0.0.expand.primary.conv.weight']
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ghostfit.arch import Arch, Block

__all__ = ["count_branches", "translate"]

# Prefix in the other implementation: ours. The first that fits counts.
GHOST_MODULE = (
    (r"primary_conv\.0", r"primary.conv"),
    (r"primary_conv\.1", r"primary.bn"),
    (r"cheap_operation\.0", r"cheap.conv"),
    (r"cheap_operation\.1", r"cheap.bn"),
    (r"short_conv\.0", r"gate.pointwise.conv"),
    (r"short_conv\.1", r"gate.pointwise.bn"),
    (r"short_conv\.2", r"gate.horizontal.conv"),
    (r"short_conv\.3", r"gate.horizontal.bn"),
    (r"short_conv\.4", r"gate.vertical.conv"),
    (r"short_conv\.5", r"gate.vertical.bn"),
    (r"(primary|cheap)_rpr_conv\.(\d+)\.conv", r"\1.branches.\2.conv"),
    (r"(primary|cheap)_rpr_conv\.(\d+)\.bn1?", r"\1.branches.\2.bn"),
    (r"cheap_rpr_scale\.conv", r"cheap.scale.conv"),
    (r"cheap_rpr_scale\.bn1?", r"cheap.scale.bn"),
    (r"cheap_rpr_skip", r"cheap.skip"),
)
SE = ((r"se\.conv_reduce", "se.reduce.conv"), (r"se\.conv_expand", "se.expand.conv"))
GHOST_BLOCK = (
    *((rf"ghost1\.{theirs}", f"expand.{ours}") for theirs, ours in GHOST_MODULE),
    *((rf"ghost2\.{theirs}", f"project.{ours}") for theirs, ours in GHOST_MODULE),
    (r"conv_dw", "depthwise.conv"),
    (r"bn_dw", "depthwise.bn"),
    (r"dw_rpr_conv\.(\d+)\.conv", r"depthwise.branches.\1.conv"),
    (r"dw_rpr_conv\.(\d+)\.bn1?", r"depthwise.branches.\1.bn"),
    (r"dw_rpr_scale\.conv", "depthwise.scale.conv"),
    (r"dw_rpr_scale\.bn1?", "depthwise.scale.bn"),
    (r"shortcut\.0", "shortcut.depthwise.conv"),
    (r"shortcut\.1", "shortcut.depthwise.bn"),
    (r"shortcut\.2", "shortcut.pointwise.conv"),
    (r"shortcut\.3", "shortcut.pointwise.bn"),
    *SE,
)
INVERTED_RESIDUAL = (
    (r"conv_pw", "expand.primary.conv"),
    (r"bn1", "expand.primary.bn"),
    (r"conv_dw", "depthwise.conv"),
    (r"bn2", "depthwise.bn"),
    (r"conv_pwl", "project.primary.conv"),
    (r"bn3", "project.primary.bn"),
    (r"dw_start", "start"),  # these four: MobileNetV4's universal inverted bottleneck
    (r"pw_exp", "expand.primary"),
    (r"dw_mid", "depthwise"),
    (r"pw_proj", "project.primary"),
)
DEPTHWISE_SEPARABLE = (
    (r"conv_dw", "depthwise.conv"),
    (r"bn1", "depthwise.bn"),
    (r"conv_pw", "project.primary.conv"),
    (r"bn2", "project.primary.bn"),
)
CONV_BLOCK = ((r"conv", "primary.conv"), (r"bn1", "primary.bn"))
LAST_CONV = ((r"conv", "conv"), (r"bn1", "bn"))
LITE_BLOCK = (
    (r"_expand_conv", "expand.primary.conv"),
    (r"_bn0", "expand.primary.bn"),
    (r"_depthwise_conv", "depthwise.conv"),
    (r"_bn1", "depthwise.bn"),
    (r"_project_conv", "project.primary.conv"),
    (r"_bn2", "project.primary.bn"),
)
AROUND_LITE = (
    (r"_conv_stem", "stem.conv"),
    (r"_bn0", "stem.bn"),
    (r"_conv_head", "head.conv.conv"),
    (r"_bn1", "head.conv.bn"),
    (r"_fc", "head.classifier.linear"),
)
AROUND_TIMM = ((r"conv_stem", "stem.conv"), (r"bn1", "stem.bn"), (r"classifier", "head.classifier.linear"))
HEAD_HIDDEN = ((r"conv_head", "head.hidden.linear"), (r"norm_head", "head.hidden.bn"))
HEAD_CONV = ((r"conv_head", "head.conv.conv"), (r"bn2", "head.conv.bn"))

Rules = tuple[tuple[str, str], ...]


def translate(weights: Mapping[str, Tensor], arch: Arch) -> dict[str, Tensor]:
    """`weights` under the names of ``build(arch)``; names that mean nothing to us are kept, for a clear message later.

    1x1 convolutions that stand for linear layers are reshaped.
    """
    if any(name.startswith("stages.") for name in weights):
        return dict(weights)
    is_lite = any(name.startswith("_conv_stem.") for name in weights)
    is_ghost = any(".ghost1." in name for name in weights)
    head: Rules = HEAD_HIDDEN if arch.head.hidden else HEAD_CONV
    if arch.dense is not None:  # the classifier has no place there, but is known by its name
        head = HEAD_HIDDEN + HEAD_CONV
    around = AROUND_LITE if is_lite else AROUND_TIMM + head
    blocks = [(f"stages.{i}.{j}", block) for i, stage in enumerate(arch.stages) for j, block in enumerate(stage.blocks)]
    number_of = {place: number for number, place in enumerate(sorted({_place(name) for name in weights} - {()}))}
    translated = {}
    for name, tensor in weights.items():
        place = _place(name)
        part = re.sub(r"^_?blocks\.(\d+\.)+", "", name)
        if not place:
            ours = _rename(name, around)
        elif number_of[place] < len(blocks):
            prefix, block = blocks[number_of[place]]
            rules = LITE_BLOCK if is_lite else GHOST_BLOCK if is_ghost else _timm_rules(block)
            ours = f"{prefix}.{_rename(part, rules)}"
        else:  # the 1x1 convolution that timm counts as a last block
            ours = f"head.conv.{_rename(part, LAST_CONV)}"
        is_linear = ours in ("head.hidden.linear.weight", "head.classifier.linear.weight")
        translated[ours] = tensor.flatten(1) if is_linear else tensor
    return translated


def count_branches(weights: Mapping[str, Tensor]) -> int:
    """Number of parallel convolutions in the weights of a training form; 0 for any other network."""
    pattern = re.compile(r"\.primary(?:_rpr_conv|\.branches)\.(\d+)\.conv\.weight$")
    return max((int(match[1]) + 1 for name in weights if (match := pattern.search(name))), default=0)


def _place(name: str) -> tuple[int, ...]:
    """Numbers of the block that a name belongs to, () outside the blocks."""
    match = re.match(r"blocks\.(\d+)\.(\d+)\.|_blocks\.(\d+)\.", name)
    return tuple(int(number) for number in match.groups() if number) if match else ()


def _timm_rules(block: Block) -> Rules:
    if block.kind == "conv":
        return CONV_BLOCK
    return INVERTED_RESIDUAL + SE if block.mid else DEPTHWISE_SEPARABLE + SE


def _rename(name: str, rules: Rules) -> str:
    for theirs, ours in rules:
        renamed, count = re.subn(rf"^{theirs}(?=\.)", ours, name)
        if count:
            return renamed
    return name

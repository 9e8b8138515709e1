"""The exported file equals the network in torch, for every preset and every lowering, and is free of idle nodes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from ghostfit.arch import Arch, Block, Head, Stage, Stem
from ghostfit.export.lower import LOWERINGS, Lowering
from ghostfit.export.onnx import to_onnx
from ghostfit.nn.build import Network, build
from ghostfit.presets import list_presets, preset
from ghostfit.runtime.backends import open_backend

FORMS = {
    **LOWERINGS,
    "all split": Lowering(ghost="split"),
    "all repeated": Lowering(ghost="repeat", block=4),
    "mixed": Lowering(
        ghost="split", block=8, forms=(("stages.1.0.project", "concat"), ("stages.0.0.expand", "repeat"))
    ),
}


def gap(network: Network, model: bytes, batch: int = 1) -> float:
    """Largest difference from torch, as a share of the range of the outputs."""
    arch = network.arch
    x = torch.randn(batch, arch.in_channels, *arch.size_hw, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = network(x).numpy()
    got = open_backend("onnxruntime", model).run(x.numpy())["logits"]
    return float(np.abs(got - wanted).max() / np.ptp(wanted))


def operations(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("name", list_presets())
def test_file_equals_network(name, settled):
    network = settled(preset(name, num_classes=11, size_hw=(48, 48)))
    for label in ("plain", "split16", "concat16"):
        assert gap(network, to_onnx(network, lowering=label)) < 1e-4, label


@pytest.mark.parametrize("size_hw", [(32, 32), (40, 72)], ids=str)
@pytest.mark.parametrize("label", FORMS)
@pytest.mark.parametrize("name", ["ghostnet_050", "ghostnetv3_050"])
def test_lowerings_are_equal(name, label, size_hw, settled):
    network = settled(preset(name, num_classes=11, size_hw=size_hw))
    model = to_onnx(network, lowering=FORMS[label])
    onnx.checker.check_model(model, full_check=True)
    assert gap(network, model) < 1e-4


@pytest.mark.parametrize("label", FORMS)
@pytest.mark.parametrize("act", ["relu", "relu6", "hard_swish", "silu"])
def test_odd_ghost_modules(act, label, settled):
    """Ratios 3 and 4, widths that cut the last cheap maps, every activation, shortcuts between different orders."""
    block = Block(mid=22, ratio=4, act=act, cheap_kernel=5, se=6, dfc=True, start_kernel=3)
    stages = (
        Stage(out=8, blocks=(block, block), project_ratio=3),
        Stage(out=8, blocks=(block,), project_ratio=2),
        Stage(out=8, blocks=(Block(mid=13, ratio=2, act=act, mid_act=False),), project_ratio=1),
        Stage(out=11, blocks=(Block(mid=22, ratio=2, stride=2, shortcut_kernel=3, act=act), block), project_ratio=2),
        Stage(out=9, blocks=(Block(kind="conv", kernel=3, stride=2, act=act), Block(act=act))),
        Stage(out=14, blocks=(Block(kind="conv", stride=2, act=act), Block(kind="conv", act=act)), project_ratio=3),
    )
    head = Head(conv=20, hidden=12, act=act)
    arch = Arch(Stem(out=8, act=act), stages, head, num_classes=3, size_hw=(28, 20), in_channels=2)
    network = settled(arch)
    assert gap(network, to_onnx(network, lowering=FORMS[label])) < 1e-4


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 45)], ids=str)
def test_same_padding_goes_into_the_convolutions(size_hw, settled):
    network = settled(preset("efficientnet_lite0", num_classes=3, size_hw=size_hw))
    model = to_onnx(network)
    assert gap(network, model) < 1e-4
    assert "Pad" not in operations(model)


def test_training_form_is_deployed_first(settled):
    arch = preset("ghostnetv3_050", num_classes=5, size_hw=(32, 32))
    training = settled(arch.replace(branches=3))
    model = to_onnx(training)
    assert gap(training, model) < 1e-4
    assert operations(model) == operations(to_onnx(build(arch)))


def test_exporting_leaves_the_network_alone(settled):
    network = settled(preset("ghostnet_050", num_classes=5, size_hw=(32, 32))).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    to_onnx(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("label", LOWERINGS)
def test_no_idle_nodes(label):
    network = build(preset("ghostnetv2_100", num_classes=5, size_hw=(224, 224)), is_fused=True)
    kinds = operations(to_onnx(network, lowering=label))
    assert not {"Slice", "Identity", "Pad", "Cast", "Constant", "BatchNormalization", "Dropout"} & set(kinds)
    assert ("Concat" in kinds) == (label != "all split")


def test_split_form_has_no_concatenation():
    network = build(preset("ghostnet_050", num_classes=5, size_hw=(64, 64)), is_fused=True)
    kinds = operations(to_onnx(network, lowering=Lowering(ghost="split")))
    assert kinds["Concat"] == 0
    assert kinds["Add"] > 30


def test_names_tell_the_block():
    network = build(preset("ghostnet_050", num_classes=5, size_hw=(32, 32)), is_fused=True)
    graph = onnx.load_from_string(to_onnx(network, lowering="plain")).graph
    names = [node.name for node in graph.node]
    assert {"/stem/Conv", "/stages.1.0/expand/primary/Conv", "/stages.1.0/project/Concat"} <= set(names)
    assert len(names) == len(set(names))
    assert all(node.output[0] == node.name for node in graph.node[:-1])


@pytest.mark.parametrize("batch", [1, 3])
def test_open_batch(batch, settled):
    network = settled(preset("ghostnetv2_100", num_classes=5, size_hw=(40, 40)))
    assert gap(network, to_onnx(network, batch="dynamic"), batch) < 1e-4


def test_another_size_than_the_arch_says(settled):
    network = settled(preset("ghostnet_050", num_classes=5, size_hw=(32, 32)))
    model = to_onnx(network, size_hw=(64, 48))
    assert open_backend("onnxruntime", model).input_shape == (1, 3, 64, 48)


def test_metadata_tells_arch_and_lowering():
    arch = preset("ghostnet_050", num_classes=5, size_hw=(32, 32))
    model = onnx.load_from_string(to_onnx(build(arch, is_fused=True)))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["arch_id"] == arch.id
    assert '"ghost": "split"' in metadata["lowering"]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"lowering": "dense"}, "allowed: plain, split16"), ({"batch": 0}, "allowed: 1 or more")],
)
def test_wrong_options_are_explained(given, message):
    network = build(preset("ghostnet_050", num_classes=5, size_hw=(32, 32)), is_fused=True)
    with pytest.raises(ValueError, match=message):
        to_onnx(network, **given)


@pytest.mark.parametrize("fields", [{"ghost": "dense"}, {"scale": "none"}, {"block": 0}, {"forms": (("a", "b"),)}])
def test_wrong_lowering_is_explained(fields):
    with pytest.raises(ValueError, match="allowed"):
        Lowering(**fields)


@pytest.mark.parametrize("lowering", FORMS.values(), ids=FORMS)
def test_lowering_survives_json(lowering):
    assert Lowering.from_dict(lowering.to_dict()) == lowering


@pytest.mark.slow
def test_equals_the_export_of_torch(settled, tmp_path):
    """The exporter of torch agrees, so that our writer and our comparison are not wrong together."""
    pytest.importorskip("onnxscript")
    network = settled(preset("ghostnetv2_100", num_classes=5, size_hw=(64, 64)))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    path = tmp_path / "torch.onnx"
    torch.onnx.export(network, (x,), path, input_names=["image"], output_names=["logits"], external_data=False)
    theirs = open_backend("onnxruntime", path).run(x.numpy())["logits"]
    ours = open_backend("onnxruntime", to_onnx(network)).run(x.numpy())["logits"]
    assert np.abs(ours - theirs).max() < 1e-4 * np.ptp(theirs)

"""Dense networks as files: equal to torch in every lowering, certified output by output, shipped as bundles."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem
from ghostfit.export.agreement import compare_class_maps, compare_objects
from ghostfit.export.export import export
from ghostfit.export.lower import LOWERINGS, Lowering
from ghostfit.export.onnx import to_onnx
from ghostfit.export.parity import ParityError
from ghostfit.nn.build import Network
from ghostfit.presets import preset
from ghostfit.runtime.backends import open_backend
from ghostfit.runtime.bundle import open_bundle
from ghostfit.vision.placement import Placement
from ghostfit.vision.prepare import Prepare

NAMES = ("cat", "dog", "fox")
FORMS = {**LOWERINGS, "all split": Lowering(ghost="split"), "all repeated": Lowering(ghost="repeat", block=4)}
DENSE = {
    "detect": Dense("detect", width=32),
    "narrow": Dense("detect", width=20, ratio=2, expand=1, head_depth=0, strides=(16, 32)),
    "instance": Dense("instance", width=32, ratio=2, head_depth=1),
    "nms free": Dense("detect", width=20, strides=(16, 32), nms_free=True),
    "instance, nms free": Dense("instance", width=16, head_depth=1, nms_free=True),
    "segment": Dense("segment", width=64, expand=1),
    "fine": Dense("segment", width=64, ratio=2, strides=(4, 8, 16, 32)),
}
SMALL = Arch(
    stem=Stem(8),
    stages=(
        Stage(12, (Block(mid=16, stride=2), Block(mid=16))),
        Stage(20, (Block(mid=24, stride=2, shortcut_kernel=3), Block(mid=24, ratio=2)), project_ratio=2),
        Stage(24, (Block(mid=32, stride=2),)),
        Stage(28, (Block(mid=32, stride=2, se=8, act="hard_swish"),)),
    ),
    head=Head(),
    num_classes=3,
)


@pytest.fixture
def network_of(settled):
    """A network whose predictions have the size of a trained one's."""

    def make(name: str, size_hw: tuple[int, int] = (64, 64), backbone: Arch = SMALL, seed: int = 0) -> Network:
        network = settled(backbone.replace(size_hw=size_hw).as_dense(DENSE[name]), seed)
        with torch.no_grad():
            for key, weight in network.named_parameters():
                if key.endswith(".conv.weight") and any(part in key for part in ("scores", "coefficients", "classes")):
                    weight.normal_(0, 0.3)
        return network

    return make


def gaps(network: Network, model: bytes, batch: int = 1) -> dict[str, float]:
    arch = network.arch
    x = torch.randn(batch, arch.in_channels, *arch.size_hw, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = [output.numpy() for output in network(x)]
    got = open_backend("onnxruntime", model).run(x.numpy())
    assert tuple(got) == arch.output_names
    assert [value.shape for value in got.values()] == [value.shape for value in wanted]
    pairs = zip(got.items(), wanted, strict=True)
    return {name: float(np.abs(value - one).max() / np.ptp(one)) for (name, value), one in pairs}


@pytest.mark.parametrize("size_hw", [(64, 96), (45, 77)], ids=str)
@pytest.mark.parametrize("name", DENSE)
def test_file_equals_network_in_every_lowering(name, size_hw, network_of):
    network = network_of(name, size_hw)
    for label, lowering in FORMS.items():
        model = to_onnx(network, lowering=lowering)
        onnx.checker.check_model(model, full_check=True)
        assert max(gaps(network, model).values()) < 1e-4, label


@pytest.mark.parametrize("backbone", ["ghostnetv3_050", "mobilenetv4_conv_small", "efficientnet_lite0"])
@pytest.mark.parametrize("name", ["instance", "segment"])
def test_published_backbones(name, backbone, network_of):
    network = network_of(name, (64, 64), preset(backbone, num_classes=3))
    assert max(gaps(network, to_onnx(network)).values()) < 1e-4


@pytest.mark.parametrize("name", ["instance", "segment"])
def test_open_batch(name, network_of):
    network = network_of(name)
    model = to_onnx(network, batch="dynamic")
    assert max(gaps(network, model, batch=3).values()) < 1e-4
    shape = onnx.load_from_string(model).graph.output[0].type.tensor_type.shape
    assert shape.dim[0].dim_param == "N"


def test_scores_and_boxes_meet_nowhere(network_of):
    """Each output has a scale of its own in int8: behind the trunk no node reads both."""
    graph = onnx.load_from_string(to_onnx(network_of("instance"))).graph
    inputs_of = {node.output[0]: node.input for node in graph.node}
    reached = {}
    for output in graph.output:
        waiting, seen = [output.name], set()
        while waiting:
            name = waiting.pop()
            if name in inputs_of and name not in seen:
                seen.add(name)
                waiting += inputs_of[name]
        reached[output.name] = {name for name in seen if name.startswith("/head") and "trunk" not in name} | {
            output.name
        }
    assert not reached["scores"] & reached["boxes"] and not reached["boxes"] & reached["coefficients"]


def test_sums_of_the_neck_need_no_copies(network_of):
    network = network_of("detect")
    names = [node.name for node in onnx.load_from_string(to_onnx(network, lowering="split16")).graph.node]
    assert not [name for name in names if "arrange" in name]


@pytest.mark.parametrize("name", DENSE)
def test_bundle(name, network_of, photos, tmp_path):
    network = network_of(name)
    task = network.arch.task
    decode = {} if task == "segment" else {"score_threshold": 0.4, "iou_threshold": 0.5}
    prepare = Prepare(size_hw=(64, 64), resize="letterbox")
    path = export(
        network, tmp_path / "a.ghost", class_names=NAMES, images=photos, prepare=prepare, decode=decode,
        lowering="split16",
    )  # fmt: skip
    manifest = open_bundle(path).manifest
    assert manifest.task == task and manifest.outputs == network.arch.output_names
    assert Arch.from_dict(manifest.arch) == network.arch
    if task != "segment":
        assert (manifest.decode.score_threshold, manifest.decode.iou_threshold) == (0.4, 0.5)
        assert manifest.decode.strides == network.arch.dense.strides
        assert manifest.decode.nms is not network.arch.dense.nms_free
        assert manifest.parity["decoded"]["num_objects"] > 0
    assert manifest.parity["passed"] and set(manifest.parity["raw"]["outputs"]) == set(network.arch.output_names)
    stages = {stage["name"]: stage["max_rel"] for stage in manifest.parity["stages"]}
    assert any(stage.startswith("neck.") for stage in stages) and max(stages.values()) < 1e-4


@pytest.mark.parametrize(
    ("name", "weight", "where"),
    [
        ("detect", "/neck/down/0/pointwise/primary/Conv.weight", r"neck\.bottom_up\.0"),
        ("detect", "/head/levels/3/boxes/Conv.bias", "head"),
        ("instance", "/head/prototypes/join/depthwise/Conv.bias", "head"),
        ("segment", "/neck/context/bins/1/Conv.bias", r"neck\.blocks\.2"),
    ],
)
def test_a_changed_weight_is_found_and_located(name, weight, where, network_of, photos, tmp_path, monkeypatch):
    network = network_of(name)
    proto = onnx.load_from_string(to_onnx(network, lowering="plain"))
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == weight)
    values = onnx.numpy_helper.to_array(tensor) + np.float32(1)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, weight))
    monkeypatch.setattr("ghostfit.export.export.to_onnx", lambda *args, **kwargs: proto.SerializeToString())
    prepare = Prepare(size_hw=(64, 64))
    with pytest.raises(ParityError, match=f"differs from the network .* first after {where}"):
        export(
            network, tmp_path / "a.ghost", class_names=NAMES, images=photos, prepare=prepare, lowering="plain"
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("detect", {"temperature": 2.0}, "temperature, threshold for a network of the task 'detect'"),
        ("detect", {"decode": {"strides": (8,)}}, "strides for a network of the task 'detect'"),
        ("segment", {"decode": {"score_threshold": 0.5}}, "'segment'; allowed: none"),
    ],
)
def test_settings_of_another_task_are_explained(name, given, message, network_of, photos, tmp_path):
    settings = {"class_names": NAMES, "images": photos, "prepare": Prepare(size_hw=(64, 64)), "lowering": "plain"}
    with pytest.raises(ValueError, match=message):
        export(network_of(name), tmp_path / "a.ghost", **settings, **given)


PLACEMENT = Placement(image_hw=(32, 32), input_hw=(32, 32), scale_xy=(1, 1), offset_xy=(0, 0))


def detections(score: float, class_id: int = 0, side: float = 6.0) -> dict[str, np.ndarray]:
    """One box about the point of stride 32, two classes."""
    scores = np.full((1, 1, 2), -9, np.float32)
    scores[0, 0, class_id] = score
    return {"scores": scores, "boxes": np.full((1, 1, 4), side, np.float32)}


@pytest.mark.parametrize(
    ("other", "num_different"),
    [
        (detections(1.0), 0),
        (detections(1.0, side=5.5), 0),
        (detections(1.0, class_id=1), 1),
        (detections(1.0, side=3.0), 1),
        (detections(-9.0), 1),
        (detections(0.0), 0),  # just below the threshold, as rounding may leave it
    ],
)
def test_objects_agree_up_to_ties(other, num_different):
    compare = compare_objects(
        ("a", "b"), [PLACEMENT], strides=(32,), size_hw=(32, 32), score_threshold=0.5, iou_threshold=0.6
    )
    one = detections(1.0 if other["scores"].max() != 0 else 1e-5)
    for pair in ((one, other), (other, one)):
        assert compare(*pair, 1e-4)["num_different"] == num_different


def test_masks_must_agree_as_well():
    compare = compare_objects(
        ("a", "b"), [PLACEMENT], strides=(32,), size_hw=(32, 32), score_threshold=0.5, iou_threshold=0.6
    )
    prototypes = np.zeros((1, 1, 8, 8), np.float32)
    prototypes[0, 0, :, 4:] = 9
    one = {**detections(1.0), "coefficients": np.ones((1, 1, 1), np.float32), "prototypes": prototypes - 4}
    other = {**one, "coefficients": -one["coefficients"]}
    assert compare(one, one, 1e-4)["num_different"] == 0
    assert compare(one, other, 1e-4)["num_different"] == 1


def test_class_maps_agree_up_to_a_border():
    compare = compare_class_maps(
        ("a", "b"), [Placement(image_hw=(64, 64), input_hw=(64, 64), scale_xy=(1, 1), offset_xy=(0, 0))]
    )
    logits = np.zeros((1, 2, 64, 64), np.float32)
    logits[0, 1, :, 32:] = 1
    logits[0, 0, :, :32] = 1
    other, wrong = logits.copy(), logits.copy()
    other[0, 1, :4, 31] = 2
    wrong[0, 1, :, 31] = 2
    assert compare({"classes": logits}, {"classes": other}, 1e-4)["num_different"] == 0
    assert compare({"classes": logits}, {"classes": wrong}, 1e-4)["num_different"] == 1

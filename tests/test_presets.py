"""Contract of every preset: the published size, any classes, any input; and equality with timm where timm has it."""

from __future__ import annotations

import pytest

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.presets import list_presets, preset

# Millions of parameters and MACs at 224: the papers' tables, with timm 1.0.31 for the digits; V3 in the form that runs.
PUBLISHED = {
    "ghostnet_050": (2.587, 42),
    "ghostnet_100": (5.183, 141),
    "ghostnet_130": (7.359, 227),
    "ghostnetv2_100": (6.157, 167),
    "ghostnetv2_130": (8.960, 269),
    "ghostnetv2_160": (12.393, 399),
    "ghostnetv3_050": (2.858, 50),
    "ghostnetv3_100": (6.157, 167),
    "ghostnetv3_130": (8.960, 269),
    "ghostnetv3_160": (12.393, 399),
    "mobilenetv3_small_100": (2.543, 57),
    "mobilenetv3_large_100": (5.483, 217),
    "mobilenetv4_conv_small": (3.774, 186),
    "efficientnet_lite0": (4.652, 385),
}
V3_TRAINING_PARAMS = {
    "ghostnetv3_050": 3.395,
    "ghostnetv3_100": 8.129,
    "ghostnetv3_130": 12.218,
    "ghostnetv3_160": 17.276,
}


def test_every_preset_is_listed_with_its_published_size():
    assert sorted(PUBLISHED) == sorted(list_presets())


@pytest.mark.parametrize("name", list_presets())
def test_published_size(name):
    params_m, macs_m = PUBLISHED[name]
    counts = count(preset(name))
    assert counts.params / 1e6 == pytest.approx(params_m, abs=5e-4)
    assert counts.macs / 1e6 == pytest.approx(macs_m, abs=0.6)


@pytest.mark.parametrize("name", V3_TRAINING_PARAMS)
def test_training_form_of_v3_has_the_published_size(name):
    params = count(preset(name).replace(branches=3)).params
    assert params / 1e6 == pytest.approx(V3_TRAINING_PARAMS[name], abs=1e-3)


@pytest.mark.parametrize("name", list_presets())
def test_any_classes_size_and_channels(name):
    arch = preset(name, num_classes=7, size_hw=(32, 48), in_channels=1)
    assert (arch.num_classes, arch.size_hw, arch.in_channels) == (7, (32, 48), 1)
    assert Arch.from_json(arch.to_json()) == arch
    assert count(arch).by_block[-1].out == (7, 1, 1)


def test_unknown_name_tells_what_is_close():
    with pytest.raises(ValueError, match=r"no preset named 'mobilenetv3_smal'; did you mean mobilenetv3_small_100"):
        preset("mobilenetv3_smal")
    with pytest.raises(ValueError, match=r"allowed: ghostnet_050, .*efficientnet_lite0"):
        preset("?")

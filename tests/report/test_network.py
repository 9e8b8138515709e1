from __future__ import annotations

from typing import Literal
from xml.etree import ElementTree

import pytest

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem
from ghostfit.counting import count
from ghostfit.presets import list_presets, preset
from ghostfit.report import draw_network

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("width", [900, 360])
def test_every_preset_is_drawn(name: str, width: int) -> None:
    arch = preset(name)
    root = ElementTree.fromstring(draw_network(arch, width=width))
    assert root.get("viewBox", "").split()[2] == str(width)
    rows = [group for group in root if group.tag == f"{SVG}g"]
    assert len(rows) == 2 + sum(len(stage.blocks) for stage in arch.stages)
    assert all(row.find(f"{SVG}title") is not None for row in rows)


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("width", [900, 360])
def test_nothing_sticks_out(name: str, width: int) -> None:
    root = ElementTree.fromstring(draw_network(preset(name), width=width, time_ms={"stem": 1.0}))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width + 2


@pytest.mark.parametrize("task", ["detect", "instance", "segment"])
@pytest.mark.parametrize("width", [900, 360])
def test_a_neck_and_its_head_are_drawn(task: Literal["detect", "instance", "segment"], width: int) -> None:
    arch = preset("ghostnet_100", size_hw=(96, 160)).as_dense(Dense(task, ratio=2))
    drawing = draw_network(arch, width=width, time_ms={"neck": 1.0})
    words = texts(drawing)
    assert {"Neck", "Head", "12×20", "out /2"} <= set(words)
    assert f"strides {', '.join(map(str, arch.dense.strides))}" in words
    assert ("prototypes 32" in words) == (task == "instance")
    for box in ElementTree.fromstring(drawing).iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width + 2


def test_what_a_block_is_made_of() -> None:
    block = Block(mid=64, stride=2, start_kernel=7, kernel=5, ratio=4, se=8, dfc=True)
    arch = Arch(Stem(16), (Stage(24, (block, Block(kind="conv"))),), Head(conv=96, hidden=40), num_classes=7)
    shown = texts(draw_network(arch))
    assert [t for t in shown if t in ("7×7", "ghost /4", "DFC", "5×5 ↓2", "SE 8", "dense 3×3", "classes 7")] == [
        "dense 3×3",
        "7×7",
        "ghost /4",
        "DFC",
        "5×5 ↓2",
        "SE 8",
        "dense 3×3",
        "classes 7",
    ]
    assert {"64", "24", "96", "56×56", "conv 96", "hidden 40"} <= set(shown)
    assert "time" not in shown


def test_times_get_a_column() -> None:
    arch = preset("ghostnet_050")
    times = {cost.name: 1.0 for cost in count(arch).by_block}
    shown = texts(draw_network(arch, time_ms=times))
    assert "time" in shown
    assert shown.count(f"{100 / len(times):.1f}%") >= len(times)


@pytest.mark.parametrize("times", [{"stem": 0.0}, {"other": 3.0}])
def test_odd_times(times: dict[str, float]) -> None:
    ElementTree.fromstring(draw_network(preset("ghostnet_050"), time_ms=times))


def test_ratio_of_one_is_grey_and_others_are_striped() -> None:
    plain = Arch(Stem(16), (Stage(24, (Block(mid=64),)),), Head())
    ghost = Arch(Stem(16), (Stage(24, (Block(mid=64, ratio=2),)),), Head())
    count = {arch.id: draw_network(arch).count(f"url(#cheap-{arch.id}") for arch in (plain, ghost)}
    assert count == {plain.id: 1, ghost.id: 2}  # the legend has one

"""The graph writer: maps spread over tensors, filled blocks, enlargement as torch does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ghostfit.export.graph import MAX_CHOICE, GraphWriter, Maps, Output, nearest_index
from ghostfit.runtime.backends import open_backend


def run(writer: GraphWriter, maps: Maps, x: np.ndarray, channels: int) -> np.ndarray:
    model = writer.finish({"y": Output(maps.parts[0].tensor, (1, channels, *maps.size_hw))}, {})
    return open_backend("onnxruntime", model).run(x)["y"]


@pytest.mark.parametrize("size", range(1, 30))
def test_nearest_index_is_that_of_torch(size):
    for enlarged in range(size, 3 * size + 2):
        wanted = F.interpolate(torch.arange(size).float().reshape(1, 1, 1, -1), size=(1, enlarged), mode="nearest")
        assert nearest_index(size, enlarged).tolist() == wanted.long().flatten().tolist()


@pytest.mark.parametrize(
    ("small", "large"), [((4, 2), (8, 6)), ((3, 3), (7, 7)), ((1, 2), (1, 5)), ((22, 20), (45, 41))]
)
def test_enlarge_is_interpolate(small, large):
    x = np.random.default_rng(0).standard_normal((1, 5, *small), np.float32)
    writer = GraphWriter()
    maps = writer.enlarge("/up", writer.input("image", channels=5, size_hw=small, batch=1), large)
    wanted = F.interpolate(torch.from_numpy(x), size=large, mode="nearest").numpy()
    assert np.array_equal(run(writer, maps, x, 5), wanted)
    assert (np.prod([*small, *large]) > MAX_CHOICE) == (small == (22, 20)), "both ways are tested"


@pytest.mark.parametrize("cells", [1, 2, 4])
@pytest.mark.parametrize("size_hw", [(8, 12), (7, 10), (3, 2)], ids=str)
def test_pool_is_adaptive_pooling(size_hw, cells):
    x = np.random.default_rng(0).standard_normal((1, 5, *size_hw), np.float32)
    writer = GraphWriter()
    maps = writer.pool("/pool", writer.input("image", channels=5, size_hw=size_hw, batch=1), cells)
    wanted = F.adaptive_avg_pool2d(torch.from_numpy(x), cells).numpy()
    assert maps.size_hw == (cells, cells)
    assert np.abs(run(writer, maps, x, 5) - wanted).max() < 1e-6


def test_parts_orders_and_filling_do_not_matter():
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 4, 6, 6), np.float32)
    first, second = random.standard_normal((7, 4, 3, 3), np.float32), random.standard_normal((2, 7, 1, 1), np.float32)
    bias = random.standard_normal(7).astype(np.float32)
    results = []
    for layout in (None, ((6, 4, -1, 0), (1, 2, 3, 5, -1))):
        writer = GraphWriter()
        image = writer.input("image", channels=4, size_hw=(6, 6), batch=1)
        maps = writer.conv("/a", image, first, bias, act="relu", pads=(1, 1, 1, 1), layout=layout)
        maps = writer.add("/c", maps, writer.arrange("/b", maps, maps.layout[::-1]))
        results.append(run(writer, writer.conv("/d", maps, second, None), x, 2))
    assert np.abs(results[0] - results[1]).max() < 1e-5


def test_unknown_activation():
    writer = GraphWriter()
    with pytest.raises(ValueError, match="'gelu' has no ONNX form"):
        writer.activation("/x", "image", "gelu")

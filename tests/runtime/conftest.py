"""Small networks and bundles to run, written with onnx.helper."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ghostfit
from ghostfit.runtime.bundle import write_bundle

onnx = pytest.importorskip("onnx")


def make_network(
    *, batch: int | str = 1, size_hw: tuple[int, int] = (8, 8), num_classes: int = 3, seed: int = 0
) -> bytes:
    """A stem, a block and a classifier with random weights; nodes and their outputs are named as exports name them."""
    random = np.random.default_rng(seed)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = {
        "stem.weight": random.normal(size=(8, 3, 3, 3)),
        "stages.0.0.weight": random.normal(size=(8, 1, 3, 3)),
        "head.weight": random.normal(size=(num_classes, 8)),
        "head.bias": random.normal(size=num_classes),
    }
    node = lambda op, name, *inputs, **settings: helper.make_node(op, inputs, [name], name=name, **settings)  # noqa: E731
    pads = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        node("Conv", "/stem/Conv", "image", "stem.weight", **pads),
        node("Relu", "/stem/Relu", "/stem/Conv"),
        node("Conv", "/stages.0.0/depthwise/Conv", "/stem/Relu", "stages.0.0.weight", group=8, **pads),
        node("GlobalAveragePool", "/head/GlobalAveragePool", "/stages.0.0/depthwise/Conv"),
        node("Flatten", "/head/Flatten", "/head/GlobalAveragePool"),
        node("Gemm", "logits", "/head/Flatten", "head.weight", "head.bias", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", kind, [batch, 3, *size_hw])],
        [helper.make_tensor_value_info("logits", kind, [batch, num_classes])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def make_manifest(**changes: object) -> dict[str, object]:
    """A manifest for `make_network()`."""
    manifest = {
        "class_names": ["ant", "bee", "cat"],
        "prepare": {"size_hw": [8, 8], "resize": "crop", "crop_pct": 0.875},
        "network": "model.onnx",
        "decode": {"kind": "softmax", "temperature": 1.5, "threshold": 0.4},
    }
    return {**manifest, **changes}


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a fresh Python that imports the same ghostfit as this one, whatever the working directory is."""

    def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        path = os.pathsep.join([str(Path(ghostfit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def network() -> bytes:
    return make_network()


@pytest.fixture(params=["model.ghost", "model"], ids=["zip", "folder"])
def bundle_path(request: pytest.FixtureRequest, tmp_path: Path, network: bytes) -> Path:
    return write_bundle(tmp_path / request.param, make_manifest(), {"model.onnx": network})


@pytest.fixture(scope="session")
def new_network() -> Callable[..., bytes]:
    return make_network


@pytest.fixture(scope="session")
def new_manifest() -> Callable[..., dict[str, object]]:
    return make_manifest

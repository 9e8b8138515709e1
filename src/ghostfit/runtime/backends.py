"""What runs a network's file: one small interface, one entry in `BACKENDS` for each runtime.

A backend takes the bytes or the path of a network and answers a prepared batch with the raw outputs by name:
``open_backend("onnxruntime", model, threads=2).run(batch)["logits"]``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ghostfit.runtime.onnx_wire import check_self_contained


class Backend(Protocol):
    """An opened network. `input_shape` has None where any size goes; `runtime` and `version` name what runs it."""

    runtime: str
    version: str
    threads: int
    input_shape: tuple[int | None, ...]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Raw outputs by name of `batch` (N, C, H, W), float32. Raises ValueError when the network can't take it."""
        ...


def open_backend(name: str, model: bytes | str | Path, *, threads: int = 1) -> Backend:
    """The network in `model` (its bytes, or a path) opened by the runtime `name`.

    Raises ValueError for a runtime that is unknown or not installed, and for a damaged or foreign file.
    """
    if name not in BACKENDS:
        raise ValueError(f"runtime {name!r}; allowed: {', '.join(BACKENDS)}")
    if threads < 1:
        raise ValueError(f"threads={threads}; it must be at least 1")
    if name not in installed_backends():
        raise ValueError(f"runtime {name!r} is not installed; install it with: pip install 'ghostfit[{name}]'")
    return BACKENDS[name](read_network(model), threads)


def read_network(model: bytes | str | Path) -> bytes:
    """Content of a network's file, given as it is or by its path. Raises ValueError when it is missing or damaged."""
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error
    check_self_contained(content)
    return content


def installed_backends() -> tuple[str, ...]:
    """Names of the runtimes that this machine can use, the default first."""
    return tuple(name for name in BACKENDS if _is_installed(name))


class OnnxRuntime:
    """ONNX Runtime on the CPU, all graph optimisations, `threads` threads inside an operator."""

    runtime = "onnxruntime"

    def __init__(self, model: bytes, threads: int, options: Mapping[str, Any] | None = None) -> None:
        """`options`: further attributes of ``SessionOptions``."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.log_severity_level = 3  # errors only; they are raised, too
        for name, value in (options or {}).items():
            setattr(settings, name, value)
        try:
            self.session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # the binding has an exception of its own for each kind of damage
            raise ValueError(f"ONNX Runtime refuses the network: {_one_line(error)}") from error
        self.version: str = onnxruntime.__version__
        self.threads = threads
        self.input_shape = tuple(side if isinstance(side, int) else None for side in _only_input(self.session).shape)
        self._input = _only_input(self.session).name
        self._outputs = [output.name for output in self.session.get_outputs()]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend.run`."""
        _check_batch(batch, self.input_shape)
        try:
            outputs = self.session.run(self._outputs, {self._input: batch})
        except Exception as error:
            raise ValueError(f"ONNX Runtime stopped: {_one_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))


class OpenVino:
    """OpenVINO on the CPU, one stream of `threads` threads, float32 throughout (some CPUs would take bfloat16)."""

    runtime = "openvino"

    def __init__(self, model: bytes, threads: int) -> None:
        with _without_telemetry():
            import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        try:
            network = core.compile_model(core.read_model(model, b""), "CPU", settings)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO refuses the network: {_one_line(error)}") from error
        if len(network.inputs) != 1:
            raise ValueError(f"the network has {len(network.inputs)} inputs; one image batch is what it may take")
        self.version: str = metadata.version("openvino")
        self.threads = threads
        shape = network.inputs[0].partial_shape
        self.input_shape = tuple(side.get_length() if side.is_static else None for side in shape)
        self._request = network.create_infer_request()
        self._outputs = [output.any_name for output in network.outputs]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend.run`."""
        _check_batch(batch, self.input_shape)
        try:
            results = self._request.infer([batch], share_inputs=True)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO stopped: {_one_line(error)}") from error
        return {name: np.array(results[number]) for number, name in enumerate(self._outputs)}


BACKENDS: Mapping[str, Callable[[bytes, int], Backend]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # blocked
        return False


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Importing OpenVINO reports to its makers; without this module it takes its own stub instead."""
    if "openvino_telemetry" in sys.modules:
        yield
        return
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # what an import of it then fails on
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]


def _only_input(session: Any) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        kinds = ", ".join(f"{entry.name} {entry.type}" for entry in inputs)
        raise ValueError(f"the network's inputs are {kinds}; one float32 image batch is what it may take")
    return inputs[0]


def _check_batch(batch: np.ndarray, shape: tuple[int | None, ...]) -> None:
    agrees = len(batch.shape) == len(shape) and all(
        want in (None, have) for have, want in zip(batch.shape, shape, strict=True)
    )
    if batch.dtype != np.float32 or not agrees:
        wanted = ", ".join("N" if side is None else str(side) for side in shape)
        raise ValueError(f"input of shape {batch.shape}, {batch.dtype}; the network takes ({wanted}), float32")


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

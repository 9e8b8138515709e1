"""The contract of every runtime that is installed: equal outputs, clear refusals."""

import numpy as np
import pytest

from ghostfit.runtime.backends import BACKENDS, installed_backends, open_backend, read_network

IMAGES = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)


@pytest.fixture(params=list(BACKENDS))
def runtime(request) -> str:
    if request.param not in installed_backends():
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_equal_the_reference(runtime, new_network, threads):
    """All runtimes against ONNX's own slow interpreter."""
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(new_network(batch="N"))
    backend = open_backend(runtime, new_network(batch="N"), threads=threads)
    outputs = backend.run(IMAGES)
    np.testing.assert_allclose(outputs["logits"], reference.run(None, {"image": IMAGES})[0], atol=2e-5)
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32


def test_a_backend_tells_what_it_is(runtime, network):
    backend = open_backend(runtime, network, threads=2)
    assert backend.runtime == runtime
    assert backend.version
    assert backend.threads == 2
    assert backend.input_shape == (1, 3, 8, 8)


def test_open_sizes_are_none(runtime, new_network):
    backend = open_backend(runtime, new_network(batch="N"))
    assert backend.input_shape == (None, 3, 8, 8)
    assert [len(backend.run(IMAGES[:n])["logits"]) for n in (1, 3, 2)] == [1, 3, 2]


def test_results_stay_when_the_next_batch_runs(runtime, network):
    backend = open_backend(runtime, network)
    first = backend.run(IMAGES[:1])["logits"]
    kept = first.copy()
    backend.run(IMAGES[1:2])
    np.testing.assert_array_equal(first, kept)


def test_a_network_from_a_path(runtime, network, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network)
    for given in (path, str(path)):
        expected = open_backend(runtime, network).run(IMAGES[:1])["logits"]
        np.testing.assert_array_equal(open_backend(runtime, given).run(IMAGES[:1])["logits"], expected)


@pytest.mark.parametrize(
    "batch", [IMAGES, IMAGES[0], IMAGES[:1].astype(np.float64), IMAGES[:1, :, :4], np.zeros((1, 8, 8, 3), np.float32)]
)
def test_wrong_inputs_are_refused(runtime, network, batch):
    with pytest.raises(ValueError, match=r"the network takes \(1, 3, 8, 8\), float32"):
        open_backend(runtime, network).run(batch)


def test_inputs_that_are_not_contiguous_are_read_right(runtime, network):
    backend = open_backend(runtime, network)
    turned = np.ascontiguousarray(IMAGES[:1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(backend.run(turned)["logits"], backend.run(IMAGES[:1])["logits"], atol=1e-6)


def broken(network: bytes) -> dict[str, bytes]:
    onnx = pytest.importorskip("onnx")
    unknown = onnx.load_from_string(network)
    unknown.graph.node[0].op_type = "Sorcery"
    dangling = onnx.load_from_string(network)
    dangling.graph.node[1].input[0] = "nothing"
    two = onnx.load_from_string(network)
    two.graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [1]))
    two.graph.node.append(onnx.helper.make_node("Relu", ["more"], ["more_out"]))
    two.graph.output.append(onnx.helper.make_tensor_value_info("more_out", 1, [1]))
    names = {"unknown": unknown, "dangling": dangling, "two": two}
    made = {name: model.SerializeToString() for name, model in names.items()}
    return {**made, "empty": b"", "text": b"hello, I am no network", "truncated": network[:-40]}


@pytest.mark.parametrize("name", ["unknown", "dangling", "two", "empty", "text", "truncated"])
def test_broken_networks_are_refused(runtime, network, name, capfd):
    with pytest.raises(ValueError, match=r"refuses|inputs|ONNX") as caught:
        open_backend(runtime, broken(network)[name])
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named(network, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="allowed: onnxruntime, openvino"):
        open_backend("tflite", network)
    with pytest.raises(ValueError, match="threads=0"):
        open_backend("onnxruntime", network, threads=0)
    with pytest.raises(ValueError, match=r"none\.onnx: No such file"):
        read_network(tmp_path / "none.onnx")
    monkeypatch.setattr("ghostfit.runtime.backends.installed_backends", lambda: ("onnxruntime",))
    with pytest.raises(ValueError, match=r"ghostfit\[openvino\]"):
        open_backend("openvino", network)


def test_openvino_reports_nothing_to_its_makers(network, tmp_path, run_python):
    pytest.importorskip("openvino._pyopenvino")
    (tmp_path / "model.onnx").write_bytes(network)
    code = (
        "import sys; from ghostfit.runtime.backends import open_backend; open_backend('openvino', sys.argv[1]);"
        "assert not any(name.startswith('openvino_telemetry') for name in sys.modules)"
    )
    done = run_python(code, tmp_path / "model.onnx", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]

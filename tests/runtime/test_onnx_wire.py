import contextlib

import numpy as np
import pytest

from ghostfit.runtime.onnx_wire import check_self_contained

onnx = pytest.importorskip("onnx")
EXTERNAL = onnx.TensorProto(
    name="w",
    data_type=1,
    dims=[4],
    data_location=1,
    external_data=[onnx.StringStringEntryProto(key="location", value="/etc/passwd")],
)


def model_of(graph: onnx.GraphProto) -> bytes:
    return onnx.helper.make_model(graph).SerializeToString()


def graph_with(tensor: onnx.TensorProto, place: str) -> onnx.GraphProto:
    if place == "initializer":
        return onnx.GraphProto(initializer=[tensor])
    if place == "sparse":
        return onnx.GraphProto(sparse_initializer=[onnx.SparseTensorProto(values=tensor)])
    if place == "constant":
        return onnx.GraphProto(node=[onnx.NodeProto(attribute=[onnx.AttributeProto(name="value", t=tensor)])])
    inner = onnx.AttributeProto(name="then_branch", g=graph_with(tensor, "constant"))
    return onnx.GraphProto(node=[onnx.NodeProto(op_type="If", attribute=[inner])])


@pytest.mark.parametrize("place", ["initializer", "sparse", "constant", "subgraph"])
def test_weights_in_other_files_are_found_wherever_they_hang(place):
    with pytest.raises(ValueError, match="another file"):
        check_self_contained(model_of(graph_with(EXTERNAL, place)))
    inside = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    check_self_contained(model_of(graph_with(inside, place)))


def test_weights_of_functions_are_looked_at(network):
    model = onnx.load_from_string(network)
    model.functions.add(name="f", domain="d").node.add().attribute.add(name="value").t.CopyFrom(EXTERNAL)
    with pytest.raises(ValueError, match="another file"):
        check_self_contained(model.SerializeToString())


def test_real_networks_pass_and_truncated_ones_do_not(network):
    check_self_contained(network)
    for length in range(1, 200, 7):
        with pytest.raises(ValueError, match=r"truncated|damaged"):
            check_self_contained(network[:-length])


def test_noise_never_crashes():
    random = np.random.default_rng(0)
    for length in range(200):
        with contextlib.suppress(ValueError):
            check_self_contained(random.bytes(length))


def test_nesting_is_bounded():
    graph = onnx.GraphProto(name="inner")
    for _ in range(20):
        graph = onnx.GraphProto(node=[onnx.NodeProto(attribute=[onnx.AttributeProto(g=graph)])])
    with pytest.raises(ValueError, match="nested deeper"):
        check_self_contained(model_of(graph))

"""A model is held once: its constants by the graph and by what onnxruntime gets, its proto without them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import kernels

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

LONG = np.arange(2048, dtype=np.float64).reshape(32, 64)


def _model() -> onnx.ModelProto:
    """x times constants of several dtypes, long and short, written in several ways, two of them in a branch."""
    initial = [
        numpy_helper.from_array(LONG.astype(np.float32), "w32"),
        numpy_helper.from_array(LONG.T.copy(), "w64"),
        helper.make_tensor("plain", TensorProto.FLOAT, (32, 64), LONG.ravel().tolist()),  # no raw bytes
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.float32(2), "two"),
    ]
    held = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(LONG.astype(np.float32) + 1, "k"))
    inner = helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(LONG.astype(np.float32) - 1, "b"))
    one = helper.make_graph([inner], "one", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, (32, 64))])
    other = helper.make_graph([helper.make_node("Neg", ["k"], ["c"])], "other", [],
                              [helper.make_tensor_value_info("c", TensorProto.FLOAT, (32, 64))])  # fmt: skip
    nodes = [
        held, helper.make_node("If", ["yes"], ["branch"], then_branch=one, else_branch=other),
        helper.make_node("Cast", ["w64"], ["w"], to=TensorProto.FLOAT), helper.make_node("MatMul", ["x", "w"], ["a"]),
        *(helper.make_node("MatMul", ["a", name], [f"of_{name}"]) for name in ("w32", "plain", "k", "branch")),
        helper.make_node("Sum", ["of_w32", "of_plain", "of_k", "of_branch"], ["sum"]), helper.make_node("Div", ["sum", "two"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 64)) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "held", ends[:1], ends[1:], initial), opset_imports=[helper.make_opsetid("", 17)],
                             ir_version=9)  # fmt: skip


def _wanted(x: np.ndarray) -> np.ndarray:
    a = x.astype(np.float64) @ LONG.T
    return a @ (4 * LONG) / 2  # 1 more and 1 less


def test_whole_model_is_given_back() -> None:
    given = _model()
    model = kernels.load(given.SerializeToString())
    assert onnx.ModelProto.FromString(model.source.serialised()) == given
    assert model.source.proto.ByteSize() < given.ByteSize() / 3  # what is written number by number stays
    x = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    for each in (model, pickle.loads(pickle.dumps(model))):
        assert np.abs(each(x) - _wanted(x)).max() <= 1e-5 * np.abs(_wanted(x)).max()
        assert onnx.ModelProto.FromString(each.source.serialised()) == given


def test_a_fault_in_planning_is_not_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX's checker, which says whether it is, sees the constants too."""

    def fault(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("kernels.network.planning.plan_graph", fault)
    with pytest.raises(KeyError, match="ours"):
        kernels.load(_model().SerializeToString())


def test_callers_proto_stays_whole() -> None:
    given = _model()
    before = given.SerializeToString()
    model = kernels.load(given)
    assert given.SerializeToString() == before
    assert model.source.serialised() == before


def test_constants_are_held_once() -> None:
    """The graph's arrays lie where the source has them."""
    model = kernels.load(_model().SerializeToString())
    held = [np.frombuffer(each, np.uint8) for each in model.source.numbers]
    assert len(held) == 4
    arrays = [value.data for node in model._graph.nodes for value in node.inputs if value is not None and value.data is not None]
    assert sum(any(np.shares_memory(each, one) for each in arrays) for one in held) >= 3  # the branch's lies in its own graph


def test_numbers_in_another_file_are_still_refused() -> None:
    given = _model()
    tensor = given.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")
    with pytest.raises(kernels.ProblemError, match="'w32' lie in another file"):
        kernels.load(given.SerializeToString())

"""Files that are damaged and nodes that no operator can be: one error of ours that names the node, whatever raised it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.operators.registry import OPERATORS, computed

onnx = pytest.importorskip("onnx")
X = np.ones((1, 2, 6, 6), np.float32)


def model(op: str, constants: Mapping[str, Any], order: str, **attributes: Any) -> Any:
    """x, one node called "node", y."""
    helper = onnx.helper
    node = helper.make_node(op, order.split(" "), ["y"], "node", **attributes)
    numbers = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X.shape)], [helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph([node], "test", *ends, numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ONES = np.ones((3, 2, 3, 3), np.float32)
CROP = "tf_crop_and_resize"
INVALID: dict[str, tuple[Any, ...]] = {
    "no inputs": ("BatchNormalization", {}, "x", {}),
    "strides that are text": ("Conv", {"w": ONES}, "x w", {"strides": "two"}),
    "weights of integers": ("Conv", {"w": ONES.astype(np.int64)}, "x w", {}),
    "an axis that is text": ("Softmax", {}, "x", {"axis": "last"}),
    "an attribute that must be there": ("GroupNormalization", {"a": np.ones(2, np.float32)}, "x a a", {}),
    "a type that there is not": ("Cast", {}, "x", {"to": 1 << 40}),
    "branches that are missing": ("If", {"c": np.array(True)}, "c", {}),
    "a negative repeat": ("Tile", {"r": np.array([1, 1, 1, -2])}, "x r", {}),
    "an index out of range": ("Gather", {"i": np.array([7])}, "x i", {"axis": 2}),
    "bounds of an odd shape": ("Clip", {"a": np.zeros((5, 1), np.float32)}, "x a", {}),
    "letters that are none": ("Einsum", {"w": ONES}, "x w", {"equation": "[b,cd->"}),
    # inputs that do not fit the first: compiled code would read past them, NumPy broadcast them
    "numbers for more channels": ("BatchNormalization", {"w": np.ones(3, np.float32)}, "x w w w w", {}),
    "numbers for one channel": ("InstanceNormalization", {"w": np.ones(1, np.float32)}, "x w w", {}),
    "numbers for another row": ("LayerNormalization", {"w": np.ones(3, np.float32)}, "x w", {}),
    "numbers for no group": ("GroupNormalization", {"w": np.ones(3, np.float32)}, "x w w", {"num_groups": 2}),
    "channels that do not divide": ("GroupNormalization", {"w": np.ones(2, np.float32)}, "x w w", {"num_groups": 4}),
    "taps that the node does not say": ("Conv", {"w": ONES}, "x w", {"kernel_shape": [1, 1]}),
    "repeats of fewer axes": ("Tile", {"r": np.array([2, 2])}, "x r", {}),
    "pads of fewer axes": ("Pad", {"p": np.array([1, 1])}, "x p", {}),
    "updates of another shape": ("ScatterND", {"i": np.array([[0]]), "u": ONES[:1]}, "x i u", {}),
    "an order that counts from the end": ("Transpose", {}, "x", {"perm": [0, 2, 1, -1]}),
    "an axis twice": ("ReduceMean", {}, "x", {"axes": [2, 3, -1]}),
    "scales of another axis": ("DequantizeLinear", {"q": np.ones((2, 3), np.uint8), "s": np.ones(2, np.float32)}, "q s", {}),
    "steps for fewer axes": ("Slice", {"b": np.array([0, 0]), "e": np.array([2, 2]), "s": np.array([1])}, "x b e b s", {}),
    "a region of fewer axes": (
        "Resize", {"r": np.ones(4, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}, "x r s", {"coordinate_transformation_mode": CROP},
    ),
    "a mode that there is not": ("Pad", {"p": np.array([0, 0, 9, 9, 0, 0, 9, 9])}, "x p", {"mode": "mirror"}),
}
STATED = {"p": np.array([0, 0, 9, 9, 0, 0, 9, 9]), "w": ONES, "s": np.array([1, 1, 2, 2], np.float32)}
WORDS = {
    "mode of a Pad": ("Pad", "x p", "mode"), "padding of a Conv": ("Conv", "x w", "auto_pad"),
    "mode of a Resize": ("Resize", "x  s", "mode"), "coordinates": ("Resize", "x  s", "coordinate_transformation_mode"),
    "rounding": ("Resize", "x  s", "nearest_mode"), "order of depth": ("DepthToSpace", "x", "mode"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_nodes_that_no_operator_can_be(name: str) -> None:
    op, constants, order, attributes = INVALID[name]
    with pytest.raises((kernels.ProblemError, kernels.RefusedError), match="node"):
        kernels.load(model(op, constants, order, **attributes))(X)


@pytest.mark.parametrize("name", WORDS)
def test_words_that_are_none(name: str) -> None:
    """The error names the attribute, what it is and what it may be."""
    op, order, attribute = WORDS[name]
    given = {"blocksize": 2} if op == "DepthToSpace" else {}
    with pytest.raises((kernels.ProblemError, kernels.RefusedError), match=f"{attribute} is 'usual', must be .* or "):
        kernels.load(model(op, {key: STATED[key] for key in order.split()[1:]}, order, **{attribute: "usual"}, **given))(X)


def test_an_empty_word_is_none_given() -> None:
    y = kernels.load(model("Conv", {"w": ONES}, "x w", auto_pad=""))(X)
    np.testing.assert_array_equal(y, kernels.load(model("Conv", {"w": ONES}, "x w"))(X))


def test_a_slope_of_more_axes_widens_x() -> None:
    """Not in the specification, but onnxruntime takes it; the numbers once came in x's own shape."""
    slope, x = np.arange(6, dtype=np.float32).reshape(3, 1, 2, 1, 1), -X
    np.testing.assert_array_equal(kernels.load(model("PRelu", {"s": slope}, "x s"))(x), np.where(x < 0, x * slope, x))


@pytest.mark.parametrize("mode", ["constant", "reflect", "wrap"])
def test_a_pad_of_no_axes(mode: str) -> None:
    made = model("Pad", {"p": np.zeros(0, np.int64)}, "x p  p", mode=mode)
    made.opset_import[0].version = 19
    np.testing.assert_array_equal(kernels.load(made)(X), X)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 4)])
def test_a_region_that_a_resize_does_not_read(shape: tuple[int, ...]) -> None:
    x, constants = np.arange(72, dtype=np.float32).reshape(X.shape), {"r": np.ones(shape, np.float32), "s": STATED["s"]}
    y = kernels.load(model("Resize", constants, "x r s"))(x)
    np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(2, 3))


def test_a_region_of_any_shape() -> None:
    region = np.array([[0, 0, 0, 0.2], [1, 1, 1, 0.8]], np.float32)
    made = [model("Resize", {"r": r, "s": STATED["s"]}, "x r s", coordinate_transformation_mode=CROP) for r in (region, region.ravel())]
    x = np.arange(72, dtype=np.float32).reshape(X.shape)
    np.testing.assert_array_equal(*(kernels.load(each)(x) for each in made))


@pytest.mark.parametrize("constant", [True, False])
def test_a_batch_norm_of_a_row_has_one_channel(constant: bool) -> None:
    graph, number = Graph(), np.full(1, 2, np.float32)
    x = graph.input("x", (6,))
    inputs = [graph.constant(number) if constant else graph.input(name, (1,)) for name in "abmv"]
    graph.output("y", graph.node("BatchNormalization", x, *inputs, epsilon=2.0))
    given = {"x": X[0, 0, 0]} | ({} if constant else dict.fromkeys("abmv", number))
    np.testing.assert_array_equal(Model(graph, threads=1)(given), np.ones(6))  # (1 - 2) * 2 / sqrt(2 + 2) + 2


@pytest.mark.parametrize("op, shape", [("BatchNormalization", ()), ("InstanceNormalization", (6,))])
def test_norms_of_too_few_axes(op: str, shape: tuple[int, ...]) -> None:
    graph = Graph()
    numbers = [graph.constant(np.ones(1, np.float32))] * (4 if op == "BatchNormalization" else 2)
    graph.output("y", graph.node(op, graph.input("x", shape), *numbers, name="node"))
    with pytest.raises(kernels.RefusedError, match=f"'node': x has {len(shape)} axes, must have"):
        Model(graph, threads=1)(np.ones(shape, np.float32))


def test_weights_of_another_width_of_a_recurrence() -> None:
    w, r = np.ones((1, 16, 5), np.float32), np.ones((1, 16, 4), np.float32)
    made = model("LSTM", {"w": w, "r": r}, "x w r", hidden_size=4)
    with pytest.raises(kernels.RefusedError, match=r"LSTM 'node': input 1 has shape \(1, 16, 5\), must have \(1, 16, 6\)"):
        made.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (2, 6, 6)))
        kernels.load(made)(X[0])


@pytest.mark.parametrize("taken", [True, False, None])
def test_a_branch_with_fewer_outputs_than_its_if(taken: bool | None) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def branch(outputs: list[str]) -> Any:
        nodes = [helper.make_node("Relu", ["x"], [name]) for name in outputs]
        return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(name, kind, None) for name in outputs])

    either = helper.make_node("If", ["c"], ["y", "z"], "node", then_branch=branch(["a"]), else_branch=branch(["b"]))
    condition = [] if taken is None else [onnx.numpy_helper.from_array(np.array(taken), "c")]
    ends = [helper.make_tensor_value_info("x", kind, [1])], [helper.make_tensor_value_info(name, kind, None) for name in "yz"]
    if taken is None:
        ends[0].append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    graph = helper.make_graph([either], "test", *ends, condition)
    with pytest.raises(kernels.RefusedError, match=r"If 'node': its (then|else)_branch makes 1 of the node's 2 outputs"):
        kernels.load(helper.make_model(graph))({"x": X[0, 0, 0, :1], "c": np.array(True)} if taken is None else X[0, 0, 0, :1])


def test_an_output_that_the_operator_does_not_have() -> None:
    made = model("Relu", {}, "x")
    made.graph.node[0].output.append("z")
    assert np.array_equal(kernels.load(made)(X), X), "nobody reads it"
    made.graph.output.add().CopyFrom(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    with pytest.raises(kernels.ProblemError, match="is computed by nothing"):
        kernels.load(made)(X)


@pytest.mark.parametrize("twice", ["node", "initialiser", "input"])
def test_a_name_that_stands_for_two_values(twice: str) -> None:
    made = model("Conv", {"w": ONES}, "x w")
    if twice == "node":
        made.graph.node.add().CopyFrom(onnx.helper.make_node("Relu", ["x"], ["y"]))
    elif twice == "input":
        made.graph.node.insert(0, onnx.helper.make_node("Relu", ["x"], ["x"]))
    else:
        made.graph.initializer.add().CopyFrom(made.graph.initializer[0])
        assert kernels.load(made)(X).shape == (1, 3, 4, 4), "the same one"
        held = made.graph.initializer[1]
        held.ClearField("raw_data")
        held.float_data.extend(ONES.ravel())
        assert kernels.load(made)(X).shape == (1, 3, 4, 4), "the same one in another form"
        made.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(2 * ONES, "w"))
    with pytest.raises(kernels.ProblemError, match=r"load: there are two .* name of its own"):
        kernels.load(made)


@pytest.mark.parametrize("number", [99, -1])
def test_a_type_that_there_is_not(number: int) -> None:
    made = model("Relu", {}, "x")
    made.graph.input[0].type.tensor_type.elem_type = number
    with pytest.raises(kernels.ProblemError, match=f"no type of the number {number}"):
        kernels.load(made)


@pytest.mark.parametrize("name", ["op", "name", "outputs", "self", "inputs"])
def test_attributes_of_any_name(name: str) -> None:
    for op in ("Relu", "Custom"):
        made = model(op, {}, "x")
        made.graph.node[0].attribute.add().CopyFrom(onnx.helper.make_attribute(name, 3))
        if op == "Relu":
            assert np.array_equal(kernels.load(made)(X), X)
        else:
            with pytest.raises(kernels.RefusedError, match="Custom 'node': no such operator is known here"):
                kernels.load(made)


def test_names_that_are_no_text() -> None:
    raw = model("Relu", {}, "x").SerializeToString()
    with pytest.raises(kernels.ProblemError, match="name that is no text"):
        kernels.load(raw.replace(b"node", b"n\xff\xfee"))(X)
    raw = model("Pad", {"p": np.ones(8, np.int64)}, "x p", mode="reflect").SerializeToString()
    with pytest.raises(kernels.RefusedError, match="must be constant, edge, reflect or wrap"):
        kernels.load(raw.replace(b"reflect", b"\xffeflect"))(X)


def test_a_node_without_outputs() -> None:
    made = model("Custom", {}, "x")
    del made.graph.node[0].output[:]
    made.graph.node.add().CopyFrom(onnx.helper.make_node("Relu", ["x"], ["y"]))
    made.graph.node[0].name = ""
    with pytest.raises(kernels.RefusedError, match="Custom 'Custom': no such operator"):
        kernels.load(made)


def broken(*_: Any) -> Any:
    raise KeyError("ours")


def test_a_fault_of_ours_is_not_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.network.planning.optimise", broken)
    with pytest.raises(KeyError, match="ours"):
        kernels.load(model("Conv", {"w": ONES}, "x w"))
    graph = Graph()
    graph.output("y", graph.node("Relu", graph.input("x", (1, 2))))
    with pytest.raises(KeyError, match="ours"):
        Model(graph)


def test_what_no_implementation_does_stays_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Any:
        raise kernels.RefusedError("only odd ones")

    monkeypatch.setitem(OPERATORS, "Relu", dataclasses.replace(OPERATORS["Relu"], compute=refuses))
    graph = Graph()
    value = graph.input("x", (1, 2))
    graph.node("Relu", value, name="node")
    with pytest.raises(kernels.RefusedError, match="Relu 'node': only odd ones"):
        computed(graph.nodes[0], [np.zeros((1, 2), np.float32)])


def test_damaged_bytes() -> None:
    raw, rng = model("Conv", {"w": ONES}, "x w").SerializeToString(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(raw)
        for place in rng.integers(len(raw), size=3):
            damaged[min(place % 90, len(raw) - 1) if rng.random() < 0.5 else -1 - place % 90] = rng.integers(256)
        with contextlib.suppress(kernels.ProblemError, kernels.RefusedError):
            kernels.load(bytes(damaged))(X)


def test_numbers_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model("Conv", {"w": ONES}, "x w"), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert kernels.load(path)(X).shape == (1, 3, 4, 4)
    with pytest.raises(kernels.ProblemError, match="'w' lie in another file; give the model's path"):
        kernels.load(path.read_bytes())
    os.remove(tmp_path / "weights")
    with pytest.raises(kernels.ProblemError, match="weights"):
        kernels.load(path)

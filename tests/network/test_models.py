"""Models become lists of layers: ONNX models, files of problem lines, rows of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import workloads
from benchmarks.contenders.ours import problem_text
from benchmarks.workloads.catalogue import CATALOGUE
from kernels import ProblemError, parse
from kernels.network.models import LeftOut, from_layers, from_onnx

CONV = "conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias relu:0.0 float32"
POOL = "max_pool2d n1 c64 96x64 -> k2x2 s2x2 p0+0x0+0 d1x1 float32"


def test_lines(tmp_path: Path) -> None:
    file = tmp_path / "layers.txt"
    file.write_text(f"# a model\n{CONV}  # conv1\n\n{POOL}\n{CONV}\n")
    first, second = from_layers(file)
    assert (first.name, str(first.problem), first.count) == ("conv1", CONV, 2)
    assert (second.name, str(second.problem), second.count) == ("line 4", POOL, 1)


def test_json_of_lines_and_rows(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    row = {"id": "up", "op": "conv_transpose2d", "n": 1, "c_in": 4, "h": 5, "w": 6, "c_out": 3, "kh": 4, "kw": 4}
    row |= {"sh": 2, "sw": 2, "ph": 1, "pw": 1}
    file.write_text(json.dumps([CONV, row]))
    _, up = from_layers(file)
    assert up.name == "up" and str(up.problem) == "conv_transpose2d n1 c4 5x6 -> c3 k4x4 s2x2 p1+1x1+1 d1x1 g1 o0x0 float32"


def test_every_row_of_the_catalogue_is_the_suites_own_problem(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    chosen = {workload.op: workload for workload in workloads.catalogue() if workload.op != "global_max_concat_mean_time"}
    rows = {row["id"]: row for row in json.loads(CATALOGUE.read_text())}
    assert len(chosen) >= 8
    for workload in chosen.values():
        file.write_text(json.dumps([rows[workload.id]]))
        assert str(from_layers(file)[0].problem) == problem_text(workload)


@pytest.mark.parametrize(
    "text, message",
    [
        (f"{CONV}\nconv2d n1", "entry 2: not a problem"),
        ('[{"op": "conv2d", "n": 1}]', "entry 1: has no 'c_in'"),
        ('[{"op": "lstm", "n": 1, "c_in": 1, "h": 1, "w": 9, "kh": 1, "kw": 3}]', "entry 1: operation 'lstm' does not exist"),
        ("[3]", "entry 1"),
        ('["conv2d', "is no JSON list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "layers").write_text(text)
    with pytest.raises(ProblemError, match=message):
        from_layers(tmp_path / "layers")


def model(path: Path, nodes: list[Any], x_shape: tuple[int | str, ...], weights: dict[str, tuple[int, ...]]) -> Path:
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", x_shape), ("y", None))]
    held = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    graph = onnx.helper.make_graph(nodes, "model", values[:1], values[1:], held)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), path)
    return path


def test_an_onnx_model(tmp_path: Path) -> None:
    """Free axes filled in, batch normalisation and activation joined, alike layers counted, what many read left alone."""
    node = pytest.importorskip("onnx").helper.make_node
    three = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["a"], name="first", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("BatchNormalization", ["a", "b1", "b1", "b1", "b1"], ["b"]),
        node("LeakyRelu", ["b"], ["c"], alpha=0.125),
        node("Conv", ["c", "w2"], ["d"], name="second", **three),
        node("Relu", ["d"], ["e"]),
        node("Conv", ["e", "w2"], ["f"], name="third", **three),
        node("Relu", ["f"], ["g"]),
        node("Conv", ["g", "w2"], ["h"], name="shared", **three),
        node("Relu", ["h"], ["i"]),
        node("Add", ["h", "i"], ["j"]),
        node("AveragePool", ["j"], ["k"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, name="pool"),
        node("ConvTranspose", ["k", "w2"], ["l"], group=1, strides=[2, 2], output_padding=[1, 0], name="up"),
        node("GlobalMaxPool", ["l"], ["y"], name="top"),
    ]
    path = model(tmp_path / "m.onnx", nodes, ("batch", 1, "mels", 41), {"w1": (8, 1, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3)})
    with pytest.raises(ProblemError, match="node first: its shape depends on the input's"):
        from_onnx(path)
    with pytest.raises(ProblemError, match="no input 'mel'; it has x"):
        from_onnx(path, {"mel": (1, 1, 33, 41)})
    with pytest.raises(ProblemError, match="'x' has 4 axes, 3 were given"):
        from_onnx(path, {"x": (1, 33, 41)})
    assert [(layer.name, layer.count, str(layer.problem)) for layer in from_onnx(path, {"x": (1, 1, 33, 41)})] == [
        ("first", 1, "conv2d n1 c1 33x41 -> c8 k3x3 s2x2 p1+1x1+1 d1x1 g1 bias scale leaky_relu:0.125 float32"),
        ("second", 2, "conv2d n1 c8 17x21 -> c8 k3x3 s1x1 p1+1x1+1 d1x1 g1 relu:0.0 float32"),
        ("shared", 1, "conv2d n1 c8 17x21 -> c8 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32"),
        ("pool", 1, "avg_pool2d n1 c8 17x21 -> k2x2 s2x2 p0+0x0+0 d1x1 ceil exclude_pad float32"),
        ("up", 1, "conv_transpose2d n1 c8 9x11 -> c8 k3x3 s2x2 p0+0x0+0 d1x1 g1 o1x0 float32"),
        ("top", 1, "max_pool2d n1 c8 20x23 -> k20x23 s20x23 p0+0x0+0 d1x1 float32"),
    ]


@pytest.mark.parametrize("constants", [False, True])
def test_limits_of_an_activation(tmp_path: Path, constants: bool) -> None:
    """ReLU6 is a Clip whose limits are constants, in the file's list or made by nodes."""
    onnx = pytest.importorskip("onnx")
    limits = [onnx.numpy_helper.from_array(np.float32(number), name) for number, name in ((0, "low"), (6, "high"))]
    made = [onnx.helper.make_node("Constant", [], [each.name], value=each) for each in limits]
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["a"]), onnx.helper.make_node("Clip", ["a", "low", "high"], ["y"])]
    path = model(tmp_path / "m.onnx", made * constants + nodes, (1, 2, 9), {"w": (3, 2, 3)})
    if not constants:
        proto = onnx.load(path)
        proto.graph.initializer.extend(limits)
        onnx.save(proto, path)
    assert [str(layer.problem) for layer in from_onnx(path)] == ["conv1d n1 c2 1x9 -> c3 k1x3 s1x1 p0+0x0+0 d1x1 g1 relu6:0.0 float32"]


@pytest.mark.parametrize("free", ["n", -1])
def test_a_free_batch_is_one(tmp_path: Path, free: str | int) -> None:
    node = pytest.importorskip("onnx").helper.make_node
    path = model(tmp_path / "m.onnx", [node("Conv", ["x", "w"], ["y"])], (free, 2, 50), {"w": (3, 2, 5)})
    (layer,) = from_onnx(path)
    assert layer.problem == parse("conv1d n1 c2 1x50 -> c3 k1x5 s1x1 p0+0x0+0 d1x1 g1 float32")


def test_what_is_no_onnx_model(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "m.onnx").write_bytes(b"\x07 no model")
    with pytest.raises(ProblemError, match="cannot be read as an ONNX model"):
        from_onnx(tmp_path / "m.onnx")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")


def test_layers_inside_a_models_functions_are_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node, opset = onnx.helper.make_node, onnx.helper.make_opsetid
    path = model(tmp_path / "m.onnx", [node("Block", ["x", "w"], ["y"], domain="mine")], (1, 2, 50), {"w": (3, 2, 5)})
    whole = onnx.load(path)
    whole.opset_import.append(opset("mine", 1))
    inside = [node("Conv", ["a", "b"], ["c"])]
    whole.functions.append(onnx.helper.make_function("mine", "Block", ["a", "b"], ["c"], inside, whole.opset_import[:1]))
    onnx.save(whole, path)
    (layer,) = from_onnx(path)
    assert layer.problem == parse("conv1d n1 c2 1x50 -> c3 k1x5 s1x1 p0+0x0+0 d1x1 g1 float32")


def test_a_node_that_cannot_be_read_is_listed_and_costs_no_other(tmp_path: Path) -> None:
    """Negative pads, integers, other runtimes' operators, layers inside a condition; without a list the first is an error."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node
    inner = onnx.helper.make_graph([node("Conv", ["x", "w"], ["i"], name="inside")], "then", [], [
        onnx.helper.make_tensor_value_info("i", onnx.TensorProto.FLOAT, None)])  # fmt: skip
    other = onnx.helper.make_graph([node("Identity", ["x"], ["j"])], "else", [], [
        onnx.helper.make_tensor_value_info("j", onnx.TensorProto.FLOAT, None)])  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="fine", pads=[1, 1]),
        node("Conv", ["a", "w"], ["b"], name="cropped", pads=[-1, 1]),
        node("ConvInteger", ["q", "w"], ["c"], name="whole"),
        node("FusedConv", ["a", "w"], ["d"], name="fused", domain="com.microsoft"),
        node("If", ["yes"], ["e"], name="choice", then_branch=inner, else_branch=other),
        node("Foo", ["a"], ["f"], name="foo", domain="mine"),
        node("Conv", ["f", "w"], ["y"], name="after"),
        node("Conv", ["a", "w"], ["z"], name="last", pads=[1, 1]),
    ]
    path = model(tmp_path / "m.onnx", nodes, (1, 2, 50), {"w": (2, 2, 3)})
    others: list[LeftOut] = []
    assert [(layer.name, layer.count) for layer in from_onnx(path, None, others)] == [("fine", 2)]
    said = {each.name: each.reason for each in others}
    assert set(said) == {"cropped", "whole", "fused", "inside", "after"}
    assert "integers" in said["whole"] and "com.microsoft" in said["fused"] and "If choice" in said["inside"]
    assert "Foo of mine" in said["after"] and "--input" not in said["after"], "a hint only where it helps"
    with pytest.raises(ProblemError, match="node"):
        from_onnx(path)


def test_products_by_constant_matrices_are_layers(tmp_path: Path) -> None:
    node = pytest.importorskip("onnx").helper.make_node
    nodes = [node("Gemm", ["x", "w", "b"], ["a"], name="fc", transB=1), node("Relu", ["a"], ["c"]),
             node("MatMul", ["c", "m"], ["d"], name="rows"), node("MatMul", ["d", "d2"], ["y"], name="two inputs")]  # fmt: skip
    path = model(tmp_path / "m.onnx", nodes, (4, 10), {"w": (6, 10), "b": (6,), "m": (6, 3)})
    assert [(layer.name, str(layer.problem)) for layer in from_onnx(path)] == [
        ("fc", "conv1d n4 c10 1x1 -> c6 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias relu:0.0 float32"),
        ("rows", "conv1d n4 c6 1x1 -> c3 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32"),
    ]


def test_sparse_weights_have_shapes_too(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = model(tmp_path / "m.onnx", [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], (1, 2, 50), {})
    whole = onnx.load(path)
    values = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    indices = onnx.numpy_helper.from_array(np.array([0, 5], np.int64), "w_indices")
    whole.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [3, 2, 5]))
    onnx.save(whole, path)
    (layer,) = from_onnx(path)
    assert "k1x5" in str(layer.problem)


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbfmax_pool2d n1 c8 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32",
    b"\xef\xbb\xbf" + b'[{"op": "max_pool2d", "n": 1.0, "c_in": 8.0, "h": 8, "w": 8, "kh": 2, "kw": 2.0, "sh": 2, "sw": 2}]',
])  # fmt: skip
def test_marks_of_editors_and_whole_floats(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layers").write_bytes(content)
    (layer,) = from_layers(tmp_path / "layers")
    assert layer.problem == parse("max_pool2d n1 c8 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32")


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"op": "conv2d", "n": 1.5}]', '[{"op": ["conv2d"]}]', "[null]", "[9]", "[[]]"])
def test_odd_files_of_layers_are_sentences(tmp_path: Path, text: str) -> None:
    (tmp_path / "layers").write_text(text)
    with pytest.raises(ProblemError):
        from_layers(tmp_path / "layers")

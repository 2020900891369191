"""kernels.load as users call it: inputs and outputs, free axes, errors, threads, dtypes, `rest`, the command line, accuracy of a whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.__main__ import main
from kernels.dispatch.tuning import Measured
from kernels.network import elsewhere
from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.passes.specialise import UnsupportedError
from kernels.network.twin import evaluate

onnx = pytest.importorskip("onnx")


def onnx_model(nodes: Sequence[Any], inputs: dict[str, Any], outputs: Sequence[str], constants: dict[str, Any], opset: int = 17) -> Any:
    helper = onnx.helper
    given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    kind = next(iter(inputs.values()))[0]
    made = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    numbers = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "test", given, made, numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def small_net(dtype: Any = np.float32) -> Any:
    """Convolution, batch norm, activation, pool, residual, head: what most nets are made of; axes 0 and 3 are free."""
    rng = np.random.default_rng(0)
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]), make("BatchNormalization", ["a", "g", "h", "m", "v"], ["n"]),
        make("Relu", ["n"], ["r"]), make("Conv", ["r", "w2"], ["c"], pads=[1, 1, 1, 1]), make("Add", ["c", "r"], ["s"]),
        make("LeakyRelu", ["s"], ["l"], alpha=0.1), make("MaxPool", ["l"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        make("GlobalAveragePool", ["p"], ["q"]), make("Flatten", ["q"], ["f"]), make("Gemm", ["f", "k", "kb"], ["y"], transB=1),
    ]  # fmt: skip
    shapes = {"w": (4, 2, 3, 3), "b": (4,), "g": (4,), "h": (4,), "m": (4,), "w2": (4, 4, 3, 3), "k": (3, 4), "kb": (3,)}
    numbers = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()} | {"v": np.full(4, 2, dtype)}
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx_model(nodes, {"x": (kind, ["batch", 2, 8, "time"])}, ["y"], numbers)


def test_paths_bytes_and_protos_and_free_axes(tmp_path: Path) -> None:
    proto = small_net()
    onnx.save(proto, tmp_path / "net.onnx")
    x = np.random.default_rng(1).standard_normal((2, 2, 8, 10)).astype(np.float32)
    models = [kernels.load(each) for each in (proto, proto.SerializeToString(), tmp_path / "net.onnx", str(tmp_path / "net.onnx"))]
    results = [model(x) for model in models]
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    wanted = evaluate(models[0]._graph, {"x": x})["y"]
    np.testing.assert_allclose(results[0], wanted, atol=1e-5)
    assert models[0].inputs == [("x", np.float32, (None, 2, 8, None))]
    for length in (4, 16, 4):
        assert models[0](x[:1, :, :, :2].repeat(length // 2, 3)).shape == (1, 3)
    assert "Conv" in models[0].explain() and models[0].workspace_bytes > 0


def test_axes_of_length_minus_one_are_free() -> None:
    """As some exporters write them, and onnxruntime reads them."""
    proto = small_net()
    for axis in (proto.graph.input[0].type.tensor_type.shape.dim[0], proto.graph.input[0].type.tensor_type.shape.dim[3]):
        axis.dim_value = -1
    model = kernels.load(proto)
    assert model.inputs == [("x", np.float32, (None, 2, 8, None))]
    x = np.random.default_rng(1).standard_normal((2, 2, 8, 10)).astype(np.float32)
    np.testing.assert_array_equal(model(x), kernels.load(small_net())(x))


def test_check_sets_a_model_against_onnxruntime() -> None:
    pytest.importorskip("onnxruntime")
    assert kernels.load(small_net()).check(np.random.default_rng(1).standard_normal((2, 2, 8, 10)).astype(np.float32)) < 1e-5


def test_everything_of_a_block_is_one_step() -> None:
    model = kernels.load(small_net(), shapes={"x": (1, 2, 8, 8)})
    assert model.inputs[0].shape == (1, 2, 8, 8)
    ops = [line.split()[1] for line in model.explain().splitlines()[1:]]
    # what is added is the input of its convolution too, which is copied first
    assert ops == ["Conv+relu", "Conv+leaky_relu", "Conv+leaky_relu", "MaxPool", "GlobalAveragePool", "Linear"]


def test_a_pool_goes_before_a_limit_and_into_the_convolution() -> None:
    make = onnx.helper.make_node
    weight = np.random.default_rng(7).standard_normal((24, 24, 3, 3)).astype(np.float32)
    nodes = [make("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), make("LeakyRelu", ["c"], ["l"], alpha=0.2), make("Max", ["l", "m"], ["t"]),
             make("MaxPool", ["t"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]  # fmt: skip
    proto = onnx_model(nodes, {"x": (1, [1, 24, 32, 32])}, ["y"], {"w": weight, "m": np.full((1, 1, 1, 1), -0.4, np.float32)})
    model = kernels.load(proto)
    x = np.random.default_rng(8).standard_normal((1, 24, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(model(x), evaluate(model._graph, {"x": x})["y"], atol=1e-4)
    lines = model.explain().splitlines()[1:]
    assert lines[-1].split()[1] == "Max" and "1x24x16x16" in lines[-1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes(dtype: Any) -> None:
    proto = small_net(dtype)
    x = np.random.default_rng(2).standard_normal((1, 2, 8, 9)).astype(dtype)
    result = kernels.load(proto)(x)
    wanted = evaluate(kernels.load(small_net(np.float64))._graph, {"x": x.astype(np.float64)})["y"]
    assert result.dtype == dtype
    np.testing.assert_allclose(result, wanted, rtol=1e-2 if dtype == np.float16 else 1e-5, atol=1e-2 if dtype == np.float16 else 1e-5)
    double = kernels.load(proto, dtype="float64")(x.astype(np.float64))
    assert double.dtype == np.float64


def test_several_inputs_and_outputs() -> None:
    make = onnx.helper.make_node
    nodes = [make("Add", ["a", "b"], ["s"]), make("Mul", ["a", "b"], ["p"])]
    model = kernels.load(onnx_model(nodes, {"a": (1, [3]), "b": (1, [3])}, ["s", "p", "a"], {}))
    a, b = np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)
    for results in (model(a, b), model({"b": b, "a": a}), model([1.0, 2, 3], [4.0, 5, 6])):
        np.testing.assert_array_equal(results["s"], a + b)
        np.testing.assert_array_equal(results["p"], a * b)
        np.testing.assert_array_equal(results["a"], a)
    assert not np.shares_memory(model(a, b)["a"], a)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m(), "takes 1 inputs .x., 0 were given"), (lambda m: m({"z": 1}), "input 'x' is missing"),
        (lambda m: m(np.ones((1, 3, 8, 8), np.float32)), r"has shape \(1, 3, 8, 8\), the model takes \(free, 2, 8, free\)"),
        (lambda m: m(np.ones((1, 2, 8, 8), complex)), "has dtype complex128"),
        (lambda m: m({"x": np.ones((1, 2, 8, 8), np.float32), "y": 1}), "has no input 'y'"),
    ],
)  # fmt: skip
def test_wrong_calls(call: Any, message: str) -> None:
    model = kernels.load(small_net())
    for _ in range(2):  # before and after a right one
        with pytest.raises(kernels.ProblemError, match=message):
            call(model)
        model(np.ones((1, 2, 8, 8), np.float32))


def test_one_array_too_many_is_told() -> None:
    model, x = kernels.load(small_net()), np.ones((1, 2, 8, 8), np.float32)
    model(x)
    with pytest.raises(kernels.ProblemError, match=r"takes 1 inputs .x., 2 were given"):
        model(x, x)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(kernels.ProblemError, match=r"is no ONNX model|has no nodes"):
        kernels.load(b"nothing of the kind")
    with pytest.raises(kernels.ProblemError, match="must be a path, bytes or"):
        kernels.load(3)
    with pytest.raises(FileNotFoundError):
        kernels.load(tmp_path / "none.onnx")
    with pytest.raises(kernels.ProblemError, match="has no input 'z'"):
        kernels.load(small_net(), shapes={"z": (1,)})
    with pytest.raises(kernels.ProblemError, match="rest is 'torch'"):
        kernels.load(small_net(), rest="torch")


SHAPES = {
    "must be a length an axis": [(1, 2, 8, -6), 5, "1x2x8x6", (1, 2, 8.0, 6), None],
    "takes 4 axes": [(1, 2, 8), ()],
    "input 'x' would take": [(1, 2, 8, 1 << 45)],
}


@pytest.mark.parametrize("message", SHAPES)
def test_shapes_that_no_input_has(message: str) -> None:
    for shape in SHAPES[message]:
        with pytest.raises(kernels.ProblemError, match=message):
            kernels.load(small_net(), shapes={"x": shape})
    with pytest.raises(kernels.ProblemError, match="must be shapes by name"):
        kernels.load(small_net(), shapes=(1, 2, 8, 6))
    assert kernels.load(small_net(), shapes={"x": np.array([1, 2, 8, 6])}).inputs[0].shape == (1, 2, 8, 6)
    assert kernels.load(small_net(), shapes={"x": (None, 2, 8, 6)}).inputs[0].shape == (None, 2, 8, 6)


def unknown_net() -> Any:
    make = onnx.helper.make_node
    nodes = [make("Relu", ["x"], ["r"]), make("LRN", ["r"], ["n"], size=3, name="first"), make("Det", ["n"], ["y"], name="second")]
    return onnx_model(nodes, {"x": (1, ["n", 4, 5, 5])}, ["y"], {})


def test_all_nodes_that_cannot_be_run_are_listed_at_once() -> None:
    with pytest.raises(kernels.RefusedError) as caught:
        kernels.load(unknown_net())
    assert [each.node.op for each in caught.value.nodes] == ["LRN", "Det"]
    assert "LRN 'first'" in str(caught.value) and "Det 'second'" in str(caught.value) and 'rest="onnxruntime"' in str(caught.value)


def test_rest_goes_to_onnxruntime() -> None:
    pytest.importorskip("onnxruntime")
    model = kernels.load(unknown_net(), rest="onnxruntime")
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 5)).astype(np.float32)
    assert model.check(x) < 1e-5
    assert model.explain().count("onnxruntime") == 2


def test_bodies_that_see_what_is_around_them_go_to_onnxruntime() -> None:
    """A Loop whose body adds a computed value and a number of the model around it, three times."""
    pytest.importorskip("onnxruntime")
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    inner = [make("Add", ["state", "r"], ["more"]), make("Mul", ["more", "half"], ["next"]), make("Identity", ["going"], ["on"])]
    ends = [info("i", 7, []), info("going", 9, []), info("state", 1, None)], [info("on", 9, []), info("next", 1, None)]
    nodes = [make("Relu", ["x"], ["r"]), make("Loop", ["times", "", "x"], ["l"], body=onnx.helper.make_graph(inner, "body", *ends))]
    numbers = {"half": np.array(0.5, np.float32), "times": np.array(3, np.int64)}
    net = onnx_model([*nodes, make("Neg", ["l"], ["y"])], {"x": (1, ["n", 4])}, ["y"], numbers)
    with pytest.raises(kernels.RefusedError, match=r"Loop .*rest=\"onnxruntime\""):
        kernels.load(net)
    x = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
    model, wanted = kernels.load(net, rest="onnxruntime"), x
    for _ in range(3):
        wanted = (wanted + np.maximum(x, 0)) / 2
    np.testing.assert_allclose(model(x), -wanted, atol=1e-6)


@pytest.mark.parametrize("there, taken", [(0.5e-3, True), (0.99e-3, False), (2e-3, False)])
def test_all_of_a_model_goes_to_onnxruntime_where_measuring_finds_it_faster(
    there: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Times are made up; both were called for them, and gave answers."""
    pytest.importorskip("onnxruntime")

    def settle(calls: dict[str, Any], budget: float) -> Measured:
        for call in calls.values():
            call()
        return Measured("", {"here": 1e-3, "onnxruntime": there})

    monkeypatch.setattr(elsewhere, "settle", settle)
    model = kernels.load(small_net(), rest="onnxruntime", effort="measure", budget=0.01)
    for shape in ((1, 2, 8, 12), (3, 2, 8, 9)):
        x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
        error, text = model.check(x), model.explain()
        assert ("onnxruntime, 0.5 ms, here 1 ms" in text) is taken
        assert error == 0 if taken else 0 < error < 1e-5
    assert np.array_equal(model({"x": x}), model(x)) and model.outputs[0].shape == (3, 3)


def test_a_model_of_other_dtypes_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(elsewhere, "settle", None)
    model = kernels.load(small_net(), rest="onnxruntime", effort="measure", budget=0.01, dtype="float64")
    assert model(np.ones((1, 2, 8, 8))).dtype == np.float64


def test_numbers_that_shapes_depend_on_may_be_inputs() -> None:
    model = kernels.load(onnx_model([onnx.helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": (1, [6]), "s": (7, [2])}, ["y"], {}))
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2), (2, 3), (-1, 6)):
        np.testing.assert_array_equal(model(x, np.array(shape)), x.reshape(shape))


def test_a_condition_that_depends_on_the_input() -> None:
    make, helper = onnx.helper.make_node, onnx.helper
    empty = [helper.make_empty_tensor_value_info("o")]
    branches = [helper.make_graph([make(op, ["x"], ["o"])], op, [], empty) for op in ("Relu", "Neg")]
    nodes = [make("ReduceSum", ["x"], ["t"], keepdims=0), make("Greater", ["t", "z"], ["c"]),
             make("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])]  # fmt: skip
    model = kernels.load(onnx_model(nodes, {"x": (1, [3])}, ["y"], {"z": np.float32(0)}))
    for x in (np.array([1, -2, 3], np.float32), np.array([1, -2, -3], np.float32)):
        np.testing.assert_array_equal(model(x), np.maximum(x, 0) if x.sum() > 0 else -x)


def test_threads_share_a_model() -> None:
    model = kernels.load(small_net())
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal((1, 2, 8, 6 + i % 3)).astype(np.float32) for i in range(12)]
    wanted, got = [model(x) for x in inputs], [[] for _ in inputs]
    runners = [threading.Thread(target=lambda i=i: got[i].extend(model(inputs[i]) for _ in range(20))) for i in range(len(inputs))]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    for results, right in zip(got, wanted):
        assert len(results) == 20
        for result in results:
            np.testing.assert_array_equal(result, right)


def test_quiet_bins_before_a_logarithm_are_accurate() -> None:
    """Where largest-share errors would do, a transform is taken whose noise a logarithm magnifies; the graph asks for direct sums."""
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((8, 8, 3, 39)).astype(np.float32)

    def decibels(dtype: type) -> Graph:
        graph = Graph()
        x = graph.input("x", (1, 8, 64, 256), dtype)
        bins = graph.node("Conv", x, graph.constant(weight.astype(dtype)), pads=[1, 19, 1, 19])
        squares = graph.node("Add", graph.node("Mul", bins, bins), graph.constant(dtype(1e-10)))
        graph.output("y", graph.node("Log", squares))
        return graph

    model = Model(decibels(np.float32))
    assert "fft" not in model.explain()
    signal = np.zeros((1, 8, 64, 256), np.float32)
    signal[..., :16] = 1000 * rng.standard_normal((1, 8, 64, 16))
    signal[..., 160:] = 1e-3 * rng.standard_normal((1, 8, 64, 96))
    wanted = evaluate(decibels(np.float64), {"x": signal})["y"]
    assert np.abs(model(signal) - wanted)[..., 200:].max() < 0.2


def test_a_thousand_nodes_in_a_row_and_many_joins() -> None:
    graph = Graph()
    value = graph.input("x", (1, 2, 4, 4))
    weight = graph.constant(np.ones((2, 2, 1, 1), np.float32) / 2)
    for i in range(1100):
        value = graph.node("Conv" if i % 2 else "Relu", value, *([weight] if i % 2 else []))
    for _ in range(200):
        value = graph.node("Add", value, graph.node("Neg", value))
    graph.output("y", value)
    x = np.random.default_rng(6).standard_normal((1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(Model(graph)(x), evaluate(graph, {"x": x})["y"], atol=1e-5)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    path = str(tmp_path / "net.onnx")
    onnx.save(small_net(), path)
    np.save(tmp_path / "x.npy", np.ones((1, 2, 8, 6), np.float32))
    assert main(["run", path, "--input", f"x={tmp_path / 'x.npy'}", "--out", str(tmp_path / "out.npz")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], kernels.load(path)(np.ones((1, 2, 8, 6), np.float32)))
    assert main(["explain", path, "--input", "x=1x2x8x6"]) == 0
    assert "Conv+relu" in capsys.readouterr().out
    assert main(["check", path, "--input", "x=1x2x8x6"]) == 0
    assert main(["check", path, "--input", "x=1x2x8x6", "--bound", "0"]) in (0, 1)
    assert main(["check", path, "--bound", "nan"]) == main(["check", path, "--bound=-1"]) == 2
    assert main(["check", path]) == 2
    assert "give its shape" in capsys.readouterr().err
    onnx.save(unknown_net(), path)
    assert main(["run", path, "--input", "x=1x4x5x5"]) == 2
    assert "LRN 'first'" in capsys.readouterr().err


def test_command_line_on_odd_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    path, x, out = str(tmp_path / "net.onnx"), tmp_path / "x.npy", tmp_path / "out.npy"
    onnx.save(small_net(), path)
    for content in (b"xx", b""):
        x.write_bytes(content)
        assert main(["run", path, "--input", f"x={x}"]) == 2
        assert "holds no array" in capsys.readouterr().err
    np.save(x, np.array([{}], object))
    assert main(["run", path, "--input", f"x={x}"]) == 2
    np.savez(tmp_path / "x.npz", x=np.ones(3), y=np.ones(3))
    (tmp_path / "x.npz").replace(x)
    assert main(["run", path, "--input", f"x={x}"]) == 2
    assert "several arrays" in capsys.readouterr().err
    assert main(["run", path, "--input", "x=1x2x8x6", "--out", str(out)]) == 0
    assert f"written to {out}.npz" in capsys.readouterr().out
    assert np.load(f"{out}.npz")["y"].shape == (1, 3)
    for shape, message in (("1x2x8x-6", "must be a length an axis"), (f"1x2x8x{1 << 45}", "would take")):
        assert main(["explain", path, "--input", f"x={shape}"]) == 2
        assert message in capsys.readouterr().err
    make = onnx.helper.make_node
    onnx.save(onnx_model([make("Gather", ["x", "i"], ["y"])], {"x": (1, [1, 3]), "i": (7, [64])}, ["y"], {}), path)
    assert main(["check", path]) == 2  # made-up positions that x does not have


def test_an_unsupported_error_is_a_refusal() -> None:
    assert issubclass(UnsupportedError, kernels.RefusedError)


def test_a_time_line_has_a_figure_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaves inputs and later answers as they were, whether arrays go through the arena or not."""
    model = kernels.load(small_net())
    for time in (6, 9000):
        x = np.random.default_rng(0).standard_normal((1, 2, 8, time)).astype(np.float32)
        before, answer = x.copy(), model(x)
        taken = model.timeline(x, turns=2)
        lines = model.explain(taken).splitlines()[1:]
        assert len(taken) == len(lines) > 1 and min(taken) > 0
        assert all("took" in line and "%" in line for line in lines) and "took" not in model.explain()
        np.testing.assert_array_equal(model(x), answer)
        np.testing.assert_array_equal(x, before)
    with pytest.raises(kernels.ProblemError, match="turns is 0"):
        model.timeline(x, turns=0)
    path = tmp_path / "m.onnx"
    path.write_bytes(small_net().SerializeToString())
    assert main(["explain", str(path), "--input", "x=1x2x8x6", "--time"]) == 0
    assert "took" in capsys.readouterr().out

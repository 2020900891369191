"""The user's own layers: from JSON files, from ONNX models, and what is said of them at the end."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.contenders.ours import problem_text
from benchmarks.inputs import expected
from benchmarks.inputs.tensors import Tensors
from benchmarks.records import archive, results
from benchmarks.records.results import Line
from benchmarks.report import entries, model_totals
from benchmarks.runner.run_options import Options
from benchmarks.workloads import selection, users
from kernels.problem.conv import parse
from tests import fabricated_run

onnx = pytest.importorskip("onnx")
LINES = [
    "conv2d n1 c2 9x8 -> c4 k3x3 s2x1 p1+0x1+1 d1x1 g2 bias float32",
    "conv1d n2 c3 1x40 -> c6 k1x4 s1x3 p0+0x2+1 d1x2 g1 float32",
    "conv_transpose2d n1 c4 5x4 -> c2 k3x3 s2x2 p1+0x0+0 d1x1 g1 o0x1 bias float32",
    "max_pool2d n1 c3 9x9 -> k3x3 s2x2 p1+1x1+1 d1x1 ceil float32",
    "avg_pool1d n1 c3 1x9 -> k1x3 s1x2 p0+0x1+1 d1x1 exclude_pad float32",
]


@pytest.mark.parametrize("line", LINES)
def test_a_problem_line_becomes_the_same_layer(line: str) -> None:
    problem = parse(line)
    layer = users.from_problem(problem, "mine.1")
    canonical = (layer.n, layer.c_out, layer.oh, layer.ow)
    assert canonical == problem.out_shape and layer.flops == problem.flops
    assert problem_text(layer) == line


def test_equal_layers_are_counted_whatever_follows_them(tmp_path: Path) -> None:
    row = {"op": "conv1d", "n": 1, "c_in": 3, "h": 1, "w": 40, "c_out": 6, "kh": 1, "kw": 4}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([row, LINES[0], row | {"id": "last"}, LINES[0].replace("bias", "bias relu:0.0"), row | {"n": 2}]))
    found = users.read(path)
    assert [(each.id, each.count) for each in found.workloads] == [("mine.row-1", 2), ("mine.line-2", 2), ("mine.row-5", 1)]
    assert found.workloads[0].x_shape == (1, 3, 40) and found.workloads[0].out_shape == (1, 6, 37)
    assert found.notes == ("mine.json: 5 layers, 3 of them differ",)


def test_layers_that_share_a_name_get_numbers() -> None:
    layer = users.from_problem(parse(LINES[0]), "net.conv")
    assert [(each.id, each.count) for each in users.merged([layer, replace(layer, n=2), layer])] == [("net.conv", 2), ("net.conv-2", 1)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("conv2d of some size", "entry 1: not a problem: 'conv2d of some size'"),
        (LINES[0].replace("float32", "float64"), "has no layer to time; .* the suite runs float32, this is float64"),
        ("conv3d n1 c1 4x4x4 -> c1 k1x1x1 s1x1x1 p0+0x0+0x0+0 d1x1x1 g1 float32", "one or two spatial axes"),
        (LINES[3].replace("ceil", "ceil indices"), "no adaptive pools, positions of maxima"),
    ],
)
def test_what_is_no_layer_gets_a_sentence(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=sentence):
        Options(layers=path).own()


def save(path: Path, nodes: list[Any], x: tuple[Any, ...], weights: dict[str, tuple[int, ...]], rank: int = 0) -> Path:
    graph = onnx.helper.make_graph(
        nodes, "net", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * (rank or len(x)))],
        [onnx.numpy_helper.from_array(np.random.default_rng(1).standard_normal(shape, dtype=np.float32), name)
         for name, shape in weights.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(made, path)
    return path


node = onnx.helper.make_node
ONE_NODE = {
    "same upper": (node("Conv", ["x", "w", "b"], ["y"], auto_pad="SAME_UPPER", strides=[2, 1]), (1, 4, 9, 8), (6, 4, 3, 2)),
    "same lower": (node("Conv", ["x", "w", "b"], ["y"], auto_pad="SAME_LOWER", strides=[2, 1]), (2, 4, 9, 8), (6, 4, 4, 2)),
    "pads": (node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 0], group=2), (1, 4, 9, 8), (6, 2, 3, 3)),
    "valid 1-D": (node("Conv", ["x", "w"], ["y"], auto_pad="VALID", strides=[3]), (1, 4, 40), (6, 4, 5)),
    "transposed": (node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0]),
                   (1, 4, 5, 4), (4, 3, 3, 3)),
    "transposed, longer": (node("ConvTranspose", ["x", "w"], ["y"], strides=[3], output_padding=[2]), (1, 4, 5), (4, 3, 4)),
    "transposed, same": (node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_UPPER"), (1, 4, 5, 4), (4, 3, 5, 3)),
    "transposed to a shape": (node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], output_shape=[9, 8]),
                              (1, 4, 5, 4), (4, 3, 5, 3)),
    "maximum": (node("MaxPool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], dilations=[1, 2]),
                (1, 4, 9, 8), None),
    "maximum, ceil": (node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=1), (1, 4, 10), None),
    "average": (node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), (1, 4, 9, 8), None),
    "average with its padding": (node("AveragePool", ["x"], ["y"], kernel_shape=[3], pads=[1, 1], count_include_pad=1), (1, 4, 9), None),
    "global": (node("GlobalAveragePool", ["x"], ["y"]), (2, 4, 9), None),
    "global maximum": (node("GlobalMaxPool", ["x"], ["y"]), (2, 4, 9, 3), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_NODE)
def test_a_node_becomes_the_layer_that_onnx_runtime_computes(kind: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made, x_shape, weight_shape = ONE_NODE[kind]
    bias = (weight_shape[1] if made.op_type == "ConvTranspose" else weight_shape[0],) if "b" in made.input else None
    weights = {name: shape for name, shape in (("w", weight_shape), ("b", bias)) if shape}
    path = save(tmp_path / "net.onnx", [made], x_shape, weights)
    (layer,) = Options(onnx=path).own().workloads
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    x = np.random.default_rng(2).standard_normal(x_shape, dtype=np.float32)
    (want,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    got = expected.answer(layer, Tensors(x, constants.get("w"), constants.get("b")))
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-4, atol=1e-5)


def small_net(path: Path) -> Path:
    """Free batch and length, two equal layers, weights in a Constant, a layer with three axes."""
    constant = onnx.numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32))
    return save(path, [
        node("Constant", [], ["w0"], value=constant),
        node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1], name="/front/conv"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1], name="/one/conv"),
        node("Conv", ["c", "w1"], ["d"], pads=[1, 1, 1, 1], name="/two/conv"),
        node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2], name="pool"),
        node("Unsqueeze", ["e", "axis"], ["f"]),
        node("GlobalAveragePool", ["f"], ["y"], name="deep"),
    ], ("batch", 1, 8, "time"), {"w1": (4, 4, 3, 3)}, rank=5)  # fmt: skip


def test_free_axes_are_fixed_and_equal_layers_counted(tmp_path: Path) -> None:
    path = small_net(tmp_path / "net.onnx")
    loaded = onnx.load(path)
    loaded.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "axis"))
    onnx.save(loaded, path)
    options = Options(onnx=path, inputs=("x=1x1x8x20",), contenders=("jit",), threads=(1,), batch=3)
    found = options.own()
    assert [(each.id, each.count, each.x_shape) for each in found.workloads] == [
        ("net.front.conv", 1, (1, 1, 8, 20)), ("net.one.conv", 2, (1, 4, 8, 20)), ("net.pool", 1, (1, 4, 8, 20)),
    ]  # fmt: skip
    assert found.notes[0] == "net.onnx: 4 layers, 3 of them differ; 1 more of the model are left out and in no total"
    assert "deep is left out" in found.notes[1] and "axes" in found.notes[1]
    assert [(spec.workload.id, spec.workload.n) for spec in options.matrix()][:2] == [("net.front.conv", 3), ("net.one.conv", 3)]
    assert Options.from_json(options.as_json()).matrix() == options.matrix()
    (spec,) = replace(options, workloads=("*.one.*",)).matrix()
    assert spec.workload.id == "net.one.conv"

    for inputs, sentence in (
        ((), "its shape depends on the input's; give the input's"), (("z=1x2",), "the model has no input 'z'"),
        (("x=1x1",), "has 4 axes, 2 were given"), (("x=axb",), "a name and its sizes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            Options(onnx=path, inputs=inputs).own()


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model at all")
    for name, sentence in (("text.onnx", "cannot be read as an ONNX model"), ("nowhere.onnx", "No such file")):
        with pytest.raises(ValueError, match=sentence):
            Options(onnx=tmp_path / name).own()
    path = save(tmp_path / "relu.onnx", [node("Relu", ["x"], ["y"])], (1, 4), {})
    with pytest.raises(ValueError, match="has no layer to time"):
        Options(onnx=path).own()
    with pytest.raises(ValueError, match="one of them at a time"):
        Options(onnx=path, layers=path).own()
    with pytest.raises(ValueError, match="--input fixes"):
        Options(inputs=("x=1",)).own()


def test_totals_count_each_layer_as_often_as_the_model_has_it(tmp_path: Path) -> None:
    def line(workload: str, contender: str, seconds: float, count: int) -> Line:
        return Line(workload, contender, 1, 1, "conv2d", "", 2000, 400, "ok", seconds=(seconds, seconds), count=count)

    fabricated_run.write(tmp_path, [
        line("net.a", "direct", 0.25, 2), line("net.a", "torch", 0.125, 2), line("net.a", "auto", 0.125, 2),
        line("net.b", "direct", 0.5, 1), line("net.b", "torch", 1.0, 1), line("net.b", "winograd", 0.375, 1),
    ], fabricated_run.header(threads=(1,)))  # fmt: skip
    run = archive.load(tmp_path)
    found = model_totals.totals(model_totals.rows(run), model_totals.contender_order(run))
    assert [(each.contender, each.seconds, each.layers) for each in found] == [
        ("best of each layer", 0.25 + 0.375, 3), ("best of ours", 0.25 + 0.375, 3),
        ("direct", 1.0, 3), ("torch", 1.25, 3), ("auto", 0.25, 2), ("winograd", 0.375, 1),
    ]  # fmt: skip
    with (console := Console(width=100)).capture() as shown:
        console.print(model_totals.summary(run))
    assert "your model, 1 thread" in shown.get() and "best of each layer" in shown.get() and "1 of 3" in shown.get()


def test_a_run_over_a_model_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")  # the user's own, which the suite's passes must not meet
    path = save(tmp_path / "net.onnx", [node("Conv", ["x", "w"], ["y"], name="conv")], ("n", 1, 9, 9), {"w": (2, 1, 3, 3)})
    done = CliRunner().invoke(app, [
        "run", "--onnx", str(path), "--input", "x=1x1x9x9", "--contender=im2col", "--passes=1", "--threads=1", f"--out={tmp_path}",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "net.onnx: 1 layers, 1 of them differ" in done.output and "your model, 1 thread" in done.output and "1 of 1" in done.output


def test_own_layers_are_listed_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([LINES[1]]))
    listed = CliRunner().invoke(app, ["list", "--layers", str(path)])
    assert listed.exit_code == 0 and "mine.line-1" in listed.output and "effat" not in listed.output, listed.output
    checked = CliRunner().invoke(app, ["check", "--layers", str(path), "--contender=jit"])
    assert checked.exit_code == 0 and re.search(r"^jit +1 ", checked.output, flags=re.MULTILINE), checked.output
    every, core = (CliRunner().invoke(app, ["list", *preset]).output for preset in ([], ["--preset", "core"]))
    assert "network.vggish" in every and "signals.reverb" in every and "signals.reverb" not in core
    assert "there are quick, core, full" in CliRunner().invoke(app, ["list", "--preset", "none"]).output


@pytest.mark.parametrize("names", [("same", "same", "same-2"), ("same-2", "same", "same"), ("same", "same-2", "same", "same-2", "same-3")])
def test_made_up_names_are_checked_against_given_ones(names: tuple[str, ...]) -> None:
    layers = [users.from_problem(parse(f"max_pool2d n1 c{number} 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32"), name)
              for number, name in enumerate(names, 1)]  # fmt: skip
    found = users.merged(layers)
    assert len({each.id for each in found}) == len(names) and [each.c_in for each in found] == list(range(1, len(names) + 1))
    assert set(names) <= {each.id for each in found}


@pytest.mark.parametrize("name", ["net.[conv]", "net.a*b", "net.what?", "net.plain"])
def test_a_reproducer_means_one_layer_whatever_its_name(name: str) -> None:
    cell = replace(fabricated_run.header(), cells=results.merge([fabricated_run.line(fabricated_run.WORKLOADS[0], "direct")])).cells[0]
    words = shlex.split(entries.reproducer(replace(cell, workload=name), fabricated_run.header()))
    found = selection.matching([name, "net.c", "net.axb", "net.whatx"], [words[words.index("--workload") + 1]], "workload")
    assert found == [name]

"""Products of two changing matrices in a graph, as attention writes them: heads as views, broadcast, vectors, other dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.twin import evaluate


def check(graph: Graph, given: dict[str, Any], bound: float = 1e-5) -> Model:
    model = Model(graph, threads=2)
    got, wanted = model(given), evaluate(graph, given)["y"]
    np.testing.assert_allclose(got, wanted, atol=bound * max(1, np.abs(wanted).max(initial=0)))
    return model


@pytest.mark.parametrize("frames, heads, width", [(109, 3, 64), (7, 2, 5), (50, 4, 36)])
def test_attention(frames: int, heads: int, width: int) -> None:
    """Queries, keys and values are parts of one product, transposed to heads; what comes out is transposed back."""
    graph = Graph()
    x = graph.input("x", (2, frames, 3 * heads * width))
    parts = graph.node("Transpose", graph.node("Reshape", x, graph.constant([2, frames, 3, heads, width])), perm=[2, 0, 3, 1, 4])
    q, k, v = (graph.node("Gather", parts, graph.constant(i), axis=0) for i in range(3))
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
    chances = graph.node("Softmax", graph.node("Mul", scores, graph.constant(np.float32(width**-0.5))), axis=-1)
    y = graph.node("Transpose", graph.node("MatMul", chances, v), perm=[0, 2, 1, 3])
    graph.output("y", graph.node("Reshape", y, graph.constant([2, frames, heads * width])))
    model = check(graph, {"x": np.random.default_rng(0).standard_normal((2, frames, 3 * heads * width)).astype(np.float32)})
    assert model.explain().count("matrix product") == 2 and "copy" not in model.explain()


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((2, 1, 3, 4), (5, 4, 6)),
    ((0, 4), (4, 2)),
    ((2, 0), (0, 3)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("a, b", SHAPES)
def test_shapes(a: tuple[int, ...], b: tuple[int, ...], dtype: Any) -> None:
    graph, rng = Graph(), np.random.default_rng(0)
    graph.output("y", graph.node("MatMul", graph.input("a", a, dtype), graph.input("b", b, dtype)))
    check(graph, {"a": (9 * rng.standard_normal(a)).astype(dtype), "b": (9 * rng.standard_normal(b)).astype(dtype)})


@pytest.mark.parametrize("turn_a, turn_b", [(False, True), (True, False), (True, True)])
def test_transposed_operands(turn_a: bool, turn_b: bool) -> None:
    graph, rng = Graph(), np.random.default_rng(0)
    a, b = graph.input("a", (2, 9, 20) if turn_a else (2, 20, 9)), graph.input("b", (2, 33, 9) if turn_b else (2, 9, 33))
    left, right = (graph.node("Transpose", each, perm=[0, 2, 1]) if turn else each for each, turn in ((a, turn_a), (b, turn_b)))
    graph.output("y", graph.node("MatMul", left, right))
    check(graph, {value.name: rng.standard_normal(value.lengths).astype(np.float32) for value in (a, b)})


CONVOLUTIONS = [
    ((2, 40, 20), (33, 20, 1), {}), ((1, 200, 24), (17, 24, 3), {"strides": [2]}), ((2, 60, 16), (20, 16, 3), {"dilations": [4]}),
    ((1, 9, 12, 16), (16, 16, 2, 3), {"strides": [2, 1], "dilations": [2, 1]}), ((2, 5, 6, 16), (16, 16, 1, 1), {}),
]  # fmt: skip


@pytest.mark.parametrize("activation", ["Relu", "Gelu", "HardSwish"])
@pytest.mark.parametrize("shape, kernel, options", CONVOLUTIONS)
def test_convolutions_over_channels_last(shape: tuple[int, ...], kernel: tuple[int, ...], options: dict[str, Any], activation: str) -> None:
    """Exporters of channels-last models transpose around each convolution; the first is the input's last axis."""
    graph, rng, rank = Graph(), np.random.default_rng(0), len(shape)
    x = graph.node("Transpose", graph.input("x", shape), perm=[0, rank - 1, *range(1, rank - 1)])
    weight, bias = (graph.constant(rng.standard_normal(each).astype(np.float32)) for each in (kernel, kernel[:1]))
    y = graph.node(activation, graph.node("Conv", x, weight, bias, **options))
    graph.output("y", graph.node("Transpose", y, perm=[0, *range(2, rank), 1]))
    model = check(graph, {"x": rng.standard_normal(shape).astype(np.float32)})
    assert "matrix product" in model.explain() or "direct" not in model.explain()


@pytest.mark.parametrize("activation", ["HardSwish", "HardSigmoid"])
@pytest.mark.parametrize("rows, said", [(1, "row times matrix"), (9, "matrix product")])
def test_hard_activations_follow_in_cache(rows: int, said: str, activation: str) -> None:
    graph, rng = Graph(), np.random.default_rng(3)
    weight = graph.constant(rng.standard_normal((40, 128)).astype(np.float32))
    y = graph.node("MatMul", graph.input("x", (rows, 40)), weight)
    graph.output("y", graph.node(activation, y, **({"alpha": 1 / 6} if activation == "HardSigmoid" else {})))
    x = rng.standard_normal((rows, 40)).astype(np.float32)
    model = Model(graph, threads=2)
    np.testing.assert_allclose(model(x), evaluate(graph, {"x": x})["y"], atol=2e-5)
    assert said in model.explain() and "passes" not in model.explain()

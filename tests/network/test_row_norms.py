"""Norms over the last axes that are written out: every way that exporters have of it becomes one step, others stay."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

SHAPE = (2, 7, 40)


def numbers(graph: Graph, *shape: int) -> Value:
    return graph.constant(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def number(graph: Graph, value: float) -> Value:
    return graph.constant(np.float32(value))


def mean(graph: Graph, x: Value, axis: int = -1) -> Value:
    return graph.node("ReduceMean", x, graph.constant([axis]), keepdims=1)


def deviation(graph: Graph, distances: Value, axis: int = -1, square: str = "Pow") -> Value:
    squares = graph.node("Mul", distances, distances) if square == "Mul" else graph.node("Pow", distances, number(graph, 2))
    return graph.node("Sqrt", graph.node("Add", mean(graph, squares, axis), number(graph, 1e-5)))


def check(graph: Graph, y: Value) -> str:
    """Compare with NumPy; what explain says."""
    graph.output("y", y)
    x = (3 + np.random.default_rng(0).standard_normal(SHAPE)).astype(np.float32)
    model = Model(graph, threads=2)
    np.testing.assert_allclose(model(x), evaluate(graph, {"x": x})["y"], atol=2e-5)
    return model.explain()


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("gamma, beta", [(False, False), (True, False), (True, True), (False, True)])
def test_layer_norm(gamma: bool, beta: bool, square: str) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE)
    distances = graph.node("Sub", x, mean(graph, x))
    y = graph.node("Div", distances, deviation(graph, distances, square=square))
    if gamma:
        y = graph.node("Mul", numbers(graph, 40), y)
    if beta:
        y = graph.node("Add", y, numbers(graph, 1, 40))
    said = check(graph, y)
    assert "layer norm by rows" in said and "vector pass" not in said


def test_reciprocal_and_the_affine_form() -> None:
    """As TensorFlow writes it."""
    graph = Graph()
    x = graph.input("x", SHAPE)
    middle = mean(graph, x)
    inverse = graph.node("Reciprocal", deviation(graph, graph.node("Sub", x, middle), square="Mul"))
    scale = graph.node("Mul", inverse, numbers(graph, 40))
    shift = graph.node("Sub", numbers(graph, 40), graph.node("Mul", middle, scale))
    said = check(graph, graph.node("Add", graph.node("Mul", x, scale), shift))
    assert "layer norm by rows" in said and "vector pass" not in said


@pytest.mark.parametrize("way", ["Div", "Reciprocal", "Pow"])
def test_rms_norm(way: str) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE)
    squares = graph.node("Pow", x, number(graph, 2))
    spread = graph.node("Add", mean(graph, squares), number(graph, 1e-6))
    if way == "Div":
        y = graph.node("Div", x, graph.node("Sqrt", spread))
    elif way == "Reciprocal":
        y = graph.node("Mul", x, graph.node("Reciprocal", graph.node("Sqrt", spread)))
    else:
        y = graph.node("Mul", x, graph.node("Pow", spread, number(graph, -0.5)))
    said = check(graph, graph.node("Mul", y, numbers(graph, 40)))
    assert "RMS norm by rows" in said and "vector pass" not in said


def test_the_operator() -> None:
    graph = Graph()
    assert "RMS norm by rows" in check(graph, graph.node("RMSNormalization", graph.input("x", SHAPE), numbers(graph, 40), axis=-1))


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"])
@pytest.mark.parametrize("constant", [True, False])
def test_scales_and_biases_that_differ_from_row_to_row(op: str, constant: bool) -> None:
    """ONNX lets them broadcast to x, whatever the axis; as many numbers as a row has may stand along another axis."""
    shape, draw = (3, 16, 16), np.random.default_rng(0)
    for own in ((3, 1, 16), (1, 16, 16), (16, 16), (16, 1), (1, 16, 1), (3, 16, 16)):
        given = {name: draw.standard_normal(own if name != "x" else shape).astype(np.float32) for name in ("x", "gamma", "beta")}
        graph = Graph()
        x = graph.input("x", shape)
        gamma, beta = (graph.constant(given[name]) if constant else graph.input(name, own) for name in ("gamma", "beta"))
        graph.output("y", graph.node(op, x, gamma, *[beta] * (op == "LayerNormalization"), axis=-1))
        middle = given["x"].mean(-1, keepdims=True) if op == "LayerNormalization" else 0
        distances = given["x"] - middle
        wanted = distances / np.sqrt((distances**2).mean(-1, keepdims=True) + 1e-5) * given["gamma"]
        wanted = wanted + given["beta"] * (op == "LayerNormalization")
        inputs = {value.name: given[value.name] for value in graph.inputs}
        np.testing.assert_allclose(Model(graph, threads=1)(inputs), wanted, atol=2e-5)


def test_others_stay() -> None:
    """Another axis, numbers that are not of a row, distances from another mean."""
    for axis, gamma, other in ((1, (7, 1), False), (-1, (7, 40), False), (-1, (40,), True)):
        graph = Graph()
        x = graph.input("x", SHAPE)
        distances = graph.node("Sub", x, mean(graph, graph.node("Relu", x) if other else x, axis))
        y = graph.node("Div", distances, deviation(graph, distances, axis))
        said = check(graph, graph.node("Mul", y, numbers(graph, *gamma)))
        assert ("layer norm by rows" in said) == (gamma == (7, 40)) and "vector pass" in said


@pytest.mark.parametrize("root", ["Sqrt", "Pow"])
def test_a_mean_over_no_axes_is_no_norm(root: str) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE)
    nothing = graph.constant(np.zeros(0, np.int64))
    kept = graph.node("ReduceMean", graph.node("Mul", x, x), nothing, keepdims=1, noop_with_empty_axes=1)
    squares = graph.node("Add", kept, number(graph, 1e-5))
    if root == "Sqrt":
        y = graph.node("Div", x, graph.node("Sqrt", squares))
    else:
        y = graph.node("Mul", x, graph.node("Pow", squares, number(graph, -0.5)))
    assert "norm by rows" not in check(graph, y)


def test_what_is_read_elsewhere_too() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE)
    distances = graph.node("Sub", x, mean(graph, x))
    root = deviation(graph, distances)
    normal = graph.node("Div", distances, root)
    y = graph.node("Add", graph.node("Mul", normal, numbers(graph, 40)), graph.node("Mul", normal, root))
    assert "layer norm by rows" in check(graph, y)

"""Softmax and layer norms as one step a row: which are, in every layout, with a scale before, in place, with other readers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.twin import evaluate


def run(graph: Graph, shape: tuple[int, ...], dtype: Any = np.float32) -> str:
    """Compare with NumPy; what explain says."""
    x = (3 + np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    model = Model(graph, threads=2)
    for name, wanted in evaluate(graph, {"x": x}).items():
        got = model({"x": x})
        np.testing.assert_allclose(got[name] if isinstance(got, dict) else got, wanted, atol=1e-5)
    return model.explain()


@pytest.mark.parametrize("op", ["Softmax", "LayerNormalization"])
@pytest.mark.parametrize("perm", [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layout(op: str, perm: list[int], dtype: str) -> None:
    graph, shape = Graph(), (30, 40, 50)
    x = graph.node("Transpose", graph.node("Relu", graph.input("x", shape, dtype)), perm=perm)
    numbers = [graph.constant(np.linspace(start, 2, x_length(shape, perm)).astype(dtype)) for start in (1, -1)]
    y = graph.node(op, x, *(numbers if op == "LayerNormalization" else []), axis=-1)
    graph.output("y", graph.node("Add", y, x))
    graph.output("z", y)
    assert run(graph, shape, dtype).count("by rows") == 1


def x_length(shape: tuple[int, ...], perm: list[int]) -> int:
    return shape[perm[-1]]


@pytest.mark.parametrize("op, number", [("Mul", 0.125), ("Div", 8.0), ("Mul", -0.125), ("Mul", 0.0)])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_scales(op: str, number: float, swapped: bool, read: bool) -> None:
    graph, shape = Graph(), (3, 4, 50)
    x, by = graph.node("Relu", graph.input("x", shape)), graph.constant(np.float32(number))
    scaled = graph.node(op, *((by, x) if swapped and op == "Mul" else (x, by)))
    graph.output("y", graph.node("Relu", graph.node("Softmax", scaled, axis=-1)))
    if read:
        graph.output("scaled", scaled)
    said = run(graph, shape)
    assert "softmax by rows" in said and ("Mul" in said or "Div" in said) == (number <= 0 or read)


@pytest.mark.parametrize("length, axis, whole", [(8, -1, False), (9, -1, True), (50, 1, False), (5000, -1, True)])
def test_which_softmax_is_whole(length: int, axis: int, whole: bool) -> None:
    graph, shape = Graph(), (2, 30, length)
    graph.output("y", graph.node("Softmax", graph.input("x", shape), axis=axis))
    assert ("by rows" in run(graph, shape)) == whole


@pytest.mark.parametrize("axis, length, whole", [(-1, 50, True), (1, 50, True), (-1, 5000, False), (-1, 4, False)])
def test_which_layer_norm_is_whole(axis: int, length: int, whole: bool) -> None:
    graph, shape = Graph(), (2, 30, length)
    gamma = graph.constant(np.linspace(1, 2, np.prod(shape[axis:])).astype(np.float32).reshape(shape[axis:]))
    graph.output("y", graph.node("LayerNormalization", graph.input("x", shape), gamma, axis=axis))
    assert ("by rows" in run(graph, shape)) == whole


@pytest.mark.parametrize("op", ["Softmax", "LayerNormalization"])
def test_part_of_a_concatenation(op: str) -> None:
    graph, shape = Graph(), (2, 3, 40)
    x = graph.node("Relu", graph.input("x", shape))
    numbers = [graph.constant(np.ones(40, np.float32))] if op == "LayerNormalization" else []
    graph.output("y", graph.node("Concat", graph.node(op, x, *numbers, axis=-1), x, axis=1))
    assert "by rows" in run(graph, shape)

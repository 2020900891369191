"""Gates of channels that go into the layer behind them: which do, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

import numpy as np
import pytest
from network.test_bottlenecks import convolution
from network.test_residuals import check

from kernels.network.graph import Graph, Value

SHAPE = 1, 48, 20, 31


def gate(graph: Graph, x: Value) -> Value:
    squeezed = graph.node("Relu", convolution(graph, graph.node("GlobalAveragePool", x), 48, 8))
    return graph.node("Sigmoid", convolution(graph, squeezed, 8, 48))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_squeezed_channels(residual: bool, swapped: bool) -> None:
    graph = Graph()
    x = graph.node("Exp", graph.input("x", SHAPE))
    both = (gate(graph, x), x) if swapped else (x, gate(graph, x))
    y = convolution(graph, graph.node("Mul", *both), 48, 48)
    graph.output("y", graph.node("Relu", graph.node("Add", y, x)) if residual else y)
    explained = check(graph, SHAPE)
    assert explained.count("gated") == 1
    assert explained.count("vector pass") == 1  # the Exp


def test_a_residual_that_others_read() -> None:
    graph = Graph()
    x = graph.node("Exp", graph.input("x", SHAPE))
    y = graph.node("Add", convolution(graph, graph.node("Mul", x, gate(graph, x)), 48, 48), x)
    graph.output("y", y)
    graph.output("x", x)
    assert "gated, added" in check(graph, SHAPE)


@pytest.mark.parametrize("kind", ["two images", "few positions", "a gated map that others read", "a gate of positions", "3x3"])
def test_what_stays(kind: str) -> None:
    shape = {"two images": (2, 48, 20, 31), "few positions": (1, 48, 3, 5)}.get(kind, SHAPE)
    graph = Graph()
    x = graph.node("Exp", graph.input("x", shape))
    factors = graph.node("Sigmoid", convolution(graph, x, 48, 1)) if "positions" in kind and "gate" in kind else gate(graph, x)
    product = graph.node("Mul", x, factors)
    graph.output("y", convolution(graph, product, 48, 48, 3 if kind == "3x3" else 1))
    if "read" in kind:
        graph.output("product", product)
    assert "gated" not in check(graph, shape)


@pytest.mark.parametrize(("shape", "taken"), [((1, 8, 400), True), ((1, 8, 6, 20, 30), False)])
def test_signals_are_maps_and_volumes_stay(shape: tuple[int, ...], taken: bool) -> None:
    rng, graph = np.random.default_rng(0), Graph()
    x, ones = graph.node("Exp", graph.input("x", shape)), [1] * (len(shape) - 2)
    factors = graph.node("Sigmoid", graph.node("GlobalMaxPool", x))
    weight = graph.constant(rng.standard_normal((4, 8, *ones)).astype(np.float32))
    graph.output("y", graph.node("Conv", graph.node("Mul", x, factors), weight))
    assert ("gated" in check(graph, shape)) is taken

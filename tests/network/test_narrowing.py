"""Slices that go back: what is computed no more, what has to stay whole, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.passes.narrowing import narrow
from kernels.network.passes.specialise import specialise
from kernels.network.passes.weights import hold_weights
from kernels.network.twin import compute

SHAPE = (5, 8, 6)
Array = np.ndarray
Make = Callable[[Graph, Value], "Value | Sequence[Value]"]


def numbers(graph: Graph, *shape: int) -> Value:
    return graph.constant(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def part(graph: Graph, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    return graph.node("Slice", x, *(graph.constant([each]) for each in (start, stop, axis, step)))


def built(make: Make, exact: bool = True) -> tuple[Graph, dict[str, Array], Array]:
    """(the graph after the pass, its input, outputs before the pass side by side)."""
    graph = Graph()
    made = make(graph, graph.input("x", SHAPE))
    for i, value in enumerate([made] if isinstance(made, Value) else made):
        graph.output(f"y{i}", value)
    graph = specialise(graph, {"x": SHAPE})
    given = {"x": np.abs(np.random.default_rng(0).standard_normal(SHAPE)).astype(np.float32)}
    wanted = compute(graph, given)
    narrow(graph)
    found = compute(graph, given)  # checks every shape, too
    for name, each in wanted.items():
        np.testing.assert_allclose(found[name], each, rtol=0 if exact else 1e-5)  # products of other shapes round otherwise
    return graph, given, np.concatenate([each.ravel() for each in wanted.values()])


def lengths(graph: Graph, op: str) -> list[tuple[int, ...]]:
    return [node.y.lengths for node in graph.nodes if node.op == op]


def test_through_element_by_element_and_transposes() -> None:
    def make(graph: Graph, x: Value) -> Value:
        y = graph.node("Add", graph.node("Exp", x), numbers(graph, 8, 1))
        y = graph.node("Mul", y, numbers(graph, 1, 6))
        return part(graph, graph.node("Transpose", graph.node("Mul", y, y), perm=[2, 0, 1]), 2, 2, 5)

    graph, *_ = built(make)
    assert lengths(graph, "Exp") == [(5, 3, 6)] and lengths(graph, "Transpose") == [(6, 5, 3)]


@pytest.mark.parametrize(
    "to, axis, start, stop, exp",
    [
        ([5, 48], 1, 0, 13, (5, 3, 6)),  # rows of six: as many as hold what is read
        ([5, 48], 1, 12, 24, (5, 2, 6)),
        ([5, 48], 1, 7, 8, (5, 1, 6)),
        ([40, 6], 0, 0, 9, (2, 8, 6)),
        ([5, 2, 4, 6], 1, 1, 2, (5, 4, 6)),
        ([5, 2, 4, 6], 2, 1, 2, (5, 8, 6)),  # parts of all
        ([20, 12], 0, 0, 4, (1, 8, 6)),
        ([1, 5, 1, 8, 6, 1], 3, -2, 99, (5, 2, 6)),
        ([240], 0, 50, 60, (1, 8, 6)),
    ],
)
def test_through_reshapes(to: list[int], axis: int, start: int, stop: int, exp: tuple[int, ...]) -> None:
    graph, *_ = built(lambda g, x: part(g, g.node("Reshape", g.node("Exp", x), g.constant(to)), axis, start, stop))
    assert lengths(graph, "Exp") == [exp]


def test_into_the_channels_of_products() -> None:
    graph = Graph()
    y = graph.node("MatMul", graph.input("x", SHAPE), numbers(graph, 6, 32))
    graph.output("y", graph.node("Relu", part(graph, graph.node("Add", y, numbers(graph, 32)), -1, 3, 10)))
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    plain = specialise(graph, {"x": SHAPE})
    wanted = compute(plain, {"x": x})["y"]
    hold_weights(plain)
    assert narrow(plain) == 2 and [node.y.lengths for node in plain.nodes if node.op == "Linear"] == [(5, 8, 7)]
    model = Model(graph, threads=2)
    np.testing.assert_allclose(model(x), wanted, atol=1e-5)
    assert "5x8x7" in model.explain() and "5x8x32" not in model.explain()


def test_into_the_channels_of_convolutions() -> None:
    graph = Graph()
    y = graph.node("Conv", graph.input("x", SHAPE), numbers(graph, 24, 8, 3), numbers(graph, 24), pads=[1, 1])
    graph.output("y", part(graph, graph.node("Relu", y), 1, 5, 15))
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    model = Model(graph, threads=2)
    np.testing.assert_allclose(model(x), compute(specialise(graph, {"x": SHAPE}), {"x": x})["y"], atol=1e-5)
    assert "5x10x6" in model.explain()


def test_what_several_read() -> None:
    """Each reads its part of the box that holds all."""

    def make(graph: Graph, x: Value) -> list[Value]:
        y = graph.node("Exp", x)
        low, high = part(graph, y, 1, 1, 3), part(graph, graph.node("Sqrt", y), 1, 4, 6)
        return [graph.node("Neg", low), high]

    graph, *_ = built(make)
    assert lengths(graph, "Exp") == [(5, 5, 6)] and lengths(graph, "Sqrt") == [(5, 2, 6)]


@pytest.mark.parametrize("case", ["handed out", "a reader of all", "steps", "softmax", "nothing left"])
def test_what_stays_whole(case: str) -> None:
    def make(graph: Graph, x: Value) -> list[Value]:
        y = graph.node("Exp", x)
        if case == "softmax":
            return [part(graph, graph.node("Softmax", y, axis=1), 1, 0, 2)]
        if case == "steps":
            return [part(graph, y, 1, 0, 8, 2)]
        if case == "nothing left":
            return [part(graph, y, 1, 3, 3)]
        return [part(graph, y, 1, 0, 2), y if case == "handed out" else graph.node("ReduceMax", y, keepdims=0)]

    graph, *_ = built(make)
    assert lengths(graph, "Exp") == [SHAPE] or case == "nothing left"


def test_rows_of_products_norms_and_softmax() -> None:
    """What reads one token of a transformer's last block lets through that row."""

    def make(graph: Graph, x: Value) -> Value:
        y = graph.node("Softmax", graph.node("MatMul", x, numbers(graph, 6, 9)), axis=-1)
        y = graph.node("LayerNormalization", y, numbers(graph, 9), axis=-1)
        y = graph.node("Add", graph.node("MatMul", y, numbers(graph, 9, 6)), x)
        return graph.node("Gather", y, graph.constant(2), axis=1)

    graph, *_ = built(make, exact=False)
    assert lengths(graph, "MatMul") == [(5, 1, 9), (5, 1, 6)] and lengths(graph, "LayerNormalization") == [(5, 1, 9)]


@pytest.mark.parametrize("shape", [(6,), (5, 1, 6), (8, 6), (8, 1), (5, 8, 6)])
def test_scales_of_a_norm_go_with_its_rows(shape: tuple[int, ...]) -> None:
    """Constants and computed ones; what reads a part of the scales beside the norm leaves it all that it reads."""

    def make(graph: Graph, x: Value) -> list[Value]:
        y = graph.node("LayerNormalization", x, numbers(graph, *shape), graph.node("Exp", numbers(graph, *shape)), axis=-1)
        scale = graph.node("Exp", graph.node("ReduceMax", x, graph.constant([0, 1]), keepdims=0))
        z = graph.node("LayerNormalization", x, scale, axis=-1)
        return [part(graph, y, 1, 2, 5), part(graph, z, 1, 3, 5), part(graph, graph.node("Neg", scale), 0, 1, 3)]

    graph, *_ = built(make)
    assert lengths(graph, "LayerNormalization") == [(5, 3, 6), (5, 2, 6)]


@pytest.mark.parametrize("index", [-1, 0, 3])
def test_products_of_two_values(index: int) -> None:
    def make(graph: Graph, x: Value) -> Value:
        scores = graph.node("MatMul", graph.node("Exp", x), graph.node("Transpose", x, perm=[0, 2, 1]))
        return graph.node("Gather", graph.node("MatMul", scores, x), graph.constant([index]), axis=1)

    graph, *_ = built(make, exact=False)
    assert lengths(graph, "MatMul") == [(5, 1, 8), (5, 1, 6)] and lengths(graph, "Exp") == [(5, 1, 6)]


def test_columns_of_a_product_of_two_values() -> None:
    def make(graph: Graph, x: Value) -> Value:
        other = graph.node("Transpose", graph.node("Exp", x), perm=[0, 2, 1])
        return part(graph, graph.node("MatMul", x, other), 2, 1, 4)

    graph, *_ = built(make, exact=False)
    assert lengths(graph, "MatMul") == [(5, 8, 3)] and lengths(graph, "Exp") == [(5, 3, 6)]

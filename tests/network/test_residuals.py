"""Sums that go into products: which do, in place or not, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate


def numbers(graph: Graph, *shape: int) -> Value:
    return graph.constant(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def check(graph: Graph, shape: tuple[int, ...]) -> str:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    model, wanted = Model(graph, threads=2), evaluate(graph, {"x": x})
    for _ in range(2):
        found = model(x)
        for name, each in wanted.items():
            np.testing.assert_allclose(found[name] if isinstance(found, dict) else found, each, atol=1e-4)
    return model.explain()


def product(graph: Graph, x: Value, columns: int, bias: bool = False) -> Value:
    y = graph.node("MatMul", x, numbers(graph, x_columns(x), columns))
    return graph.node("Add", y, numbers(graph, columns)) if bias else y


def x_columns(x: Value) -> int:
    return int(x.shape[-1]) if x.shape else COLUMNS


COLUMNS = 70


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_residual(rows: int, bias: bool, read: bool, swapped: bool) -> None:
    graph, shape = Graph(), (1, rows, COLUMNS)
    before = graph.node("Relu", graph.input("x", shape))
    y = product(graph, graph.node("Tanh", before), COLUMNS, bias)
    graph.output("y", graph.node("Sigmoid", graph.node("Add", *((before, y) if swapped else (y, before)))))
    if read:
        graph.output("before", before)
    assert ("Add" in check(graph, shape)) == (rows == 1)


def test_two_products_and_a_constant() -> None:
    graph, shape = Graph(), (2, 30, COLUMNS)
    x = graph.node("Exp", graph.input("x", shape))
    first, second = product(graph, graph.node("Softmax", x, axis=-1), 50), product(graph, graph.node("Softmax", x, axis=1), 50, True)
    graph.output("y", graph.node("Add", graph.node("Add", first, second), numbers(graph, 2, 30, 50)))
    check(graph, shape)


def test_where_channels_come_first() -> None:
    """No product of rows: the sum is a pass of its own, or a sum of what is transposed."""
    graph, shape = Graph(), (2, COLUMNS, 30)
    x = graph.node("Transpose", graph.node("Relu", graph.input("x", shape)), perm=[0, 2, 1])
    graph.output("y", graph.node("Add", product(graph, x, COLUMNS), x))
    check(graph, shape)


def test_broadcast_stays() -> None:
    graph, shape = Graph(), (2, 30, COLUMNS)
    x = graph.node("Relu", graph.input("x", shape))
    graph.output("y", graph.node("Add", product(graph, x, COLUMNS), numbers(graph, 1, 30, COLUMNS)))
    assert "vector pass" in check(graph, shape)

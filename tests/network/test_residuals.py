"""Sums that go into products: which do, in place or not, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

import numpy as np
import pytest

import kernels
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
            atol = 2e-5 * max(1.0, float(np.abs(each).max()))
            np.testing.assert_allclose(found[name] if isinstance(found, dict) else found, each, rtol=0, atol=atol)
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


def convolution(graph: Graph, x: Value, c_in: int, c_out: int, taps: int = 3, group: int = 1) -> Value:
    weight, pads = numbers(graph, c_out, c_in // group, taps), [taps // 2] * 2
    return graph.node("Conv", x, weight, numbers(graph, c_out), pads=pads, group=group)


@pytest.mark.parametrize("activation", [None, "Relu", "Tanh", "HardSwish"])
@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("taps, group, length", [(1, 1, 700), (3, 2, 501), (3, 24, 300), (1, 1, 1), (5, 1, 3000), (129, 1, 3000)])
def test_convolutions(taps: int, group: int, length: int, read: bool, activation: str | None) -> None:
    """By direct sums in place, where they are chosen and the map is long; added behind other methods."""
    graph, shape = Graph(), (2, 24, length)
    before = graph.node("Relu", graph.input("x", shape))
    y = graph.node("Add", before, convolution(graph, graph.node("Sin", before), 24, 24, taps, group))
    y = graph.node(activation, y) if activation else y
    graph.output("y", graph.node("Exp", graph.node("Neg", graph.node("Abs", y))) if read else y)
    if read:
        graph.output("before", before)
    weight = np.ones((24, 24 // group, taps), np.float32)
    alone = kernels.plan("conv1d", shape, weight, np.ones(24, np.float32), padding=taps // 2, groups=group, threads=2)
    assert taps < 129 or alone.implementation != "direct"
    assert ("direct, added" in check(graph, shape)) == (length > 500 and alone.implementation == "direct")


def test_chains_of_residuals() -> None:
    """Sums that go on, as skips do; both branches are layers; one is read again later."""
    graph, shape = Graph(), (1, 16, 900)
    y, skips = graph.input("x", shape), None
    for _ in range(4):
        z = graph.node("Tanh", convolution(graph, y, 16, 16))
        y = graph.node("Add", y, convolution(graph, z, 16, 16, 1))
        skip = convolution(graph, z, 16, 32, 1)
        skips = skip if skips is None else graph.node("Add", skips, skip)
    graph.output("y", graph.node("Relu", skips))
    graph.output("both", graph.node("Relu", graph.node("Add", convolution(graph, y, 16, 16, 1), convolution(graph, y, 16, 16, 3))))
    check(graph, shape)


def test_an_output_and_a_part_of_a_concatenation() -> None:
    graph, shape = Graph(), (1, 16, 900)
    x = graph.node("Relu", graph.input("x", shape))
    y = graph.node("Add", convolution(graph, x, 16, 16, 1), x)
    z = graph.node("Add", convolution(graph, y, 16, 16, 1), y)
    graph.output("y", y)
    graph.output("joined", graph.node("Concat", x, z, axis=1))
    check(graph, shape)


def test_what_is_added_is_made_behind_the_layer() -> None:
    graph, shape = Graph(), (1, 16, 900)
    x = graph.input("x", shape)
    y = convolution(graph, x, 16, 16, 1)
    late = graph.node("Transpose", graph.node("Softmax", graph.node("Transpose", x, perm=[0, 2, 1]), axis=-1), perm=[0, 2, 1])
    graph.output("y", graph.node("Add", y, late))
    check(graph, shape)


def test_what_a_pass_makes_is_added_in_that_pass() -> None:
    graph, shape = Graph(), (1, 16, 900)
    x = graph.node("Softmax", graph.input("x", shape), axis=-1)
    other = graph.node("Sigmoid", graph.node("Softmax", convolution(graph, x, 16, 16, 3), axis=-1))
    graph.output("y", graph.node("Add", convolution(graph, x, 16, 16, 1), other))
    assert "Sigmoid+Add" in check(graph, shape)


@pytest.mark.parametrize("linear", [False, True])
def test_what_is_added_is_the_input_too(linear: bool) -> None:
    """It must stay until all tasks have read it: the same bits in every call."""
    graph, shape = Graph(), (1, 9000, 32) if linear else (1, 16, 30000)
    x = graph.node("Relu", graph.input("x", shape))
    y = graph.node("MatMul", x, numbers(graph, 32, 32)) if linear else convolution(graph, x, 16, 16)
    graph.output("y", graph.node("Softmax", graph.node("Add", x, y), axis=1))
    given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    model, wanted = Model(graph, threads=2), evaluate(graph, {"x": given})["y"]
    first = model(given)
    np.testing.assert_allclose(first, wanted, atol=1e-4)
    for _ in range(30):
        np.testing.assert_array_equal(model(given), first)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("added, joins", [((3, 20, 20), True), ((2, 1, 1, 20), True), ((20, 20), True), ((20, 1), False), ((20,), False)])
def test_scores(added: tuple[int, ...], joins: bool, turned: bool) -> None:
    """What is added to a product of two changing matrices, whole or broadcast; turned: the product is written column by column."""
    graph, shape = Graph(), (2, 3, 20, 20)
    x, swap = graph.input("x", shape), [0, 1, 3, 2]
    q, k = graph.node("Tanh", x), graph.node("Sigmoid", x)
    q, k = (graph.node("Transpose", q, perm=swap) if turned else q), graph.node("Transpose", k, perm=swap)
    y = graph.node("Add", graph.node("MatMul", q, k), numbers(graph, *added))
    graph.output("y", graph.node("Transpose", y, perm=swap) if turned else graph.node("Softmax", y, axis=-1))
    assert ("Add" not in check(graph, shape)) == joins


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
@pytest.mark.parametrize("constant", [False, True])
def test_sums_of_two_dtypes_stay_sums(dtype: str, constant: bool) -> None:
    graph, shape = Graph(), (2, 20, COLUMNS)
    x, mask = graph.input("x", shape), np.arange(20 * COLUMNS).reshape(20, COLUMNS) % 3
    other = graph.constant(np.broadcast_to(mask, shape), dtype) if constant else graph.node("Cast", graph.node("Relu", x), to=dtype)
    scores = graph.node("MatMul", graph.node("Tanh", x), graph.node("Transpose", graph.node("Sigmoid", x), perm=[0, 2, 1]))
    graph.output("y", graph.node("Add", graph.node("MatMul", scores, x), other))
    graph.output("z", graph.node("Add", product(graph, x, COLUMNS), other))
    check(graph, shape)


def test_scores_that_are_read_twice() -> None:
    graph, shape = Graph(), (2, 20, 20)
    x = graph.input("x", shape)
    scores = graph.node("MatMul", graph.node("Tanh", x), graph.node("Sigmoid", x))
    graph.output("y", graph.node("Add", scores, numbers(graph, 20, 20)))
    graph.output("scores", scores)
    assert "Add" in check(graph, shape)


def test_a_product_and_scores() -> None:
    """The sum goes into one of both."""
    graph, shape = Graph(), (2, 3, 20, 20)
    x = graph.input("x", shape)
    scores = graph.node("MatMul", graph.node("Tanh", x), graph.node("Softmax", x, axis=-1))
    graph.output("y", graph.node("Exp", graph.node("Add", product(graph, x, 20), scores)))
    assert "Add" not in check(graph, shape)

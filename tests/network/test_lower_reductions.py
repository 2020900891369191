"""Means over all of space run as global pools where planes are small, as reductions where they are large."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.lower_reductions import PLANE
from kernels.network.model import Model
from kernels.network.twin import evaluate


def check(graph: Graph, shape: tuple[int, ...], dtype: type = np.float32) -> Model:
    model, x = Model(graph, threads=2), np.random.default_rng(0).standard_normal(shape).astype(dtype)
    wanted = evaluate(graph, {"x": x.astype(np.float64)})["y"]
    got = model(x)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "shape, pooled",
    [
        ((1, 100, 7, 7), True), ((2, 33, 2, 4), True), ((3, 5, 50), True), ((1, 7, 3, 4, 5), True), ((2, 9, 40, 50), False),
        ((4, 6, 8), False),
    ],
)
def test_means_over_space(shape: tuple[int, ...], pooled: bool, keepdims: int, dtype: type) -> None:
    graph = Graph()
    x = graph.node("Relu", graph.input("x", shape, dtype))
    graph.output("y", graph.node("ReduceMean", x, graph.constant(np.arange(2, len(shape))), keepdims=keepdims))
    assert np.prod(shape[2:]) <= PLANE or not pooled
    assert ("window" in check(graph, shape, dtype).explain()) is pooled


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_that_is_part_of_a_concatenation(keepdims: int) -> None:
    graph = Graph()
    x = graph.input("x", (2, 10, 6, 6))
    means = [graph.node("ReduceMean", each, graph.constant([2, 3]), keepdims=keepdims) for each in (graph.node("Relu", x), x)]
    graph.output("y", graph.node("Concat", *means, axis=1))
    check(graph, (2, 10, 6, 6))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("parts, n", [(1, 1), (1, 2), (2, 1)])
def test_a_mean_without_its_axes_is_written_where_it_has_to_lie(parts: int, n: int, flat: bool) -> None:
    graph = Graph()
    x = graph.input("x", (n, 10, 6, 6))
    values = [x, graph.node("Relu", x)][:parts]
    if flat:
        means = [graph.node("Flatten", graph.node("GlobalAveragePool", each)) for each in values]
    else:
        means = [graph.node("ReduceMean", each, graph.constant([2, 3]), keepdims=0) for each in values]
    graph.output("y", graph.node("Concat", *means, axis=1) if parts > 1 else means[0])
    assert "copy" not in check(graph, (n, 10, 6, 6)).explain()


def test_other_axes_and_orders_are_reduced() -> None:
    for axes, perm in (([1, 2], [0, 1, 2, 3]), ([2, 3], [0, 3, 1, 2]), ([2], [0, 1, 2, 3]), ([1, 2, 3], [0, 1, 2, 3])):
        graph = Graph()
        x = graph.node("Transpose", graph.input("x", (2, 12, 9, 7)), perm=perm)
        graph.output("y", graph.node("ReduceMean", x, graph.constant(axes)))
        assert "window" not in check(graph, (2, 12, 9, 7)).explain()

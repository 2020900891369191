"""Norms as nodes, as exporters write them out, and as reshaped instance norms: found, and right in every layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate


def run(graph: Graph, shape: tuple[int, ...], dtype: Any = np.float32, bound: float = 1e-5) -> str:
    """Compare with NumPy on numbers far from zero; what explain says."""
    x = (3 + np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    model = Model(graph, threads=2)
    got, wanted = model(x), evaluate(graph, {"x": x})["y"]
    np.testing.assert_allclose(got, wanted, atol=bound * max(1, np.abs(wanted).max()))
    return model.explain()


def written_out(graph: Graph, x: Value, axes: list[int], square: str, gamma: Value) -> Value:
    """x normalised in primitive operators."""
    where = graph.constant(axes)
    mean = graph.node("ReduceMean", x, where)
    centred = graph.node("Sub", x, mean)
    squared = graph.node("Pow", centred, graph.constant(np.float32(2))) if square == "Pow" else graph.node("Mul", centred, centred)
    deviation = graph.node("Sqrt", graph.node("Add", graph.node("ReduceMean", squared, where), graph.constant(np.float32(1e-5))))
    if square == "gamma first":
        return graph.node("Div", graph.node("Mul", gamma, graph.node("Sub", x, mean)), deviation)
    return graph.node("Mul", graph.node("Div", centred, deviation), gamma)


@pytest.mark.parametrize("square", ["Pow", "Mul", "gamma first"])
@pytest.mark.parametrize("axes, perm", [([2], [0, 1, 2]), ([1, 2], [0, 1, 2]), ([2], [0, 2, 1]), ([0, 2], [0, 1, 2]), ([1], [2, 1, 0])])
def test_written_out(axes: list[int], perm: list[int], square: str) -> None:
    graph = Graph()
    x = graph.node("Transpose", graph.node("Relu", graph.input("x", (3, 40, 50))), perm=perm)
    y = written_out(graph, x, axes, square, graph.constant(np.float32(1.5)))
    graph.output("y", graph.node("Relu", y))
    said = run(graph, (3, 40, 50))
    assert said.count("mean and deviation") + said.count("layer norm by rows") == 1 and "reduction" not in said


def test_a_deviation_that_is_read_elsewhere_stays() -> None:
    graph = Graph()
    x = graph.input("x", (3, 40))
    mean = graph.node("ReduceMean", x, graph.constant([1]))
    centred = graph.node("Sub", x, mean)
    deviation = graph.node("Sqrt", graph.node("ReduceMean", graph.node("Mul", centred, centred), graph.constant([1])))
    graph.output("y", graph.node("Add", graph.node("Div", centred, deviation), deviation))
    assert "mean and deviation" not in run(graph, (3, 40))


@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("shape", [(2, 8, 9, 13), (1, 8, 5000), (2, 8, 1)])
def test_group_norm_as_a_reshaped_instance_norm(shape: tuple[int, ...], groups: int) -> None:
    graph, rng = Graph(), np.random.default_rng(1)
    along = (8, *[1] * (len(shape) - 2))
    grouped = graph.node("Reshape", graph.input("x", shape), graph.constant([shape[0], groups, -1]))
    own = [graph.constant(rng.standard_normal(groups).astype(np.float32)) for _ in range(2)]
    back = graph.node("Reshape", graph.node("InstanceNormalization", grouped, *own), graph.constant(shape))
    scaled = graph.node("Mul", back, graph.constant(rng.standard_normal(along).astype(np.float32)))
    y = graph.node("Relu", graph.node("Add", scaled, graph.constant(rng.standard_normal(along).astype(np.float32))))
    graph.output("y", y)
    assert len(run(graph, shape).splitlines()) == 3  # a heading, moments, a chain


@pytest.mark.parametrize("op", ["LayerNormalization", "InstanceNormalization", "GroupNormalization"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_as_nodes(op: str, dtype: Any) -> None:
    graph, rng = Graph(), np.random.default_rng(1)
    x = graph.input("x", (2, 6, 5, 7), dtype)
    gamma, beta = (graph.constant(rng.standard_normal(7 if op[0] == "L" else 6).astype(dtype)) for _ in range(2))
    graph.output("y", graph.node(op, x, gamma, beta, **({"num_groups": 3} if op[0] == "G" else {})))
    assert "mean and deviation" in run(graph, (2, 6, 5, 7), dtype)


def test_factors_that_are_computed() -> None:
    graph = Graph()
    x, gamma = graph.input("x", (2, 6, 5, 7)), graph.constant(np.arange(6, dtype=np.float32))
    graph.output("y", graph.node("InstanceNormalization", x, graph.node("ReduceMax", x, graph.constant([0, 2, 3]), keepdims=0), gamma))
    run(graph, (2, 6, 5, 7), bound=1e-4)

"""Moves to another shape or order behind layers: element-by-element nodes pass them and join the layer."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate


def _answers(graph: Graph, x: np.ndarray, steps: int) -> None:
    model = Model(graph, threads=1)
    for name, wanted in evaluate(graph, {"x": x}).items():
        found = model(x)
        np.testing.assert_allclose(found[name] if isinstance(found, dict) else found, wanted, atol=2e-5)
    assert len(model._last.steps) == steps, model.explain()


def _layer(graph: Graph, x: Value) -> Value:
    rng = np.random.default_rng(1)
    return graph.node("Conv", x, graph.constant(rng.standard_normal((4, 3, 3, 3)).astype(np.float32)))


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4), (), (7, 1, 1)])
def test_scale_shift_and_activation_behind_channels_last(shape: tuple[int, ...]) -> None:
    """One for each channel, for all, or for each row, which no weights can hold."""
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (1, 9, 10, 3), np.float32)
    y = _layer(graph, graph.node("Transpose", x, perm=[0, 3, 1, 2]))
    y = graph.node("Squeeze", graph.node("Transpose", y, perm=[0, 2, 3, 1]), graph.constant(np.array([0], np.int64)))
    for op in ("Mul", "Add"):
        y = graph.node(op, y, graph.constant(rng.standard_normal(shape).astype(np.float32)))
    graph.output("y", graph.node("Elu", y, alpha=1.0))
    _answers(graph, rng.standard_normal((1, 9, 10, 3)).astype(np.float32), 1 if shape != (7, 1, 1) else 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_reshapes_that_join_axes(axis: int) -> None:
    """A constant along an axis that was joined with another stays where it is."""
    rng, graph = np.random.default_rng(0), Graph()
    y = graph.node("Reshape", _layer(graph, graph.input("x", (1, 3, 9, 10), np.float32)), graph.constant(np.array([4, 7 * 2, 4], np.int64)))
    shape = [(4, 14, 4)[i] if i == axis else 1 for i in range(3)]
    graph.output("y", graph.node("Relu", graph.node("Mul", y, graph.constant(rng.standard_normal(shape).astype(np.float32)))))
    _answers(graph, rng.standard_normal((1, 3, 9, 10)).astype(np.float32), 1 if axis == 0 else 2)


def test_what_others_read_stays() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    y = graph.node("Transpose", _layer(graph, graph.input("x", (1, 3, 9, 10), np.float32)), perm=[0, 2, 3, 1])
    graph.output("before", y)
    graph.output("y", graph.node("Relu", y))
    _answers(graph, rng.standard_normal((1, 3, 9, 10)).astype(np.float32), 3)

"""Pointwise and depthwise convolutions that become one node: which do, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

import numpy as np
import pytest
from network.test_residuals import check, numbers

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

SHAPE = 1, 16, 30, 41


def convolution(graph: Graph, x: Value, c_in: int, c_out: int, taps: int = 1, group: int = 1, stride: int = 1) -> Value:
    weight = numbers(graph, c_out, c_in // group, taps, taps)
    return graph.node("Conv", x, weight, numbers(graph, c_out), pads=[taps // 2] * 4, group=group, strides=[stride] * 2)


def wide(graph: Graph, x: Value, stride: int = 1) -> tuple[Value, Value]:
    """Both wide values of a block."""
    expanded = graph.node("Relu", convolution(graph, x, 16, 96))
    return expanded, graph.node("Relu", convolution(graph, expanded, 96, 96, 3, 96, stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_block(stride: int) -> None:
    graph = Graph()
    x = graph.node("Exp", graph.input("x", SHAPE))
    graph.output("y", convolution(graph, wide(graph, x, stride)[1], 96, 24))
    assert "bottleneck" in check(graph, SHAPE)


@pytest.mark.parametrize("read", [False, True])
def test_residual(read: bool) -> None:
    graph = Graph()
    x = graph.node("Tanh", graph.input("x", SHAPE))
    y = graph.node("Add", convolution(graph, wide(graph, x)[1], 96, 16), x)
    graph.output("y", graph.node("Add", convolution(graph, wide(graph, y)[1], 96, 16), y))
    if read:
        graph.output("first", y)
    explained = check(graph, SHAPE)
    assert explained.count("bottleneck") == 2
    assert "vector pass" not in explained.replace("1 vector passes", "", 1)


@pytest.mark.parametrize("keepdims", [None, 0, 1])
@pytest.mark.parametrize("shape", [SHAPE, (2, 16, 5, 7)])
def test_squeezed_channels_lie_between(shape: tuple[int, ...], keepdims: int | None) -> None:
    """Their means are the first layers' second output."""
    graph = Graph()
    _, y = wide(graph, graph.input("x", shape))
    if keepdims is None:
        means = graph.node("GlobalAveragePool", y)
    else:
        means = graph.node("ReduceMean", y, graph.constant(np.array([2, 3], np.int64)), keepdims=keepdims)
        means = means if keepdims else graph.node("Reshape", means, graph.constant(np.array([shape[0], 96, 1, 1], np.int64)))
    squeezed = graph.node("Sigmoid", convolution(graph, means, 96, 96))
    graph.output("y", convolution(graph, graph.node("Mul", y, squeezed), 96, 16))
    explained = check(graph, shape)
    assert explained.count("bottleneck") == 1
    assert "reduction" not in explained and "window" not in explained


@pytest.mark.parametrize("which", [0, 1])
def test_a_wide_value_that_others_read(which: int) -> None:
    graph = Graph()
    values = wide(graph, graph.input("x", SHAPE))
    graph.output("y", convolution(graph, values[1], 96, 16))
    graph.output("wide", graph.node("Neg", values[which]))
    assert check(graph, SHAPE).count("bottleneck") == 1  # of the two layers before it, or behind it


def test_an_activation_behind() -> None:
    graph = Graph()
    y = graph.node("Relu", convolution(graph, wide(graph, graph.input("x", SHAPE))[1], 96, 160))
    graph.output("y", graph.node("Relu", convolution(graph, y, 160, 160, 3, 160)))
    assert check(graph, SHAPE).count("bottleneck") >= 1


def test_channels_last() -> None:
    graph, shape = Graph(), (1, 30, 41, 16)
    x = graph.node("Transpose", graph.node("Exp", graph.input("x", shape)), perm=[0, 3, 1, 2])
    graph.output("y", graph.node("Transpose", convolution(graph, wide(graph, x)[1], 96, 24), perm=[0, 2, 3, 1]))
    check(graph, shape)


def test_a_constant_weight_is_needed() -> None:
    graph = Graph()
    x, weight = graph.input("x", SHAPE), graph.input("w", (96, 16, 1, 1))
    graph.output("y", convolution(graph, graph.node("Conv", x, weight), 96, 96, 3, 96))
    draw = np.random.default_rng(1)
    given = {"x": draw.standard_normal(SHAPE).astype(np.float32), "w": draw.standard_normal((96, 16, 1, 1)).astype(np.float32)}
    model, wanted = Model(graph, threads=2), evaluate(graph, given)["y"]
    np.testing.assert_allclose(model(given), wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    assert "bottleneck" not in model.explain()


@pytest.mark.parametrize("residual", [False, True])
def test_without_the_first(residual: bool) -> None:
    graph = Graph()
    x = graph.node("Exp", graph.input("x", SHAPE))
    y = convolution(graph, graph.node("Relu", convolution(graph, x, 16, 16, 3, 16)), 16, 16)
    graph.output("y", graph.node("Relu", graph.node("Add", y, x) if residual else y))
    explained = check(graph, SHAPE)
    assert explained.count("bottleneck") == 1
    assert explained.count("vector pass") == 1  # the Exp


def test_a_layer_that_makes_wide_planes_is_left_to_what_sees_them() -> None:
    graph = Graph()
    y = graph.node("Relu", convolution(graph, graph.input("x", SHAPE), 16, 16, 3, 16))
    graph.output("y", convolution(graph, wide(graph, y)[1], 96, 24))
    explained = check(graph, SHAPE)
    assert explained.count("bottleneck") == explained.count("depthwise") == 1

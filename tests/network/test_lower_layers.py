"""Layers of a single row: small ones join the one before them."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from processes import at_once

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

ONE = "row times matrix"


def head(widths: list[int], *, shown: int | None = None) -> Graph:
    """Linear layers with ReLU between, of one row; one of the values between is an output too."""
    rng, graph = np.random.default_rng(len(widths)), Graph()
    y = graph.input("x", (1, widths[0]))
    for i, (count, out) in enumerate(itertools.pairwise(widths)):
        weight, bias = rng.standard_normal((count, out)) / count**0.5, rng.standard_normal(out)
        y = graph.node("Gemm", y, *(graph.constant(each, np.float32) for each in (weight, bias)))
        y = graph.node("Sigmoid" if i == len(widths) - 2 else "Relu", y)
        if i == shown:
            graph.output("between", y)
    graph.output("y", y)
    return graph


def check(graph: Graph, model: Model, x: np.ndarray) -> None:
    found, right = model({"x": x}), evaluate(graph, {"x": x.astype(np.float64)})
    for name, each in (found if isinstance(found, dict) else {"y": found}).items():
        assert np.abs(each - right[name]).max() <= 1e-5 * max(np.abs(right[name]).max(), 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "widths, steps", [([1536, 128, 128, 1], 1), ([40, 30], 1), ([64, 600, 600, 2], 2), ([600, 600, 400, 64, 600, 600], 4)]
)
def test_small_layers_join_the_row_before(widths: list[int], steps: int, threads: int) -> None:
    graph = head(widths)
    model = Model(graph, threads=threads)
    assert model.explain().count(ONE) == steps
    for seed in range(3):
        check(graph, model, np.random.default_rng(seed).standard_normal((1, widths[0])).astype(np.float32))


def test_what_lies_between_can_be_an_output() -> None:
    graph = head([300, 128, 64, 10], shown=1)
    model = Model(graph, threads=2)
    assert model.explain().count(ONE) == 1
    check(graph, model, np.random.default_rng(0).standard_normal((1, 300)).astype(np.float32))


def test_layers_of_a_branch_stay_there() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (1, 200))

    def layer(into: Graph, y: Value, out: int) -> Value:
        weight = into.constant(rng.standard_normal((y.shape[1] if y.shape else 64, out)) / 8, np.float32)
        return into.node("Relu", into.node("Gemm", y, weight))

    first = layer(graph, x, 64)
    branches = []
    for out in (3, 3):
        branch = Graph()
        branch.output("y", layer(branch, layer(branch, first, 64), out))
        branches.append(branch)
    condition = graph.node("Greater", graph.node("ReduceMax", x, keepdims=0), graph.constant(np.float32(0)))
    graph.output("y", graph.node("If", condition, then_branch=branches[0], else_branch=branches[1]))
    model = Model(graph, threads=2)
    for sign in (1, -1):
        check(graph, model, sign * np.abs(rng.standard_normal((1, 200))).astype(np.float32))


def test_calls_at_once() -> None:
    graph = head([1536, 128, 128, 5])
    model, rng = Model(graph, threads=2), np.random.default_rng(0)
    inputs = rng.standard_normal((4, 1, 1536)).astype(np.float32)
    alone, wrong = [model(x) for x in inputs], []

    def call(i: int) -> None:
        for _ in range(300):
            if not np.array_equal(model(inputs[i]), alone[i]):
                wrong.append(i)

    at_once([functools.partial(call, i) for i in range(4)])
    assert not wrong

"""Sums of two products as one: what is joined, what is not, and that the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

LENGTHS = (5, 8, 6)


def numbers(graph: Graph, seed: int, *shape: int) -> Value:
    return graph.constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def product(graph: Graph, x: Value, axis: int, seed: int, outs: int = 7) -> Value:
    """With a constant matrix, along the last axis or the one before."""
    if axis == -1:
        return graph.node("MatMul", x, numbers(graph, seed, LENGTHS[axis], outs))
    return graph.node("MatMul", numbers(graph, seed, outs, LENGTHS[axis]), x)


def check(graph: Graph) -> str:
    """`explain` of the model, which computes what NumPy does."""
    x = np.random.default_rng(9).standard_normal(LENGTHS).astype(np.float32)
    model = Model(graph, threads=2)
    wanted = evaluate(graph, {"x": x})
    found: Any = model(x)
    for name, each in wanted.items():
        np.testing.assert_allclose(found if len(wanted) == 1 else found[name], each, atol=1e-5 * np.abs(each).max())
    return model.explain()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("axis", [-1, -2])
def test_complex_products(axis: int, swapped: bool) -> None:
    """Four products and two sums are one product."""
    graph = Graph()
    x = graph.input("x", LENGTHS)
    re, im = graph.node("Cos", x), graph.node("Sin", x)
    real = graph.node("Sub", product(graph, re, axis, 1), product(graph, im, axis, 2))
    terms = product(graph, re, axis, 2), product(graph, im, axis, 1)
    imaginary = graph.node("Add", *(terms[::-1] if swapped else terms))
    power = graph.node("Add", graph.node("Mul", real, real), graph.node("Mul", imaginary, imaginary))
    graph.output("y", power)
    text = check(graph)
    assert text.count("Linear") == 1 and "copy" not in text


def test_biases() -> None:
    graph = Graph()
    x = graph.input("x", LENGTHS)
    a, b = (product(graph, graph.node(op, x), -1, i) for i, op in enumerate(("Cos", "Sin")))
    a, b = graph.node("Add", a, numbers(graph, 3, 7)), graph.node("Add", b, numbers(graph, 4, 7))
    graph.output("y", graph.node("Sub", a, b))
    assert check(graph).count("Linear") == 1


@pytest.mark.parametrize("case", ["activation", "read twice", "input as it is", "other axes", "of one input", "handed out"])
def test_what_stays(case: str) -> None:
    graph = Graph()
    x = graph.input("x", LENGTHS)
    first = x if case == "input as it is" else graph.node("Cos", x)
    second = first if case == "of one input" else graph.node("Sin", x)
    if case == "other axes":
        a, b = product(graph, first, -1, 1, 6), product(graph, second, -2, 2, 8)
    else:
        a, b = product(graph, first, -1, 1), product(graph, second, -1, 2)
    if case == "activation":
        a = graph.node("Relu", a)
    graph.output("y", graph.node("Add", a, b))
    if case == "read twice":
        graph.output("z", graph.node("Exp", a))
    if case == "handed out":
        graph.output("z", first)
    assert "Add" in check(graph)

"""Choices that depend on the input: right whichever branch is taken, and only what that one needs runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kernels.network.branches import ALWAYS, Item, needed
from kernels.network.graph import Graph, Node, Value
from kernels.network.model import Model
from kernels.network.operators.registry import OPERATORS
from kernels.network.twin import evaluate

LENGTH = 40


def number(graph: Graph, value: float) -> Value:
    return graph.constant(np.float32(value))


def above(graph: Graph, x: Value, limit: float) -> Value:
    return graph.node("Greater", graph.node("ReduceMax", x, graph.constant([0, 1]), keepdims=0), number(graph, limit))


def branch(graph: Graph, *values: Value) -> Graph:
    """The nodes of `graph` so far, as a branch that gives these values."""
    for i, value in enumerate(values):
        graph.output(f"o{i}", value)
    return graph


def layer(graph: Graph, x: Value, seed: int) -> Value:
    weight = np.random.default_rng(seed).standard_normal((2, 2, 3)).astype(np.float32)
    return graph.node("Conv", x, graph.constant(weight), pads=[1, 1])


def nested() -> Graph:
    """Above 0 one of two layers, taken above 1; else another. What the branches share is a layer before them."""
    graph = Graph()
    x = graph.input("x", (1, 2, LENGTH))
    shared = graph.node("Relu", layer(graph, x, 0))
    one, two, inner, other = Graph(), Graph(), Graph(), Graph()
    branch(one, layer(one, shared, 1), number(one, 1))
    branch(two, layer(two, layer(two, shared, 2), 3), number(two, 2))
    flat = graph.node("Flatten", x)
    results = inner.several("If", above(inner, flat, 1), outputs=2, then_branch=one, else_branch=two)
    branch(inner, inner.node("Exp", results[0]), results[1])
    branch(other, layer(other, x, 4), number(other, 3))
    y, which = graph.several("If", above(graph, flat, 0), outputs=2, then_branch=inner, else_branch=other)
    graph.output("y", graph.node("Add", y, shared))
    graph.output("which", which)
    return graph


def inputs() -> dict[int, np.ndarray]:
    x = -np.abs(np.random.default_rng(0).standard_normal((1, 2, LENGTH)).astype(np.float32))
    most = {1: 1.5, 2: 0.5, 3: -0.1}
    given = {which: x.copy() for which in most}
    for which, array in given.items():
        array[0, 1, 7] = most[which]
    return given


@pytest.mark.parametrize("threads", [1, 2])
def test_every_branch_is_right_in_any_order(threads: int) -> None:
    model, given = Model(nested(), threads=threads), inputs()
    for which in (1, 2, 3, 2, 1, 3, 1):
        got, wanted = model(given[which]), evaluate(nested(), {"x": given[which]})
        assert got["which"] == wanted["which"] == which
        np.testing.assert_allclose(got["y"], wanted["y"], rtol=1e-5, atol=1e-5)


def test_a_step_of_the_other_branch_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    operator = OPERATORS["CumSum"]  # NumPy does it

    def compute(node: Node, *arrays: np.ndarray) -> np.ndarray:
        ran.append(node.label)
        return operator.compute(node, *arrays)

    monkeypatch.setitem(OPERATORS, "CumSum", dataclasses.replace(operator, compute=compute))
    graph = Graph()
    x = graph.input("x", (1, LENGTH))
    one, other = Graph(), Graph()
    branch(one, one.node("CumSum", x, one.constant(1), name="one"))
    branch(other, other.node("CumSum", x, other.constant(1), reverse=1, name="other"))
    graph.output("y", graph.node("If", above(graph, x, 0), then_branch=one, else_branch=other))
    model = Model(graph)
    for sign, name in ((1, "one"), (-1, "other"), (1, "one")):
        ran.clear()
        model(np.full((1, LENGTH), sign, np.float32))
        assert ran == [name]
    assert model.explain().count("in one branch") == 4


def test_several_conditions_must_all_hold() -> None:
    outer, inner = ("c", True), ("d", False)
    items = [Item("x", "c"), Item("x", "a"), Item("x", "d"), Item("x", "b"), Item("b", "r", frozenset({inner})),
             Item("ra", "y", frozenset({outer}))]  # fmt: skip
    assert needed(items, "y") == [ALWAYS, {outer}, {outer}, {outer, inner}, {outer, inner}, {outer}]


def test_what_both_branches_read_or_what_comes_before_the_condition_always_runs() -> None:
    choice = [Item("a", "y", frozenset({("c", True)})), Item("a", "y", frozenset({("c", False)}))]
    assert needed([Item("x", "c"), Item("x", "a"), *choice], "y")[:2] == [ALWAYS, ALWAYS]
    choice = [Item("a", "y", frozenset({("c", True)})), Item("b", "y", frozenset({("c", False)}))]
    assert needed([Item("x", "a"), Item("x", "c"), Item("x", "b"), *choice], "y")[:3] == [ALWAYS, ALWAYS, {("c", False)}]
    assert needed([Item("x", "c"), Item("x", "b"), *choice], "yb")[1] == ALWAYS  # handed out


def test_a_condition_that_is_an_input() -> None:
    graph = Graph()
    x, yes = graph.input("x", (1, 2, LENGTH)), graph.input("yes", (1,), bool)
    branches = [branch(each := Graph(), layer(each, x, seed)) for seed in (1, 2)]
    graph.output("y", graph.node("If", yes, then_branch=branches[0], else_branch=branches[1]))
    model, array = Model(graph), inputs()[1]
    for taken in (True, False, True):
        given = {"x": array, "yes": np.array([taken])}
        np.testing.assert_allclose(model(given), evaluate(graph, given)["y"], rtol=1e-5, atol=1e-5)

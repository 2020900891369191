"""The graph's own bookkeeping: order, readers, replacing, dead nodes, long chains."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from kernels.network import graph as module
from kernels.network.graph import Graph, Node
from kernels.problem.errors import ProblemError


def test_docstring() -> None:
    assert doctest.testmod(module).failed == 0


def chain(length: int) -> Graph:
    graph = Graph()
    value = graph.input("x", (1,))
    for _ in range(length):
        value = graph.node("Neg", value)
    graph.output("y", value)
    return graph


def test_dead_nodes_leave_and_living_ones_stay() -> None:
    graph = chain(3)
    graph.node("Exp", graph.inputs[0])
    graph.drop_dead()
    assert [node.op for node in graph.nodes] == ["Neg"] * 3


def test_what_a_subgraph_reads_is_alive() -> None:
    graph, inner = Graph(), Graph()
    x = graph.input("x", (1,))
    doubled = graph.node("Add", x, x)
    inner.output("y", inner.node("Neg", doubled))
    graph.output("y", graph.node("If", graph.constant(True), then_branch=inner, else_branch=inner))
    graph.drop_dead()
    assert [node.op for node in graph.nodes] == ["Add", "If"]


def test_sort_brings_makers_before_readers_without_recursion() -> None:
    graph = chain(5000)
    order = list(graph.nodes)
    graph.nodes.reverse()
    graph.sort()
    assert graph.nodes == order


def test_replace_follows_chains() -> None:
    graph = chain(3)
    first, second, third = graph.nodes
    graph.replace({second.y: first.y, first.y: graph.inputs[0]})
    assert third.inputs == [graph.inputs[0]]
    graph.replace({third.y: graph.inputs[0]})
    assert graph.outputs == {"y": graph.inputs[0]}


def test_readers_and_makers() -> None:
    graph = chain(2)
    first, second = graph.nodes
    assert graph.readers() == {graph.inputs[0]: [first], first.y: [second]}
    assert graph.makers() == {first.y: first, second.y: second}


def test_names_are_given_once() -> None:
    graph = Graph()
    x = graph.input("x", (1,))
    with pytest.raises(ProblemError, match="two inputs 'x'"):
        graph.input("x", (2,))
    graph.output("y", x)
    with pytest.raises(ProblemError, match="two outputs 'y'"):
        graph.output("y", x)


def test_a_node_prints_and_is_found_by_its_name() -> None:
    graph = Graph()
    y = graph.node("Add", graph.input("x", (1, None)), graph.constant(np.ones(1, np.float32)), name="sum")
    node: Node = graph.nodes[0]
    assert (node.label, str(node)) == ("sum", "v1 = Add(x, c0 float32 (1,))") and y is node.y

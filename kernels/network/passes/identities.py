"""Nodes that change nothing or nearly nothing: adding 0, multiplying by 1, integers times 0; limits of a Clip that are computed.

What becomes constant folds on. A product of floats with 0 stays: infinity and NaN times 0 are NaN.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.registry import OPERATORS, drawn
from kernels.network.passes.specialise import FOLDED

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0, "Pow": 1.0, "Sum": 0.0}
_SWAP = ("Add", "Mul", "Sum")


def drop_identities(graph: Graph) -> int:
    """How many nodes left or became constant."""
    new: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node.inputs = [None if value is None else new.get(value, value) for value in node.inputs]
        same = _same(node) or _constant(graph, node)
        if same is not None:
            new[node.y] = same
        elif node.op == "Clip" and any(value is not None and value.data is None for value in node.inputs[1:]):
            nodes += _limits(node)
        else:
            nodes.append(node)
    graph.nodes = nodes
    graph.replace(new)
    graph.drop_dead()
    return len(new)


def _same(node: Node) -> Value | None:
    """The input that a node hands on."""
    if node.op not in _NEUTRAL or len(node.inputs) != 2:
        return None
    for i in (1, 0) if node.op in _SWAP else (1,):
        value = node.inputs[1 - i]
        alike = value is not None and value.shape == node.y.shape and value.dtype == node.y.dtype
        if alike and scalar(node.inputs[i]) == _NEUTRAL[node.op]:
            return value
    return None


def _constant(graph: Graph, node: Node) -> Value | None:
    """The constant that a node gives: of constants, or an integer times 0."""
    present = [value for value in node.inputs if value is not None]
    size = sum(math.prod(value.lengths) for value in node.outputs)
    if len(node.outputs) != 1 or size > FOLDED or node.op not in OPERATORS or drawn(node.op):
        return None
    if node.op == "Mul" and node.y.kind.kind in "iu" and any(scalar(value) == 0 for value in present):
        return graph.constant(np.zeros(node.y.lengths, node.y.kind))
    if present and all(value.data is not None for value in present):
        with np.errstate(all="ignore"):
            found = OPERATORS[node.op].compute(node, *(None if value is None else value.data for value in node.inputs))
        return graph.constant(np.asarray(found, node.y.kind))
    return None


def _limits(node: Node) -> list[Node]:
    """A Clip as Max and Min, which broadcast what is computed."""
    low, high = (node.inputs[i] if len(node.inputs) > i else None for i in (1, 2))
    if low is None or high is None:
        limit = high if low is None else low
        return [Node("Min" if low is None else "Max", [node.x, limit], node.outputs, {}, node.name)]
    raised = Value(f"{node.y.name}.raised", node.y.shape, node.y.dtype)
    return [Node("Max", [node.x, low], [raised], {}, node.name), Node("Min", [raised, high], node.outputs, {}, node.name)]

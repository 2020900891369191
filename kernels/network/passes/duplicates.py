"""Nodes that compute the same from the same become one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.registry import drawn

SMALL = 4096  # bytes of constants that are compared by what they hold, others by identity


def merge_duplicates(graph: Graph) -> int:
    """How many nodes left."""
    new: dict[Value, Value] = {}
    first: dict[Hashable, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node.inputs = [None if value is None else new.get(value, value) for value in node.inputs]
        key = (node.op, tuple(map(_value, node.inputs)), tuple(sorted((name, _held(each)) for name, each in node.attributes.items())),
               len(node.outputs))  # fmt: skip
        known = node if drawn(node.op) else first.setdefault(key, node)
        if known is node:
            nodes.append(node)
        else:
            new |= dict(zip(node.outputs, known.outputs))
    graph.nodes = nodes
    graph.replace(new)
    return len(new)


def _value(value: Value | None) -> Hashable:
    if value is not None and value.data is not None and value.data.nbytes <= SMALL:
        return value.data.shape, value.data.dtype.str, value.data.tobytes()
    return value


def _held(attribute: Any) -> str:
    """An attribute in words; what is large or a graph is told by identity."""
    if isinstance(attribute, np.ndarray):
        return f"{attribute.shape} {attribute.dtype} {attribute.tobytes()!r}" if attribute.nbytes <= SMALL else f"array {id(attribute)}"
    return f"graph {id(attribute)}" if isinstance(attribute, Graph) else repr(attribute)

"""Reductions of reductions become one: global layer norms are written as a mean over channels, then one of those over time.

Means of means are means only because every one of them is of as many numbers, as it is along an axis.
"""

from __future__ import annotations

import numpy as np

from kernels.network.graph import Graph, Node
from kernels.network.operators.reducing import reduced_axes
from kernels.network.passes.sweep import Sweep

_ASSOCIATIVE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")


def join_reductions(graph: Graph) -> int:
    """How many reductions went into the one behind them."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        inner = sweep.maker(node.inputs[0]) if node.op in _ASSOCIATIVE else None
        if inner is None or inner.op != node.op or not sweep.alone(inner.y) or not (_keeps(inner) and _keeps(node)):
            continue
        axes = sorted({*reduced_axes(inner), *reduced_axes(node)})
        if node.x.kind.kind == "f" and axes:
            node.inputs = [inner.x, graph.constant(np.array(axes, np.int64))]
            node.attributes = {"keepdims": 1}
            sweep.changed += 1
    if sweep.changed:
        graph.drop_dead()
    return sweep.changed


def _keeps(node: Node) -> bool:
    return bool(node.attributes.get("keepdims", 1))

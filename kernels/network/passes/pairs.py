"""A sum of squares over an axis of two, as the power of spectra is written, becomes a sum of two squares: part of a chain, no reduction."""

from __future__ import annotations

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.reducing import reduced_axes
from kernels.network.passes.sweep import Sweep


def sums_of_pairs(graph: Graph) -> int:
    """How many sums were found."""
    sweep, nodes = Sweep(graph), []
    for node in graph.nodes:
        x = _squared(sweep, node)
        axes = reduced_axes(node) if x is not None else []
        if x is None or len(axes) != 1 or x.lengths[axes[0]] != 2 or x.kind.kind != "f":
            nodes.append(node)
            continue
        nodes += _sum(graph, node, x, axes[0])
        sweep.changed += 1
    if sweep.changed:
        graph.nodes = nodes
        graph.drop_dead()
    return sweep.changed


def _squared(sweep: Sweep, node: Node) -> Value | None:
    """What a node sums the squares of."""
    if node.op == "ReduceSumSquare":
        return node.x
    square = sweep.maker(node.x) if node.op == "ReduceSum" else None
    if square is None or not sweep.alone(square.y) or square.inputs[0] is None or square.x.shape != square.y.shape:
        return None
    same = square.op == "Mul" and square.inputs[0] is square.inputs[1]
    return square.x if same or (square.op == "Pow" and scalar(square.inputs[1]) == 2) else None


def _sum(graph: Graph, node: Node, x: Value, axis: int) -> list[Node]:
    """The nodes that make the sum."""
    shape = tuple(1 if i == axis else n for i, n in enumerate(x.lengths))
    made: list[Node] = []

    def new(op: str, *inputs: Value) -> Value:
        made.append(Node(op, list(inputs), [Value(f"{node.y.name}.{op.lower()}{len(made)}", shape, x.dtype)], {}, node.label))
        return made[-1].y

    halves = [new("Slice", x, *(graph.constant([n], np.int64) for n in (i, i + 1, axis))) for i in range(2)]
    total = new("Add", *(new("Mul", half, half) for half in halves))
    new("Reshape", total, graph.constant(node.y.lengths, np.int64))
    made[-1].outputs = node.outputs
    return made

"""A move to another shape between two element-by-element nodes goes behind the second, so that both are one chain.

Exporters squeeze and add axes of length 1 anywhere: a power, an axis, then its root.
"""

from __future__ import annotations

from kernels.network.chains import computed, scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import RESHAPES
from kernels.network.passes.sweep import Sweep


def moves_last(graph: Graph) -> int:
    """How many moves went behind another node."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        changing = [value for value in node.inputs if value is not None and scalar(value) is None]
        move = sweep.maker(changing[0]) if len(changing) == 1 else None
        if move is None or move.op not in RESHAPES or computed(node) is None or not sweep.alone(changing[0]):
            continue
        before = sweep.maker(move.x)
        if before is None or computed(before) is None or not sweep.alone(move.x) or node.y.dtype != node.x.dtype:
            continue
        _exchange(graph, sweep, move, node, changing[0])
    if sweep.changed:
        graph.sort()
    return sweep.changed


def _exchange(graph: Graph, sweep: Sweep, move: Node, node: Node, between: Value) -> None:
    """node(move(x)) becomes move(node(x))."""
    x, y = move.x, node.y
    first = Value(f"{y.name}.first", x.shape, y.dtype)
    numbers = {value: graph.constant(value.data.reshape(())) for value in node.inputs if value is not None and value.data is not None}
    node.inputs = [x if value is between else value and numbers.get(value, value) for value in node.inputs]
    node.outputs, move.outputs = [first], [y]
    move.inputs[0] = first
    sweep.makers |= {first: node, y: move}
    sweep.count[first] = 1
    sweep.changed += 1

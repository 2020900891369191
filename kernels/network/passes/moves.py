"""Moves to another shape or order go behind element-by-element nodes, so that these join what comes before.

Exporters squeeze and add axes of length 1 anywhere: a power, an axis, then its root. Those whose frameworks have channels last write a
Transpose around every convolution: scale, shift and activation stand behind it.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.network.chains import computed
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import RESHAPES
from kernels.network.passes.affine import LAYERS
from kernels.network.passes.epilogues import activation
from kernels.network.passes.sweep import Sweep

MOVES = (*RESHAPES, "Transpose")
_SCALES = ("Add", "Sub", "Mul", "Div")  # with constants


def moves_last(graph: Graph) -> int:
    """How many moves to another shape between two element-by-element nodes went behind the second, so that both are one chain."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        x = _changing(node)
        move = sweep.maker(x)
        if x is None or move is None or move.op not in RESHAPES or not sweep.alone(x):
            continue
        before = sweep.maker(move.x)
        if before is not None and computed(before) is not None and sweep.alone(move.x):
            _exchange(graph, sweep, move, node, x)
    if sweep.changed:
        graph.sort()
    return sweep.changed


def moves_behind_layers(graph: Graph) -> int:
    """How many moves between a layer and its scale, shift or activation went behind that, where nobody else reads what is between."""
    sweep = Sweep(graph)
    fed: set[Value] = set()  # what layers give, and moves, scales and shifts make of that alone
    for node in graph.nodes:
        x, y = node.x if node.op in MOVES else _changing(node), node.outputs[0]
        if node.op in LAYERS:
            fed.add(y)
        elif x is not None and x in fed and sweep.alone(x) and (node.op in (*MOVES, *_SCALES) or activation(node)):
            if node.op in (*MOVES, *_SCALES):
                fed.add(y)
            while node.op not in MOVES and x is not None and (move := sweep.maker(x)) is not None and move.op in MOVES:
                if not _exchange(graph, sweep, move, node, x):
                    break
                x = _changing(node)
    if sweep.changed:
        graph.sort()
    return sweep.changed


def _changing(node: Node) -> Value | None:
    """What an element-by-element node is a function of, all else being constant; its result has that shape and type."""
    changing = [value for value in node.inputs if value is not None and value.data is None]
    if len(changing) != 1 or computed(node) is None:
        return None
    x = changing[0]
    return x if x.shape == node.y.shape and x.dtype == node.y.dtype else None


def _exchange(graph: Graph, sweep: Sweep, move: Node, node: Node, between: Value) -> bool:
    """Whether node(move(x)) became move(node(x)): where the node's constants are numbers, or one for each index of an axis of x."""
    x, y = move.x, node.y
    numbers = {value: _moved(value, move) for value in node.inputs if value is not None and value.data is not None}
    if any(found is None for found in numbers.values()):
        return False
    first = Value(f"{y.name}.first", x.shape, y.dtype)
    held = {value: graph.constant(found) for value, found in numbers.items() if found is not None}
    node.inputs = [x if value is between else value and held.get(value, value) for value in node.inputs]
    node.outputs, move.outputs = [first], [y]
    move.inputs[0] = first
    sweep.makers |= {first: node, y: move}
    sweep.count[first] = 1
    sweep.changed += 1
    return True


def _moved(constant: Value, move: Node) -> np.ndarray | None:
    """A constant that broadcasts with what a move gives so that it broadcasts with what the move takes."""
    if constant.data is None or constant.data.size == 1:
        return None if constant.data is None else constant.data.reshape(())
    x, y = move.x.lengths, move.y.lengths
    long = [axis for axis, length in enumerate(constant.lengths, len(y) - len(constant.lengths)) if length > 1]
    if len(long) != 1:
        return None
    if move.op == "Transpose":
        to: int | None = int(move.attributes["perm"][long[0]]) if "perm" in move.attributes else len(y) - 1 - long[0]
    else:
        before = math.prod(y[: long[0]])
        to = next((i for i, length in enumerate(x) if length == y[long[0]] and math.prod(x[:i]) == before), None)
    return None if to is None else constant.data.reshape([-1 if i == to else 1 for i in range(len(x))])

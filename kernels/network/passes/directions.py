"""Recurrent layers as the compiled recurrence takes them: steps first, from the end where steps were reversed, both directions at once.

    LSTM(reversed(x))  =  reversed(LSTM of direction "reverse" (x)), the same last state

Frameworks without layers of two directions write a reversed copy of the input, a layer of its own, and reverse what comes out. Both layers
as one multiply the input once and run side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.network.branches import branches
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.recurrent import activation_names
from kernels.network.operators.shaping import RESHAPES, slices, text
from kernels.runtime.constants import made

RECURRENT = ("LSTM", "GRU", "RNN")
_WEIGHTS, _LENGTHS, _STATES = (1, 2, 3, 7), 4, (5, 6)  # places of inputs
_OTHER = {"forward": "reverse", "reverse": "forward"}


def steps_in_order(graph: Graph) -> int:
    """How many layers go from the end instead of reversing their steps, or have their steps first now."""
    nodes: list[Node] = []
    makers, new, changed = graph.makers(), dict[Value, Value](), 0
    for node in graph.nodes:
        node.inputs = [None if value is None else new.get(value, value) for value in node.inputs]
        written = [node]
        if node.op in RECURRENT:
            if node.attributes.get("layout"):
                written = _steps_first(node)
            if _direction(node) in _OTHER and _input(node, _LENGTHS) is None:
                at = written.index(node)
                written[at : at + 1] = _from_the_end(graph, makers, node)
            changed += len(written) > 1
        elif _reverses(node) and (found := _unreversed(makers, node.x)) is not None:
            written, new[node.y] = found
        makers |= {value: each for each in written for value in each.outputs}
        nodes += written
    graph.nodes = nodes
    graph.replace(new)
    graph.drop_dead()
    return changed


def _input(node: Node, i: int) -> Value | None:
    return node.inputs[i] if len(node.inputs) > i else None


def _direction(node: Node) -> str:
    return text(node.attributes.get("direction", "forward"))


def _transposed(value: Value, perm: list[int], y: Value | None = None) -> Node:
    shape = tuple(value.lengths[axis] for axis in perm)
    return Node("Transpose", [value], [y or Value(f"{value.name}.turned", shape, value.dtype)], {"perm": perm})


def _steps_first(node: Node) -> list[Node]:
    """What stands for a layer whose batch came first."""
    node.attributes = {name: value for name, value in node.attributes.items() if name != "layout"}
    before = {i: _transposed(value, [1, 0, 2]) for i in (0, *_STATES) if (value := _input(node, i)) is not None}
    for i, each in before.items():
        node.inputs[i] = each.y
    behind = []
    for i, value in enumerate(node.outputs):
        perm, back = ([1, 2, 0, 3], [2, 0, 1, 3]) if i == 0 else ([1, 0, 2], [1, 0, 2])
        own = Value(f"{value.name}.steps", tuple(value.lengths[axis] for axis in perm), value.dtype)
        node.outputs[i] = own
        behind.append(_transposed(own, back, value))
    return [*before.values(), node, *behind]


def _reverses(node: Node) -> bool:
    """Whether a node reverses the first axis and does nothing else."""
    if node.op != "Slice" or not node.x.lengths or any(value is not None and value.data is None for value in node.inputs[1:]):
        return False
    n = node.x.lengths[0]
    return slices(node, node.x.lengths, [node.constant(i) for i in (1, 2, 3, 4)]) == [(0, n - 1, -1, -1)]


def _unreversed(makers: dict[Value, Node], value: Value) -> tuple[list[Node], Value] | None:
    """Nodes that make what a value would be without the reversal of its first axis, before moves that keep this, and that; None where
    there is none."""
    moves: list[Node] = []
    maker = makers.get(value)
    while maker is not None and not _reverses(maker):
        first = maker.attributes.get("perm", [1])[0] == 0 if maker.op == "Transpose" else maker.op in RESHAPES
        if not first or maker.x.lengths[:1] != maker.y.lengths[:1]:
            return None
        moves.append(maker)
        maker = makers.get(maker.x)
    if maker is None:
        return None
    found: list[Node] = []
    now = maker.x
    for move in reversed(moves):
        found.append(Node(move.op, [now, *move.inputs[1:]], [Value(f"{move.y.name}.ahead", move.y.shape, move.y.dtype)], move.attributes))
        now = found[-1].y
    return found, now


def _from_the_end(graph: Graph, makers: dict[Value, Node], node: Node) -> list[Node]:
    """What stands for a layer of reversed steps: one that goes the other way, whose answers are reversed."""
    found = _unreversed(makers, node.x)
    if found is None:
        return [node]
    moves, node.inputs[0] = found
    node.attributes = {**node.attributes, "direction": _OTHER[_direction(node)]}
    y = node.outputs[0]
    node.outputs[0] = Value(f"{y.name}.ahead", y.shape, y.dtype)
    limits = [graph.constant(np.array([each], np.int64)) for each in (-1, np.iinfo(np.int64).min, 0, -1)]
    return [*moves, node, Node("Slice", [node.outputs[0], *limits], [y], {})]


def join_directions(graph: Graph) -> int:
    """How many pairs of layers, one in each direction, became one layer of both."""
    when, makers, waiting = branches(graph), graph.makers(), dict[Any, Node]()
    parts: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        weights = [_input(node, i) for i in _WEIGHTS]
        if node.op not in RECURRENT or _direction(node) not in _OTHER or _input(node, _LENGTHS) is not None:
            continue
        if any(value is not None and value.data is None for value in weights):
            continue
        rest = sorted((name, str(value)) for name, value in node.attributes.items() if name not in ("direction", "activations"))
        shapes = [None if value is None else value.lengths for value in weights]
        key = (node.op, node.x, str(rest), str(shapes), when.get(node))
        other = waiting.pop((key, _OTHER[_direction(node)]), None)
        if other is None:
            waiting[key, _direction(node)] = node
        elif not any(_waits(makers, a, b) for a, b in ((node, other), (other, node))):
            parts[other], parts[node] = _joined(graph, *((other, node) if _direction(node) == "reverse" else (node, other))), []
    if parts:
        graph.nodes = [each for node in graph.nodes for each in parts.get(node, [node])]
        graph.sort()
    return len(parts) // 2


def _waits(makers: dict[Value, Node], node: Node, other: Node) -> bool:
    """Whether a layer's states before its first step depend on another layer."""
    waiting, seen = [_input(node, i) for i in _STATES], set[Node]()
    while waiting:
        value = waiting.pop()
        maker = None if value is None else makers.get(value)
        if maker is other:
            return True
        if maker is not None and maker not in seen:
            seen.add(maker)
            waiting += maker.inputs
    return False


def _joined(graph: Graph, forward: Node, reverse: Node) -> list[Node]:
    """One layer of both directions, and the slices that each one's readers get."""
    nodes: list[Node] = []
    inputs: list[Value | None] = [forward.x, *[None] * 7]
    for i in _WEIGHTS:
        arrays = [value.data for value in (_input(forward, i), _input(reverse, i)) if value is not None and value.data is not None]
        inputs[i] = graph.constant(made(_joined, lambda *each: np.concatenate(each), *arrays)) if arrays else None
    for i in _STATES:
        states = [_input(node, i) for node in (forward, reverse)]
        known = next((value for value in states if value is not None), None)
        if known is not None:
            both = [value or graph.constant(np.zeros(known.lengths, known.kind)) for value in states]
            inputs[i] = Value(f"{known.name}.both", (2, *known.lengths[1:]), known.dtype)
            nodes.append(Node("Concat", [*both], [inputs[i]], {"axis": 0}))  # type: ignore[list-item]
    outputs = []
    for i in range(max(len(forward.outputs), len(reverse.outputs))):
        value = (forward.outputs[i:] + reverse.outputs[i:])[0]
        axis = 1 if i == 0 else 0
        shape = tuple(2 if at == axis else n for at, n in enumerate(value.lengths))
        outputs.append(Value(f"{value.name}.both", shape, value.dtype))
    names = [*activation_names(forward, 1)[0], *activation_names(reverse, 1)[0]]
    nodes.append(
        Node(forward.op, inputs, outputs, {**forward.attributes, "direction": "bidirectional", "activations": names}, forward.name)
    )
    for d, node in enumerate((forward, reverse)):
        for i, value in enumerate(node.outputs):
            limits = [graph.constant(np.array([each], np.int64)) for each in (d, d + 1, 1 if i == 0 else 0)]
            nodes.append(Node("Slice", [outputs[i], *limits], [value], {}, node.name))
    return nodes

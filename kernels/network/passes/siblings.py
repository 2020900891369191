"""Layers that read one input in one way become one layer with all their output channels, of which each takes its part.

The input is then read and packed once, and a few output channels more fill the register tiles: the real and imaginary halves of a
transform, parallel heads, gates.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from kernels.network.branches import branches
from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.affine import channel_axis, channels
from kernels.runtime.constants import made

MOST = 2 * 1025  # output channels together, both halves of a transform of 2048; wider layers fill the machine by themselves


def join_siblings(graph: Graph) -> int:
    """How many layers were joined to others."""
    groups: dict[Hashable, list[Node]] = {}
    readers, when = graph.readers(), branches(graph)
    for node in graph.nodes:
        key = None if _summed(readers.get(node.y, [])) else _key(node)
        if key is not None:
            groups.setdefault((key, when.get(node)), []).append(node)
    changed = 0
    parts: dict[Node, list[Node]] = {}
    for group in groups.values():
        if len(group) > 1 and sum(map(channels, group)) <= MOST:
            parts[group[0]] = _joined(graph, group)
            for node in group[1:]:
                parts[node] = []
            changed += len(group) - 1
    graph.nodes = [each for node in graph.nodes for each in parts.get(node, [node])]
    return changed


def _key(node: Node) -> Hashable | None:
    """What layers have in common that can be joined."""
    attributes = node.attributes
    if node.op not in ("Conv", "Linear") or "weight" not in attributes or attributes.get("group", 1) != 1:
        return None
    rest = sorted((name, str(value)) for name, value in attributes.items() if name not in ("weight", "bias"))
    return node.op, node.x, tuple(rest), attributes["weight"].shape[1:], attributes["weight"].dtype


def _summed(readers: list[Node]) -> bool:
    """Whether all that becomes of a layer is a sum with another value, which goes into it; see `residuals`."""
    if len(readers) != 1 or readers[0].op != "Add":
        return False
    return all(value is not None and value.data is None and value.shape == readers[0].y.shape for value in readers[0].inputs)


def _joined(graph: Graph, group: list[Node]) -> list[Node]:
    """One layer, and the slices that its siblings' readers get."""
    weights = [node.attributes["weight"] for node in group]
    biases = [node.attributes["bias"] for node in group]
    bias = None
    if any(each is not None for each in biases):
        bias = np.concatenate([np.zeros(len(w), w.dtype) if each is None else each for w, each in zip(weights, biases)])
    first, axis = group[0], channel_axis(group[0])
    shape = list(first.y.lengths)
    shape[axis] = sum(map(channels, group))
    whole = Value(f"{first.y.name}.all", tuple(shape), first.y.dtype)
    attributes = {**first.attributes, "weight": made(_joined, lambda *parts: np.concatenate(parts), *weights), "bias": bias}
    nodes = [Node(first.op, [first.x], [whole], attributes, "+".join(node.label for node in group))]
    start = 0
    for node in group:
        numbers = [graph.constant(np.array([each], np.int64)) for each in (start, start + channels(node), axis)]
        nodes.append(Node("Slice", [whole, *numbers], [node.y], {}, node.name))
        start += channels(node)
    return nodes

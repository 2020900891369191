"""Numbers that are quantised and read back at once are rounded floats, element by element, as chains of vector passes do it.

    (clip(round(x / s) + z, low, high) - z) * t   =   clip(round(x / s), low - z, high - z) * t

Models that were calibrated for integers have such a pair before every layer; nothing else needs the bytes between. Their answers are those
of floats that were rounded, not to the last bit those of a runtime that sums integers.
"""

from __future__ import annotations

import numpy as np

from kernels.network.chains import FLOATS
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.elementwise import along, quantized
from kernels.network.passes.decompose import Maker, rewritten


def rounded_floats(graph: Graph) -> int:
    """How many QuantizeLinears are gone: those that only DequantizeLinears of the same zero point read."""
    readers, handed = graph.readers(), set(graph.outputs.values())
    undone: set[Node] = set()  # in whose place nothing stands any more

    def write(maker: Maker, node: Node) -> bool:
        pairs = readers.get(node.y, []) if node.op == "QuantizeLinear" and node.y not in handed else []
        if pairs and all(_undoes(each, node) for each in pairs):
            rounded = _rounded(maker, node)
            for each in pairs:
                maker.do("Mul", rounded, _scales(maker, each), y=each.y)
            undone.update(pairs)
            return True
        return node in undone

    return rewritten(graph, {"QuantizeLinear", "DequantizeLinear"}, write) - len(undone)


def _undoes(reader: Node, node: Node) -> bool:
    """Whether a node reads back what another quantised, by constants and for each number or index of an axis."""
    zeros = [each.inputs[2] if len(each.inputs) > 2 else None for each in (node, reader)]
    if reader.op != "DequantizeLinear" or node.x.kind not in FLOATS or quantized(node).kind not in "iu" or reader.y.kind != node.x.kind:
        return False
    given = [node.inputs[1], reader.inputs[1], *(zero for zero in zeros if zero is not None)]
    if any(each is None or each.data is None or each.data.ndim > 1 for each in given):
        return False
    points = [np.zeros(1) if zero is None else np.ravel(np.asarray(zero.data)) for zero in zeros]
    axes = {int(each.attributes.get("axis", 1)) % max(len(node.x.lengths), 1) for each in (node, reader)}
    return len(axes) == 1 and bool((points[0] == points[1]).all())


def _scales(maker: Maker, node: Node) -> Value:
    """A node's, so that they broadcast."""
    scales = node.constant(1)
    assert scales is not None
    return maker.graph.constant(along(node, len(node.x.lengths), scales))


def _rounded(maker: Maker, node: Node) -> Value:
    """clip(round(x / s), low - z, high - z)."""
    limits, zero, kind = np.iinfo(quantized(node)), node.constant(2), node.x.kind
    point = np.zeros(()) if zero is None else along(node, len(node.x.lengths), zero).astype(kind)
    low, high = (maker.graph.constant(limit - point, kind) for limit in (limits.min, limits.max))
    steps = maker.do("Round", maker.do("Div", node.x, _scales(maker, node)))
    return maker.do("Min", maker.do("Max", steps, low), high)

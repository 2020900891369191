"""Products of bytes that were made of floats at run time are products of rounded floats, which the engines do.

    MatMulInteger(DynamicQuantizeLinear(x), w) as a float  =  clip(round(x / s), -z, 255 - z) (w - zero of w)

The sums are those of the integers to a float's last places. Scale and zero point are two numbers that reductions give.
"""

from __future__ import annotations

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.integers import less
from kernels.network.passes.decompose import Maker
from kernels.runtime.constants import made

FLOATS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def products_of_bytes(graph: Graph) -> int:
    """How many products are of floats now. What still wants the integers keeps its own nodes."""
    readers = graph.readers()
    rounded: dict[Value, Node] = {}  # what makes bytes
    floats: dict[Value, Value] = {}  # bytes less their zero point
    new: dict[Value, Value] = {}
    nodes: list[Node] = []
    changed = 0
    for node in graph.nodes:
        nodes.append(node)
        if node.op == "DynamicQuantizeLinear":
            maker = Maker(graph, node)
            floats[node.y], new[node.outputs[1]] = _rounded(maker, node.x)
            rounded[node.y] = node
            nodes[-1:] = [*maker.nodes, node]
        elif node.op in FLOATS and node.x in rounded:
            weight, zeros = _weight(graph, node), [node.inputs[i] if len(node.inputs) > i else None for i in (2, 3)]
            casts = [each for each in readers.get(node.y, []) if each.op == "Cast" and each.y.kind == np.float32]
            if weight is not None and zeros[0] is rounded[node.x].outputs[2] and casts:
                y = Value(f"{node.y.name}.float", node.y.shape, np.dtype(np.float32))
                nodes.append(Node(FLOATS[node.op], [floats[node.x], weight], [y], dict(node.attributes), node.name))
                new |= {each.y: y for each in casts}
                changed += 1
    graph.nodes = nodes
    graph.replace(new)
    graph.drop_dead()
    return changed


def _rounded(maker: Maker, x: Value) -> tuple[Value, Value]:
    """Floats that are rounded as bytes are, and the scale of these."""
    low = maker.do("Min", maker.do("ReduceMin", x, keepdims=0), maker.number(0))
    high = maker.do("Max", maker.do("ReduceMax", x, keepdims=0), maker.number(0))
    scale = maker.do("Max", maker.do("Div", maker.do("Sub", high, low), maker.number(255)), maker.number(float(np.finfo(x.kind).tiny)))
    limit = maker.do("Round", maker.do("Max", maker.do("Div", low, scale), maker.number(-255)))  # less the zero point
    steps = maker.do("Max", maker.do("Round", maker.do("Div", x, scale)), limit)
    return maker.do("Min", steps, maker.do("Add", limit, maker.number(255))), scale


def _weight(graph: Graph, node: Node) -> Value | None:
    """The weight less its zero point as floats; None where it is not constant."""
    weight, zero = node.constant(1), node.inputs[3] if len(node.inputs) > 3 else None
    if weight is None or (zero is not None and zero.data is None):
        return None
    arrays = [weight] if zero is None or zero.data is None else [weight, zero.data]
    return graph.constant(made((_weight, node.op), _columns if node.op == "MatMulInteger" else _channels, *arrays))


def _columns(weight: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    return weight.astype(np.float32) - (np.float32(0) if zero is None else zero.astype(np.float32))


def _channels(weight: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    return less(weight, zero, np.float32)

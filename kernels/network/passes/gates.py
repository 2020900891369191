"""A pointwise convolution takes the gate of its input channels into its weights, where these are fewer numbers: `methods/direct/gated`."""

from __future__ import annotations

from collections.abc import Callable

from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.sweep import Sweep

Gates = Callable[[Node], bool]


def into_layers(graph: Graph, gates: Gates) -> int:
    """How many gates went into layers. gates: whether a convolution takes one into its weights."""
    sweep = Sweep(graph)
    for place, node in enumerate(graph.nodes):
        product = sweep.maker(node.inputs[0]) if node.op == "Conv" and "weight" in node.attributes and len(node.outputs) == 1 else None
        if product is None or product.op != "Mul" or not sweep.alone(product.y):
            continue
        x, gate = _map_and_gate(product)
        if x is None or gate is None or not gates(node):
            continue
        node.inputs[0] = x
        graph.nodes[place] = Node("Gated", [x, gate, *node.inputs[1:]], [node.y], {"layers": (node,)}, node.name)
        sweep.changed += 1
    if sweep.changed:
        graph.drop_dead()
    return sweep.changed


def _map_and_gate(product: Node) -> tuple[Value | None, Value | None]:
    """The map of one image that a Mul multiplies, and the number for each of its channels."""
    for x, gate in (product.inputs[:2], product.inputs[1::-1]):
        if x is None or gate is None or x.kind != gate.kind or x.lengths != product.y.lengths or len(x.lengths) < 3 or x.lengths[0] != 1:
            continue
        if gate.lengths == (1, x.lengths[1], *[1] * (len(x.lengths) - 2)):
            return x, gate
    return None, None

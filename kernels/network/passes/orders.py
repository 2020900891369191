"""In which order of axes each value should lie in memory: what its readers want, carried back through nodes that keep or permute axes.

Convolutions and pools want their input contiguous as it is; a Transpose wants its input so that its output is; element-by-element nodes,
slices, paddings and joins hand on what is wanted of their output. Reshapes end it, but want what a product of two values writes, whose rows
go anywhere, so that they need no copy.
"""

from __future__ import annotations

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import RESHAPES

Order = tuple[int, ...]

_CONTIGUOUS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Bottleneck", "Gated")
_KEEP = ("Chain", "Slice", "Pad", "Concat", "Split", "Copy")


def wanted_orders(graph: Graph) -> dict[Value, Order]:
    """The order for each value of which one is known; of several readers the last decides."""
    found: dict[Value, Order] = {}
    makers = graph.makers()
    for value in graph.outputs.values():
        found[value] = tuple(range(len(value.lengths)))
    for node in reversed(graph.nodes):
        _orders_of_inputs(node, found, makers)
    return found


def _goes_anywhere(value: Value, makers: dict[Value, Node]) -> bool:
    """Whether a value is made by a product of two, seen in another order."""
    maker = makers.get(value)
    while maker is not None and maker.op == "Transpose":
        maker = makers.get(maker.x)
    return maker is not None and maker.op == "MatMul"


def _orders_of_inputs(node: Node, found: dict[Value, Order], makers: dict[Value, Node]) -> None:
    if node.op in _CONTIGUOUS or (node.op in RESHAPES and _goes_anywhere(node.x, makers)):
        found.setdefault(node.x, tuple(range(len(node.x.lengths))))
        return
    wanted = next((found[value] for value in node.outputs if value in found), None)
    if wanted is None:
        return
    if node.op == "Transpose":
        perm = [int(axis) for axis in node.attributes.get("perm") or range(len(wanted))[::-1]]
        found.setdefault(node.x, tuple(perm[axis] for axis in wanted))
    elif node.op in _KEEP:
        for value in node.inputs:
            if value is not None and len(value.lengths) == len(wanted) and value.lengths != () and value.data is None:
                found.setdefault(value, wanted)

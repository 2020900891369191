"""Which layers must be accurate output by output: those whose outputs meet a logarithm, a power below one or a division by a maximum.

Transforms' errors are shares of the largest output. A logarithm makes of such an error in a quiet output one as large as any number, so
layers before it ask for `accuracy="each"`. The question goes back through everything that is linear or element by element and ends at
layers with an activation, behind which quiet outputs mean nothing special.
"""

from __future__ import annotations

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.affine import LAYERS

NEAR = 12  # nodes that are looked back through for the maximum in a denominator


def accurate_layers(graph: Graph) -> frozenset[Node]:
    """The layers that must be accurate output by output."""
    makers = graph.makers()
    precise: set[Value] = set()
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        needed = any(value in precise for value in node.outputs)
        if node.op in LAYERS:
            if needed:
                found.add(node)
                if not node.attributes.get("activation"):
                    precise.add(node.x)
        elif needed or _magnifies(node, makers):
            precise.update(value for value in node.inputs if value is not None)
    return frozenset(found)


def _magnifies(node: Node, makers: dict[Value, Node]) -> bool:
    if node.op in ("Log", "ReduceLogSum", "ReduceLogSumExp"):
        return True
    if node.op == "Pow":
        exponent = scalar(node.inputs[1])
        return exponent is None or exponent < 1
    return node.op == "Div" and node.inputs[1] is not None and node.inputs[1].data is None and _of_maximum(node.inputs[1], makers)


def _of_maximum(value: Value, makers: dict[Value, Node]) -> bool:
    """Whether a value comes from a maximum over axes, near by."""
    waiting = [value]
    for _ in range(NEAR):
        if not waiting:
            return False
        maker = makers.get(waiting.pop(0))
        if maker is None or maker.op in LAYERS or maker.op == "Exp":
            continue
        if maker.op in ("ReduceMax", "ReduceMin"):
            return True
        waiting += [each for each in maker.inputs if each is not None]
    return False

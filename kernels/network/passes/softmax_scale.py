"""A positive number that scores are multiplied or divided by becomes part of the softmax behind it, as attention has it."""

from __future__ import annotations

from kernels.network.chains import scalar
from kernels.network.graph import Graph
from kernels.network.passes.decompose import row_axes
from kernels.network.passes.sweep import Sweep


def scales_into_softmax(graph: Graph) -> int:
    """How many nodes were joined."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        before = sweep.maker(node.inputs[0]) if node.op == "Softmax" else None
        if before is None or before.op not in ("Mul", "Div") or len(before.inputs) != 2 or not sweep.alone(before.y):
            continue
        numbers = [scalar(each) for each in before.inputs]
        place = 1 if numbers[1] is not None else 0 if numbers[0] is not None and before.op == "Mul" else None
        if place is None or row_axes(node) is None:
            continue
        x, number = before.inputs[1 - place], numbers[place]
        if x is None or number is None or x.lengths != node.x.lengths or not 1e-18 < number < 1e18:
            continue
        factor = number if before.op == "Mul" else 1 / number
        node.attributes = {**node.attributes, "scale": node.attributes.get("scale", 1.0) * factor}
        node.inputs[0] = x
        sweep.changed += 1
    if sweep.changed:
        graph.drop_dead()
    return sweep.changed

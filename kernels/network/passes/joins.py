"""Concatenations of concatenations along the same axis become one."""

from __future__ import annotations

from kernels.network.graph import Graph


def flatten_joins(graph: Graph) -> int:
    """How many concatenations went into others."""
    makers, readers, handed, changed = graph.makers(), graph.readers(), set(graph.outputs.values()), 0
    for node in graph.nodes:
        if node.op != "Concat":
            continue
        axis, inputs = int(node.attributes["axis"]) % len(node.y.lengths), []
        for value in node.inputs:
            inner = makers.get(value) if value is not None else None
            alone = value is not None and len(readers[value]) == 1 and value not in handed
            if inner is not None and inner.op == "Concat" and alone and int(inner.attributes["axis"]) % len(inner.y.lengths) == axis:
                inputs += inner.inputs
                changed += 1
            else:
                inputs.append(value)
        node.inputs = inputs
    graph.drop_dead()
    return changed

"""The sum or difference of two products becomes one product of both inputs side by side: W a + V b = [W V] [a; b].

Products of complex numbers written as four real ones are such sums. Their halves are then summed in registers, not written and read
again; with `siblings` the real and the imaginary part become one product. Only inputs that are made element by element are joined: they
are written side by side at once.
"""

from __future__ import annotations

import numpy as np

from kernels.network.chains import KNOWN
from kernels.network.graph import Graph, Node, Value


def join_sums(graph: Graph) -> int:
    """How many sums became products."""
    makers, readers, handed = graph.makers(), graph.readers(), set(graph.outputs.values())
    place = {node: i for i, node in enumerate(graph.nodes)}
    joined: dict[tuple[Value, Value, int], Value] = {}
    nodes: list[Node] = []
    changed = 0
    for node in graph.nodes:
        first, second = (makers.get(value) if value is not None else None for value in (*node.inputs, None, None)[:2])
        if node.op not in ("Add", "Sub") or first is None or second is None or not _alike(first, second):
            nodes.append(node)
            continue
        alone = all(len(readers[each.y]) == 1 and each.y not in handed for each in (first, second))
        if not alone or not all(_written(each.x, makers, handed) for each in (first, second)):
            nodes.append(node)
            continue
        sign = 1 if node.op == "Add" else -1
        terms = [(first, 1), (second, sign)]
        terms.sort(key=lambda term: place[makers[term[0].x]])
        axis = int(first.attributes["axis"])
        key = terms[0][0].x, terms[1][0].x, axis
        if key not in joined:
            lengths = list(first.x.lengths)
            lengths[axis] += second.x.lengths[axis]
            joined[key] = Value(f"{node.y.name}.both", tuple(lengths), first.x.dtype)
            nodes.append(Node("Concat", [*key[:2]], [joined[key]], {"axis": axis}, node.name))
        weight = np.concatenate([term.attributes["weight"] * term.y.kind.type(factor) for term, factor in terms], axis=1)
        biases = [term.attributes["bias"] * factor for term, factor in terms if term.attributes["bias"] is not None]
        attributes = {**first.attributes, "weight": weight, "bias": sum(biases[1:], biases[0]) if biases else None}
        nodes.append(Node("Linear", [joined[key]], [node.y], attributes, node.label))
        changed += 1
    if changed:
        graph.nodes = nodes
        graph.drop_dead()
    return changed


def _alike(first: Node, second: Node) -> bool:
    """Whether both are products along the same axis of different inputs, whose sum is all that becomes of them."""
    if first.op != "Linear" or second.op != "Linear" or first.x is second.x or first.y.lengths != second.y.lengths:
        return False
    plain = not first.attributes.get("activation") and not second.attributes.get("activation")
    rank = len(first.x.lengths)
    return plain and rank == len(second.x.lengths) and rank > 1 and first.attributes["axis"] == second.attributes["axis"]


def _written(value: Value, makers: dict[Value, Node], handed: set[Value]) -> bool:
    """Whether a value can be written wherever it is wanted: it is made element by element, and not for somebody outside."""
    return value in makers and makers[value].op in KNOWN and value not in handed

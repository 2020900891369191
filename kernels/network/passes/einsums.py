"""Einsum of two values, each letter once in a term, is a product of matrices that are views: grouped linear layers, attention."""

from __future__ import annotations

import math

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import text
from kernels.network.passes.decompose import Maker, rewritten


def products_of_einsums(graph: Graph) -> int:
    """How many became products."""
    return rewritten(graph, {"Einsum"}, _write)


def _write(maker: Maker, node: Node) -> bool:
    """Whether the nodes that stand for one are made: those of terms without dots, with something to sum and nothing summed by itself."""
    terms, arrow, out = text(node.attributes["equation"]).replace(" ", "").partition("->")
    letters = terms.split(",")
    inputs = [value for value in node.inputs if value is not None]
    if not arrow or len(letters) != 2 or len(inputs) != 2 or node.x.kind.kind != "f" or "." in terms + out:
        return False
    a, b = letters
    if any(len(set(term)) < len(term) for term in (a, b, out)) or set(out) - set(a + b):
        return False
    lengths = {letter: n for term, value in zip(letters, inputs) for letter, n in zip(term, value.lengths)}
    if 0 in lengths.values() or any(lengths[letter] != n for term, value in zip(letters, inputs) for letter, n in zip(term, value.lengths)):
        return False  # 0 is not a length in a Reshape; axes of length 1 repeat
    shared = [each for each in a if each in b]
    batch, summed = [each for each in out if each in shared], [each for each in shared if each not in out]
    left, right = ([each for each in out if each in term and each not in shared] for term in (a, b))
    if not summed or len(batch + summed + left) < len(a) or len(batch + summed + right) < len(b):
        return False

    def matrix(value: Value, term: str, order: list[list[str]]) -> Value:
        """Axes in this order, each group but the first as one."""
        axes = [term.index(each) for group in order for each in group]
        shape = [lengths[each] for each in order[0]] + [math.prod(lengths[each] for each in group) for group in order[1:]]
        if value.data is not None:
            return maker.graph.constant(np.ascontiguousarray(value.data.transpose(axes).reshape(shape)))
        return maker.do("Reshape", maker.do("Transpose", value, perm=axes), maker.whole(*shape))

    y = maker.do("MatMul", matrix(inputs[0], a, [batch, left, summed]), matrix(inputs[1], b, [batch, summed, right]))
    made = [*batch, *left, *right]
    y = maker.do("Reshape", y, maker.whole(*(lengths[each] for each in made)))
    maker.do("Transpose", y, y=node.y, perm=[made.index(each) for each in out])
    return True

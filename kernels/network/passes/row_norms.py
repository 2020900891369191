"""Layer and RMS norms over the last axes that are written out become one node, which goes row by row in cache.

Exporters for opsets before 17 write (x - m) / sqrt(mean((x - m)^2) + eps) * gamma + beta operator by operator, TensorFlow's write
x * s + (beta - m * s) with s = gamma / sqrt(mean((x - m)^2) + eps). An RMS norm leaves m out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.decompose import row_axes
from kernels.network.passes.norms import Deviation, deviation
from kernels.network.passes.sweep import Sweep

Array = np.ndarray


def row_norms(graph: Graph) -> int:
    """How many norms were found."""
    finder = _Finder(graph)
    for node in graph.nodes:
        if node.op == "Sqrt" or (node.op == "Pow" and scalar(node.inputs[1]) == -0.5):
            finder.deviation(node)
    if finder.sweep.changed:
        graph.drop_dead()
        graph.sort()
    return finder.sweep.changed


class _Finder:
    """Follows what becomes of a deviation."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.sweep, self.readers = graph, Sweep(graph), graph.readers()

    def deviation(self, root: Node) -> None:
        """Make a norm of everything that a root divides."""
        spread = deviation(self.sweep, root)
        if spread is None or spread.axes != tuple(range(spread.axes[0], len(spread.x.lengths))):
            return
        for node in list(self.readers.get(root.y, ())):
            if root.op == "Sqrt" and node.op == "Div" and node.inputs[1] is root.y and node.x is spread.distances:
                self._norm(spread, node, None)
            elif root.op == "Sqrt" and (node.op == "Reciprocal" or (node.op == "Div" and scalar(node.x) == 1.0)):
                self._inverse(spread, node.y)
        if root.op == "Pow":
            self._inverse(spread, root.y)

    def _inverse(self, spread: Deviation, inverse: Value, gamma: Array | None = None) -> None:
        """What 1 / deviation, maybe times gamma already, multiplies."""
        for node, other in self._products(inverse):
            numbers = _along(other, spread)
            if numbers is not None and gamma is None:
                self._inverse(spread, node.y, numbers)
            elif other is spread.distances:
                self._norm(spread, node, gamma)
            elif other is spread.x and spread.mean is not None:
                self._shifted(spread, node, inverse, gamma)

    def _shifted(self, spread: Deviation, product: Node, scale: Value, gamma: Array | None) -> None:
        """x * s + (beta - m * s)."""
        for node in self._sums(product.y):
            other = _other(node, product.y)
            shift = self.sweep.maker(other)
            if shift is None or shift.op != "Sub":
                continue
            beta, product_of_mean = _along(shift.x, spread), self.sweep.maker(shift.inputs[1])
            if beta is None or product_of_mean is None or product_of_mean.op != "Mul":
                continue
            if {*product_of_mean.inputs} == {spread.mean, scale} and node.op == "Add":
                self._write(spread, node, gamma, beta)

    def _norm(self, spread: Deviation, normal: Node, gamma: Array | None) -> None:
        """The node that gives normal numbers, and what multiplies and adds numbers to them behind it."""
        last, beta = normal, None
        if gamma is None and (found := self._only(last.y, "Mul")) is not None:
            gamma = _along(_other(found, last.y), spread)
            last = last if gamma is None else found
        if (found := self._only(last.y, "Add")) is not None:
            beta = _along(_other(found, last.y), spread)
            last = last if beta is None else found
        self._write(spread, last, gamma, beta)

    def _write(self, spread: Deviation, node: Node, gamma: Array | None, beta: Array | None) -> None:
        """The node becomes the norm where that is done row by row."""
        shape = spread.x.lengths[spread.axes[0] :]
        factors = np.ones(shape, spread.x.kind) if gamma is None else gamma
        inputs: list[Value | None] = [spread.x, self.graph.constant(factors)]
        op = "RMSNormalization" if spread.mean is None else "LayerNormalization"
        if beta is not None and spread.mean is not None:
            inputs.append(self.graph.constant(beta))
        elif beta is not None:
            return
        attributes = {"axis": spread.axes[0], "epsilon": spread.epsilon}
        if node.y.shape != spread.x.shape or row_axes(Node(op, inputs, node.outputs, attributes)) is None:
            return
        node.op, node.inputs, node.attributes = op, inputs, attributes
        self.sweep.changed += 1

    def _products(self, value: Value) -> Iterator[tuple[Node, Value]]:
        for node in list(self.readers.get(value, ())):
            if node.op == "Mul" and (other := _other(node, value)) is not None:
                yield node, other

    def _sums(self, value: Value) -> list[Node]:
        return [node for node in self.readers.get(value, ()) if node.op == "Add"]

    def _only(self, value: Value, op: str) -> Node | None:
        """The one reader of a value, where it is of this kind."""
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and self.sweep.alone(value) and readers[0].op == op else None


def _other(node: Node, value: Value | None) -> Value | None:
    """The other of two inputs; None where both are the same."""
    a, b = node.inputs
    return None if a is b else b if a is value else a


def _along(value: Value | None, spread: Deviation) -> Array | None:
    """A constant as numbers of a row."""
    shape = spread.x.lengths[spread.axes[0] :]
    if value is None or value.data is None or value.kind != spread.x.kind:
        return None
    if value.data.size == 1:
        return np.full(shape, value.data.reshape(()), value.kind)
    before, own = value.lengths[: max(len(value.lengths) - len(shape), 0)], value.lengths[-len(shape) :]
    if any(n != 1 for n in before) or len(value.lengths) > len(spread.x.lengths):
        return None
    return None if own != shape[len(shape) - len(own) :] or len(own) < len(shape) else value.data.reshape(shape)

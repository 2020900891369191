"""Chains of element-by-element nodes become one vector program."""

from __future__ import annotations

from kernels.network.chains import Chain
from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lowers
from kernels.network.views import View
from kernels.primitives.vector_program import Operation


@lowers("Chain")
def _chain(lowering: Lowering, node: Node) -> None:
    shape = node.y.lengths
    values = [value for value in node.inputs if value is not None]
    reads = [lowering.view(value) for value in values]
    chain = Chain(node.attributes["dtype"])
    chain.read(values)
    for each in node.attributes["nodes"]:
        chain.emit(each)
    order = _order(reads, shape)
    writes = []
    for value in node.outputs:
        wanted = lowering.orders.get(value, order)
        writes.append((chain.slot(value), lowering.new(value, wanted if lowering.home(value) is None else None)))
    operations = [Operation(*each) for each in chain.operations]
    seen = [view.expanded(shape) for view in reads]
    lowering.program(node, chain.dtype, seen, writes, operations, f"{len(operations)} vector passes")


def _order(reads: list[View], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes in which the largest input lies."""
    whole = [view for view in reads if view.shape == shape and all(view.strides[i] for i in range(len(shape)) if shape[i] > 1)]
    return max(whole, key=lambda view: view.dense()).order() if whole else None

"""Chains of element-by-element nodes become one vector program."""

from __future__ import annotations

from kernels.network.chains import Chain
from kernels.network.graph import Node, Value
from kernels.network.lower_spectra import as_power
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
    operations = [Operation(*each) for each in chain.operations]
    seen = [view.expanded(shape) for view in reads]
    if as_power(lowering, node, operations, seen):
        return
    order = _order(reads, shape)
    writes = []
    place = _in_place(lowering, node, values, reads)
    for value in node.outputs:
        if place is not None:
            lowering.views[value] = place
            writes.append((chain.slot(value), place))
            continue
        wanted = lowering.orders.get(value, order)
        writes.append((chain.slot(value), lowering.new(value, wanted if lowering.home(value) is None else None)))
    lowering.program(node, chain.dtype, seen, writes, operations, f"{len(operations)} vector passes")


def _in_place(lowering: Lowering, node: Node, values: list[Value], reads: list[View]) -> View | None:
    """The memory of an input that is read here for the last time, where the one output can lie as it does."""
    if len(node.outputs) > 1 or lowering.home(node.y) is not None:
        return None
    wanted = lowering.orders.get(node.y)
    for value, view in zip(values, reads):
        alike = view.shape == node.y.lengths and view.dtype == node.y.dtype and view.dense() and (wanted is None or view.contiguous(wanted))
        others = [each for each in reads if each.buffer is view.buffer and each != view]
        if alike and not others and lowering.spare(value):
            return view
    return None


def _order(reads: list[View], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes in which the largest input lies."""
    whole = [view for view in reads if view.shape == shape and all(view.strides[i] for i in range(len(shape)) if shape[i] > 1)]
    return max(whole, key=lambda view: view.dense()).order() if whole else None

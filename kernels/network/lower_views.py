"""Nodes that only see their input in another shape or order: views, no step; where the order does not allow the shape, a copy first."""

from __future__ import annotations

from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.shaping import slices, split_lengths


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(lowering: Lowering, node: Node) -> None:
    x = lowering.view(node.x)
    y = x.reshaped(node.y.lengths)
    if y is None:
        home = lowering.home(node.y)
        place = home.reshaped(x.shape) if home is not None else None
        if place is not None and home is not None:
            lowering.copy(node, x, place)
            y = home
        else:
            y = lowering.ordered(node, x).reshaped(node.y.lengths)
            assert y is not None
    lowering.views[node.y] = y


@lowers("Transpose")
def _transpose(lowering: Lowering, node: Node) -> None:
    x = lowering.view(node.x)
    lowering.views[node.y] = x.transposed(node.attributes.get("perm") or range(len(x.shape))[::-1])


@lowers("Identity")
def _identity(lowering: Lowering, node: Node) -> None:
    lowering.views[node.y] = lowering.view(node.x)


@lowers("Slice")
def _slice(lowering: Lowering, node: Node) -> None:
    view = lowering.view(node.x)
    for axis, start, end, step in slices(node, view.shape, [node.constant(i) for i in (1, 2, 3, 4)]):
        view = view.part(axis, start, max(-(-(end - start) // step), 0), step)
    lowering.views[node.y] = view


@lowers("Split")
def _split(lowering: Lowering, node: Node) -> None:
    x = lowering.view(node.x)
    axis, start = int(node.attributes.get("axis", 0)) % len(x.shape), 0
    for value, length in zip(node.outputs, split_lengths(node, x.shape[axis])):
        lowering.views[value] = x.part(axis, start, length)
        start += length


@lowers("Gather")
def _gather(lowering: Lowering, node: Node) -> None:
    """One constant index is a view; several are taken by NumPy."""
    indices = node.constant(1)
    if indices is None or indices.size != 1:
        lower_by_numpy(lowering, node)
        return
    x = lowering.view(node.x)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    part = x.part(axis, int(indices.reshape(())) % x.shape[axis], 1).reshaped(node.y.lengths)
    assert part is not None, "axes of length 1 come and go in any order"
    lowering.views[node.y] = part


@lowers("Expand")
def _expand(lowering: Lowering, node: Node) -> None:
    lowering.views[node.y] = lowering.view(node.x).expanded(node.y.lengths)

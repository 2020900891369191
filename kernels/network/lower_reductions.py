"""Reductions: run by run of axes that lie together in memory, the innermost first; those of a few numbers are chains of their own, means of
small planes global pools, which take many planes at a time."""

from __future__ import annotations

import math

import numpy as np

from kernels.network.graph import Node, Value
from kernels.network.lowering import LOWERERS, Lowering, lower_by_numpy, lowers
from kernels.network.operators.reducing import reduced_axes
from kernels.network.views import View
from kernels.primitives.reduction import PASSES, reduction
from kernels.primitives.vector_program import Operation

KINDS = {"ReduceSum": "sum", "ReduceMean": "sum", "ReduceMax": "max", "ReduceMin": "min"}
FEW = 8  # numbers that are combined as one chain
PLANE = 1024  # numbers of a plane from which a pool and a reduction take as long (README)


@lowers(*KINDS)
def _reduce(lowering: Lowering, node: Node) -> None:
    axes, dtype = reduced_axes(node), node.x.kind
    if dtype not in (np.float32, np.float64) or not math.prod(node.x.lengths) or not axes:
        lower_by_numpy(lowering, node)
        return
    x, kind = lowering.view(node.x), KINDS[node.op]
    count = math.prod(x.shape[axis] for axis in axes)
    few = count <= FEW and len(axes) == 1
    space = 3 <= len(x.shape) <= 5 and axes == tuple(range(2, len(x.shape)))
    if node.op == "ReduceMean" and space and not few and count <= PLANE and x.contiguous():
        _pool(lowering, node)
        return
    factor = 1 / count if node.op == "ReduceMean" else 1.0
    order = [axis for axis in x.order() if axis not in axes]
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    y = _result(lowering, node, axes, order)
    if few:
        axis = axes[0]
        parts = [x.part(axis, i, 1) for i in range(count)]
        operations = [Operation(PASSES[kind], count + i, (count + i - 1 if i else 0, i + 1)) for i in range(count - 1)]
        if factor != 1:
            operations.append(Operation("affine", count + len(operations), (count + len(operations) - 1,), factor))
        lowering.program(node, dtype, parts, [(count + len(operations) - 1 if operations else 0, y)], operations, "vector passes")
        return
    x = lowering.ordered(node, x, x.order())
    while True:
        runs = runs_of(x, axes)
        place = max((i for i, (_, reduces) in enumerate(runs) if reduces), default=None)
        if place is None:
            break
        outer, inner = (math.prod(n for n, _ in part) for part in (runs[:place], runs[place + 1 :]))
        length = runs[place][0]
        final = sum(reduces for _, reduces in runs) == 1
        gone = _axes_of_run(x, axes)
        shape = tuple(1 if axis in gone else n for axis, n in enumerate(x.shape))
        to = y if final and y.contiguous([a for a in x.order() if a in range(len(kept))]) else None
        target = to or lowering.temporary(shape, dtype, x.order())
        run = reduction(kind, dtype, outer, length, inner, factor if final else 1.0, lowering.settings.threads)
        lowering.step(node, [x], [target], lambda arrays, scratch, run=run: lambda: run(arrays[0], arrays[1]), "vector reduction")  # type: ignore[misc]
        x = target
    lowering.copy(node, x, y)


def _pool(lowering: Lowering, node: Node) -> None:
    """A mean over all of space as a global pool, which keeps its axes: it writes where the mean without them has to lie."""
    y, (n, channels, *space) = node.y, node.x.lengths
    pooled = y if len(y.lengths) > 2 else Value(f"{y.name}.pooled", (n, channels, *[1] * len(space)), y.dtype)
    lowering.share_home(pooled, y)
    LOWERERS["GlobalAveragePool"](lowering, Node("GlobalAveragePool", [node.x], [pooled], {}, node.name))
    if pooled is not y:
        LOWERERS["Reshape"](lowering, Node("Reshape", [pooled], [y], {}, node.name))


def _result(lowering: Lowering, node: Node, axes: tuple[int, ...], order: list[int]) -> View:
    """The output with all of the input's axes, those that are reduced of length 1, in the input's order where nobody wants another."""
    rank = len(node.x.lengths)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(node.x.lengths))
    if node.attributes.get("keepdims", 1):
        found = lowering.new(node.y, None if node.y in lowering.orders else [*order, *axes])
        return found
    stays = [axis for axis in range(rank) if axis not in axes]
    own = [stays.index(axis) for axis in order]
    view = lowering.new(node.y, None if node.y in lowering.orders else own)
    strides = iter(view.strides)
    return View(view.buffer, view.offset, shape, tuple(1 if axis in axes else next(strides) for axis in range(rank)), view.dtype)


def runs_of(x: View, axes: tuple[int, ...]) -> list[tuple[int, bool]]:
    """(length, whether it is reduced) of runs of axes as they lie in memory."""
    runs: list[tuple[int, bool]] = []
    for axis in x.order():
        if x.shape[axis] == 1:
            continue
        if runs and runs[-1][1] == (axis in axes):
            runs[-1] = runs[-1][0] * x.shape[axis], runs[-1][1]
        else:
            runs.append((x.shape[axis], axis in axes))
    return runs


def _axes_of_run(x: View, axes: tuple[int, ...]) -> list[int]:
    """The axes of the innermost run that is reduced."""
    found: list[int] = []
    for axis in reversed(x.order()):
        if x.shape[axis] == 1:
            continue
        if axis in axes:
            found.append(axis)
        elif found:
            break
    return found

"""Softmax and layer norms over the last axes, row by row; rows that do not lie together are copied first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.passes.decompose import row_axes
from kernels.network.views import Array, View
from kernels.primitives.layer_norm import layer_norm
from kernels.primitives.softmax import softmax

Run = Callable[[Array, Array], Callable[[], None]]


@lowers("Softmax")
def _softmax(lowering: Lowering, node: Node) -> None:
    if row_axes(node) is None:
        lower_by_numpy(lowering, node)
        return
    rows, length = _rows(node)
    run = softmax(node.x.kind, rows, length, node.attributes.get("scale", 1.0), lowering.settings.threads)
    _by_rows(lowering, node, run, "softmax by rows")


@lowers("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _norm(lowering: Lowering, node: Node) -> None:
    if row_axes(node) is None:
        lower_by_numpy(lowering, node)
        return
    rows, length = _rows(node)
    gamma, beta = (node.constant(i) if len(node.inputs) > i and node.inputs[i] is not None else None for i in (1, 2))
    gamma = None if gamma is None or (gamma == 1).all() else gamma
    beta = None if beta is None or (beta == 0).all() else beta
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    centred = node.op == "LayerNormalization"
    run = layer_norm(node.x.kind, rows, length, epsilon, lowering.settings.threads, gamma, beta, centred=centred)
    _by_rows(lowering, node, run, "layer norm by rows" if centred else "RMS norm by rows")


def _rows(node: Node) -> tuple[int, int]:
    axes = row_axes(node)
    assert axes is not None
    length = math.prod(node.x.lengths[axis] for axis in axes)
    return math.prod(node.x.lengths) // length, length


def _by_rows(lowering: Lowering, node: Node, run: Run, method: str) -> None:
    """A step from x to a y that lies as x does, rows together; in x's place where nobody needs that any more."""
    axes = row_axes(node)
    assert axes is not None
    x = lowering.view(node.x)
    order = (*(axis for axis in x.order() if axis not in axes), *axes)
    own = x
    x = lowering.ordered(node, x, order)
    spare = own is not x or lowering.spare(node.x)
    wanted = lowering.orders.get(node.y)
    if spare and lowering.home(node.y) is None and (wanted is None or x.contiguous(wanted)):
        y: View = x
        lowering.views[node.y] = x
    else:
        y = lowering.new(node.y, order, anywhere=False)

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        return run(arrays[0], arrays[1])

    lowering.step(node, [x], [y], bind, method)

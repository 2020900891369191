"""Layers that take the gate of their input channels into their weights: `methods/direct/gated`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.roofline import seconds
from kernels.dispatch.choices import choice_for
from kernels.methods.direct.gated import gates, prepare_gated
from kernels.network.graph import Node
from kernels.network.lower_layers import convolution, over
from kernels.network.lowering import Lowering, lowers
from kernels.network.views import Array
from kernels.problem.operands import Operands


def gated(node: Node, threads: int) -> bool:
    """Whether a convolution takes a gate into its weights."""
    problem, _ = convolution(node)
    return problem is not None and choice_for(problem, "auto", threads).implementation.name == "direct" and gates(problem, threads)


@lowers("Gated")
def _gated(lowering: Lowering, node: Node) -> None:
    """One step."""
    (layer,), threads = node.attributes["layers"], lowering.settings.threads
    problem, operands = convolution(layer)
    assert problem is not None
    x, gate = (lowering.ordered(node, lowering.view(value)) for value in node.inputs[:2] if value is not None)
    added = node.inputs[2] if len(node.inputs) > 2 else None
    if added is None:
        y = lowering.new(node.y, range(len(node.y.lengths)), anywhere=False)
    else:
        other = lowering.ordered(node, lowering.view(added))
        y = over(lowering, node, added, other, x)
        if y is not other:
            lowering.copy(node, other, y)
    prepared, dtype = prepare_gated(problem, threads, added=added is not None), np.dtype(problem.dtype)
    given = Operands(*(None if each is None else np.ascontiguousarray(each, dtype) for each in operands))
    x_shape, y_shape = problem.x_shape, problem.out_shape
    nbytes = prepared.numbers * dtype.itemsize

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        run = prepared.bind(given, scratch[:nbytes].view(dtype))
        x, gate, y = arrays[0].reshape(x_shape), arrays[1].reshape(-1), arrays[-1].reshape(y_shape)
        return lambda: run(x, gate, y)

    reads = [x, gate] if added is None else [x, gate, y]
    spent = seconds(prepared.cycles * threads)
    lowering.step(node, reads, [y], bind, "direct, gated" + ", added" * (added is not None), spent, nbytes, own=prepared.workspace_bytes)

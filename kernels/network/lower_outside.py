"""What onnxruntime runs, as steps among ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.elsewhere import Elsewhere
from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lowers
from kernels.network.outside import Outside
from kernels.network.views import Array
from kernels.problem.errors import ProblemError


@lowers("onnxruntime")
def lower_outside(lowering: Lowering, node: Node) -> None:
    """A node without an operator here: its session runs on what lies in our memory, and its results are copied there."""
    outside: Outside | Elsewhere = node.attributes["onnx"]
    present = [i for i, value in enumerate(node.inputs) if value is not None]
    reads = [lowering.view(value) for value in node.inputs if value is not None]
    writes = [lowering.new(value) for value in node.outputs]
    threads = lowering.settings.threads

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], None]:
        given: list[Any] = [None] * len(node.inputs)
        results = arrays[len(present) :]

        def run() -> None:
            for i, array in zip(present, arrays):
                given[i] = np.ascontiguousarray(array).reshape(array.shape)
            for result, to in zip(outside(given, threads), results):
                if result.shape != to.shape:
                    raise ProblemError(
                        f"{node.op} {node.label!r}: gives shape {result.shape} now, {to.shape} when it was planned; its shape depends on "
                        "what the input holds, which cannot be planned"
                    )
                np.copyto(to, result, casting="unsafe")

        return run

    lowering.step(node, reads, writes, bind, outside.method)

"""A graph computed by NumPy, node by node: the twin that faster ways are tested against. Shapes are those of the arrays given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kernels.network.graph import Graph, Value
from kernels.network.operators.registry import OPERATORS
from kernels.network.passes.specialise import specialise

Array = np.ndarray


def evaluate(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs by name."""
    return compute(specialise(graph, {name: np.shape(array) for name, array in inputs.items()}), inputs)


def compute(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The same of a graph that is specialised, and maybe rewritten, already."""
    arrays: dict[Value, Array] = {value: np.asarray(inputs[value.name], value.dtype) for value in graph.inputs}

    def of(value: Value) -> Array:
        return arrays[value] if value in arrays else np.asarray(value.data)

    for node in graph.nodes:
        with np.errstate(all="ignore"):
            results = OPERATORS[node.op].compute(node, *(None if value is None else of(value) for value in node.inputs))
        for value, result in zip(node.outputs, results if isinstance(results, tuple) else (results,)):
            arrays[value] = np.asarray(result, value.dtype)
            assert arrays[value].shape == value.shape, f"{node}: computed {arrays[value].shape}, inferred {value.shape}"
    return {name: of(value) for name, value in graph.outputs.items()}

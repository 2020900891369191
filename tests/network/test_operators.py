"""Every operator against ONNX's own node tests, through the whole of a model: read, planned, run; and by the NumPy twin."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from kernels.network import operators  # noqa: E402, F401
from kernels.network.model import load  # noqa: E402
from kernels.network.onnx_reader import read_onnx  # noqa: E402
from kernels.network.operators.registry import OPERATORS, drawn  # noqa: E402
from kernels.network.passes.specialise import specialise  # noqa: E402
from kernels.network.twin import compute  # noqa: E402

READ = {"If", "Constant", "Upsample"}  # known, but no operators of the graph
REFUSED = (
    "training_",  # draws random numbers, or computes its own statistics
    "bfloat16",  # a type that NumPy has not
    "bf16",
    "string",
    "precomputed_strides",  # positions column by column
)


@functools.cache
def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib_cases()
    known = []
    for case in found:
        ops = {node.op_type for node in case.model.graph.node}
        arrays = [each for data in case.data_sets[:1] for side in data for each in side]
        plain = all(isinstance(each, np.ndarray | np.generic | float | int) for each in arrays)
        if ops <= set(OPERATORS) | READ and plain and not any(word in case.name for word in REFUSED):
            known.append(case)
    return known


def importlib_cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    return collect_testcases(None)


def close(got: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=1e-3, atol=1e-4)
    else:
        np.testing.assert_array_equal(got, wanted)


def test_onnx_node_tests() -> None:
    """Models of one or a few nodes for every operator and most of their options: there are over a thousand."""
    failed, ops = [], set()
    every = cases()
    for case in every:
        inputs, outputs = case.data_sets[0]
        given = {value.name: np.asarray(array) for value, array in zip(case.model.graph.input, inputs)}
        try:
            results = load(case.model)(given)
            random = any(drawn(node.op_type) for node in case.model.graph.node)
            for got, wanted in zip(results.values() if isinstance(results, dict) else [results], outputs):
                close(got * 0 if random else got, wanted * 0 if random else wanted)
        except Exception as error:  # all that fail are told at once
            failed.append(f"{case.name}: {type(error).__name__} {str(error)[:200]}")
        ops |= {node.op_type for node in case.model.graph.node}
    assert not failed, "\n".join(failed)
    assert len(every) > 1000
    assert {"Conv", "LSTM", "GRU", "Resize", "STFT", "Einsum", "LayerNormalization", "ScatterElements", "If"} <= ops


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_inferred_shapes_are_those_computed(op: str) -> None:
    """The twin asserts it for each node; here for one case of each operator that takes no numbers from its other inputs."""
    for case in cases():
        if {node.op_type for node in case.model.graph.node} == {op}:
            inputs, outputs = case.data_sets[0]
            given = {value.name: np.asarray(array) for value, array in zip(case.model.graph.input, inputs)}
            constant = {name: array for i, (name, array) in enumerate(given.items()) if i or array.ndim < 2}
            graph = specialise(read_onnx(case.model), {name: array.shape for name, array in given.items()}, constant)
            for got, wanted in zip(compute(graph, given).values(), outputs):
                close(got, wanted)
            return
    pytest.skip("ONNX has no test of it alone")

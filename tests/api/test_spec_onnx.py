"""ONNX's node tests for convolution and pooling: its attributes in this library's words, its expected outputs.

https://onnx.ai/onnx/operators says what the attributes mean.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

import kernels

onnx = pytest.importorskip("onnx")
OPERATORS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


def cases_of(operator: str) -> list[Any]:
    """The cases of one operator, which importing its file makes: too slow while tests are collected, and 20 s for all operators of ONNX."""
    node = pytest.importorskip("onnx.backend.test.case.node")
    importlib.import_module(f"{node.__name__}.{operator.lower()}")
    cases = [case for case in node._NodeTestCases if len(case.model.graph.node) == 1]
    return [case for case in cases if case.model.graph.node[0].op_type == operator]


def padding(attributes: dict[str, Any], axes: int) -> Any:
    words = {b"SAME_UPPER": "same", b"SAME_LOWER": "same_lower", b"VALID": "valid"}
    auto = attributes.get("auto_pad", b"NOTSET")
    pads = attributes.get("pads", [0] * 2 * axes)
    return words[auto] if auto in words else list(zip(pads[:axes], pads[axes:]))


def column_major(indices: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Flat positions over all of x as ONNX counts them with storage_order=1, from positions within each plane."""
    return np.ravel_multi_index(np.unravel_index(indices, size)[::-1], size[::-1])


def answer(operator: str, attributes: dict[str, Any], inputs: list[np.ndarray], outputs: int) -> tuple[np.ndarray, ...]:
    x, *operands = inputs
    axes = x.ndim - 2
    if operator.startswith("Global"):
        return (kernels.global_avg_pool(x) if "Average" in operator else kernels.global_max_pool(x),)
    options = {"stride": attributes.get("strides", 1), "padding": padding(attributes, axes), "dilation": attributes.get("dilations", 1)}
    if operator == "Conv":
        return (getattr(kernels, f"conv{axes}d")(x, *operands, groups=attributes.get("group", 1), **options),)
    if operator == "ConvTranspose":
        options |= {"output_padding": attributes.get("output_padding", 0), "output_size": attributes.get("output_shape")}
        return (getattr(kernels, f"conv_transpose{axes}d")(x, *operands, groups=attributes.get("group", 1), **options),)
    kernel, ceil = attributes["kernel_shape"], bool(attributes.get("ceil_mode", 0))
    if operator == "AveragePool":
        counted = bool(attributes.get("count_include_pad", 0))
        return (getattr(kernels, f"avg_pool{axes}d")(x, kernel, ceil_mode=ceil, count_include_pad=counted, **options),)
    maxima = getattr(kernels, f"max_pool{axes}d")
    if outputs == 1:
        return (maxima(x, kernel, ceil_mode=ceil, **options),)
    values, positions = maxima(x, kernel, ceil_mode=ceil, return_indices=True, **options)
    if attributes.get("storage_order", 0):
        positions = column_major(positions, x.shape[2:])
    # ONNX counts positions over the whole tensor
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * axes)
    return values, positions + planes * math.prod(x.shape[2:])


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes(operator: str) -> None:
    cases = cases_of(operator)
    assert cases
    for case in cases:
        node = case.model.graph.node[0]
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for inputs, outputs in case.data_sets:
            answers = answer(operator, attributes, inputs, len(outputs))
            assert len(answers) == len(outputs), case.name
            for ours, theirs in zip(answers, outputs):
                assert ours.shape == theirs.shape, case.name
                np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=max(case.atol, 1e-5), err_msg=case.name)

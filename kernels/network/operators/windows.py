"""Convolutions and pools: nodes become requests to this library's own operations."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.plan import Plan
from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, operator
from kernels.network.operators.shaping import text
from kernels.problem.accuracy import default_accuracy
from kernels.problem.arrays import canonical
from kernels.problem.conv import Conv
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import Request
from kernels.problem.request import request_of
from kernels.problem.window import dilated

INT64 = np.dtype(np.int64)
_AUTO_PAD = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
_NAMED = ("auto_pad", "pads", "strides", "dilations", "group", "output_padding", "output_shape", "kernel_shape", "ceil_mode",
          "count_include_pad")  # fmt: skip


def window_request(node: Node, weight: Array | None = None, bias: Array | None = None) -> Request:
    """A node's request; without a weight for its shapes only."""
    shape, dtype, axes = node.x.lengths, node.x.kind, len(node.x.lengths) - 2
    if not 1 <= axes <= 3:
        raise ProblemError(f"{node.op} {node.label!r}: x has shape {shape}, must have 1 to 3 spatial axes behind (N, C)")
    of_weight, of_bias = _described(weight), _described(bias)
    if weight is None and node.op in ("Conv", "ConvTranspose"):
        of_weight, of_bias = (None if each is None else (each.lengths, dtype) for each in (node.inputs[1:] + [None])[:2])
    named = ((name, node.attributes.get(name)) for name in _NAMED)
    attributes = tuple((name, each if isinstance(each, (int, str, bytes)) else tuple(each)) for name, each in named if each is not None)
    request = _request(node.op, shape, dtype, of_weight, of_bias, len(node.outputs), attributes, default_accuracy())
    if weight is None:
        return request
    problem = request.problem
    assert isinstance(problem, Conv)
    operands = Operands(
        canonical(weight, np.dtype(problem.dtype), problem.weight_shape),
        None if bias is None else canonical(bias, np.dtype(problem.dtype), (problem.c_out,)),
    )
    return dataclasses.replace(request, operands=operands)


def _described(array: Array | None) -> Any:
    return None if array is None else (array.shape, array.dtype)


@functools.lru_cache(maxsize=1024)  # passes and steps ask again and again, and a model has many layers alike
def _request(
    operator_: str, shape: tuple[int, ...], dtype: np.dtype, weight: Any, bias: Any, outputs: int, named: tuple[tuple[str, Any], ...],
    accuracy: str,
) -> Request:  # fmt: skip
    """The request of a node with these attributes, for operands of these (shape, dtype), which it does not hold. accuracy: the process's,
    on which the request depends too."""
    attributes, axes = dict(named), len(shape) - 2
    if operator_.startswith("Global"):
        return request_of("global_avg_pool" if "Average" in operator_ else "global_max_pool", shape, dtype, (), {})
    name, options = window_call(operator_, axes, attributes)
    if operator_ in ("Conv", "ConvTranspose"):
        weight, bias = (None if each is None else np.empty(*each) for each in (weight, bias))  # memory that nobody touches is none
        if "output_shape" in attributes:
            options |= cropped_to(attributes, shape[2:], weight.shape[2:])
        return dataclasses.replace(request_of(name, shape, dtype, (weight, bias), options), operands=Operands(), given={})
    if operator_ == "MaxPool" and outputs > 1:
        options["return_indices"] = True
    return request_of(name, shape, dtype, (tuple(attributes["kernel_shape"]),), options)


def window_call(operator_: str, axes: int, attributes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The library's operation over so many spatial axes that a node is, and its options, without operands and lengths."""
    ones, pads = (1,) * axes, tuple(attributes.get("pads", (0,) * 2 * axes))
    padding: Any = _AUTO_PAD.get(text(attributes.get("auto_pad", "NOTSET")), tuple(zip(pads[:axes], pads[axes:])))
    options: dict[str, Any] = {"stride": tuple(attributes.get("strides", ones)), "padding": padding,
                               "dilation": tuple(attributes.get("dilations", ones))}  # fmt: skip
    if operator_ in ("Conv", "ConvTranspose"):
        options["groups"] = attributes.get("group", 1)
        if operator_ == "Conv":
            return f"conv{axes}d", options
        return f"conv_transpose{axes}d", options | {"output_padding": tuple(attributes.get("output_padding", (0,) * axes))}
    options["ceil_mode"] = bool(attributes.get("ceil_mode", 0))
    if operator_ == "MaxPool":
        return f"max_pool{axes}d", options
    return f"avg_pool{axes}d", options | {"count_include_pad": bool(attributes.get("count_include_pad", 0))}


def cropped_to(attributes: Mapping[str, Any], size: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Padding and output padding that give a transposed convolution its `output_shape`; then the node's own padding is not read.

    An odd crop takes one more before, unless the node says SAME_UPPER, as in the specification.
    """
    axes, padding, more = len(size), [], list(attributes.get("output_padding", [0] * len(size)))
    strides, dilations = (attributes.get(name, [1] * axes) for name in ("strides", "dilations"))
    for axis, wanted in enumerate(attributes["output_shape"][-axes:]):
        total = (size[axis] - 1) * strides[axis] + dilated(kernel[axis], dilations[axis]) + more[axis] - wanted
        less, rest = max(total, 0) // 2, -(-max(total, 0) // 2)
        padding.append((less, rest) if text(attributes.get("auto_pad", "")) == "SAME_UPPER" else (rest, less))
        more[axis] += max(-total, 0)
    return {"padding": padding, "output_padding": more}


def _infer(node: Node) -> list[Meta]:
    if len(node.outputs) > 1 and node.attributes.get("storage_order"):
        raise ProblemError(f"{node.op} {node.label!r}: positions column by column (storage_order=1) are not given; export with 0")
    kinds = [value.kind.name for value in node.inputs if value is not None]
    if len(set(kinds)) > 1:
        raise ProblemError(f"{node.op} {node.label!r}: its inputs are {', '.join(kinds)}, must be of one dtype")
    shape = window_request(node).signature.out_shape
    return [(shape, node.x.kind), (shape, INT64)][: len(node.outputs)]


@operator("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", infer=_infer)
def _window(node: Node, x: Array, weight: Array | None = None, bias: Array | None = None) -> Any:
    request = window_request(node, weight, bias)
    result = Plan(Descriptor(request.problem, request.signature), request.operands)(x)
    if not isinstance(result, tuple):
        return result
    y, places = result
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) * math.prod(x.shape[2:])
    return y, planes + places  # ONNX counts through the whole array

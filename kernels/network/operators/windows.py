"""Convolutions and pools: nodes become requests to this library's own operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.plan import Plan
from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, operator
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError
from kernels.problem.options import Request
from kernels.problem.request import request
from kernels.problem.window import dilated

INT64 = np.dtype(np.int64)
_AUTO_PAD = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def window_request(node: Node, weight: Array | None = None, bias: Array | None = None, **more: Any) -> Request:
    """What a node asks of the library; without a weight for its shapes only. `more`: options that the node does not have itself."""
    shape, dtype, operator_, attributes = node.x.lengths, node.x.kind, node.op, node.attributes
    axes = len(shape) - 2
    if not 1 <= axes <= 3:
        raise ProblemError(f"{operator_} {node.label!r}: x has shape {shape}, must have 1 to 3 spatial axes behind (N, C)")
    if operator_.startswith("Global"):
        return request("global_avg_pool" if "Average" in operator_ else "global_max_pool", shape, dtype, (), more)
    pads = list(attributes.get("pads", [0] * 2 * axes))
    padding: Any = _AUTO_PAD.get(text(attributes.get("auto_pad", "NOTSET")), list(zip(pads[:axes], pads[axes:])))
    options: dict[str, Any] = {"stride": list(attributes.get("strides", [1] * axes)), "padding": padding,
                               "dilation": list(attributes.get("dilations", [1] * axes)), **more}  # fmt: skip
    if operator_ in ("Conv", "ConvTranspose"):
        if weight is None:
            assert node.inputs[1] is not None
            weight = np.broadcast_to(np.zeros((), dtype), node.inputs[1].lengths)
        options |= {"bias": bias, "groups": attributes.get("group", 1)}
        if operator_ == "Conv":
            return request(f"conv{axes}d", shape, dtype, (weight,), options)
        options["output_padding"] = list(attributes.get("output_padding", [0] * axes))
        if "output_shape" in attributes:
            options |= cropped_to(attributes, shape[2:], weight.shape[2:])
        return request(f"conv_transpose{axes}d", shape, dtype, (weight,), options)
    options["ceil_mode"] = bool(attributes.get("ceil_mode", 0))
    if operator_ == "AveragePool":
        options["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
    elif len(node.outputs) > 1:
        options["return_indices"] = True
    kind = "avg" if operator_ == "AveragePool" else "max"
    return request(f"{kind}_pool{axes}d", shape, dtype, (list(attributes["kernel_shape"]),), options)


def cropped_to(attributes: dict[str, Any], size: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
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
    shape = window_request(node).signature.out_shape
    return [(shape, node.x.kind), (shape, INT64)][: len(node.outputs)]


@operator("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", infer=_infer)
def _window(node: Node, x: Array, weight: Array | None = None, bias: Array | None = None) -> Any:
    asked = window_request(node, weight, bias)
    result = Plan(Descriptor(asked.problem, asked.signature), asked.operands)(x)
    if not isinstance(result, tuple):
        return result
    y, places = result
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) * math.prod(x.shape[2:])
    return y, planes + places  # ONNX counts through the whole array

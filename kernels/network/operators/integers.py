"""Integer arithmetic of models that were quantised while they run: bytes of each input's own range, products of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.network.graph import Node, Value
from kernels.network.operators.products import matmul_shape
from kernels.network.operators.registry import OPERATORS, Array, operator

BYTES, SUMS = np.dtype(np.uint8), np.dtype(np.int32)


@operator("DynamicQuantizeLinear", infer=lambda node: [(node.x.lengths, BYTES), ((), node.x.kind), ((), BYTES)])
def _dynamic_quantize(node: Node, x: Array) -> Any:
    low, high = np.minimum(x.min(initial=0), x.dtype.type(0)), np.maximum(x.max(initial=0), x.dtype.type(0))
    scale = (high - low) / x.dtype.type(255) if high > low else x.dtype.type(1)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), np.asarray(scale), np.asarray(zero, np.uint8)


@operator("MatMulInteger", infer=lambda node: [(matmul_shape(node), SUMS)])
def _matmul_integer(node: Node, a: Array, b: Array, zero_a: Array | None = None, zero_b: Array | None = None) -> Any:
    if zero_a is not None and zero_a.ndim == 1 and len(zero_a) > 1:
        zero_a = zero_a[:, None]  # one a row
    left, right = (each.astype(np.int32) - (0 if zero is None else zero.astype(np.int32)) for each, zero in ((a, zero_a), (b, zero_b)))
    return np.matmul(left, right)


def _of_floats(node: Node) -> Node:
    """The same convolution of floats in which its sums are exact."""
    inputs = [Value(value.name, value.shape, np.dtype(np.float64)) for value in node.inputs[:2] if value is not None]
    return Node("Conv", [*inputs], [Value(node.y.name, node.y.shape, np.dtype(np.float64))], node.attributes, node.name)


@operator("ConvInteger", infer=lambda node: [(OPERATORS["Conv"].infer(_of_floats(node))[0][0], SUMS)])
def _conv_integer(node: Node, x: Array, weight: Array, zero_x: Array | None = None, zero_weight: Array | None = None) -> Any:
    sums = OPERATORS["Conv"].compute(_of_floats(node), less(x, zero_x, np.float64), less(weight, zero_weight, np.float64))
    return sums.astype(np.int32)


def less(numbers: Array, zero: Array | None, kind: Any) -> Array:
    """Numbers less their zero point, of which there may be one for each index of the first axis."""
    if zero is None:
        return numbers.astype(kind)
    return numbers.astype(kind) - (zero.reshape(-1, *[1] * (numbers.ndim - 1)) if zero.size > 1 else zero.reshape(())).astype(kind)

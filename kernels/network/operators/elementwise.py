"""Operators that make each output element of the inputs' elements at its place; arguments of different shapes broadcast."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, broadcast, operator, same

BOOL = np.dtype(bool)


def _infer(node: Node) -> list[Meta]:
    present = [each for each in node.inputs if each is not None]
    of = present[1] if node.op == "Where" else present[0]
    return [(broadcast(node, [each.lengths for each in present]), of.kind)]


def _infer_bool(node: Node) -> list[Meta]:
    return [(_infer(node)[0][0], BOOL)]


def _infer_choose(node: Node) -> list[Meta]:
    assert node.inputs[1] is not None
    return [(node.inputs[1].lengths, node.inputs[1].kind)]


def _infer_cast(node: Node) -> list[Meta]:
    dtype = np.dtype(node.attributes["to"]) if node.op == "Cast" else node.inputs[1].kind  # type: ignore[union-attr]
    return [(node.x.lengths, dtype)]


def _infer_dropout(node: Node) -> list[Meta]:
    """Like x, and a mask of bools."""
    return [(node.x.lengths, node.x.kind), (node.x.lengths, BOOL)][: len(node.outputs)]


def _erf(x: Array) -> Array:
    from scipy.special import erf  # 20 ms to import

    return np.asarray(erf(x), x.dtype)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


UNARY: dict[str, Callable[[Array], Any]] = {
    "Abs": np.abs, "Neg": np.negative, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan,
    "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh,
    "Atanh": np.arctanh, "Tanh": np.tanh, "Erf": _erf, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Sign": np.sign,
    "Reciprocal": lambda x: 1 / x, "Relu": lambda x: np.maximum(x, 0), "Sigmoid": _sigmoid, "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)), "Mish": lambda x: x * np.tanh(_softplus(x)), "Identity": lambda x: x,
    "HardSwish": lambda x: x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1), "BitwiseNot": np.invert,
}  # fmt: skip
TESTS: dict[str, Callable[[Array], Any]] = {"Not": np.logical_not, "IsNaN": np.isnan}
COMPARISONS = {
    "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
}  # fmt: skip
# of any number of arguments, combined from the left
FOLDS: dict[str, Callable[[Array, Array], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum, "Sum": np.add,
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
}  # fmt: skip


@operator(*UNARY, infer=same, elementwise=True)
def _unary(node: Node, x: Array) -> Any:
    return UNARY[node.op](x)


@operator(*TESTS, infer=_infer_bool, elementwise=True)
def _test(node: Node, x: Array) -> Any:
    return TESTS[node.op](x)


@operator(*COMPARISONS, infer=_infer_bool, elementwise=True)
def _compare(node: Node, a: Array, b: Array) -> Any:
    return COMPARISONS[node.op](a, b)


@operator(*FOLDS, infer=_infer, elementwise=True)
def _fold(node: Node, *arrays: Array) -> Any:
    return functools.reduce(FOLDS[node.op], arrays)


@operator("Mean", infer=_infer, elementwise=True)
def _mean(node: Node, *arrays: Array) -> Any:
    return functools.reduce(np.add, arrays) / arrays[0].dtype.type(len(arrays))


@operator("IsInf", infer=_infer_bool, elementwise=True)
def _is_inf(node: Node, x: Array) -> Any:
    low, high = node.attributes.get("detect_negative", 1), node.attributes.get("detect_positive", 1)
    return np.isinf(x) & (((x < 0) & bool(low)) | ((x > 0) & bool(high)))


@operator("Div", infer=_infer, elementwise=True)
def _div(node: Node, a: Array, b: Array) -> Any:
    if a.dtype.kind not in "iu":
        return a / b
    quotient = np.abs(a) // np.abs(b)  # towards zero
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype) if a.dtype.kind == "i" else quotient


@operator("Pow", infer=_infer, elementwise=True)
def _pow(node: Node, a: Array, b: Array) -> Any:
    return np.power(a, b.astype(a.dtype) if a.dtype.kind == "f" else b).astype(a.dtype)


@operator("Mod", infer=_infer, elementwise=True)
def _mod(node: Node, a: Array, b: Array) -> Any:
    return np.fmod(a, b) if node.attributes.get("fmod") else np.mod(a, b)


@operator("BitShift", infer=_infer, elementwise=True)
def _shift(node: Node, a: Array, b: Array) -> Any:
    return np.left_shift(a, b) if node.attributes["direction"] in ("LEFT", b"LEFT") else np.right_shift(a, b)


@operator("Where", infer=_infer, elementwise=True)
def _where(node: Node, condition: Array, a: Array, b: Array) -> Any:
    return np.where(condition, a, b)


@operator("Choose", infer=_infer_choose)
def _choose(node: Node, condition: Array, a: Array, b: Array) -> Any:
    """Not ONNX's, but what is left of an If: of two results of one shape the one that its condition takes."""
    return a if np.ravel(condition)[0] else b


@operator("Cast", "CastLike", infer=_infer_cast, elementwise=True)
def _cast(node: Node, x: Array, like: Array | None = None) -> Any:
    with np.errstate(invalid="ignore", over="ignore"):
        return x.astype(node.y.dtype if node.y.dtype is not None else node.attributes["to"])


@operator("Clip", infer=same, elementwise=True)
def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Any:
    x = x if low is None else np.maximum(x, low)
    return np.asarray(x if high is None else np.minimum(x, high), x.dtype)


@operator("PRelu", infer=_infer, elementwise=True)  # a slope of more axes than x widens it, as onnxruntime has it
def _prelu(node: Node, x: Array, slope: Array) -> Any:
    return np.where(x < 0, x * slope, x)


@operator("Dropout", infer=_infer_dropout)
def _dropout(node: Node, x: Array, *rest: Any) -> Any:
    return (x, np.ones(x.shape, bool)) if len(node.outputs) > 1 else x


def slope(node: Node, name: str = "alpha") -> float:
    """An attribute of an activation, or what it is where none is given."""
    defaults = {"LeakyRelu": 0.01, "Elu": 1.0, "Celu": 1.0, "HardSigmoid": 0.2, "ThresholdedRelu": 1.0, "Selu": 1.6732632423543772,
                "Swish": 1.0}  # fmt: skip
    return float(node.attributes.get(name, defaults[node.op]))


@operator("LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid", "ThresholdedRelu", "Swish", infer=same, elementwise=True)
def _sloped(node: Node, x: Array) -> Any:
    alpha = x.dtype.type(slope(node))
    if node.op == "LeakyRelu":
        return np.where(x < 0, x * alpha, x)
    if node.op == "Elu":
        return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)
    if node.op == "Celu":
        return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))
    if node.op == "Selu":
        gamma = x.dtype.type(node.attributes.get("gamma", 1.0507009873554805))
        return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    if node.op == "HardSigmoid":
        return np.clip(alpha * x + x.dtype.type(node.attributes.get("beta", 0.5)), 0, 1).astype(x.dtype)
    if node.op == "Swish":
        return x * _sigmoid(alpha * x)
    return np.where(x > alpha, x, x.dtype.type(0))


@operator("Shrink", infer=same, elementwise=True)
def _shrink(node: Node, x: Array) -> Any:
    bias, lambd = node.attributes.get("bias", 0.0), node.attributes.get("lambd", 0.5)
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)).astype(x.dtype)


@operator("Gelu", infer=same, elementwise=True)
def _gelu(node: Node, x: Array) -> Any:
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    if node.attributes.get("approximate", "none") in ("tanh", b"tanh"):
        return half * x * (one + np.tanh(x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x**3)))
    return half * x * (one + _erf(x * x.dtype.type(math.sqrt(0.5))))


@operator("QuantizeLinear", infer=lambda node: [(node.x.lengths, quantized(node))])
def _quantize(node: Node, x: Array, scale: Array, zero: Array | None = None) -> Any:
    zero = np.zeros((), quantized(node)) if zero is None else zero
    limits = np.iinfo(zero.dtype)
    shaped = (_along(node, x, scale), _along(node, x, zero.astype(np.float32)))
    return np.clip(np.rint(x / shaped[0]) + shaped[1], limits.min, limits.max).astype(zero.dtype)


@operator("DequantizeLinear", infer=lambda node: [(node.x.lengths, node.inputs[1].kind)])  # type: ignore[union-attr]
def _dequantize(node: Node, x: Array, scale: Array, zero: Array | None = None) -> Any:
    shifted = x.astype(scale.dtype) if zero is None else x.astype(scale.dtype) - _along(node, x, zero.astype(scale.dtype))
    return shifted * _along(node, x, scale)


def quantized(node: Node) -> np.dtype:
    """The dtype of the zero point; without one, what the node says, else bytes."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    return np.dtype(node.attributes.get("output_dtype") or np.uint8) if value is None else value.kind


def along(node: Node, rank: int, numbers: Array) -> Array:
    """One number, or one per index of the node's axis, so that they broadcast to what has so many axes."""
    if numbers.size == 1:
        return numbers.reshape(())
    axis = node.attributes.get("axis", 1) % rank
    return numbers.reshape([-1 if i == axis else 1 for i in range(rank)])


def _along(node: Node, x: Array, numbers: Array) -> Array:
    """Numbers per index of the node's axis (or one number, or one a block of that axis), so that they broadcast to x."""
    if numbers.size == 1 or (numbers.ndim == 1 and x.ndim > 1):
        return along(node, x.ndim, numbers)
    axis = node.attributes.get("axis", 1) % x.ndim
    if numbers.shape != x.shape and node.attributes.get("block_size"):
        return np.repeat(numbers, node.attributes["block_size"], axis)[tuple(slice(n) for n in x.shape)]
    return numbers

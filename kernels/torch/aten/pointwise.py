"""Operators that compute each number from those at its place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from kernels.network.graph import Value
from kernels.torch.aten.reading import DTYPES, Reading, argument, is_tensor, reads, tensor

aten = torch.ops.aten


def _floats(node: fx.Node) -> str | None:
    return None if tensor(node.args[0]).dtype.is_floating_point else "it is of integers"


_UNARY = {
    aten.relu.default: "Relu", aten.sigmoid.default: "Sigmoid", aten.tanh.default: "Tanh", aten.abs.default: "Abs", aten.neg.default: "Neg",
    aten.sqrt.default: "Sqrt", aten.exp.default: "Exp", aten.log.default: "Log", aten.sin.default: "Sin", aten.cos.default: "Cos",
    aten.erf.default: "Erf", aten.floor.default: "Floor", aten.ceil.default: "Ceil", aten.reciprocal.default: "Reciprocal",
    aten.round.default: "Round", aten.hardswish.default: "HardSwish", aten.mish.default: "Mish", aten.alias.default: "Identity",
    aten.clone.default: "Identity",
    aten.detach.default: "Identity", aten.contiguous.default: "Identity", aten.lift_fresh_copy.default: "Identity",
}  # fmt: skip


def _any_dtype(node: fx.Node) -> str | None:
    op = _UNARY[node.target]  # type: ignore[index]
    return None if op in ("Identity", "Abs", "Neg", "Relu") else _floats(node)


@reads(*_UNARY, refuses=_any_dtype)
def _unary(r: Reading, node: fx.Node, x: Any, **_: Any) -> Value:
    return r.graph.node(_UNARY[node.target], r.values[x], name=node.name)  # type: ignore[index]


@reads(aten.silu.default, refuses=_floats)
def _silu(r: Reading, node: fx.Node, x: Any) -> Value:
    return r.graph.node("Mul", r.values[x], r.graph.node("Sigmoid", r.values[x]), name=node.name)


@reads(aten.sign.default, refuses=_floats)
def _sign(r: Reading, node: fx.Node, x: Any) -> Value:
    """Of NaN it is 0, where ONNX's and NumPy's are NaN."""
    dtype, zero = r.dtype(node), r.constant(0.0, r.dtype(node))
    above, below = (r.cast(r.graph.node(op, r.values[x], zero), dtype) for op in ("Greater", "Less"))
    return r.graph.node("Sub", above, below, name=node.name)


@reads(aten.rsqrt.default, refuses=_floats)
def _rsqrt(r: Reading, node: fx.Node, x: Any) -> Value:
    return r.graph.node("Reciprocal", r.graph.node("Sqrt", r.values[x]), name=node.name)


def _log_of(base: float) -> Any:
    def read(r: Reading, node: fx.Node, x: Any) -> Value:
        return r.graph.node("Mul", r.graph.node("Log", r.values[x]), r.constant(1 / math.log(base), r.dtype(node)), name=node.name)

    return read


reads(aten.log2.default, refuses=_floats)(_log_of(2.0))
reads(aten.log10.default, refuses=_floats)(_log_of(10.0))


@reads(aten.leaky_relu.default, refuses=_floats)
def _leaky_relu(r: Reading, node: fx.Node, x: Any, slope: float = 0.01) -> Value:
    return r.graph.node("LeakyRelu", r.values[x], name=node.name, alpha=float(slope))


def _evenly(node: fx.Node) -> str | None:
    return "its input is scaled" if argument(node, 3, "input_scale", 1) != 1 else _floats(node)


@reads(aten.elu.default, refuses=_evenly)
def _elu(r: Reading, node: fx.Node, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    y = r.graph.node("Elu", r.values[x], name=node.name, alpha=float(alpha))
    return y if scale == 1 else r.graph.node("Mul", y, r.constant(scale, r.dtype(node)))


@reads(aten.celu.default, refuses=_floats)
def _celu(r: Reading, node: fx.Node, x: Any, alpha: float = 1.0) -> Value:
    return r.graph.node("Celu", r.values[x], name=node.name, alpha=float(alpha))


def _alone(node: fx.Node) -> str | None:
    several = any(user.args[1] for user in node.users)
    return "more than its first result is read" if several else _floats(node)


@reads(aten.log_sigmoid_forward.default, refuses=_alone)
def _log_sigmoid(r: Reading, node: fx.Node, x: Any) -> tuple[Value]:
    return (r.graph.node("Neg", r.graph.node("Softplus", r.graph.node("Neg", r.values[x])), name=node.name),)


@reads(aten.addcmul.default, aten.addcdiv.default, refuses=_floats)
def _addcmul(r: Reading, node: fx.Node, x: Any, a: Any, b: Any, *, value: Any = 1) -> Value:
    dtype, op = r.dtype(node), "Mul" if node.target is aten.addcmul.default else "Div"
    more = r.graph.node(op, r.operand(a, dtype), r.operand(b, dtype))
    if r.number(value) != 1:
        more = r.graph.node("Mul", more, r.constant(r.number(value), dtype))
    return r.graph.node("Add", r.operand(x, dtype), more, name=node.name)


@reads(aten.lerp.Scalar, aten.lerp.Tensor, refuses=_floats)
def _lerp(r: Reading, node: fx.Node, a: Any, b: Any, weight: Any) -> Value:
    dtype = r.dtype(node)
    start, end = r.operand(a, dtype), r.operand(b, dtype)
    return r.graph.node("Add", start, r.graph.node("Mul", r.graph.node("Sub", end, start), r.operand(weight, dtype)), name=node.name)


@reads(aten.gelu.default, refuses=_floats)
def _gelu(r: Reading, node: fx.Node, x: Any, approximate: str = "none") -> Value:
    return r.graph.node("Gelu", r.values[x], name=node.name, approximate=approximate)


@reads(aten.hardsigmoid.default, refuses=_floats)
def _hardsigmoid(r: Reading, node: fx.Node, x: Any) -> Value:
    return r.graph.node("HardSigmoid", r.values[x], name=node.name, alpha=1 / 6, beta=0.5)


def _plain_softplus(node: fx.Node) -> str | None:
    own = argument(node, 1, "beta", 1) != 1 or argument(node, 2, "threshold", 20) != 20
    return "it has a beta or a threshold of its own" if own else _floats(node)


@reads(aten.softplus.default, refuses=_plain_softplus)
def _softplus(r: Reading, node: fx.Node, x: Any, beta: Any = 1, threshold: Any = 20) -> Value:
    return r.graph.node("Softplus", r.values[x], name=node.name)  # above the threshold PyTorch's is x itself, to rounding the same


@reads(aten._prelu_kernel.default, refuses=_floats)
def _prelu(r: Reading, node: fx.Node, x: Any, slope: Any) -> Value:
    return r.graph.node("PRelu", r.values[x], r.values[slope], name=node.name)


def _clipped(r: Reading, node: fx.Node, x: Any, low: Any, high: Any) -> Value:
    dtype = r.dtype(node)
    ends = [None if each is None else r.operand(each, dtype) for each in (low, high)]
    return r.graph.node("Clip", r.operand(x, dtype), *ends, name=node.name)


@reads(aten.hardtanh.default)
def _hardtanh(r: Reading, node: fx.Node, x: Any, low: Any = -1.0, high: Any = 1.0) -> Value:
    return _clipped(r, node, x, low, high)


@reads(aten.clamp.default, aten.clamp_min.default)
def _clamp(r: Reading, node: fx.Node, x: Any, low: Any = None, high: Any = None, **named: Any) -> Value:
    return _clipped(r, node, x, named.get("min", low), named.get("max", high))


@reads(aten.clamp_max.default)
def _clamp_max(r: Reading, node: fx.Node, x: Any, high: Any) -> Value:
    return _clipped(r, node, x, None, high)


@reads(aten.clamp.Tensor, aten.clamp_min.Tensor, aten.clamp_max.Tensor)
def _clamp_by_tensors(r: Reading, node: fx.Node, x: Any, *ends: Any, **named: Any) -> Value:
    dtype = r.dtype(node)
    low, high = (None, *ends) if node.target is aten.clamp_max.Tensor else (*ends, None, None)[:2]
    value = r.operand(x, dtype)
    for op, end in (("Max", named.get("min", low)), ("Min", named.get("max", high))):
        if end is not None:
            value = r.graph.node(op, value, r.operand(end, dtype), name=node.name)
    return value


def _without_rounding(node: fx.Node) -> str | None:
    return "it divides integers" if not tensor(node).dtype.is_floating_point else None


_BINARY = {
    aten.mul.Tensor: "Mul", aten.mul.Scalar: "Mul", aten.maximum.default: "Max", aten.minimum.default: "Min",
}  # fmt: skip


@reads(*_BINARY)
def _binary(r: Reading, node: fx.Node, a: Any, b: Any) -> Value:
    op, dtype = _BINARY[node.target], r.dtype(node)  # type: ignore[index]
    if dtype.kind == "b":
        op = {"Mul": "And", "Max": "Or", "Min": "And"}[op]
    return r.graph.node(op, r.operand(a, dtype), r.operand(b, dtype), name=node.name)


@reads(aten.div.Tensor, aten.div.Scalar, refuses=_without_rounding)
def _div(r: Reading, node: fx.Node, a: Any, b: Any) -> Value:
    dtype = r.dtype(node)
    return r.graph.node("Div", r.operand(a, dtype), r.operand(b, dtype), name=node.name)


def _of_numbers(node: fx.Node) -> str | None:
    return "it is of bools" if tensor(node).dtype is torch.bool else None


def _sum(op: str) -> Any:
    def read(r: Reading, node: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Value:
        dtype = r.dtype(node)
        left, right = r.operand(a, dtype), r.operand(b, dtype)
        if r.number(alpha) != 1:
            right = r.graph.node("Mul", right, r.constant(r.number(alpha), dtype))
        return r.graph.node(op, left, right, name=node.name)

    return read


reads(aten.add.Tensor, aten.add.Scalar, refuses=_of_numbers)(_sum("Add"))
reads(aten.sub.Tensor, aten.sub.Scalar, refuses=_of_numbers)(_sum("Sub"))


@reads(aten.rsub.Tensor, aten.rsub.Scalar, refuses=_of_numbers)
def _rsub(r: Reading, node: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Value:
    return _sum("Sub")(r, node, b, a, alpha) if r.number(alpha) == 1 else _scaled_rsub(r, node, a, b, alpha)


def _scaled_rsub(r: Reading, node: fx.Node, a: Any, b: Any, alpha: Any) -> Value:
    dtype = r.dtype(node)
    taken = r.graph.node("Mul", r.operand(a, dtype), r.constant(r.number(alpha), dtype))
    return r.graph.node("Sub", r.operand(b, dtype), taken, name=node.name)


@reads(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar, refuses=_without_rounding)
def _pow(r: Reading, node: fx.Node, x: Any, exponent: Any) -> Value:
    dtype = r.dtype(node)
    base = r.operand(x, dtype)
    if not isinstance(exponent, fx.Node) and exponent == 2:
        return r.graph.node("Mul", base, base, name=node.name)
    return r.graph.node("Pow", base, r.operand(exponent, dtype), name=node.name)


_COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}


def _compare(op: str) -> Any:
    def read(r: Reading, node: fx.Node, a: Any, b: Any) -> Value:
        given = [tensor(each) if is_tensor(each) else r.number(each) for each in (a, b)]
        dtype = DTYPES[torch.result_type(*given)]
        return r.graph.node(op, r.operand(a, dtype), r.operand(b, dtype), name=node.name)

    return read


for _name, _op in _COMPARISONS.items():
    reads(getattr(aten, _name).Tensor, getattr(aten, _name).Scalar)(_compare(_op))


@reads(aten.where.self)
def _where(r: Reading, node: fx.Node, condition: Any, a: Any, b: Any) -> Value:
    dtype = r.dtype(node)
    return r.graph.node("Where", r.operand(condition, np.dtype(bool)), r.operand(a, dtype), r.operand(b, dtype), name=node.name)


@reads(aten.masked_fill.Scalar)
def _masked_fill(r: Reading, node: fx.Node, x: Any, mask: Any, value: Any) -> Value:
    dtype = r.dtype(node)
    return r.graph.node("Where", r.operand(mask, np.dtype(bool)), r.constant(r.number(value), dtype), r.operand(x, dtype), name=node.name)


@reads(aten.logical_not.default)
def _not(r: Reading, node: fx.Node, x: Any) -> Value:
    return r.graph.node("Not", r.operand(x, np.dtype(bool)), name=node.name)


def _to_cpu(node: fx.Node) -> str | None:
    device = node.kwargs.get("device")
    return f"it moves to {device}" if device is not None and torch.device(str(device)).type != "cpu" else None


@reads(aten._to_copy.default, aten.to.dtype, refuses=_to_cpu)
def _to_copy(r: Reading, node: fx.Node, x: Any, *_: Any, **__: Any) -> Value:
    return r.cast(r.values[x], r.dtype(node))


@reads(torch.ops.prims.convert_element_type.default)
def _convert(r: Reading, node: fx.Node, x: Any, dtype: Any) -> Value:
    return r.cast(r.values[x], r.dtype(node))


def _even(node: fx.Node) -> str | None:
    return _floats(node)


@reads(aten.glu.default, refuses=_even)
def _glu(r: Reading, node: fx.Node, x: Any, dim: int = -1) -> Value:
    axis = dim % len(r.shape(x))
    half = r.shape(x)[axis] // 2
    a, b = r.graph.several("Split", r.values[x], r.ints([half, half]), outputs=2, axis=axis)
    return r.graph.node("Mul", a, r.graph.node("Sigmoid", b), name=node.name)

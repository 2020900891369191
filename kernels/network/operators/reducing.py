"""Operators that combine numbers along axes: sums, maxima, positions, running sums, normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, axes_of, axis, operator, same, whole
from kernels.problem.errors import ProblemError

INT64 = np.dtype(np.int64)


def _log_sum_exp(x: Array, **along: Any) -> Any:
    top = np.max(x, axis=along["axis"], keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), **along)) + (top if along["keepdims"] else np.squeeze(top, along["axis"]))


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max, "ReduceMin": np.min, "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceProd": np.prod,
    "ReduceL1": lambda x, **along: np.sum(np.abs(x), **along), "ReduceL2": lambda x, **along: np.sqrt(np.sum(x * x, **along)),
    "ReduceSumSquare": lambda x, **along: np.sum(x * x, **along), "ReduceLogSum": lambda x, **along: np.log(np.sum(x, **along)),
    "ReduceLogSumExp": _log_sum_exp,
}  # fmt: skip


_OF_NOTHING = ("ReduceMax", "ReduceMin", "ReduceLogSumExp", "ReduceLogSum")


def _of_nothing(op: str, dtype: np.dtype) -> Any:
    """What a reduction of no numbers gives: what changes nothing when it is combined with more."""
    if dtype.kind == "f":
        return np.inf if op == "ReduceMin" else -np.inf
    if dtype.kind == "b":
        return op == "ReduceMin"
    return np.iinfo(dtype).max if op == "ReduceMin" else np.iinfo(dtype).min


def reduced_axes(node: Node) -> tuple[int, ...]:
    """The axes that a reduction combines; none where an empty list says so."""
    rank = len(node.x.lengths)
    axes = axes_of(node, 1, rank)
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes") else tuple(range(rank))
    if len(set(axes)) < len(axes):
        raise ProblemError(f"{node.op} {node.label!r}: axes {axes} name one twice")
    return tuple(sorted(axes))


def _reduce_infer(node: Node) -> list[Meta]:
    axes, keep = reduced_axes(node), node.attributes.get("keepdims", 1)
    return [(tuple(1 if i in axes else n for i, n in enumerate(node.x.lengths) if keep or i not in axes), node.x.kind)]


@operator(*REDUCTIONS, infer=_reduce_infer)
def _reduce(node: Node, x: Array, axes: Array | None = None) -> Any:
    along = reduced_axes(node)
    if not x.size and node.op in _OF_NOTHING:
        shape, _ = _reduce_infer(node)[0]
        return np.full(shape, _of_nothing(node.op, x.dtype), x.dtype)
    if not along and node.op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd"):
        return x
    return np.asarray(REDUCTIONS[node.op](x, axis=along, keepdims=bool(node.attributes.get("keepdims", 1)))).astype(x.dtype)


def _arg_infer(node: Node) -> list[Meta]:
    at = axis(node, node.attributes.get("axis", 0), len(node.x.lengths))
    keep = node.attributes.get("keepdims", 1)
    return [(tuple(1 if i == at else n for i, n in enumerate(node.x.lengths) if keep or i != at), INT64)]


@operator("ArgMax", "ArgMin", infer=_arg_infer)
def _arg(node: Node, x: Array) -> Any:
    at, find = node.attributes.get("axis", 0), np.argmax if node.op == "ArgMax" else np.argmin
    keep = bool(node.attributes.get("keepdims", 1))
    if node.attributes.get("select_last_index"):
        return x.shape[at] - 1 - find(np.flip(x, at), axis=at, keepdims=keep)
    return find(x, axis=at, keepdims=keep)


@operator("CumSum", infer=same)
def _cumsum(node: Node, x: Array, along: Array) -> Any:
    at = int(np.ravel(along)[0]) % x.ndim
    x = np.flip(x, at) if node.attributes.get("reverse") else x
    total = np.cumsum(x, at, dtype=x.dtype)
    total = total - x if node.attributes.get("exclusive") else total
    return np.flip(total, at) if node.attributes.get("reverse") else total


def _top_infer(node: Node) -> list[Meta]:
    at = axis(node, node.attributes.get("axis", -1), len(node.x.lengths))
    shape = tuple((whole(node, 1) or [0])[0] if i == at else n for i, n in enumerate(node.x.lengths))
    return [(shape, node.x.kind), (shape, INT64)]


@operator("TopK", infer=_top_infer)
def _top(node: Node, x: Array, k: Array) -> Any:
    at, n = node.attributes.get("axis", -1), int(np.ravel(k)[0])
    largest = node.attributes.get("largest", 1)
    ranked = (~x if x.dtype.kind in "iu" else -x) if largest else x  # ~x turns the order of integers round and never overflows
    order = np.take(np.argsort(ranked, at, kind="stable"), np.arange(n), at)
    return np.take_along_axis(x, order, at), order


def _softmax_axis(node: Node) -> int:
    return int(node.attributes.get("axis", -1))


@operator("Softmax", "LogSoftmax", "Hardmax", infer=same)
def _softmax(node: Node, x: Array) -> Any:
    """`scale`, a factor of x, is not ONNX's, but what `passes/softmax_scale` leaves."""
    at = _softmax_axis(node)
    if "scale" in node.attributes:
        x = x * x.dtype.type(node.attributes["scale"])
    if node.attributes.get("flattened"):  # before opset 13: everything from the axis on is one row
        shape, x, at = x.shape, x.reshape(math.prod(x.shape[: at % x.ndim]), -1), -1
        return _soft(node, x, at).reshape(shape)
    return _soft(node, x, at)


def _soft(node: Node, x: Array, at: int) -> Array:
    if not x.size:  # a row of nothing has no maximum
        return x
    if node.op == "Hardmax":
        return (np.arange(x.shape[at]).reshape([-1 if i == at % x.ndim else 1 for i in range(x.ndim)])
                == np.argmax(x, at, keepdims=True)).astype(x.dtype)  # fmt: skip
    shifted = x - np.max(x, at, keepdims=True)
    total = np.sum(np.exp(shifted), at, keepdims=True)
    return np.exp(shifted) / total if node.op == "Softmax" else shifted - np.log(total)


def _channels(numbers: Array, rank: int) -> Array:
    """Numbers per channel, which is axis 1, so that they broadcast; of a row alone, that of its one channel."""
    return numbers.reshape(-1, *[1] * (rank - 2))


@operator("BatchNormalization", infer=same)
def _batch_norm(node: Node, x: Array, gamma: Array, beta: Array, mean: Array, var: Array) -> Any:
    scale = gamma / np.sqrt(var + gamma.dtype.type(node.attributes.get("epsilon", 1e-5)))
    return (x * _channels(scale, x.ndim) + _channels(beta - mean * scale, x.ndim)).astype(x.dtype)


def _normal(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    mean = np.mean(x, axes, keepdims=True)
    return (x - mean) / np.sqrt(np.mean((x - mean) ** 2, axes, keepdims=True) + x.dtype.type(epsilon))


def _moments_infer(node: Node) -> list[Meta]:
    return [(node.attributes["shape"], node.x.kind)] * 2


@operator("Moments", infer=_moments_infer)
def _moments(node: Node, x: Array) -> Any:
    """Not ONNX's, but what its norms become: mean and 1 / deviation over `axes`, or of groups for each channel; times factors in turns."""
    axes, shape, factors = tuple(node.attributes["axes"]), node.attributes["shape"], node.attributes["factors"]
    mean, variance = np.mean(x, axes, keepdims=True), np.var(x, axes, keepdims=True)
    repeat = math.prod(shape) // mean.size
    inverse = 1 / np.sqrt(variance + x.dtype.type(node.attributes["epsilon"]))
    mean, scale = (np.repeat(each, repeat).reshape(shape) for each in (mean, inverse))
    return mean, scale if factors is None else (scale.reshape(-1, len(factors)) * factors).reshape(shape)


@operator("InstanceNormalization", infer=same)
def _instance_norm(node: Node, x: Array, gamma: Array, beta: Array) -> Any:
    y = _normal(x, tuple(range(2, x.ndim)), node.attributes.get("epsilon", 1e-5))
    return y * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


@operator("GroupNormalization", infer=same)
def _group_norm(node: Node, x: Array, gamma: Array, beta: Array) -> Any:
    groups = node.attributes["num_groups"]
    grouped = x.reshape(x.shape[0], groups, -1)
    y = _normal(grouped, (2,), node.attributes.get("epsilon", 1e-5)).reshape(x.shape)
    if len(gamma) == groups != x.shape[1]:  # opset 18: one number a group
        gamma, beta = (np.repeat(each, x.shape[1] // groups) for each in (gamma, beta))
    return y * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


def _layer_infer(node: Node) -> list[Meta]:
    shape = node.x.lengths
    at = axis(node, node.attributes.get("axis", -1), len(shape))
    small = (*shape[:at], *[1] * (len(shape) - at))
    return [(shape, node.x.kind), (small, node.x.kind), (small, node.x.kind)][: len(node.outputs)]


@operator("LayerNormalization", infer=_layer_infer)
def _layer_norm(node: Node, x: Array, gamma: Array, beta: Array | None = None) -> Any:
    at = node.attributes.get("axis", -1) % x.ndim
    axes = tuple(range(at, x.ndim))
    mean = np.mean(x, axes, keepdims=True)
    inverse = 1 / np.sqrt(np.mean((x - mean) ** 2, axes, keepdims=True) + x.dtype.type(node.attributes.get("epsilon", 1e-5)))
    y = (x - mean) * inverse * gamma
    y = y if beta is None else y + beta
    return (y, mean, inverse)[: len(node.outputs)] if len(node.outputs) > 1 else y


@operator("RMSNormalization", "SimplifiedLayerNormalization", infer=_layer_infer)
def _rms_norm(node: Node, x: Array, gamma: Array) -> Any:
    axes = tuple(range(node.attributes.get("axis", -1) % x.ndim, x.ndim))
    return x / np.sqrt(np.mean(x * x, axes, keepdims=True) + x.dtype.type(node.attributes.get("epsilon", 1e-5))) * gamma


@operator("LpNormalization", infer=same)
def _lp_norm(node: Node, x: Array) -> Any:
    at, p = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    norm = np.sqrt(np.sum(x * x, at, keepdims=True)) if p == 2 else np.sum(np.abs(x), at, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)


@operator("MeanVarianceNormalization", infer=same)
def _mean_variance(node: Node, x: Array) -> Any:
    axes = tuple(node.attributes.get("axes", (0, 2, 3)))
    mean = np.mean(x, axes, keepdims=True)
    return (x - mean) / (np.sqrt(np.mean((x - mean) ** 2, axes, keepdims=True)) + x.dtype.type(1e-9))

"""Operators that combine numbers along axes: sums, maxima, norms, softmax, normalisation."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from kernels.network.graph import Value
from kernels.torch.aten.reading import Reading, argument, reads, tensor

aten = torch.ops.aten

_VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def _floats(node: fx.Node) -> str | None:
    return None if tensor(node.args[0]).dtype.is_floating_point else "it is of integers"


def first_alone(*others: int) -> Any:
    """For operators of several results: those with these numbers must not be read."""

    def refuses(node: fx.Node) -> str | None:
        if any(user.target is not operator.getitem or user.args[1] in others for user in node.users):
            return "more than its first result is read"
        return _floats(node)

    return refuses


def _reduced(r: Reading, node: fx.Node, op: str, x: Any, dims: Any, keep: bool) -> Value:
    rank = len(r.shape(x))
    dims = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    axes = sorted({each % max(rank, 1) for each in dims})
    value = r.operand(x, r.dtype(node))
    return r.graph.node(op, value, r.ints(axes), name=node.name, keepdims=int(keep), noop_with_empty_axes=1) if rank else value


@reads(aten.mean.dim, refuses=_floats)
def _mean(r: Reading, node: fx.Node, x: Any, dims: Any = None, keep: bool = False, **_: Any) -> Value:
    return _reduced(r, node, "ReduceMean", x, dims, keep)


@reads(aten.mean.default, refuses=_floats)
def _mean_of_all(r: Reading, node: fx.Node, x: Any, **_: Any) -> Value:
    return _reduced(r, node, "ReduceMean", x, None, False)


@reads(aten.sum.dim_IntList, refuses=_floats)
def _sum(r: Reading, node: fx.Node, x: Any, dims: Any = None, keep: bool = False, **_: Any) -> Value:
    return _reduced(r, node, "ReduceSum", x, dims, keep)


@reads(aten.sum.default, refuses=_floats)
def _sum_of_all(r: Reading, node: fx.Node, x: Any, **_: Any) -> Value:
    return _reduced(r, node, "ReduceSum", x, None, False)


@reads(aten.amax.default, refuses=_floats)
def _amax(r: Reading, node: fx.Node, x: Any, dims: Any = (), keep: bool = False) -> Value:
    return _reduced(r, node, "ReduceMax", x, list(dims), keep)


@reads(aten.amin.default, refuses=_floats)
def _amin(r: Reading, node: fx.Node, x: Any, dims: Any = (), keep: bool = False) -> Value:
    return _reduced(r, node, "ReduceMin", x, list(dims), keep)


@reads(aten.max.dim, refuses=first_alone(1))
def _max_along(r: Reading, node: fx.Node, x: Any, dim: int, keep: bool = False) -> Any:
    rank = len(r.shape(x))
    return (r.graph.node("ReduceMax", r.values[x], r.ints([dim % rank]), name=node.name, keepdims=int(keep)),)


@reads(aten.argmax.default, refuses=lambda node: "it is flattened" if argument(node, 1, "dim") is None else _floats(node))
def _argmax(r: Reading, node: fx.Node, x: Any, dim: Any = None, keep: bool = False) -> Value:
    return r.graph.node("ArgMax", r.values[x], name=node.name, axis=dim % len(r.shape(x)), keepdims=int(keep))


def _euclidean(node: fx.Node) -> str | None:
    order = argument(node, 1, "ord", 2)
    return None if order in (1, 2) and not node.kwargs.get("dtype") else f"it is a norm of order {order}"


@reads(aten.linalg_vector_norm.default, refuses=_euclidean)
def _norm(r: Reading, node: fx.Node, x: Any, order: Any = 2, dims: Any = None, keep: bool = False, **_: Any) -> Value:
    return _reduced(r, node, "ReduceL1" if order == 1 else "ReduceL2", x, dims, keep)


@reads(aten._weight_norm_interface.default, refuses=first_alone(1))
def _weight_norm(r: Reading, node: fx.Node, v: Any, g: Any, dim: int = 0) -> Any:
    axes = [axis for axis in range(len(r.shape(v))) if axis != dim % len(r.shape(v))]
    norm = r.graph.node("ReduceL2", r.values[v], r.ints(axes), keepdims=1)
    return (r.graph.node("Mul", r.values[v], r.graph.node("Div", r.values[g], norm), name=node.name),)


def _correction(r: Reading, node: fx.Node, dims: Any) -> tuple[list[int], float]:
    shape = r.shape(node.args[0])  # type: ignore[arg-type]
    axes = list(range(len(shape))) if not dims else [each % len(shape) for each in ([dims] if isinstance(dims, int) else dims)]
    given = node.kwargs.get("correction")
    return axes, math.prod(shape[axis] for axis in axes) - (1 if given is None else r.number(given))


def _variance(root: bool) -> Any:
    def read(r: Reading, node: fx.Node, x: Any, dims: Any = None, *, correction: Any = None, keepdim: bool = False) -> Value:
        axes, divisor = _correction(r, node, dims)
        mean = r.graph.node("ReduceMean", r.values[x], r.ints(axes), keepdims=1)
        apart = r.graph.node("Sub", r.values[x], mean)
        total = r.graph.node("ReduceSum", r.graph.node("Mul", apart, apart), r.ints(axes), keepdims=int(keepdim))
        y = r.graph.node("Div", total, r.constant(max(divisor, 0), r.dtype(node)), name=node.name)
        return r.graph.node("Sqrt", y) if root else y

    return read


reads(aten.var.correction, refuses=_floats)(_variance(False))
reads(aten.std.correction, refuses=_floats)(_variance(True))


@reads(aten._softmax.default, refuses=_floats)
def _softmax(r: Reading, node: fx.Node, x: Any, dim: int, half: bool) -> Value:
    return r.graph.node("Softmax", r.values[x], name=node.name, axis=dim)


def hidden_to_zero(r: Reading, weights: Value, scores: Value, dtype: np.dtype) -> Value:
    """Weights of attention with zeros where all scores are -inf, as PyTorch has it for queries that may see nothing."""
    most = r.graph.node("ReduceMax", scores, r.ints([-1]), keepdims=1)
    return r.graph.node("Where", r.graph.node("Equal", most, r.constant(-np.inf, dtype)), r.constant(0.0, dtype), weights)


def _last_axis(node: fx.Node) -> str | None:
    return None if node.args[1] in (-1, tensor(node.args[0]).dim() - 1) else "it is along another axis than the last"


@reads(aten._safe_softmax.default, refuses=_last_axis)
def _safe_softmax(r: Reading, node: fx.Node, x: Any, dim: int, dtype: Any = None) -> Value:
    scores = r.operand(x, r.dtype(node))
    weights = r.graph.node("Softmax", scores, name=node.name, axis=-1)
    source = x
    while source.target in _VIEWS:
        source = source.args[0]
    return weights if source.target in (aten.bmm.default, aten.mm.default) else hidden_to_zero(r, weights, scores, r.dtype(node))


@reads(aten.logsumexp.default, refuses=_floats)
def _logsumexp(r: Reading, node: fx.Node, x: Any, dims: Any, keep: bool = False) -> Value:
    return _reduced(r, node, "ReduceLogSumExp", x, dims, keep)


@reads(aten._log_softmax.default, refuses=_floats)
def _log_softmax(r: Reading, node: fx.Node, x: Any, dim: int, half: bool) -> Value:
    return r.graph.node("LogSoftmax", r.values[x], name=node.name, axis=dim)


def _affine(r: Reading, given: Any, count: int, filler: float, dtype: np.dtype) -> Value:
    """Numbers per channel, or what changes nothing where there are none."""
    return r.constant(np.full(count, filler, dtype)) if given is None else r.values[given]


@reads(aten._native_batch_norm_legit_no_training.default, refuses=first_alone(1, 2))
def _batch_norm(r: Reading, node: fx.Node, x: Any, scale: Any, shift: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    dtype, c = r.dtype(x), r.shape(x)[1]
    given = _affine(r, scale, c, 1.0, dtype), _affine(r, shift, c, 0.0, dtype), r.values[mean], r.values[var]
    return (r.graph.node("BatchNormalization", r.values[x], *given, name=node.name, epsilon=eps),)


def _of_one(node: fx.Node) -> str | None:
    if tensor(node.args[0]).shape[0] != 1:
        return "it normalises by the batch"
    return first_alone(1, 2)(node)


@reads(aten._native_batch_norm_legit.no_stats, refuses=_of_one)
def _instance_norm(r: Reading, node: fx.Node, x: Any, scale: Any, shift: Any, training: bool, momentum: float, eps: float) -> Any:
    """What instance_norm becomes: its batch counts as channels, of a batch of one."""
    dtype, c = r.dtype(x), r.shape(x)[1]
    given = _affine(r, scale, c, 1.0, dtype), _affine(r, shift, c, 0.0, dtype)
    return (r.graph.node("InstanceNormalization", r.values[x], *given, name=node.name, epsilon=eps),)


def _last_axes(node: fx.Node) -> str | None:
    return first_alone(1, 2)(node)


@reads(aten.native_layer_norm.default, refuses=_last_axes)
def _layer_norm(r: Reading, node: fx.Node, x: Any, shape: Any, scale: Any, shift: Any, eps: float) -> Any:
    axis, dtype = -len(shape), r.dtype(x)
    gamma = r.constant(np.ones(r.number(shape), dtype)) if scale is None else r.values[scale]
    beta = None if shift is None else r.values[shift]
    return (r.graph.node("LayerNormalization", r.values[x], gamma, beta, name=node.name, axis=axis, epsilon=eps),)


@reads(aten.native_group_norm.default, refuses=first_alone(1, 2))
def _group_norm(r: Reading, node: fx.Node, x: Any, scale: Any, shift: Any, n: Any, c: Any, size: Any, groups: int, eps: float) -> Any:
    dtype, count = r.dtype(x), r.shape(x)[1]
    given = _affine(r, scale, count, 1.0, dtype), _affine(r, shift, count, 0.0, dtype)
    return (r.graph.node("GroupNormalization", r.values[x], *given, name=node.name, num_groups=groups, epsilon=eps),)

"""Operators that move numbers: other shapes, orders, parts and joins; and those that make constants."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from kernels.network.graph import Value
from kernels.torch.aten.reading import Reading, argument, reads, tensor

aten = torch.ops.aten


@reads(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims,
       aten.squeeze.default, aten.flatten.using_ints)  # fmt: skip
def _reshape(r: Reading, node: fx.Node, x: Any, *_: Any) -> Value:
    return r.reshaped(r.values[x], r.shape(node))


@reads(aten.permute.default)
def _permute(r: Reading, node: fx.Node, x: Any, dims: Any) -> Value:
    rank = len(r.shape(x))
    return r.graph.node("Transpose", r.values[x], name=node.name, perm=[each % rank for each in dims])


@reads(aten.transpose.int)
def _transpose(r: Reading, node: fx.Node, x: Any, first: int, second: int) -> Value:
    perm = list(range(len(r.shape(x))))
    perm[first], perm[second] = perm[second], perm[first]
    return r.graph.node("Transpose", r.values[x], name=node.name, perm=perm)


@reads(aten.t.default)
def _t(r: Reading, node: fx.Node, x: Any) -> Value:
    return r.graph.node("Transpose", r.values[x], name=node.name, perm=[1, 0]) if len(r.shape(x)) == 2 else r.values[x]


@reads(aten.expand.default)
def _expand(r: Reading, node: fx.Node, x: Any, size: Any, **_: Any) -> Value:
    return r.graph.node("Expand", r.values[x], r.ints(r.shape(node)), name=node.name)


@reads(aten.repeat.default)
def _repeat(r: Reading, node: fx.Node, x: Any, times: Any) -> Value:
    shape, times = r.shape(x), r.number(times)
    value = r.reshaped(r.values[x], (*[1] * (len(times) - len(shape)), *shape))
    return r.graph.node("Tile", value, r.ints(times), name=node.name)


def _range(r: Reading, x: Any, dim: int, start: Any, end: Any) -> tuple[int, int, int]:
    """Axis, first index and end, as counted from 0 and within the axis."""
    axis = dim % len(r.shape(x))
    n = r.shape(x)[axis]
    start, end = (default if each is None else r.number(each) for each, default in ((start, 0), (end, n)))
    start, end = (min(max(each + n * (each < 0), 0), n) for each in (start, end))
    return axis, start, max(end, start)


@reads(aten.slice.Tensor)
def _slice(r: Reading, node: fx.Node, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> Value:
    axis, first, last = _range(r, x, dim, start, end)
    return r.graph.node("Slice", r.values[x], *(r.ints([each]) for each in (first, last, axis, r.number(step))), name=node.name)


@reads(aten.flip.default)
def _flip(r: Reading, node: fx.Node, x: Any, dims: Any) -> Value:
    shape = r.shape(x)
    axes = [dim % len(shape) for dim in dims]
    ends = r.ints([-shape[axis] - 1 for axis in axes])
    return r.graph.node("Slice", r.values[x], r.ints([-1] * len(axes)), ends, r.ints(axes), r.ints([-1] * len(axes)), name=node.name)


@reads(aten.select.int)
def _select(r: Reading, node: fx.Node, x: Any, dim: int, index: Any) -> Value:
    axis = dim % len(r.shape(x))
    n, at = r.shape(x)[axis], r.number(index)
    at = at + n * (at < 0)
    return r.reshaped(r.graph.node("Slice", r.values[x], r.ints([at]), r.ints([at + 1]), r.ints([axis]), name=node.name), r.shape(node))


def _split(r: Reading, node: fx.Node, x: Any, dim: int) -> Any:
    axis = dim % len(r.shape(x))
    lengths = [r.number(each.shape[axis]) for each in node.meta["val"]]
    return tuple(r.graph.several("Split", r.values[x], r.ints(lengths), outputs=len(lengths), name=node.name, axis=axis))


@reads(aten.split.Tensor, aten.split_with_sizes.default)
def _split_by(r: Reading, node: fx.Node, x: Any, size: Any, dim: int = 0) -> Any:
    return _split(r, node, x, dim)


@reads(aten.unbind.int)
def _unbind(r: Reading, node: fx.Node, x: Any, dim: int = 0) -> Any:
    axis, shape = dim % len(r.shape(x)), r.shape(x)
    parts = r.graph.several("Split", r.values[x], r.ints([1] * shape[axis]), outputs=shape[axis], name=node.name, axis=axis)
    return tuple(r.reshaped(part, shape[:axis] + shape[axis + 1 :]) for part in parts)


@reads(operator.getitem)
def _part(r: Reading, node: fx.Node, several: Any, i: int) -> Value:
    found: Value = r.values[several][i]
    return found


def _same_dtype(node: fx.Node) -> str | None:
    kinds = {tensor(each).dtype for each in node.args[0]}  # type: ignore[union-attr]
    return "its parts have several dtypes" if len(kinds) > 1 else None


@reads(aten.cat.default, refuses=_same_dtype)
def _cat(r: Reading, node: fx.Node, parts: Any, dim: int = 0) -> Value:
    kept = [part for part in parts if r.shape(part) != (0,)]  # which PyTorch lets pass whatever the others' shape
    return r.graph.node("Concat", *(r.values[part] for part in kept or parts[:1]), name=node.name, axis=dim % len(r.shape(node)))


@reads(aten.stack.default, refuses=_same_dtype)
def _stack(r: Reading, node: fx.Node, parts: Any, dim: int = 0) -> Value:
    rank = len(r.shape(node))
    axis = dim % rank
    seen = [r.reshaped(r.values[part], (*r.shape(part)[:axis], 1, *r.shape(part)[axis:])) for part in parts]
    return r.graph.node("Concat", *seen, name=node.name, axis=axis)


def _in_place_of(r: Reading, node: fx.Node, x: Any, part: Value, axis: int, first: int, last: int) -> Value:
    """x with a part between two places of an axis, as slice writes leave it behind."""
    n = r.shape(x)[axis]
    kept = [(0, first), (last, n)]
    before, after = (
        [r.graph.node("Slice", r.values[x], *(r.ints([each]) for each in (*ends, axis)))] if ends[0] < ends[1] else [] for ends in kept
    )
    return r.graph.node("Concat", *before, part, *after, name=node.name, axis=axis)


@reads(aten.slice_scatter.default, refuses=lambda node: "it writes every other number" if argument(node, 5, "step", 1) != 1 else None)
def _slice_scatter(r: Reading, node: fx.Node, x: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> Value:
    axis, first, last = _range(r, x, dim, start, end)
    return _in_place_of(r, node, x, r.values[part], axis, first, last)


@reads(aten.select_scatter.default)
def _select_scatter(r: Reading, node: fx.Node, x: Any, part: Any, dim: int, index: Any) -> Value:
    shape = r.shape(x)
    axis, at = dim % len(shape), r.number(index)
    at += shape[axis] * (at < 0)
    return _in_place_of(r, node, x, r.reshaped(r.values[part], (*shape[:axis], 1, *shape[axis + 1 :])), axis, at, at + 1)


@reads(aten.copy.default)
def _copy(r: Reading, node: fx.Node, x: Any, source: Any, *_: Any) -> Value:
    return r.graph.node("Expand", r.operand(source, r.dtype(node)), r.ints(r.shape(node)), name=node.name)


@reads(aten.fill.Scalar, aten.fill.Tensor)
def _fill(r: Reading, node: fx.Node, x: Any, value: Any) -> Value:
    return r.graph.node("Expand", r.operand(value, r.dtype(node)), r.ints(r.shape(node)), name=node.name)


@reads(aten.roll.default, refuses=lambda node: None if argument(node, 2, "dims") else "it rolls all axes as one")
def _roll(r: Reading, node: fx.Node, x: Any, shifts: Any, dims: Any = ()) -> Value:
    value, shape = r.values[x], r.shape(x)
    for shift, dim in zip(r.number(list(shifts)), dims):
        axis = dim % len(shape)
        at = -shift % max(shape[axis], 1)
        if at:
            ends = (at, shape[axis]), (0, at)
            parts = [r.graph.node("Slice", value, *(r.ints([each]) for each in (*end, axis))) for end in ends]
            value = r.graph.node("Concat", *parts, name=node.name, axis=axis)
    return value


@reads(aten.tril.default, aten.triu.default)
def _triangle(r: Reading, node: fx.Node, x: Any, diagonal: Any = 0) -> Value:
    at = r.constant(np.array(r.number(diagonal), np.int64))
    return r.graph.node("Trilu", r.values[x], at, name=node.name, upper=int(node.target is aten.triu.default))


@reads(aten.new_full.default)
def _new_full(r: Reading, node: fx.Node, like: Any, size: Any, value: Any, **_: Any) -> Value:
    return _full(r, node, like, value)


@reads(aten.full.default, aten.full_like.default)
def _full(r: Reading, node: fx.Node, like: Any, value: Any, **_: Any) -> Value:
    return r.constant(np.full(r.shape(node), r.number(value), r.dtype(node)))


@reads(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default, aten.empty.memory_format, aten.empty_like.default,
       aten.new_empty.default)  # fmt: skip
def _zeros(r: Reading, node: fx.Node, like: Any, *_: Any, **__: Any) -> Value:
    return r.constant(np.zeros(r.shape(node), r.dtype(node)))


@reads(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def _ones(r: Reading, node: fx.Node, like: Any, *_: Any, **__: Any) -> Value:
    return r.constant(np.ones(r.shape(node), r.dtype(node)))


@reads(aten.arange.default, aten.arange.start, aten.arange.start_step)
def _arange(r: Reading, node: fx.Node, *given: Any, **_: Any) -> Value:
    """As PyTorch counts: start + i * step, in integers or float64. NumPy's own steps by a rounded difference."""
    numbers = r.number(list(given))
    start, step = numbers[0] if len(numbers) > 1 else 0, numbers[2] if len(numbers) > 2 else 1
    dtype, whole = r.dtype(node), int if r.dtype(node).kind in "iu" else float
    return r.constant((whole(start) + np.arange(r.shape(node)[0]) * whole(step)).astype(dtype))


@reads(aten.scalar_tensor.default)
def _scalar(r: Reading, node: fx.Node, value: Any, **_: Any) -> Value:
    return r.constant(np.array(r.number(value), r.dtype(node)))


@reads(aten.index_select.default)
def _index_select(r: Reading, node: fx.Node, x: Any, dim: int, index: Any) -> Value:
    return r.graph.node("Gather", r.values[x], r.values[index], name=node.name, axis=dim % len(r.shape(x)))


def _one_index(node: fx.Node) -> str | None:
    given = [each for each in node.args[1] if each is not None]  # type: ignore[union-attr]
    if len(given) != 1:
        return "it has several indices"
    return None if tensor(given[0]).dtype in (torch.int64, torch.int32) else f"its index is {tensor(given[0]).dtype}"


@reads(aten.index.Tensor, aten._unsafe_index.Tensor, refuses=_one_index)
def _index(r: Reading, node: fx.Node, x: Any, indices: Any) -> Value:
    ((axis, index),) = ((axis, index) for axis, index in enumerate(indices) if index is not None)
    return r.graph.node("Gather", r.values[x], r.values[index], name=node.name, axis=axis)

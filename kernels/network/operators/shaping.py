"""Operators that move numbers: other shapes, orders, parts, joins; and those that speak of shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, axes_of, axis, broadcast, by_view, numbers, operator, same, whole
from kernels.problem.errors import ProblemError

INT64 = np.dtype(np.int64)
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")  # they give their numbers another shape, in their order


def reshaped(node: Node, shape: tuple[int, ...], wanted: list[int], zero_is_zero: bool) -> tuple[int, ...]:
    """The lengths that a Reshape of `shape` to `wanted` gives: 0 keeps an axis, -1 takes what is left."""
    lengths = [shape[i] if each == 0 and not zero_is_zero and i < len(shape) else each for i, each in enumerate(wanted)]
    count = math.prod(shape)
    if -1 in lengths:
        rest = -math.prod(lengths)
        lengths[lengths.index(-1)] = count // rest if rest else 0
    if math.prod(lengths) != count:
        raise ProblemError(f"{node.op} {node.label!r}: x has shape {shape}, {count} numbers, which do not lie in shape {tuple(wanted)}")
    return tuple(lengths)


def _reshape_infer(node: Node) -> list[Meta]:
    wanted = whole(node, 1) or []
    return [(reshaped(node, node.x.lengths, wanted, bool(node.attributes.get("allowzero"))), node.x.kind)]


@operator("Reshape", infer=_reshape_infer, view=True)
def _reshape(node: Node, x: Array, shape: Array) -> Any:
    return x.reshape(reshaped(node, x.shape, [int(each) for each in shape], bool(node.attributes.get("allowzero"))))


def _flatten_infer(node: Node) -> list[Meta]:
    shape = node.x.lengths
    at = node.attributes.get("axis", 1)
    at = at + len(shape) if at < 0 else at
    return [((math.prod(shape[:at]), math.prod(shape[at:])), node.x.kind)]


@operator("Flatten", infer=_flatten_infer, view=True)
def _flatten(node: Node, x: Array) -> Any:
    at = node.attributes.get("axis", 1)
    at = at + x.ndim if at < 0 else at
    return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))


@operator("Squeeze", infer=by_view, view=True)
def _squeeze(node: Node, x: Array, axes: Array | None = None) -> Any:
    which = tuple(axis(node, int(each), x.ndim) for each in np.ravel(axes)) if axes is not None else None
    if which is not None and any(x.shape[each] != 1 for each in which):
        raise ProblemError(f"{node.op} {node.label!r}: axes {which} of shape {x.shape} are not all of length 1")
    return np.squeeze(x, which)


@operator("Unsqueeze", infer=by_view, view=True)
def _unsqueeze(node: Node, x: Array, axes: Array) -> Any:
    return np.expand_dims(x, tuple(int(each) for each in np.ravel(axes)))


@operator("Transpose", infer=by_view, view=True)
def _transpose(node: Node, x: Array) -> Any:
    return x.transpose(node.attributes.get("perm") or None)


@operator("Slice", infer=by_view, view=True)
def _slice(node: Node, x: Array, *given: Array | None) -> Any:
    parts: list[slice] = [slice(None)] * x.ndim
    for at, start, end, step in slices(node, x.shape, (*given, None, None, None, None)[:4]):
        parts[at] = slice(start, None if end < 0 else end, step)
    return x[tuple(parts)]


def slices(node: Node, lengths: Sequence[int], given: Sequence[Array | None]) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of a Slice, within an input of these lengths: an end of -1 is before the first. given: starts, ends, axes
    and steps."""
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        raise ProblemError(f"{node.op} {node.label!r}: its shape depends on starts and ends, which are not constant")
    found = []
    for i, each in enumerate(range(len(starts)) if axes is None else np.ravel(axes)):
        at, step = axis(node, int(each), len(lengths)), 1 if steps is None else int(steps[i])
        start, end, n = int(starts[i]), int(ends[i]), lengths[at]
        start, end = start + n * (start < 0), end + n * (end < 0)
        found.append((at, min(max(start, 0), n if step > 0 else n - 1), min(max(end, 0 if step > 0 else -1), n), step))
    return found


def _split_infer(node: Node) -> list[Meta]:
    along = axis(node, node.attributes.get("axis", 0), len(node.x.lengths))
    shape = node.x.lengths
    return [((*shape[:along], n, *shape[along + 1 :]), node.x.kind) for n in split_lengths(node, shape[along])]


def split_lengths(node: Node, n: int) -> list[int]:
    """How long the parts of a Split are."""
    given = whole(node, 1)
    parts = node.attributes.get("num_outputs", len(node.outputs))
    each = -(-n // parts)
    lengths = given if given is not None else [min(each, n - each * i) for i in range(parts)]
    if sum(lengths) != n:
        raise ProblemError(f"{node.op} {node.label!r}: parts {lengths} do not make up an axis of {n}")
    return lengths


@operator("Split", infer=_split_infer, view=True)
def _split(node: Node, x: Array, lengths: Array | None = None) -> Any:
    along = axis(node, node.attributes.get("axis", 0), x.ndim)
    ends = np.cumsum(split_lengths(node, x.shape[along]))[:-1]
    return tuple(np.split(x, ends, along))


def _concat_infer(node: Node) -> list[Meta]:
    shapes = [each.lengths for each in node.inputs if each is not None]
    along = axis(node, node.attributes["axis"], len(shapes[0]))
    for shape in shapes:
        if (shape[:along], shape[along + 1 :]) != (shapes[0][:along], shapes[0][along + 1 :]):
            raise ProblemError(f"{node.op} {node.label!r}: shapes {shapes} differ beside axis {along}")
    return [((*shapes[0][:along], sum(shape[along] for shape in shapes), *shapes[0][along + 1 :]), node.x.kind)]


@operator("Concat", infer=_concat_infer)
def _concat(node: Node, *arrays: Array) -> Any:
    return np.concatenate(arrays, node.attributes["axis"])


def pad_pairs(node: Node, rank: int) -> list[tuple[int, int]]:
    """(before, after) per axis of a Pad; negative ones crop."""
    pads = whole(node, 1) or []
    given = axes_of(node, 3, rank)
    along = list(range(rank)) if given is None else given  # axes may be none at all
    pairs = [(0, 0)] * rank
    for i, at in enumerate(along):
        pairs[at] = pads[i], pads[len(along) + i]
    return pairs


def _pad_infer(node: Node) -> list[Meta]:
    pairs, mode = pad_pairs(node, len(node.x.lengths)), text(node.attributes.get("mode", "constant"))
    if mode != "constant" and any(n == 0 and max(pair) > 0 for n, pair in zip(node.x.lengths, pairs)):
        raise ProblemError(f"{node.op} {node.label!r}: an axis of length 0 has nothing to pad with in mode {mode!r}")
    return [(tuple(n + before + after for n, (before, after) in zip(node.x.lengths, pairs)), node.x.kind)]


def text(value: Any) -> str:
    """An attribute that is a word, which ONNX keeps as bytes; damaged ones make no word that is known."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@operator("Pad", infer=_pad_infer)
def _pad(node: Node, x: Array, pads: Array, fill: Array | None = None, axes: Array | None = None) -> Any:
    pairs = pad_pairs(node, x.ndim)
    x = x[tuple(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, pairs))]
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    mode = text(node.attributes.get("mode", "constant"))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=0 if fill is None else np.ravel(fill)[0])
    if not any(map(any, pairs)):
        return x
    return np.pad(x, pairs, mode={"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode])  # type: ignore[call-overload]


def _expand_infer(node: Node) -> list[Meta]:
    return [(broadcast(node, [node.x.lengths, tuple(whole(node, 1) or ())]), node.x.kind)]


@operator("Expand", infer=_expand_infer, view=True)
def _expand(node: Node, x: Array, shape: Array) -> Any:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(each) for each in shape)))


@operator("Tile", infer=lambda node: [(tuple(n * r for n, r in zip(node.x.lengths, whole(node, 1) or [])), node.x.kind)])
def _tile(node: Node, x: Array, repeats: Array) -> Any:
    return np.tile(x, repeats)


def _gather_infer(node: Node) -> list[Meta]:
    shape, indices = node.x.lengths, node.inputs[1]
    assert indices is not None
    along = axis(node, node.attributes.get("axis", 0), len(shape))
    if indices.data is not None and (wrong := indices.data[(indices.data < -shape[along]) | (indices.data >= shape[along])]).size:
        raise ProblemError(f"{node.op} {node.label!r}: axis {along} has {shape[along]} elements, index {wrong[0]} is none of them")
    return [((*shape[:along], *indices.lengths, *shape[along + 1 :]), node.x.kind)]


@operator("Gather", infer=_gather_infer)
def _gather(node: Node, x: Array, indices: Array) -> Any:
    return np.take(x, indices, node.attributes.get("axis", 0))


@operator("GatherElements", infer=lambda node: [(node.inputs[1].lengths, node.x.kind)])  # type: ignore[union-attr]
def _gather_elements(node: Node, x: Array, indices: Array) -> Any:
    at = node.attributes.get("axis", 0) % x.ndim
    here = x[tuple(slice(n) if i != at else slice(None) for i, n in enumerate(indices.shape))]
    return np.take_along_axis(here, indices + (indices < 0) * x.shape[at], at)


def _gather_nd_infer(node: Node) -> list[Meta]:
    indices, batch = node.inputs[1].lengths, node.attributes.get("batch_dims", 0)  # type: ignore[union-attr]
    return [((*indices[:-1], *node.x.lengths[batch + indices[-1] :]), node.x.kind)]


@operator("GatherND", infer=_gather_nd_infer)
def _gather_nd(node: Node, x: Array, indices: Array) -> Any:
    batch = node.attributes.get("batch_dims", 0)
    flat = x.reshape(-1, *x.shape[batch:])
    places = indices.reshape(len(flat), -1, indices.shape[-1])
    found = [rows[tuple(where.T)] for rows, where in zip(flat, places)]
    return np.stack(found).reshape((*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]))


_REDUCE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@operator("ScatterElements", infer=same)
def _scatter_elements(node: Node, x: Array, indices: Array, updates: Array) -> Any:
    at, result = node.attributes.get("axis", 0) % x.ndim, x.copy()
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[at] = indices + (indices < 0) * x.shape[at]
    reduction = text(node.attributes.get("reduction", "none"))
    if reduction == "none":
        result[tuple(places)] = updates
    else:
        _REDUCE[reduction].at(result, tuple(places), updates)
    return result


@operator("ScatterND", infer=same)
def _scatter_nd(node: Node, x: Array, indices: Array, updates: Array) -> Any:
    result, places = x.copy(), tuple(np.moveaxis(indices, -1, 0))
    reduction = text(node.attributes.get("reduction", "none"))
    if reduction == "none":
        result[places] = updates
    else:
        _REDUCE[reduction].at(result, places, updates)
    return result


def _shape_infer(node: Node) -> list[Meta]:
    return [((len(_shape_part(node, node.x.lengths)),), INT64)]


def _shape_part(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    end = node.attributes.get("end")
    return shape[node.attributes.get("start", 0) : len(shape) if end is None else end]


@operator("Shape", infer=_shape_infer)
def _shape(node: Node, x: Array) -> Any:
    return np.array(_shape_part(node, x.shape), np.int64)


@operator("Size", infer=lambda node: [((), INT64)])
def _size(node: Node, x: Array) -> Any:
    return np.array(x.size, np.int64)


@operator("ConstantOfShape", infer=lambda node: [(tuple(whole(node, 0) or ()), _filler(node).dtype)])
def _constant_of_shape(node: Node, shape: Array) -> Any:
    return np.full(tuple(int(each) for each in shape), _filler(node))


def _filler(node: Node) -> Array:
    given = node.attributes.get("value")
    return np.zeros((), np.float32) if given is None else np.asarray(given).reshape(())


def _range_infer(node: Node) -> list[Meta]:
    start, limit, step = (np.ravel(numbers(node, i))[0] for i in range(3))  # type: ignore[arg-type]
    return [((max(math.ceil((limit - start) / step), 0),), node.x.kind)]


@operator("Range", infer=_range_infer)
def _range(node: Node, start: Array, limit: Array, step: Array) -> Any:
    first, last, by = (np.ravel(each)[0] for each in (start, limit, step))
    return (first + np.arange(max(math.ceil((last - first) / by), 0), dtype=start.dtype) * by).astype(start.dtype)


def _one_hot_infer(node: Node) -> list[Meta]:
    depth = (whole(node, 1) or [0])[0]
    at = node.attributes.get("axis", -1) % (len(node.x.lengths) + 1)
    return [((*node.x.lengths[:at], depth, *node.x.lengths[at:]), node.inputs[2].kind)]  # type: ignore[union-attr]


@operator("OneHot", infer=_one_hot_infer)
def _one_hot(node: Node, indices: Array, depth: Array, values: Array) -> Any:
    n = int(np.ravel(depth)[0])
    at = node.attributes.get("axis", -1) % (indices.ndim + 1)
    along = np.arange(n).reshape([-1 if i == at else 1 for i in range(indices.ndim + 1)])
    chosen = np.expand_dims(np.where(indices < 0, indices + n, indices), at)
    return np.where(along == chosen, values[1], values[0])


@operator("EyeLike", infer=lambda node: [(node.x.lengths, np.dtype(node.attributes.get("dtype", node.x.kind)))])
def _eye_like(node: Node, x: Array) -> Any:
    return np.eye(x.shape[0], x.shape[1], k=node.attributes.get("k", 0), dtype=node.attributes.get("dtype", x.dtype))


@operator("Trilu", infer=same)
def _trilu(node: Node, x: Array, k: Array | None = None) -> Any:
    which = np.triu if node.attributes.get("upper", 1) else np.tril
    return which(x, 0 if k is None else int(np.ravel(k)[0]))


def _depth_infer(node: Node) -> list[Meta]:
    n, c, h, w = node.x.lengths
    b = node.attributes["blocksize"]
    return [((n, c // b**2, h * b, w * b) if node.op == "DepthToSpace" else (n, c * b**2, h // b, w // b), node.x.kind)]


@operator("DepthToSpace", "SpaceToDepth", infer=_depth_infer)
def _depth(node: Node, x: Array) -> Any:
    n, c, h, w = x.shape
    b = node.attributes["blocksize"]
    if node.op == "SpaceToDepth":
        if text(node.attributes.get("mode", "DCR")) == "CRD":
            return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * b * b, h // b, w // b)
        return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)
    if text(node.attributes.get("mode", "DCR")) == "DCR":
        return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)
    return x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


@operator("ReverseSequence", infer=same)
def _reverse_sequence(node: Node, x: Array, lengths: Array) -> Any:
    batch, time = node.attributes.get("batch_axis", 1), node.attributes.get("time_axis", 0)
    moved = np.moveaxis(x, (batch, time), (0, 1))
    result = moved.copy()
    for row, source, n in zip(result, moved, lengths):
        row[:n] = source[:n][::-1]
    return np.moveaxis(result, (0, 1), (batch, time))

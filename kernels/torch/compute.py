"""Tensors in, one of our plans, tensors out, without copies; plans are kept as long as what they were made of stays as it was.

A plan packs its weight. It is kept with the weight and thrown away when the weight's version counter, which every in-place operation of
PyTorch moves, or its memory has changed. A weight that is being trained, or that was never seen before and is no parameter, is packed for
the one call only; so is an inference tensor, which counts no versions.
"""

from __future__ import annotations

import ctypes
import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from kernels.api import conv as convolutions
from kernels.api.call import plan as make_plan
from kernels.dispatch.plan import Plan
from kernels.problem.errors import ProblemError
from kernels.runtime.leases import packed_weights
from kernels.torch import waiting
from kernels.torch.arguments import adaptive, convolved, memory_format, pairs, pooled, transposed
from kernels.torch.memory import NUMPY, array_of, empty, last, results

Tensor = torch.Tensor
Kwargs = dict[str, Any]

SHAPES = 8  # plans kept for one weight, each with its own packed copy


class Bound:
    """A plan for tensors that lie in one way: allocate, run, nothing looked up and nothing checked."""

    __slots__ = ("_dtype", "_format", "_out_memory", "_out_shape", "_read_dtype", "_run", "_shape", "_x_memory", "_x_shape", "method")

    def __init__(self, plan: Plan, shape: Sequence[int], dtype: torch.dtype, format: torch.memory_format) -> None:
        self._run, self.method = plan.run, plan.implementation
        turn = tuple if format is torch.contiguous_format else last
        self._x_shape, self._out_shape = turn(plan.problem.x_shape), turn(plan.problem.out_shape)
        self._shape, self._dtype, self._format, self._read_dtype = tuple(shape), dtype, format, NUMPY[dtype]
        self._x_memory: Any
        self._out_memory: Any
        self._x_memory, self._out_memory = (
            ctypes.c_char * (math.prod(each) * self._read_dtype.itemsize) for each in (self._x_shape, self._out_shape)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The result for an x of the planned shape, dtype and format."""
        x = x.contiguous(memory_format=self._format)
        y = empty(self._shape, self._dtype, self._format)
        self._run(
            np.ndarray(self._x_shape, self._read_dtype, self._x_memory.from_address(x.data_ptr())),
            np.ndarray(self._out_shape, self._read_dtype, self._out_memory.from_address(y.data_ptr())),
        )
        return y


class Note:
    """How a call is made, and where its caller learns what computed it: ours, by its name, or PyTorch, and why.

    keeps: whether a packed weight may be kept although it requires gradients, since nobody asks for them in this call. bound: what was
    kept, if anything.
    """

    __slots__ = ("bound", "keeps", "method", "reason")

    def __init__(self, *, keeps: bool = False) -> None:
        self.keeps = keeps
        self.bound: Bound | None = None
        self.method: str | None = None
        self.reason: str | None = None


def threads() -> int:
    """Threads for a call of ours: as many as PyTorch's own operators would use, which sleep meanwhile."""
    count = torch.get_num_threads()
    if count > 1 and not waiting.seen_to:
        waiting.sleeps()
    return count


# ---- convolutions


class Kept:
    """The plans of one weight and bias as they are now, by what they were made for and by how they were called; how often each call that
    has none was seen."""

    __slots__ = ("bias", "calls", "plans", "seen", "stamp", "weight")

    def __init__(self, weight: Tensor) -> None:
        name = id(weight)
        self.weight = weakref.ref(weight, lambda _: _kept.pop(name, None))
        self.bias: Any = None
        self.stamp: Any = None
        self.drop()

    def drop(self) -> None:
        """Forget every plan."""
        self.plans: dict[Any, Bound] = {}
        self.calls: dict[Any, Bound] = {}
        self.seen: dict[Any, int] = {}

    def holds(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Whether the plans were made of these tensors as they are now. Raises RuntimeError for inference tensors."""
        if self.weight() is not weight:
            return False
        if bias is None:
            return self.bias is None and self.stamp == (weight._version, weight.data_ptr())
        stamp = weight._version, weight.data_ptr(), bias._version, bias.data_ptr()
        return self.bias is not None and self.bias() is bias and self.stamp == stamp

    def restart(self, weight: Tensor, bias: Tensor | None) -> None:
        """From now on for these tensors as they are now."""
        self.drop()
        self.bias = None if bias is None else weakref.ref(bias)
        more = () if bias is None else (bias._version, bias.data_ptr())
        self.stamp = weight._version, weight.data_ptr(), *more


_kept: dict[int, Kept] = {}


def kept(weight: Tensor, bias: Tensor | None) -> Kept | None:
    """What is kept of a weight and a bias as they are now, if anything."""
    found = _kept.get(id(weight))
    return found if found is not None and found.holds(weight, bias) else None


def forget() -> None:
    """Drop every packed weight, for instance after values were changed behind PyTorch's back (through NumPy or `.data`),
    and the memory of results and packed weights that nobody holds any more."""
    _kept.clear()
    results.forget()
    packed_weights.forget()


def _bound(key: Any, weight: Tensor, bias: Tensor | None, note: Note | None, make: Callable[[], Bound]) -> Bound | None:
    """The plan kept for this call, made now if that will pay; None where the call packs for itself."""
    if weight.is_inference() or (bias is not None and bias.is_inference()):
        return None
    if (weight.requires_grad or (bias is not None and bias.requires_grad)) and not (note and note.keeps):
        return None
    found = _kept.get(id(weight))
    if found is None or found.weight() is not weight:
        found = _kept[id(weight)] = Kept(weight)
    if not found.holds(weight, bias):
        found.restart(weight, bias)
    bound = found.plans.get(key)
    if bound is None:
        if len(found.seen) > 16 * SHAPES:
            found.seen = {}
        found.seen[key] = sights = found.seen.get(key, 0) + 1
        if sights > 1 or (isinstance(weight, torch.nn.Parameter) and not found.plans):
            bound = make()
            if len(found.plans) >= SHAPES:
                found.plans.pop(next(iter(found.plans)), None)
                found.calls = {}
            found.plans[key] = bound
    return bound


def _last_weight(weight: Tensor, groups: int, transposes: bool) -> Tensor:
    """The weight as `kernels` takes it with channels last: (*kernel, C_in/groups, C_out)."""
    spatial = range(2, weight.dim())
    if not transposes:
        return weight.permute(*spatial, 1, 0)
    c_in, c_out, *kernel = weight.shape  # (C_in, C_out/groups): C_out is to hold the groups
    split = weight.reshape(groups, c_in // groups, c_out, *kernel)
    return split.permute(*(axis + 1 for axis in spatial), 1, 0, 2).reshape(*kernel, c_in // groups, groups * c_out)


def _convolve(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, shape: list[int], options: Kwargs, note: Note | None) -> Tensor:
    if min(shape) < 0:
        raise ProblemError(f"{op}: the output would have shape {tuple(shape)}")
    format = memory_format(x, weight.dim() - 2)
    turned = format is not torch.contiguous_format
    count = threads()
    if turned:
        options["layout"] = "channels_last"

    def operands() -> tuple[Any, Any]:
        """Contiguous tensors, which must live as long as their arrays do."""
        given = _last_weight(weight, options["groups"], "transpose" in op) if turned else weight
        return given.contiguous(), None if bias is None else bias.contiguous()

    def make() -> Bound:
        x_shape, (mine, other) = last(x.shape) if turned else tuple(x.shape), operands()
        arrays = array_of(mine), None if other is None else array_of(other)
        plan = make_plan(op, x_shape, *arrays, dtype=NUMPY[x.dtype], threads=count, **options)
        return Bound(plan, shape, x.dtype, format)

    bound = _bound((op, x.shape, x.dtype, count, *options.values()), weight, bias, note, make)
    if note:
        note.bound, note.method, note.reason = bound, bound.method if bound else "packed for the call", None
    if bound:
        return bound(x)
    mine, other = operands()
    x = x.contiguous(memory_format=format)
    y = empty(shape, x.dtype, format)
    seen, out = (array_of(each, last(each.shape) if turned else None) for each in (x, y))
    getattr(convolutions, op)(seen, array_of(mine), None if other is None else array_of(other), threads=count, out=out, **options)
    return y


def _batched(x: Tensor, size: list[int], channels: int, axes: int) -> list[int]:
    return [*x.shape[: x.dim() - axes - 1], channels, *size]


def conv_shape(x: Tensor, weight: Tensor, stride: Any, ends: Any, dilation: Any) -> list[int]:
    """Shape of a convolution of x."""
    axes = weight.dim() - 2
    size = convolved(x.shape[-axes:], weight.shape[2:], stride, ends, dilation)
    return _batched(x, size, weight.shape[0], axes)


def conv_transpose_shape(x: Tensor, weight: Tensor, stride: Any, padding: Any, more: Any, groups: int, dilation: Any) -> list[int]:
    """Shape of a transposed convolution of x."""
    axes = weight.dim() - 2
    size = transposed(x.shape[-axes:], weight.shape[2:], stride, padding, more, dilation)
    return _batched(x, size, weight.shape[1] * groups, axes)


def conv(
    op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, ends: Any, dilation: Any, groups: int, note: Note | None = None,
    rectified: bool = False,
) -> Tensor:  # fmt: skip
    """conv1d, conv2d or conv3d by one of ours; rectified: at least 0. Raises ProblemError and RefusedError as `kernels` does."""
    options = {"stride": tuple(stride), "padding": pairs(ends), "dilation": tuple(dilation), "groups": groups}
    if rectified:
        options["activation"] = "relu"
    return _convolve(op, x, weight, bias, conv_shape(x, weight, stride, ends, dilation), options, note)


def conv_transpose(
    op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, more: Any, groups: int, dilation: Any,
    note: Note | None = None,
) -> Tensor:  # fmt: skip
    """conv_transpose1d, 2d or 3d by one of ours."""
    options = {
        "stride": tuple(stride), "padding": tuple(padding), "output_padding": tuple(more), "groups": groups, "dilation": tuple(dilation),
    }  # fmt: skip
    shape = conv_transpose_shape(x, weight, stride, padding, more, groups, dilation)
    return _convolve(op, x, weight, bias, shape, options, note)


# ---- pools


@functools.lru_cache(maxsize=512)
def _pool_plan(op: str, x_shape: tuple[int, ...], dtype: torch.dtype, count: int, turned: bool, arguments: tuple[Any, ...]) -> Plan:
    options: Kwargs = {"layout": "channels_last"} if turned else {}
    return make_plan(op, last(x_shape) if turned else x_shape, *arguments, dtype=NUMPY[dtype], threads=count, **options)


def _reduce(op: str, x: Tensor, size: list[int], arguments: tuple[Any, ...], note: Note | None, *, indices: bool = False) -> Any:
    """A pool whose output has these lengths; with the positions of maxima as a second tensor."""
    format = memory_format(x, len(size))
    turned = format is not torch.contiguous_format
    plan = _pool_plan(op, tuple(x.shape), x.dtype, threads(), turned, arguments)
    if note:
        note.bound, note.method, note.reason = None, plan.implementation, None
    if indices:
        x = x.contiguous(memory_format=format)
        both = [torch.from_numpy(array) for array in plan(array_of(x, last(x.shape) if turned else None))]
        return tuple(each.movedim(-1, 1) for each in both) if turned else tuple(both)
    bound = Bound(plan, [*x.shape[: x.dim() - len(size)], *size], x.dtype, format)
    if note:
        note.bound = bound
    return bound(x)


def max_pool(op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, note: Note | None = None) -> Tensor:
    """max_pool1d, 2d or 3d by one of ours."""
    arguments = tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), ceil
    size = pooled(x.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil)
    return _reduce(op, x, size, arguments, note)


def max_pool_with_indices(
    op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, note: Note | None = None
) -> tuple[Tensor, Tensor]:
    """The same with the position of each maximum, flat within its plane."""
    arguments = tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), ceil, True
    size = pooled(x.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil)
    return _reduce(op, x, size, arguments, note, indices=True)


def avg_pool(
    op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: int | None, note: Note | None = None
) -> Tensor:
    """avg_pool1d, 2d or 3d by one of ours."""
    arguments = tuple(kernel), tuple(stride), tuple(padding), ceil, counted, divisor
    ones = (1,) * len(kernel)
    return _reduce(op, x, pooled(x.shape[-len(kernel) :], kernel, stride, padding, ones, ceil), arguments, note)


def adaptive_avg_pool(op: str, x: Tensor, output_size: Any, note: Note | None = None) -> Tensor:
    """adaptive_avg_pool1d, 2d or 3d by one of ours."""
    size = adaptive(output_size, x.shape[-len(output_size) :])
    return _reduce(op, x, list(size), (size,), note)


def adaptive_max_pool(op: str, x: Tensor, output_size: Any, note: Note | None = None) -> Tensor:
    """adaptive_max_pool1d, 2d or 3d by one of ours."""
    size = adaptive(output_size, x.shape[-len(output_size) :])
    return _reduce(op, x, list(size), (size,), note)


def adaptive_max_pool_with_indices(op: str, x: Tensor, output_size: Any, note: Note | None = None) -> tuple[Tensor, Tensor]:
    """The same with the position of each maximum."""
    size = adaptive(output_size, x.shape[-len(output_size) :])
    return _reduce(op, x, list(size), (size, True), note, indices=True)

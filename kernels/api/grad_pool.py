"""Gradients of pools with respect to their input.

Maxima go back to the positions that the layer returned with return_indices=True, averages to all inputs of their window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.dispatch.conversion import check_out
from kernels.problem.arrays import canonical, intake, result_dtypes
from kernels.problem.errors import ProblemError
from kernels.problem.options import Ints, Signature, is_channels_last, shape, thread_count
from kernels.problem.pool import AdaptivePool, Pool, adaptive_window
from kernels.problem.request import request_of

Array = np.ndarray


def _axes(op: str, input_size: tuple[int, ...]) -> int:
    digits = [letter for letter in op if letter.isdigit()]
    return int(digits[0]) if digits else len(input_size) - 2


def _result(op: str, result: Array, dtype: np.dtype, size: tuple[int, ...], last: bool, axes: int, out: Any, grad: Array) -> Array:
    """The canonical result as the user sees it."""
    result = result.astype(dtype, copy=False)
    if last:
        result = np.moveaxis(result.reshape(*size[: len(size) - axes - 1], size[-1], *size[-axes - 1 : -1]), -axes - 1, -1)
    result = result.reshape(size)
    if out is None:
        return np.ascontiguousarray(result)
    check_out(op, out, Signature(grad.shape, size, dtype, axes), grad)
    if np.may_share_memory(out, grad):
        raise ProblemError(f"{op}: out overlaps grad_output in memory; pass a separate array")
    out[...] = result
    return out  # type: ignore[no-any-return]


def _planes(array: Array, axes: int, last: bool, dtype: np.dtype) -> Array:
    """(planes, *spatial), contiguous."""
    array = np.moveaxis(array, -1, -axes - 1) if last else array
    return canonical(array, dtype, (math.prod(array.shape[: array.ndim - axes]), *array.shape[array.ndim - axes :]))


def _max(op: str, grad_output: Any, indices: Any, input_size: Sequence[int], layout: str, threads: int | None, out: Any) -> Array:
    from kernels.methods.gradients import pools  # brings Numba

    size, last = shape(op, input_size), is_channels_last(op, layout)
    axes = _axes(op, size)
    grad, where = intake(op, "grad_output", grad_output), intake(op, "indices", indices)
    if where.dtype.kind not in "iu":
        raise ProblemError(f"{op}: indices have dtype {where.dtype}, must be whole numbers, as return_indices=True gives them")
    if grad.shape != where.shape or len(size) != grad.ndim or grad.ndim not in (axes + 1, axes + 2):
        raise ProblemError(f"{op}: grad_output {grad.shape}, indices {where.shape} and input_size {size} must agree in batch and channels")
    leading = (*range(grad.ndim - axes - 1), grad.ndim - 1) if last else range(grad.ndim - axes)
    if any(size[axis] != grad.shape[axis] for axis in leading):
        raise ProblemError(f"{op}: grad_output {grad.shape} and input_size {size} differ in batch or channels")
    computed, returned = result_dtypes([grad.dtype])
    planes, places = _planes(grad, axes, last, computed), _planes(where, axes, last, np.dtype(np.int64))
    area = math.prod(size[1:-1] if last and len(size) == axes + 2 else size[:-1] if last else size[-axes:])
    result, outside = np.empty((len(planes), area), computed), np.zeros(len(planes), np.uint8)
    pools.scatter(thread_count(op, threads), len(planes), planes.reshape(len(planes), -1), places.reshape(len(planes), -1), result, outside)
    if outside.any():
        raise ProblemError(
            f"{op}: indices run from {where.min()} to {where.max()}, must be 0 to {area - 1}: positions in a plane of the input"
        )
    return _result(op, result, returned, size, last, axes, out, grad)


def _avg(
    op: str, grad_output: Any, input_size: Sequence[int], options: dict[str, Any], layout: str, threads: int | None, out: Any
) -> Array:
    from kernels.methods.gradients import pools  # brings Numba

    size, last = shape(op, input_size), is_channels_last(op, layout)
    grad = intake(op, "grad_output", grad_output)
    request = request_of(op, size, grad.dtype, (), {**options, "layout": layout})
    problem, signature = request.problem, request.signature
    assert isinstance(problem, Pool | AdaptivePool)
    if grad.shape != signature.out_shape:
        raise ProblemError(f"{op}: grad_output has shape {grad.shape}; the output for input {size} has {signature.out_shape}")
    planes = _planes(grad, signature.spatial, last, np.dtype(problem.dtype))
    windows = windows_of(problem)
    result = np.empty((len(planes), *(1,) * (3 - len(problem.size)), *problem.size), problem.dtype)
    divisor = float(getattr(problem, "divisor_override", None) or 0)
    four = planes.reshape(len(planes), *(len(axis.first) for axis in windows))
    pools.share(thread_count(op, threads), len(four), four, result, divisor, *windows)
    return _result(op, result, signature.dtype, size, last, signature.spatial, out, grad)


def windows_of(problem: Pool | AdaptivePool) -> list[Any]:
    """The windows of three axes, of which the first are single ones where the pool has fewer."""
    from kernels.methods.gradients.pools import Axis

    windows = [_windows(problem, axis) for axis in range(len(problem.size))]
    single = Axis(np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1), 1)
    return [single] * (3 - len(windows)) + windows


def _windows(problem: Pool | AdaptivePool, axis: int) -> Any:
    from kernels.methods.gradients.pools import Axis

    n, outputs = problem.size[axis], np.arange(problem.out_size[axis])
    if isinstance(problem, AdaptivePool):
        first, end = adaptive_window(n, problem.out_size[axis], outputs)
        return Axis(first, end - first, (end - first).astype(float), 1)
    (before, after), d, k = problem.padding[axis], problem.dilation[axis], problem.kernel[axis]
    positions = outputs[:, None] * problem.stride[axis] - before + np.arange(k) * d
    inside = (positions >= 0) & (positions < n)
    counted = positions < n + after if problem.count_include_pad else inside
    first = np.where(inside.any(1), positions[outputs, inside.argmax(1)], 0)
    return Axis(first, inside.sum(1), counted.sum(1).astype(float), d)


def max_pool1d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of max_pool1d with respect to its input, of shape input_size: every gradient goes to the position that its maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.max_pool1d.
    """
    return _max("max_pool1d", grad_output, indices, input_size, layout, threads, out)


def max_pool2d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of max_pool2d with respect to its input, of shape input_size: every gradient goes to the position that its maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.max_pool2d.
    """
    return _max("max_pool2d", grad_output, indices, input_size, layout, threads, out)


def max_pool3d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of max_pool3d with respect to its input, of shape input_size: every gradient goes to the position that its maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.max_pool3d.
    """
    return _max("max_pool3d", grad_output, indices, input_size, layout, threads, out)


def adaptive_max_pool1d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_max_pool1d with respect to its input, of shape input_size: every gradient goes to the position that its
    maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.adaptive_max_pool1d.
    """
    return _max("adaptive_max_pool1d", grad_output, indices, input_size, layout, threads, out)


def adaptive_max_pool2d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_max_pool2d with respect to its input, of shape input_size: every gradient goes to the position that its
    maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.adaptive_max_pool2d.
    """
    return _max("adaptive_max_pool2d", grad_output, indices, input_size, layout, threads, out)


def adaptive_max_pool3d(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_max_pool3d with respect to its input, of shape input_size: every gradient goes to the position that its
    maximum had.

    indices are what the layer returns with return_indices=True; positions that several windows chose get the sum. Raises ProblemError where
    shapes do not fit or an index lies outside the plane. Definition: torch.nn.functional.adaptive_max_pool3d.
    """
    return _max("adaptive_max_pool3d", grad_output, indices, input_size, layout, threads, out)


def avg_pool1d(
    grad_output: Any, input_size: Sequence[int], kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of avg_pool1d with respect to its input, of shape input_size: every gradient is shared out over its window.

    All other arguments are the layer's and mean what `kernels.avg_pool1d` says. Raises ProblemError where shapes do not fit.
    Definition: torch.nn.functional.avg_pool1d.
    """
    options = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, "dilation": dilation,
        "count_include_pad": count_include_pad, "divisor_override": divisor_override,
    }  # fmt: skip
    return _avg("avg_pool1d", grad_output, input_size, options, layout, threads, out)


def avg_pool2d(
    grad_output: Any, input_size: Sequence[int], kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of avg_pool2d with respect to its input, of shape input_size: every gradient is shared out over its window.

    All other arguments are the layer's and mean what `kernels.avg_pool2d` says. Raises ProblemError where shapes do not fit.
    Definition: torch.nn.functional.avg_pool2d.
    """
    options = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, "dilation": dilation,
        "count_include_pad": count_include_pad, "divisor_override": divisor_override,
    }  # fmt: skip
    return _avg("avg_pool2d", grad_output, input_size, options, layout, threads, out)


def avg_pool3d(
    grad_output: Any, input_size: Sequence[int], kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of avg_pool3d with respect to its input, of shape input_size: every gradient is shared out over its window.

    All other arguments are the layer's and mean what `kernels.avg_pool3d` says. Raises ProblemError where shapes do not fit.
    Definition: torch.nn.functional.avg_pool3d.
    """
    options = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, "dilation": dilation,
        "count_include_pad": count_include_pad, "divisor_override": divisor_override,
    }  # fmt: skip
    return _avg("avg_pool3d", grad_output, input_size, options, layout, threads, out)


def adaptive_avg_pool1d(
    grad_output: Any, input_size: Sequence[int], output_size: Any, *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_avg_pool1d with respect to its input, of shape input_size.

    Raises ProblemError where shapes do not fit. Definition: torch.nn.functional.adaptive_avg_pool1d.
    """
    return _avg("adaptive_avg_pool1d", grad_output, input_size, {"output_size": output_size}, layout, threads, out)


def adaptive_avg_pool2d(
    grad_output: Any, input_size: Sequence[int], output_size: Any, *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_avg_pool2d with respect to its input, of shape input_size.

    Raises ProblemError where shapes do not fit. Definition: torch.nn.functional.adaptive_avg_pool2d.
    """
    return _avg("adaptive_avg_pool2d", grad_output, input_size, {"output_size": output_size}, layout, threads, out)


def adaptive_avg_pool3d(
    grad_output: Any, input_size: Sequence[int], output_size: Any, *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of adaptive_avg_pool3d with respect to its input, of shape input_size.

    Raises ProblemError where shapes do not fit. Definition: torch.nn.functional.adaptive_avg_pool3d.
    """
    return _avg("adaptive_avg_pool3d", grad_output, input_size, {"output_size": output_size}, layout, threads, out)


def global_avg_pool(
    grad_output: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None, out: Array | None = None
) -> Array:
    """The gradient of global_avg_pool with respect to its input, of shape input_size (with its batch axis)."""
    return _avg("global_avg_pool", grad_output, input_size, {}, layout, threads, out)


def global_max_pool(
    grad_output: Any, indices: Any, input_size: Sequence[int], *, layout: str = "channels_first", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of global_max_pool with respect to its input; indices as max_pool of the whole plane returns them."""
    return _max("global_max_pool", grad_output, indices, input_size, layout, threads, out)

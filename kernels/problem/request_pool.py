"""The arguments of pools become a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.problem.arrays import result_dtypes
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import (
    Ints,
    Request,
    Signature,
    check_positive,
    check_size,
    flag,
    flat,
    is_channels_last,
    padding_pairs,
    per_axis,
    several,
    split_shape,
    user_shape,
)
from kernels.problem.pool import AdaptivePool, Pool
from kernels.problem.window import dilated


def _pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, *, stride: Any = None, padding: Any = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    layout: str = "channels_first",
) -> Request:  # fmt: skip
    axes, last = int(op[-2]), is_channels_last(op, layout)
    batch, n, channels, size = split_shape(op, x_shape, axes, last)
    kernel, dilation = per_axis(op, "kernel_size", kernel_size, axes), per_axis(op, "dilation", dilation, axes)
    unset = stride is None or (isinstance(stride, tuple | list) and not stride)
    stride = kernel if unset else per_axis(op, "stride", stride, axes)
    check_positive(op, kernel, stride, dilation)
    pairs = padding_pairs(op, padding, size, kernel, stride, dilation)
    if not isinstance(padding, str) and np.ndim(padding) < 2:
        for (p, _), k, d in zip(pairs, kernel, dilation):
            if p > dilated(k, d) // 2:
                raise ProblemError(
                    f"{op}: padding {p} is more than half of the dilated kernel {dilated(k, d)}; use at most {dilated(k, d) // 2}, "
                    "or (before, after) pairs if it is meant"
                )
    computed, returned = result_dtypes([x_dtype])
    problem = Pool(
        op=op, n=n, c_in=channels, size=flat(size, 1), kernel=flat(kernel, 1), stride=flat(stride, 1), padding=flat(pairs, (0, 0)),
        dilation=flat(dilation, 1), dtype=computed.name,
        ceil_mode=flag(op, "ceil_mode", ceil_mode), count_include_pad=flag(op, "count_include_pad", count_include_pad),
        return_indices=flag(op, "return_indices", return_indices),
        divisor_override=None if divisor_override is None else per_axis(op, "divisor_override", divisor_override, 1)[0],
    )  # fmt: skip
    check_size(problem)
    return Request(problem, Operands(), Signature(tuple(x_shape), user_shape(batch, problem, axes, last), returned, axes, last))


def max_pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, stride: Any = None, padding: Any = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False, *, layout: str = "channels_first",
) -> Request:  # fmt: skip
    """max_pool1d, 2d or 3d."""
    return _pool(
        op, x_shape, x_dtype, kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode,
        return_indices=return_indices, layout=layout,
    )  # fmt: skip


def avg_pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first",
) -> Request:  # fmt: skip
    """avg_pool1d, 2d or 3d."""
    return _pool(
        op, x_shape, x_dtype, kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor_override=divisor_override, layout=layout,
    )  # fmt: skip


def global_pool(op: str, x_shape: Sequence[int], x_dtype: np.dtype, *, layout: str = "channels_first") -> Request:
    """global_avg_pool or global_max_pool."""
    axes = len(x_shape) - 2
    if axes not in (1, 2, 3):
        raise ProblemError(f"{op}: x has {len(x_shape)} axes; must have 3 to 5: batch, channels and 1 to 3 spatial axes")
    size = x_shape[1:-1] if is_channels_last(op, layout) else x_shape[2:]
    kind = "avg" if "avg" in op else "max"
    return _pool(f"{kind}_pool{axes}d", x_shape, x_dtype, tuple(size), layout=layout)


def adaptive_avg_pool(op: str, x_shape: Sequence[int], x_dtype: np.dtype, output_size: Any, *, layout: str = "channels_first") -> Request:
    """adaptive_avg_pool1d, 2d or 3d."""
    return adaptive_max_pool(op, x_shape, x_dtype, output_size, layout=layout)


def adaptive_max_pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, output_size: Any, return_indices: bool = False, *, layout: str = "channels_first"
) -> Request:
    """adaptive_max_pool1d, 2d or 3d."""
    axes, last = int(op[-2]), is_channels_last(op, layout)
    batch, n, channels, size = split_shape(op, x_shape, axes, last)
    sizes = output_size if several(output_size) else (output_size,)
    if len(sizes) not in (1, axes):
        raise ProblemError(f"{op}: output_size has {len(sizes)} numbers for {axes} spatial axes; pass one number or {axes}")
    wanted = tuple(sizes) * axes if len(sizes) == 1 else tuple(sizes)
    out_size = tuple(length if o is None else per_axis(op, "output_size", o, 1)[0] for o, length in zip(wanted, size))
    computed, returned = result_dtypes([x_dtype])
    indices = flag(op, "return_indices", return_indices)
    problem = AdaptivePool(op, n, channels, flat(size, 1), flat(out_size, 1), computed.name, return_indices=indices)
    check_size(problem)
    alike = [_alike(length, outputs) for length, outputs in zip(size, out_size)]
    if None not in alike:
        kernel, stride = zip(*(one for one in alike if one))
        kind = f"{problem.kind}_pool{axes}d"
        return _pool(kind, x_shape, x_dtype, kernel, stride=stride, return_indices=return_indices, layout=layout)
    return Request(problem, Operands(), Signature(tuple(x_shape), user_shape(batch, problem, axes, last), returned, axes, last))


def _alike(size: int, outputs: int) -> tuple[int, int] | None:
    """(length, step) of adaptive windows that are all alike, else None. They begin at floor(i * size / outputs), in even steps only if
    the fractions never add up to a whole before the last."""
    step, rest = divmod(size, outputs)
    return (step + rest, step) if step and rest <= 1 else None

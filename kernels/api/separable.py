"""A depthwise and a pointwise convolution as one layer, through blocks of rows that stay in cache.

The depthwise result is as large as c_in planes and is read once, by the pointwise product right after it. Both run on blocks of output
rows small enough that it never leaves the caches, each by the plan that suits it; neighbouring blocks read kh - sh rows of the input
twice. Where the whole result fits, there is one block.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.api.call import apart, plan, takes_input
from kernels.dispatch.conversion import check_out
from kernels.dispatch.plan import Plan
from kernels.problem.arrays import intake, result_dtypes, warn_if_widened
from kernels.problem.conv import Conv
from kernels.problem.errors import ProblemError
from kernels.problem.options import Ints, Signature, is_channels_last, split_shape, thread_count
from kernels.problem.request import request_of
from kernels.problem.window import dilated
from kernels.runtime.machine import machine

Array = np.ndarray


def _rows(whole: Conv, axis: int, c_out: int, threads: int | None) -> int:
    """Outputs along `axis` in a block: as many as keep the depthwise result and the output in half of the second-level caches."""
    total = whole.out_shape[2 + axis]
    if max(whole.padding[axis]) >= dilated(whole.kernel[axis], whole.dilation[axis]):
        return total  # some windows see padding alone, and a block of only those would have no input
    line = whole.conv_size[1 - axis] * (whole.c_out + c_out) * whole.itemsize * (whole.pool[2][axis] if whole.pool else 1)
    return max(1, min(total, machine().l2 // 2 * thread_count(whole.op, threads) // line))


def _separable(
    op: str, x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any, stride: Ints, padding: Any, dilation: Ints,
    depthwise_bias: Any, depthwise_activation: Any, layout: str, accuracy: str | None, threads: int | None, out: Array | None,
    epilogue: dict[str, Any],
) -> Array:  # fmt: skip
    name, axes = f"separable_{op}", int(op[-2])
    last = is_channels_last(name, layout)
    x, pointwise_weight = intake(name, "x", x), intake(name, "pointwise_weight", pointwise_weight)
    depthwise_weight = intake(name, "depthwise_weight", depthwise_weight)
    ones = (1,) * axes
    if depthwise_weight.ndim != axes + 2 or depthwise_weight.shape[-2 if last else 1] != 1:
        want = "(*kernel, 1, C_in * multiplier)" if last else "(C_in * multiplier, 1, *kernel)"
        raise ProblemError(f"{name}: depthwise_weight has shape {depthwise_weight.shape}, must be {want}")
    middle = depthwise_weight.shape[-1 if last else 0]
    if pointwise_weight.ndim != axes + 2 or (pointwise_weight.shape[:-1] if last else pointwise_weight.shape[1:]) != (
        (*ones, middle) if last else (middle, *ones)
    ):
        want = ", ".join(map(str, (*ones, middle, "C_out") if last else ("C_out", middle, *ones)))
        raise ProblemError(f"{name}: pointwise_weight has shape {pointwise_weight.shape}, must be ({want}) to follow depthwise_weight")
    batch, _, channels, _ = split_shape(name, x.shape, axes, last)
    numbers = {"bias": bias, "depthwise_bias": depthwise_bias, "scale": epilogue["scale"], "shift": epilogue["shift"]}
    operands = {"depthwise_weight": depthwise_weight, "pointwise_weight": pointwise_weight}
    operands |= {key: intake(name, key, value) for key, value in numbers.items() if value is not None}
    computed, returned = result_dtypes([x.dtype, *(array.dtype for array in operands.values())])
    warn_if_widened(name, x.dtype, computed, {key: array.dtype for key, array in operands.items()})
    images = x if batch else x[None]

    args = depthwise_weight.astype(computed), depthwise_bias, stride
    options = {"dilation": dilation, "groups": channels, "activation": depthwise_activation, "layout": layout, "accuracy": accuracy}
    whole = request_of(op, images.shape, computed, args, {**options, "padding": padding, "pool": epilogue["pool"]}).problem
    assert isinstance(whole, Conv)
    axis = len(whole.size) - axes  # the first axis is cut, be it rows or samples
    c_out = pointwise_weight.shape[-1 if last else 0]
    size, total, rows = whole.size[axis], whole.out_shape[2 + axis], _rows(whole, axis, c_out, threads)
    others = whole.padding[axis + 1 :]
    window, step = (whole.pool[1][axis], whole.pool[2][axis]) if whole.pool else (1, 1)

    @functools.cache
    def plans(length: int, before: int, after: int) -> tuple[Plan, Plan]:
        """Both layers for blocks of `length` rows of input with so many rows of padding."""
        shape = (1, length, *images.shape[2:]) if last else (1, channels, length, *images.shape[3:])
        depthwise = plan(op, shape, *args, padding=((before, after), *others), dtype=computed, threads=threads, **options)
        more = {"layout": layout, "accuracy": accuracy, "dtype": computed, "threads": threads, **epilogue}
        return depthwise, plan(op, depthwise.out_shape, pointwise_weight, bias, **more)

    def block(array: Array, start: int, stop: int) -> Array:
        """Rows of one image."""
        return array[None, start:stop] if last else array[None, :, start:stop]

    spatial = whole.out_shape[2 + axis :]
    shape = (*spatial, c_out) if last else (c_out, *spatial)
    if out is not None:
        check_out(name, out, Signature(x.shape, (*batch, *shape), returned, axes, last), x)
        apart(name, out, operands)
    y = np.empty((len(images), *shape), computed) if out is None or returned != computed else out if batch else out[None]
    stride_along, reach = whole.stride[axis], dilated(whole.kernel[axis], whole.dilation[axis])
    for image, to in zip(images, y):
        for row in range(0, total, rows):
            end_row = min(row + rows, total)
            ends = row * step, (end_row - 1) * step + window - 1  # outputs of the convolution that the pool sees, first and last
            first, end = (at * stride_along - whole.padding[axis][0] for at in ends)
            start, stop = max(first, 0), min(end + reach, size)
            before, after = start - first, end + reach - stop
            if rows == total:  # some windows may see padding alone
                start, stop, (before, after) = 0, size, whole.padding[axis]
            depthwise, pointwise = plans(stop - start, before, after)
            pointwise(depthwise(block(image, start, stop)), out=block(to, row, end_row))
    if out is not None and returned == computed:
        return out
    with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
        result = y.astype(returned, copy=False).reshape(*batch, *shape)
    if out is None:
        return result
    out[...] = result
    return out


@takes_input
def separable_conv1d(
    x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, *,
    depthwise_bias: Any = None, depthwise_activation: Any = None, scale: Any = None, shift: Any = None, activation: Any = None,
    pool: Any = None, layout: str = "channels_first", accuracy: str | None = None, threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D depthwise separable convolution: every channel by its own kernels, then a product over channels at each position.

    x is (N, C_in, L) or without N, depthwise_weight (C_in * multiplier, 1, KW), pointwise_weight (C_out, C_in * multiplier, 1); the result
    (N, C_out, OW). Everything else is as in `separable_conv2d`. Definition: F. Chollet, "Xception", arXiv 1610.02357.

    >>> separable_conv1d([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], [[[1.0, 1.0]], [[1.0, -1.0]]], [[[1.0], [10.0]]])
    array([[[-7., -5.]]])
    """
    epilogue = {"scale": scale, "shift": shift, "activation": activation, "pool": pool}
    args = x, depthwise_weight, pointwise_weight, bias, stride, padding, dilation
    return _separable("conv1d", *args, depthwise_bias, depthwise_activation, layout, accuracy, threads, out, epilogue)


@takes_input
def separable_conv2d(
    x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, *,
    depthwise_bias: Any = None, depthwise_activation: Any = None, scale: Any = None, shift: Any = None, activation: Any = None,
    pool: Any = None, layout: str = "channels_first", accuracy: str | None = None, threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D depthwise separable convolution: every channel by its own kernels, then a product over channels at each position.

    x is (N, C_in, H, W) or without N, depthwise_weight (C_in * multiplier, 1, KH, KW), pointwise_weight (C_out, C_in * multiplier, 1, 1);
    the result (N, C_out, OH, OW). stride, padding and dilation are the depthwise layer's, as `conv2d` takes them, depthwise_bias and
    depthwise_activation follow it; bias, scale, shift, activation and pool follow the product. layout="channels_last" takes x as
    (N, H, W, C_in), depthwise_weight as (KH, KW, 1, C_in * multiplier) and pointwise_weight as (1, 1, C_in * multiplier, C_out). It
    equals the two calls one after the other within their error bounds, and runs through blocks of rows so that what lies between them
    stays in cache. Raises ProblemError for arguments that make no layer. Definition: F. Chollet, "Xception", arXiv 1610.02357.

    >>> separable_conv2d(np.ones((1, 3, 8, 8)), np.ones((3, 1, 3, 3)), np.ones((5, 3, 1, 1)), padding="same").shape
    (1, 5, 8, 8)
    """
    epilogue = {"scale": scale, "shift": shift, "activation": activation, "pool": pool}
    args = x, depthwise_weight, pointwise_weight, bias, stride, padding, dilation
    return _separable("conv2d", *args, depthwise_bias, depthwise_activation, layout, accuracy, threads, out, epilogue)

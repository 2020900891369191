"""A depthwise and a pointwise convolution as one layer, through blocks of rows that stay in cache.

The depthwise result is as large as c_in planes and is read once, by the pointwise product right after it. Both run on blocks of output
rows small enough that it never leaves the caches, each by the plan that suits it; neighbouring blocks read kh - sh rows of the input
twice. Where the whole result fits, there is one block.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.api import plan
from kernels.arrays import intake, result_dtypes
from kernels.errors import ProblemError
from kernels.machine import machine
from kernels.plan import Plan, thread_count
from kernels.problem import Conv, dilated
from kernels.request import Ints, request

Array = np.ndarray


def _rows(whole: Conv, axis: int, c_out: int, threads: int | None) -> int:
    """Outputs along `axis` in a block: as many as keep the depthwise result and the output in half of the second-level caches."""
    total = whole.conv_size[axis]
    if max(whole.padding[axis]) >= dilated(whole.kernel[axis], whole.dilation[axis]):
        return total  # some windows see padding alone, and a block of only those would have no input
    line = whole.conv_size[1 - axis] * (whole.c_out + c_out) * whole.itemsize
    return max(1, min(total, machine().l2 // 2 * thread_count(whole.op, threads) // line))


def _separable(
    op: str, x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any, stride: Ints, padding: Any, dilation: Ints,
    depthwise_bias: Any, depthwise_activation: Any, threads: int | None, epilogue: dict[str, Any],
) -> Array:  # fmt: skip
    name, axes = f"separable_{op}", int(op[-2])
    x, pointwise_weight = intake(name, "x", x), intake(name, "pointwise_weight", pointwise_weight)
    depthwise_weight = intake(name, "depthwise_weight", depthwise_weight)
    if depthwise_weight.ndim != axes + 2 or depthwise_weight.shape[1] != 1:
        raise ProblemError(f"{name}: depthwise_weight has shape {depthwise_weight.shape}, must be (C_in * multiplier, 1, *kernel)")
    if pointwise_weight.shape[1:] != (depthwise_weight.shape[0], *(1,) * axes):
        want = ", ".join(map(str, ("C_out", depthwise_weight.shape[0], *(1,) * axes)))
        raise ProblemError(f"{name}: pointwise_weight has shape {pointwise_weight.shape}, must be ({want}) to follow depthwise_weight")
    if x.ndim not in (axes + 1, axes + 2):
        raise ProblemError(f"{name}: x has shape {x.shape}, {x.ndim} axes; must have {axes + 2} in the order (N, C, *spatial), or no N")
    numbers = {"bias": bias, "depthwise_bias": depthwise_bias, "scale": epilogue["scale"], "shift": epilogue["shift"]}
    given = [intake(name, key, value).dtype for key, value in numbers.items() if value is not None]
    computed, returned = result_dtypes([x.dtype, depthwise_weight.dtype, pointwise_weight.dtype, *given])
    images = x if x.ndim == axes + 2 else x[None]
    depthwise_weight = depthwise_weight.astype(computed)

    args = depthwise_weight, depthwise_bias, stride
    options = {"dilation": dilation, "groups": images.shape[1], "activation": depthwise_activation}
    whole = request(op, images.shape, computed, args, {**options, "padding": padding}).problem
    assert isinstance(whole, Conv)
    axis = len(whole.size) - axes  # the first axis is cut, be it rows or samples
    c_out, size, total = len(pointwise_weight), whole.size[axis], whole.conv_size[axis]
    rows = _rows(whole, axis, c_out, threads)
    others = whole.padding[axis + 1 :]

    @functools.cache
    def plans(length: int, before: int, after: int) -> tuple[Plan, Plan]:
        """Both layers for blocks of `length` rows of input with so many rows of padding."""
        shape = (1, images.shape[1], length, *images.shape[3:])
        depthwise = plan(op, shape, *args, padding=((before, after), *others), dtype=computed, threads=threads, **options)
        return depthwise, plan(op, depthwise.out_shape, pointwise_weight, bias, dtype=computed, threads=threads, **epilogue)

    stride_along, reach = whole.stride[axis], dilated(whole.kernel[axis], whole.dilation[axis])
    y = np.empty((len(images), c_out, *whole.conv_size[axis:]), computed)
    for image, to in zip(images, y):
        for row in range(0, total, rows):
            last = min(row + rows, total) - 1
            first, end = (at * stride_along - whole.padding[axis][0] for at in (row, last))
            start, stop = max(first, 0), min(end + reach, size)
            depthwise, pointwise = plans(stop - start, start - first, end + reach - stop)
            pointwise(depthwise(image[None, :, start:stop]), out=to[None, :, row : last + 1])
    return y.astype(returned, copy=False).reshape(*x.shape[: -axes - 1], *y.shape[1:])


def separable_conv1d(
    x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, *,
    depthwise_bias: Any = None, depthwise_activation: Any = None, scale: Any = None, shift: Any = None, activation: Any = None,
    threads: int | None = None,
) -> Array:  # fmt: skip
    """1-D depthwise separable convolution: every channel by its own kernels, then a product over channels at each position.

    x is (N, C_in, L) or without N, depthwise_weight (C_in * multiplier, 1, KW), pointwise_weight (C_out, C_in * multiplier, 1); the result
    (N, C_out, OW). Everything else is as in `separable_conv2d`. Definition: F. Chollet, "Xception", arXiv 1610.02357.

    >>> separable_conv1d([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], [[[1.0, 1.0]], [[1.0, -1.0]]], [[[1.0], [10.0]]])
    array([[[-7., -5.]]])
    """
    epilogue = {"scale": scale, "shift": shift, "activation": activation}
    args = x, depthwise_weight, pointwise_weight, bias, stride, padding, dilation
    return _separable("conv1d", *args, depthwise_bias, depthwise_activation, threads, epilogue)


def separable_conv2d(
    x: Any, depthwise_weight: Any, pointwise_weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, *,
    depthwise_bias: Any = None, depthwise_activation: Any = None, scale: Any = None, shift: Any = None, activation: Any = None,
    threads: int | None = None,
) -> Array:  # fmt: skip
    """2-D depthwise separable convolution: every channel by its own kernels, then a product over channels at each position.

    x is (N, C_in, H, W) or without N, depthwise_weight (C_in * multiplier, 1, KH, KW), pointwise_weight (C_out, C_in * multiplier, 1, 1);
    the result (N, C_out, OH, OW). stride, padding and dilation are the depthwise layer's, as `conv2d` takes them, depthwise_bias and
    depthwise_activation follow it; bias, scale, shift and activation follow the product. It equals the two calls one after the other
    within their error bounds, and runs through blocks of rows so that what lies between them stays in cache. Raises ProblemError for
    arguments that make no layer. Definition: F. Chollet, "Xception", arXiv 1610.02357.

    >>> separable_conv2d(np.ones((1, 3, 8, 8)), np.ones((3, 1, 3, 3)), np.ones((5, 3, 1, 1)), padding="same").shape
    (1, 5, 8, 8)
    """
    epilogue = {"scale": scale, "shift": shift, "activation": activation}
    args = x, depthwise_weight, pointwise_weight, bias, stride, padding, dilation
    return _separable("conv2d", *args, depthwise_bias, depthwise_activation, threads, epilogue)

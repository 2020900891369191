"""Rearranging without arithmetic to speak of: windows into columns, columns back into windows, channels dealt out between groups."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from kernels.api.call import takes_input
from kernels.problem.arrays import intake, result_dtypes, too_large
from kernels.problem.conv import Conv
from kernels.problem.errors import ProblemError
from kernels.problem.options import Ints, check_positive, flat, is_channels_last, padding_pairs, per_axis, several, split_shape
from kernels.problem.window import Size
from kernels.runtime.machine import memory

Array = np.ndarray


def _windows(op: str, n: int, channels: int, size: Size, kernel_size: Ints, dilation: Ints, padding: Any, stride: Ints) -> Conv:
    """The windows as a problem, which says whether they fit and how many there are."""
    axes = len(size)
    kernel, step, spread = (
        per_axis(op, name, value, axes) for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    )
    check_positive(op, kernel, step, spread)
    pairs = padding_pairs(op, padding, size, kernel, step, spread)
    ones, zeros = flat(kernel, 1), flat(pairs, (0, 0))
    return Conv(op, n, channels, flat(size, 1), ones, flat(step, 1), zeros, flat(spread, 1), "float32", c_out=1)


def _axes(value: Ints) -> int:
    """Spatial axes as the length of `value` tells them; a number counts for two, as in PyTorch."""
    return len(value) if several(value) and len(value) else 2  # type: ignore[arg-type]


def _padded(windows: Conv) -> int:
    """How many numbers the input has with its padding."""
    return windows.n * windows.c_in * math.prod(n + sum(pair) for n, pair in zip(windows.size, windows.padding))


@takes_input
def unfold(x: Any, kernel_size: Ints, dilation: Ints = 1, padding: Any = 0, stride: Ints = 1) -> Array:
    """Every window of x as a column: x (N, C, H, W) to (N, C * KH * KW, OH * OW); x may come without N.

    kernel_size's length says how many spatial axes x has; a number counts for two, so for x (N, C, L) write (k,). The others are a number
    or one per axis; padding takes every form that convolutions take and counts as zero. A matrix product with weights (C_out, C * KH *
    KW) is the convolution. The result has x's dtype and holds each number up to KH * KW times. Raises ProblemError for windows that do not
    fit. Definition: torch.nn.functional.unfold.

    >>> unfold([[[1, 2, 3, 4]]], (3,))
    array([[[1, 2],
            [2, 3],
            [3, 4]]])
    """
    op = "unfold"
    x = intake(op, "x", x)
    batch, n, channels, size = split_shape(op, x.shape, _axes(kernel_size), False)
    windows = _windows(op, n, channels, size, kernel_size, dilation, padding, stride)
    taps, positions = windows.taps, math.prod(windows.conv_size)
    needed = x.itemsize * (math.prod((n, channels, taps, positions)) + _padded(windows))
    if needed > memory():
        raise too_large(op, f"{taps} taps at {positions} positions, and the padded input,", needed)
    padded = np.pad(x.reshape(windows.x_shape), ((0, 0), (0, 0), *windows.padding))
    rows, columns = padded.strides[2:]
    (sh, sw), (dh, dw) = windows.stride, windows.dilation
    view = np.lib.stride_tricks.as_strided(
        padded, (n, channels, *windows.kernel, *windows.conv_size),
        (*padded.strides[:2], dh * rows, dw * columns, sh * rows, sw * columns), writeable=False,
    )  # fmt: skip
    columns_of = view.reshape(*batch, channels * taps, positions)
    return columns_of if columns_of.flags.writeable else columns_of.copy()  # one window is no more than the padded input, seen once


@takes_input
def fold(x: Any, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Any = 0, stride: Ints = 1) -> Array:
    """Add columns up where their windows lie: x (N, C * KH * KW, OH * OW) to (N, C, *output_size); x may come without N.

    The counterpart of `unfold`: numbers whose windows overlap are summed, what falls on padding is dropped. output_size's length says how
    many spatial axes there are; a number counts for two. Sums are formed in float32, or float64 if x has it. Raises ProblemError where
    the columns are not those of such windows. Definition: torch.nn.functional.fold.

    >>> fold(unfold([[[1.0, 2.0, 3.0, 4.0]]], (3,)), (4,), (3,))
    array([[[1., 4., 6., 4.]]])
    """
    op = "fold"
    x = intake(op, "x", x)
    axes = _axes(output_size)
    size = per_axis(op, "output_size", output_size, axes)
    if x.ndim not in (2, 3):
        raise ProblemError(f"{op}: x has shape {x.shape}, {x.ndim} axes; must have 3 in the order (N, C * taps, positions), or 2 without N")
    batch, (rows, columns) = x.shape[:-2], x.shape[-2:]
    n = batch[0] if batch else 1
    kernel = per_axis(op, "kernel_size", kernel_size, axes)
    taps = math.prod(kernel)
    if taps < 1 or rows % taps or not rows:
        raise ProblemError(f"{op}: x has {rows} rows, not a multiple of the {taps} taps of kernel_size {kernel}; pass whole channels")
    windows = _windows(op, n, rows // taps, size, kernel, dilation, padding, stride)
    if columns != math.prod(windows.conv_size):
        places = " x ".join(map(str, windows.conv_size[-axes:]))
        raise ProblemError(f"{op}: x has {columns} columns, windows over output_size {size} lie at {places} positions; pass as many")
    computed, returned = result_dtypes([x.dtype])
    if (needed := computed.itemsize * _padded(windows)) > memory():
        raise too_large(op, "the output with its padding", needed)
    parts = x.reshape(n, windows.c_in, *windows.kernel, *windows.conv_size)
    (h, w), (oh, ow), (sh, sw), (dh, dw) = windows.size, windows.conv_size, windows.stride, windows.dilation
    (top, bottom), (left, right) = windows.padding
    padded = np.zeros((n, windows.c_in, top + h + bottom, left + w + right), computed)
    for y, z in itertools.product(*map(range, windows.kernel)):
        padded[:, :, y * dh : y * dh + sh * oh : sh, z * dw : z * dw + sw * ow : sw] += parts[:, :, y, z]
    return padded[:, :, top : top + h, left : left + w].astype(returned).reshape(*batch, windows.c_in, *size)


@takes_input
def channel_shuffle(x: Any, groups: int, *, layout: str = "channels_first") -> Array:
    """Deal out the channels of x (N, C, *spatial) between groups: channel i of group g becomes channel g of group i, in a copy.

    Between two grouped convolutions it lets every group see all others. layout="channels_last" takes x as (N, *spatial, C). The dtype is
    kept. Raises ProblemError where C is not a multiple of groups. Definition: torch.nn.functional.channel_shuffle; X. Zhang et al.,
    "ShuffleNet", arXiv 1707.01083.

    >>> channel_shuffle([[[0], [1], [2], [3], [4], [5]]], 2).ravel()
    array([0, 3, 1, 4, 2, 5])
    """
    op = "channel_shuffle"
    x, last = intake(op, "x", x), is_channels_last(op, layout)
    if x.ndim < 2:
        raise ProblemError(f"{op}: x has shape {x.shape}; must have a batch axis and channels")
    axis = x.ndim - 1 if last else 1
    channels = x.shape[axis]
    parts = per_axis(op, "groups", groups, 1)[0]
    if parts < 1 or channels % parts:
        raise ProblemError(f"{op}: {channels} channels do not divide into groups={parts}; use a divisor of {channels}")
    dealt = x.reshape(*x.shape[:axis], parts, channels // parts, *x.shape[axis + 1 :])
    return dealt.swapaxes(axis, axis + 1).copy().reshape(x.shape)

"""The public convolutions.

The order of positional arguments is that of torch.nn.functional, so its calls can be pasted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.api.call import call, takes_input
from kernels.problem.options import Ints

Array = np.ndarray

# the arguments that are not arrays, in the order in which the functions hand them on
PLAIN = "stride", "padding", "dilation", "groups", "flip", "activation", "pool", "layout", "accuracy", "precision"
TRANSPOSED = "stride", "padding", "output_padding", "groups", "dilation", "output_size", "flip", "activation", "pool", "layout", "accuracy"


@takes_input
def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *, flip: bool = False,
    activation: Any = None, pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first",
    accuracy: str | None = None, precision: str | None = None, implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D convolution layer: cross-correlation, the kernel is not reversed; flip=True reverses it, as scipy.signal.convolve does.

    x is (N, C_in, L) or without N, weight (C_out, C_in/groups, KW), bias (C_out,); the result (N, C_out, OW). padding: a number, one per
    axis, (before, after) pairs, "valid", "same" or "same_lower". Then, in this order: + bias, * scale + shift per output channel,
    activation, pool=("max" or "avg", kernel_size[, stride]). layout="channels_last" takes x as (N, L, C) and weight as (KW, C_in/groups,
    C_out). float32 and float64 compute in their own precision. Raises ProblemError for arguments that make no layer, RefusedError if the
    named implementation cannot do it. Definition: Dumoulin and Visin, arXiv 1603.07285, section 2.

    accuracy="largest" (the default, see `set_accuracy`) keeps errors below a share of the largest output: Winograd and FFT may be taken,
    which spread errors, NaN and inf over neighbouring outputs. "each" keeps those of every output below a share of its own products.

    precision="bfloat16" lets factors of float32 arrays be rounded to bfloat16 (by a share of up to 2^-8) and their products be summed in
    float32, where that is estimated to be faster; it needs a CPU with AVX512_BF16 and uses AMX. None, or "float32": they are not rounded.

    >>> conv1d([[[1.0, 2.0, 3.0]]], [[[1.0, 10.0]]])
    array([[[21., 32.]]])
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, dilation, groups, flip, activation, pool, layout, accuracy, precision
    return call("conv1d", x, operands, PLAIN, numbers, implementation, threads, out)


@takes_input
def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *, flip: bool = False,
    activation: Any = None, pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first",
    accuracy: str | None = None, precision: str | None = None, implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D convolution layer: cross-correlation, the kernel is not reversed; flip=True reverses it, as scipy.signal.convolve does.

    x is (N, C_in, H, W) or without N, weight (C_out, C_in/groups, KH, KW), bias (C_out,); the result (N, C_out, OH, OW). padding: a number,
    one per axis, (before, after) pairs, "valid", "same" or "same_lower". Then, in this order: + bias, * scale + shift per output channel,
    activation, pool=("max" or "avg", kernel_size[, stride]). layout="channels_last" takes x as (N, H, W, C) and weight as (KH, KW,
    C_in/groups, C_out). float32 and float64 compute in their own precision. Raises ProblemError for arguments that make no layer,
    RefusedError if the named implementation cannot do it. Definition: Dumoulin and Visin, arXiv 1603.07285, section 2.

    accuracy="largest" (the default, see `set_accuracy`) keeps errors below a share of the largest output: Winograd and FFT may be taken,
    which spread errors, NaN and inf over neighbouring outputs. "each" keeps those of every output below a share of its own products.

    precision="bfloat16" lets factors of float32 arrays be rounded to bfloat16 (by a share of up to 2^-8) and their products be summed in
    float32, where that is estimated to be faster; it needs a CPU with AVX512_BF16 and uses AMX. None, or "float32": they are not rounded.

    >>> conv2d(np.ones((1, 3, 5, 5)), np.ones((2, 3, 3, 3))).shape
    (1, 2, 3, 3)
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, dilation, groups, flip, activation, pool, layout, accuracy, precision
    return call("conv2d", x, operands, PLAIN, numbers, implementation, threads, out)


@takes_input
def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *, flip: bool = False,
    activation: Any = None, pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first",
    accuracy: str | None = None, precision: str | None = None, implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """3-D convolution layer: cross-correlation, the kernel is not reversed; flip=True reverses it, as scipy.signal.convolve does.

    x is (N, C_in, D, H, W) or without N, weight (C_out, C_in/groups, KD, KH, KW), bias (C_out,); the result (N, C_out, OD, OH, OW).
    padding: a number, one per axis, (before, after) pairs, "valid", "same" or "same_lower". Then, in this order: + bias, * scale + shift
    per output channel, activation, pool=("max" or "avg", kernel_size[, stride]). layout="channels_last" takes x as (N, D, H, W, C) and
    weight as (KD, KH, KW, C_in/groups, C_out). float32 and float64 compute in their own precision. Raises ProblemError for arguments that
    make no layer, RefusedError if the named implementation cannot do it. Definition: Dumoulin and Visin, arXiv 1603.07285, section 2.

    accuracy="largest" (the default, see `set_accuracy`) keeps errors below a share of the largest output: Winograd and FFT may be taken,
    which spread errors, NaN and inf over neighbouring outputs. "each" keeps those of every output below a share of its own products.

    precision="bfloat16" lets factors of float32 arrays be rounded to bfloat16 (by a share of up to 2^-8) and their products be summed in
    float32, where that is estimated to be faster; it needs a CPU with AVX512_BF16 and uses AMX. None, or "float32": they are not rounded.

    >>> conv3d(np.ones((1, 3, 5, 5, 5)), np.ones((2, 3, 3, 3, 3))).shape
    (1, 2, 3, 3, 3)
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, dilation, groups, flip, activation, pool, layout, accuracy, precision
    return call("conv3d", x, operands, PLAIN, numbers, implementation, threads, out)


@takes_input
def conv_transpose1d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Ints | None = None, flip: bool = False, activation: Any = None, pool: Any = None, scale: Any = None,
    shift: Any = None, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D transposed convolution layer: each input value adds the kernel, not reversed, to the output; flip=True reverses it first.

    x is (N, C_in, L) or without N, weight (C_in, C_out/groups, KW), bias (C_out,); the result (N, C_out, OW).
    An axis has (input - 1) * stride - padding + dilation * (kernel - 1) + 1 + output_padding outputs. padding crops the result: a number,
    one per axis, (before, after) pairs, "valid" (none), "same" or "same_lower" (input * stride outputs). output_padding must be smaller
    than stride or dilation; output_size picks the length in its place. Activation, accuracy and the rest follow as in conv1d.
    layout="channels_last" takes x as (N, L, C) and weight as (KW, C_in/groups, C_out). Raises ProblemError for arguments
    that make no layer, RefusedError if the named implementation cannot do it. Definition: torch.nn.functional.conv_transpose1d.

    >>> conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 10.0, 100.0]]], stride=2)
    array([[[  1.,  10., 102.,  20., 200.]]])
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, activation, pool, layout, accuracy
    return call("conv_transpose1d", x, operands, TRANSPOSED, numbers, implementation, threads, out)


@takes_input
def conv_transpose2d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Ints | None = None, flip: bool = False, activation: Any = None, pool: Any = None, scale: Any = None,
    shift: Any = None, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D transposed convolution layer: each input value adds the kernel, not reversed, to the output; flip=True reverses it first.

    x is (N, C_in, H, W) or without N, weight (C_in, C_out/groups, KH, KW), bias (C_out,); the result (N, C_out, OH, OW).
    An axis has (input - 1) * stride - padding + dilation * (kernel - 1) + 1 + output_padding outputs. padding crops the result: a number,
    one per axis, (before, after) pairs, "valid" (none), "same" or "same_lower" (input * stride outputs). output_padding must be smaller
    than stride or dilation; output_size picks the length in its place. Activation, accuracy and the rest follow as in conv2d.
    layout="channels_last" takes x as (N, H, W, C) and weight as (KH, KW, C_in/groups, C_out). Raises ProblemError for arguments
    that make no layer, RefusedError if the named implementation cannot do it. Definition: torch.nn.functional.conv_transpose2d.

    >>> conv_transpose2d(np.ones((1, 3, 5, 8)), np.ones((3, 2, 4, 4)), stride=2, padding=1).shape
    (1, 2, 10, 16)
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, activation, pool, layout, accuracy
    return call("conv_transpose2d", x, operands, TRANSPOSED, numbers, implementation, threads, out)


@takes_input
def conv_transpose3d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Ints | None = None, flip: bool = False, activation: Any = None, pool: Any = None, scale: Any = None,
    shift: Any = None, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """3-D transposed convolution layer: each input value adds the kernel, not reversed, to the output; flip=True reverses it first.

    x is (N, C_in, D, H, W) or without N, weight (C_in, C_out/groups, KD, KH, KW), bias (C_out,); the result (N, C_out, OD, OH, OW).
    An axis has (input - 1) * stride - padding + dilation * (kernel - 1) + 1 + output_padding outputs. padding crops the result: a number,
    one per axis, (before, after) pairs, "valid" (none), "same" or "same_lower" (input * stride outputs). output_padding must be smaller
    than stride or dilation; output_size picks the length in its place. Activation, accuracy and the rest follow as in conv3d.
    layout="channels_last" takes x as (N, D, H, W, C) and weight as (KD, KH, KW, C_in/groups, C_out). Raises ProblemError for arguments
    that make no layer, RefusedError if the named implementation cannot do it. Definition: torch.nn.functional.conv_transpose3d.

    >>> conv_transpose3d(np.ones((1, 3, 2, 5, 8)), np.ones((3, 2, 2, 2, 2)), stride=2).shape
    (1, 2, 4, 10, 16)
    """
    operands = weight, bias, scale, shift
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, activation, pool, layout, accuracy
    return call("conv_transpose3d", x, operands, TRANSPOSED, numbers, implementation, threads, out)

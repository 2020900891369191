"""The public functions: arrays -> problem -> plan -> array.

The order of positional arguments is that of torch.nn.functional, so its calls can be pasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels import registry
from kernels.arrays import intake
from kernels.errors import ProblemError
from kernels.implementation import Operands
from kernels.plan import Plan, load
from kernels.request import Ints, request

Array = np.ndarray


def _call(
    op: str, x: Any, args: tuple[Any, ...], implementation: str, threads: int | None, out: Array | None, options: dict[str, Any]
) -> Any:
    """A plan made and called."""
    x = intake(op, "x", x)
    asked = request(op, x.shape, x.dtype, args, options)
    if isinstance(out, np.ndarray):
        for name, operand in vars(asked.operands).items():
            if operand is not None and np.may_share_memory(out, operand):
                raise ProblemError(f"{op}: out overlaps {name} in memory; pass a separate array")
    return Plan(asked.problem, asked.operands, asked.signature, implementation, threads)(x, out)


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *, flip: bool = False,
    activation: Any = None, pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first",
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D convolution layer: cross-correlation, the kernel is not reversed; flip=True reverses it, as scipy.signal.convolve does.

    x is (N, C_in, L) or without N, weight (C_out, C_in/groups, KW), bias (C_out,); the result (N, C_out, OW).
    padding: a number, one per axis, (before, after) pairs, "valid", "same" or "same_lower". Then, in this order: + bias, * scale + shift
    per output channel, activation, pool=("max" or "avg", kernel_size[, stride]). layout="channels_last" takes x as (N, L, C) and
    weight as (KW, C_in/groups, C_out). float32 and float64 compute in their own precision. Raises ProblemError for arguments that make
    no layer, RefusedError if the named implementation cannot do it. Definition: Dumoulin and Visin, arXiv 1603.07285, section 2.

    >>> conv1d([[[1.0, 2.0, 3.0]]], [[[1.0, 10.0]]])
    array([[[21., 32.]]])
    """
    options = {"flip": flip, "activation": activation, "pool": pool, "scale": scale, "shift": shift, "layout": layout}
    return _call("conv1d", x, (weight, bias, stride, padding, dilation, groups), implementation, threads, out, options)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *, flip: bool = False,
    activation: Any = None, pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first",
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D convolution layer: cross-correlation, the kernel is not reversed; flip=True reverses it, as scipy.signal.convolve does.

    x is (N, C_in, H, W) or without N, weight (C_out, C_in/groups, KH, KW), bias (C_out,); the result (N, C_out, OH, OW).
    padding: a number, one per axis, (before, after) pairs, "valid", "same" or "same_lower". Then, in this order: + bias, * scale + shift
    per output channel, activation, pool=("max" or "avg", kernel_size[, stride]). layout="channels_last" takes x as (N, H, W, C) and
    weight as (KH, KW, C_in/groups, C_out). float32 and float64 compute in their own precision. Raises ProblemError for arguments that make
    no layer, RefusedError if the named implementation cannot do it. Definition: Dumoulin and Visin, arXiv 1603.07285, section 2.

    >>> conv2d(np.ones((1, 3, 5, 5)), np.ones((2, 3, 3, 3))).shape
    (1, 2, 3, 3)
    """
    options = {"flip": flip, "activation": activation, "pool": pool, "scale": scale, "shift": shift, "layout": layout}
    return _call("conv2d", x, (weight, bias, stride, padding, dilation, groups), implementation, threads, out, options)


def max_pool1d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, dilation: Ints = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, layout: str = "channels_first", implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Any:  # fmt: skip
    """1-D max pooling of x (N, C, L) to (N, C, OW); stride defaults to kernel_size.

    Padding counts as -inf, NaN is kept, and of equals the first is taken. return_indices adds int64 positions, flat within each plane.
    ceil_mode lets the last window overhang if it starts inside the input or its leading padding. Raises ProblemError and RefusedError
    as convolutions do. Definition: torch.nn.functional.max_pool1d.

    >>> max_pool1d([[[1.0, 3.0, 2.0, 5.0]]], 2)
    array([[[3., 5.]]])
    """
    args = kernel_size, stride, padding, dilation, ceil_mode, return_indices
    return _call("max_pool1d", x, args, implementation, threads, out, {"layout": layout})


def max_pool2d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, dilation: Ints = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, layout: str = "channels_first", implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Any:  # fmt: skip
    """2-D max pooling of x (N, C, H, W) to (N, C, OH, OW); stride defaults to kernel_size.

    Padding counts as -inf, NaN is kept, and of equals the first is taken. return_indices adds int64 positions, flat within each plane.
    ceil_mode lets the last window overhang if it starts inside the input or its leading padding. Raises ProblemError and RefusedError
    as convolutions do. Definition: torch.nn.functional.max_pool2d.

    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    args = kernel_size, stride, padding, dilation, ceil_mode, return_indices
    return _call("max_pool2d", x, args, implementation, threads, out, {"layout": layout})


def avg_pool1d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first", implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D average pooling of x (N, C, L) to (N, C, OW); stride defaults to kernel_size.

    The divisor is divisor_override, or the number of taps: padding counts if count_include_pad, overhang past it (ceil_mode) never does.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.avg_pool1d.

    >>> avg_pool1d([[[1.0, 3.0, 2.0, 6.0]]], 2)
    array([[[2., 4.]]])
    """
    args = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _call("avg_pool1d", x, args, implementation, threads, out, {"dilation": dilation, "layout": layout})


def avg_pool2d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first", implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D average pooling of x (N, C, H, W) to (N, C, OH, OW); stride defaults to kernel_size.

    The divisor is divisor_override, or the number of taps: padding counts if count_include_pad, overhang past it (ceil_mode) never does.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.avg_pool2d.

    >>> avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    args = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _call("avg_pool2d", x, args, implementation, threads, out, {"dilation": dilation, "layout": layout})


def global_avg_pool(
    x: Any, *, layout: str = "channels_first", implementation: str = "auto", threads: int | None = None, out: Array | None = None
) -> Array:
    """The average of each whole plane: x (N, C, L) or (N, C, H, W) to (N, C, 1) or (N, C, 1, 1).

    Raises ProblemError and RefusedError as convolutions do. Definition: ONNX GlobalAveragePool.

    >>> global_avg_pool([[[1.0, 2.0, 3.0, 4.0]]])
    array([[[2.5]]])
    """
    return _call("global_avg_pool", x, (), implementation, threads, out, {"layout": layout})


def global_max_pool(
    x: Any, *, layout: str = "channels_first", implementation: str = "auto", threads: int | None = None, out: Array | None = None
) -> Array:
    """The maximum of each whole plane: x (N, C, L) or (N, C, H, W) to (N, C, 1) or (N, C, 1, 1).

    Raises ProblemError and RefusedError as convolutions do. Definition: ONNX GlobalMaxPool.

    >>> global_max_pool([[[1.0, 2.0, 3.0, 4.0]]])
    array([[[4.]]])
    """
    return _call("global_max_pool", x, (), implementation, threads, out, {"layout": layout})


def plan(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", implementation: str = "auto", effort: str = "estimate",
         threads: int | None = None, **options: Any) -> Plan:  # fmt: skip
    """Prepare a call of the operation named `op` for inputs of `x_shape` and `dtype`; the other arguments are the operation's own.

    The plan owns copies of weight and bias, packed. Call it with x, and with `out=` for a result without allocation. Raises ProblemError
    for arguments that make no problem and RefusedError if the named implementation cannot do it.

    >>> pool = plan("max_pool1d", (1, 1, 4), 2, implementation="naive")
    >>> pool(np.array([[[1.0, 3.0, 2.0, 5.0]]]))
    array([[[3., 5.]]], dtype=float32)
    """
    if effort != "estimate":
        raise ProblemError(f'{op}: effort is {effort!r}, must be "estimate"')
    try:
        x_dtype = np.dtype(dtype)
    except TypeError as error:
        raise ProblemError(f"{op}: dtype {dtype!r} is not a NumPy dtype ({error})") from None
    intake(op, "dtype", np.empty(0, x_dtype))
    asked = request(op, x_shape, x_dtype, args, options)
    owned = Operands(**{name: None if value is None else value.copy() for name, value in vars(asked.operands).items()})
    return Plan(asked.problem, owned, asked.signature, implementation, threads)


def implementations(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", **options: Any) -> dict[str, str | None]:
    """For each implementation of `op`: None if it can do the problem, else the sentence it refuses with.

    >>> implementations("conv1d", (1, 2, 100), np.ones((2, 2, 9), np.float32))["depthwise"]
    'it takes one input channel per group, this has 2; direct does it'
    """
    load()
    return registry.able(request(op, x_shape, np.dtype(dtype), args, options).problem)

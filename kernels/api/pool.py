"""The public pooling functions.

The order of positional arguments is that of torch.nn.functional, so its calls can be pasted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.api.call import call, takes_input
from kernels.problem.options import Ints

Array = np.ndarray

# the arguments in the order in which the functions hand them on
MAX = "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices", "layout", "accuracy"
AVG = "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override", "dilation", "layout", "accuracy"
ADAPTIVE_MAX = "output_size", "return_indices", "layout", "accuracy"
GLOBAL = "layout", "accuracy"
ADAPTIVE_AVG = "output_size", "layout", "accuracy"


@takes_input
def max_pool1d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, dilation: Ints = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """1-D max pooling of x (N, C, L) to (N, C, OW); stride defaults to kernel_size.

    Padding counts as -inf, NaN is kept, and of equals the first is taken. return_indices adds int64 positions, flat within each plane.
    ceil_mode lets the last window overhang if it starts inside the input or its leading padding. Raises ProblemError and RefusedError
    as convolutions do. Definition: torch.nn.functional.max_pool1d.

    >>> max_pool1d([[[1.0, 3.0, 2.0, 5.0]]], 2)
    array([[[3., 5.]]])
    """
    numbers = kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, accuracy
    return call("max_pool1d", x, (), MAX, numbers, implementation, threads, out)


@takes_input
def max_pool2d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, dilation: Ints = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """2-D max pooling of x (N, C, H, W) to (N, C, OH, OW); stride defaults to kernel_size.

    Padding counts as -inf, NaN is kept, and of equals the first is taken. return_indices adds int64 positions, flat within each plane.
    ceil_mode lets the last window overhang if it starts inside the input or its leading padding. Raises ProblemError and RefusedError
    as convolutions do. Definition: torch.nn.functional.max_pool2d.

    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    numbers = kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, accuracy
    return call("max_pool2d", x, (), MAX, numbers, implementation, threads, out)


@takes_input
def max_pool3d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, dilation: Ints = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """3-D max pooling of x (N, C, D, H, W) to (N, C, OD, OH, OW); stride defaults to kernel_size.

    Padding counts as -inf, NaN is kept, and of equals the first is taken. return_indices adds int64 positions, flat within each volume.
    ceil_mode lets the last window overhang if it starts inside the input or its leading padding. Raises ProblemError and RefusedError
    as convolutions do. Definition: torch.nn.functional.max_pool3d.

    >>> max_pool3d(np.arange(16.0).reshape(1, 1, 2, 2, 4), 2)
    array([[[[[13., 15.]]]]])
    """
    numbers = kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, accuracy
    return call("max_pool3d", x, (), MAX, numbers, implementation, threads, out)


@takes_input
def avg_pool1d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D average pooling of x (N, C, L) to (N, C, OW); stride defaults to kernel_size.

    The divisor is divisor_override, or the number of taps: padding counts if count_include_pad, overhang past it (ceil_mode) never does.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.avg_pool1d.

    >>> avg_pool1d([[[1.0, 3.0, 2.0, 6.0]]], 2)
    array([[[2., 4.]]])
    """
    numbers = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, layout, accuracy
    return call("avg_pool1d", x, (), AVG, numbers, implementation, threads, out)


@takes_input
def avg_pool2d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D average pooling of x (N, C, H, W) to (N, C, OH, OW); stride defaults to kernel_size.

    The divisor is divisor_override, or the number of taps: padding counts if count_include_pad, overhang past it (ceil_mode) never does.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.avg_pool2d.

    >>> avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    numbers = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, layout, accuracy
    return call("avg_pool2d", x, (), AVG, numbers, implementation, threads, out)


@takes_input
def avg_pool3d(
    x: Any, kernel_size: Ints, stride: Ints | None = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """3-D average pooling of x (N, C, D, H, W) to (N, C, OD, OH, OW); stride defaults to kernel_size.

    The divisor is divisor_override, or the number of taps: padding counts if count_include_pad, overhang past it (ceil_mode) never does.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.avg_pool3d.

    >>> avg_pool3d(np.arange(16.0).reshape(1, 1, 2, 2, 4), 2)
    array([[[[[6.5, 8.5]]]]])
    """
    numbers = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, layout, accuracy
    return call("avg_pool3d", x, (), AVG, numbers, implementation, threads, out)


@takes_input
def adaptive_avg_pool1d(
    x: Any, output_size: Any, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """1-D average pooling of x (N, C, L) to (N, C, *output_size), a number, or None for the length of x.

    Window i of an axis of n inputs and o outputs is floor(i * n / o) to ceil((i + 1) * n / o), so windows may overlap and differ in length.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.adaptive_avg_pool1d.

    >>> adaptive_avg_pool1d([[[1.0, 2.0, 3.0, 4.0, 5.0]]], 2)
    array([[[2., 4.]]])
    """
    return call("adaptive_avg_pool1d", x, (), ADAPTIVE_AVG, (output_size, layout, accuracy), implementation, threads, out)


@takes_input
def adaptive_avg_pool2d(
    x: Any, output_size: Any, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """2-D average pooling of x (N, C, H, W) to (N, C, *output_size), a number or two, None for the length of x.

    Window i of an axis of n inputs and o outputs is floor(i * n / o) to ceil((i + 1) * n / o), so windows may overlap and differ in length.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.adaptive_avg_pool2d.

    >>> adaptive_avg_pool2d(np.ones((1, 3, 7, 9)), (2, None)).shape
    (1, 3, 2, 9)
    """
    return call("adaptive_avg_pool2d", x, (), ADAPTIVE_AVG, (output_size, layout, accuracy), implementation, threads, out)


@takes_input
def adaptive_avg_pool3d(
    x: Any, output_size: Any, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto",
    threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """3-D average pooling of x (N, C, D, H, W) to (N, C, *output_size), a number or three, None for the length of x.

    Window i of an axis of n inputs and o outputs is floor(i * n / o) to ceil((i + 1) * n / o), so windows may overlap and differ in length.
    Raises ProblemError and RefusedError as convolutions do. Definition: torch.nn.functional.adaptive_avg_pool3d.

    >>> adaptive_avg_pool3d(np.ones((1, 3, 4, 7, 9)), 2).shape
    (1, 3, 2, 2, 2)
    """
    return call("adaptive_avg_pool3d", x, (), ADAPTIVE_AVG, (output_size, layout, accuracy), implementation, threads, out)


@takes_input
def adaptive_max_pool1d(
    x: Any, output_size: Any, return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """1-D max pooling of x (N, C, L) to (N, C, *output_size), a number, or None for the length of x.

    Windows are those of adaptive_avg_pool1d; return_indices, NaN and equals as in max_pool1d. Raises ProblemError and RefusedError as
    convolutions do. Definition: torch.nn.functional.adaptive_max_pool1d.

    >>> adaptive_max_pool1d([[[1.0, 2.0, 3.0, 4.0, 5.0]]], 2)
    array([[[3., 5.]]])
    """
    numbers = output_size, return_indices, layout, accuracy
    return call("adaptive_max_pool1d", x, (), ADAPTIVE_MAX, numbers, implementation, threads, out)


@takes_input
def adaptive_max_pool2d(
    x: Any, output_size: Any, return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """2-D max pooling of x (N, C, H, W) to (N, C, *output_size), a number or two, None for the length of x.

    Windows are those of adaptive_avg_pool2d; return_indices, NaN and equals as in max_pool2d. Raises ProblemError and RefusedError as
    convolutions do. Definition: torch.nn.functional.adaptive_max_pool2d.

    >>> adaptive_max_pool2d(np.ones((1, 3, 7, 9)), (2, None)).shape
    (1, 3, 2, 9)
    """
    numbers = output_size, return_indices, layout, accuracy
    return call("adaptive_max_pool2d", x, (), ADAPTIVE_MAX, numbers, implementation, threads, out)


@takes_input
def adaptive_max_pool3d(
    x: Any, output_size: Any, return_indices: bool = False, *, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Any:  # fmt: skip
    """3-D max pooling of x (N, C, D, H, W) to (N, C, *output_size), a number or three, None for the length of x.

    Windows are those of adaptive_avg_pool3d; return_indices, NaN and equals as in max_pool3d. Raises ProblemError and RefusedError as
    convolutions do. Definition: torch.nn.functional.adaptive_max_pool3d.

    >>> adaptive_max_pool3d(np.ones((1, 3, 4, 7, 9)), 2).shape
    (1, 3, 2, 2, 2)
    """
    numbers = output_size, return_indices, layout, accuracy
    return call("adaptive_max_pool3d", x, (), ADAPTIVE_MAX, numbers, implementation, threads, out)


@takes_input
def global_avg_pool(
    x: Any, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The average of each whole plane: x (N, C, *spatial), of one to three axes, to (N, C, 1, …).

    Raises ProblemError and RefusedError as convolutions do. Definition: ONNX GlobalAveragePool.

    >>> global_avg_pool([[[1.0, 2.0, 3.0, 4.0]]])
    array([[[2.5]]])
    """
    return call("global_avg_pool", x, (), GLOBAL, (layout, accuracy), implementation, threads, out)


@takes_input
def global_max_pool(
    x: Any, *, layout: str = "channels_first", accuracy: str | None = None, implementation: str = "auto", threads: int | None = None,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """The maximum of each whole plane: x (N, C, *spatial), of one to three axes, to (N, C, 1, …).

    Raises ProblemError and RefusedError as convolutions do. Definition: ONNX GlobalMaxPool.

    >>> global_max_pool([[[1.0, 2.0, 3.0, 4.0]]])
    array([[[4.]]])
    """
    return call("global_max_pool", x, (), GLOBAL, (layout, accuracy), implementation, threads, out)

"""Convolutions and pools on dask arrays, with the arguments that they have on NumPy's."""

from __future__ import annotations

from typing import Any, cast

import dask.array
import numpy as np

from kernels.dask.apply import apply
from kernels.network.layers import layer
from kernels.problem.conv import ConvTranspose
from kernels.problem.errors import ProblemError
from kernels.problem.options import is_channels_last
from kernels.problem.request import request_of

_WHOLE = {"out": "results are lazy; store them with y.store(...) or y.to_zarr(...)", "threads": "workers bring their own"}

_BEHIND = "groups", "dilation"  # what transposed layers take by position behind output_padding


def _of_any_length(op: str, shape: tuple[int, ...], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Arguments with output_padding in the place of output_size, which counts the whole signal's outputs and no chunk's."""
    own = {name: value for name, value in options.items() if name != "implementation"}
    problem = cast(ConvTranspose, request_of(op, shape, np.dtype(np.float32), args, own).problem)
    more = {"output_size": None, "output_padding": problem.output_padding[-int(op[-2]) :]}
    return args[:4], {**dict(zip(_BEHIND, args[5:])), **options, **more}


def _call(op: str, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    axes = int(op[-2])
    for name, reason in _WHOLE.items():
        if options.pop(name, None) is not None:
            raise ProblemError(f"dask.{op}: {name} does not go with dask arrays: {reason}")
    if options.get("return_indices"):
        raise ProblemError(f"dask.{op}: return_indices counts positions of the whole signal; leave it out")
    if not isinstance(x, dask.array.Array):
        raise ProblemError(f"dask.{op}: x is a {type(x).__name__}, must be a dask array; dask.array.from_array(x, chunks=...) makes one")
    if x.ndim not in (axes + 1, axes + 2):
        raise ProblemError(f"dask.{op}: x has shape {x.shape}; must have {axes + 2} axes, or {axes + 1} without the batch")
    last = is_channels_last(f"dask.{op}", options.pop("layout", "channels_first"))
    batch = x.ndim == axes + 2
    x = x if batch else x[None]
    if last:
        if op.startswith("conv_transpose"):
            raise ProblemError(f"dask.{op}: layout must be channels_first; move the axes of x and weight with moveaxis")
        x = dask.array.moveaxis(x, -1, 1)
        if op.startswith("conv"):
            args = (np.moveaxis(np.asarray(args[0]), (-1, -2), (0, 1)), *args[1:])
    if options.get("output_size") is not None and op.startswith("conv_transpose"):
        args, options = _of_any_length(op, x.shape, args, options)
    chunked = [axis for axis in range(-axes, 0) if x.numblocks[axis] > 1]
    y = apply([layer(op, *args, **options)], x, axis=chunked[-1] if chunked else -1)
    if last:
        y = dask.array.moveaxis(y, 1, -1)
    return y if batch else y[0]


def conv1d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv1d` on a dask array (N, C, T) or (C, T): lazy, chunked like x along N and T."""
    return _call("conv1d", x, (weight, *args), options)


def conv2d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv2d` on a dask array (N, C, H, W) or (C, H, W): lazy, chunked like x along N and one of H and W, the last if both are."""
    return _call("conv2d", x, (weight, *args), options)


def conv3d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv3d` on a dask array; see `conv2d`."""
    return _call("conv3d", x, (weight, *args), options)


def conv_transpose1d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv_transpose1d` on a dask array; see `conv1d`."""
    return _call("conv_transpose1d", x, (weight, *args), options)


def conv_transpose2d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv_transpose2d` on a dask array; see `conv2d`."""
    return _call("conv_transpose2d", x, (weight, *args), options)


def conv_transpose3d(x: Any, weight: Any, *args: Any, **options: Any) -> Any:
    """`kernels.conv_transpose3d` on a dask array; see `conv2d`."""
    return _call("conv_transpose3d", x, (weight, *args), options)


def max_pool1d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.max_pool1d` on a dask array; see `conv1d`."""
    return _call("max_pool1d", x, (kernel_size, *args), options)


def max_pool2d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.max_pool2d` on a dask array; see `conv2d`."""
    return _call("max_pool2d", x, (kernel_size, *args), options)


def max_pool3d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.max_pool3d` on a dask array; see `conv2d`."""
    return _call("max_pool3d", x, (kernel_size, *args), options)


def avg_pool1d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.avg_pool1d` on a dask array; see `conv1d`."""
    return _call("avg_pool1d", x, (kernel_size, *args), options)


def avg_pool2d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.avg_pool2d` on a dask array; see `conv2d`."""
    return _call("avg_pool2d", x, (kernel_size, *args), options)


def avg_pool3d(x: Any, kernel_size: Any, *args: Any, **options: Any) -> Any:
    """`kernels.avg_pool3d` on a dask array; see `conv2d`."""
    return _call("avg_pool3d", x, (kernel_size, *args), options)

"""The definition's pooling loops, compiled by Numba and shared out over planes: what anybody would write first.

Every tap checks its position, so nothing becomes a vector instruction; it loses to row-wise windows wherever the plane is wider than
a few elements. Reference as for the definition in `pool_naive`.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from kernels import registry
from kernels.arrays import frozen
from kernels.implementation import Implementation, Operands, Prepared, rounding_bound
from kernels.jit import njit, region
from kernels.problem import Pool

Array = np.ndarray


@njit
def plane_maxima(x, out, indices, kernel, stride, before, dilation):
    """Window maxima of one plane x (h, w) into out (oh, ow); positions too if `indices` has rows."""
    height, width = x.shape
    for oh in range(out.shape[0]):
        for ow in range(out.shape[1]):
            best, where = -np.inf, -1
            for kh in range(kernel[0]):
                h = oh * stride[0] - before[0] + kh * dilation[0]
                if h < 0 or h >= height:
                    continue
                for kw in range(kernel[1]):
                    w = ow * stride[1] - before[1] + kw * dilation[1]
                    if 0 <= w < width:
                        value = x[h, w]
                        if where < 0 or value > best or (value != value and best == best):
                            best, where = value, h * width + w
            out[oh, ow] = best
            if indices.shape[0]:
                indices[oh, ow] = max(where, 0)


@njit
def plane_averages(x, out, kernel, stride, before, after, dilation, include_pad, divisor):
    """Window averages of one plane x (h, w) into out (oh, ow); divisor 0 means the number of taps that count."""
    height, width = x.shape
    for oh in range(out.shape[0]):
        for ow in range(out.shape[1]):
            total, inside, counted = 0.0, 0, 0
            for kh in range(kernel[0]):
                h = oh * stride[0] - before[0] + kh * dilation[0]
                for kw in range(kernel[1]):
                    w = ow * stride[1] - before[1] + kw * dilation[1]
                    if h < height + after[0] and w < width + after[1]:
                        counted += 1
                    if 0 <= h < height and 0 <= w < width:
                        inside += 1
                        total += x[h, w]
            number = divisor if divisor else (counted if include_pad else inside)
            out[oh, ow] = total / number if number else 0.0


@region
def maxima(x, out, indices, kernel, stride, before, dilation):
    """All planes of x (planes, h, w); `indices` (planes, oh, ow), or (1, 0, 0) if no positions are wanted."""
    for p in prange(x.shape[0]):
        plane_maxima(x[p], out[p], indices[p % indices.shape[0]], kernel, stride, before, dilation)


@region
def averages(x, out, kernel, stride, before, after, dilation, include_pad, divisor):
    """All planes of x (planes, h, w)."""
    for p in prange(x.shape[0]):
        plane_averages(x[p], out[p], kernel, stride, before, after, dilation, include_pad, divisor)


def prepare(problem: Pool, operands: Operands, threads: int) -> Prepared:
    """Compile."""
    before = problem.padding[0][0], problem.padding[1][0]
    after = problem.padding[0][1], problem.padding[1][1]
    no_indices = np.empty((1, 0, 0), np.int64)

    def run(x: Array, out: Array, indices: Array | None = None) -> None:
        planes, result = x.reshape(len(x) * problem.c_in, *problem.size), out.reshape(len(x) * problem.c_in, *problem.out_size)
        if problem.kind == "max":
            where = no_indices if indices is None else indices.reshape(result.shape)
            maxima(threads, planes, result, where, problem.kernel, problem.stride, before, problem.dilation)
        else:
            divisor = problem.divisor_override or 0
            window = problem.kernel, problem.stride, before, after, problem.dilation
            averages(threads, planes, result, *window, problem.count_include_pad, divisor)

    def no_images(channels: int, size: tuple[int, ...], dtype: str) -> Array:
        return np.empty((0, channels, *size), dtype)

    x, out = frozen(no_images(problem.c_in, problem.size, problem.dtype)), no_images(problem.c_in, problem.out_size, problem.dtype)
    run(x, out, no_images(problem.c_in, problem.out_size, "int64") if problem.return_indices else None)  # compiles
    return Prepared(run)


registry.add(Implementation("jit", "pool", lambda problem: None, prepare, rounding_bound))

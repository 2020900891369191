"""The definition's pooling loops, compiled by Numba and shared out over planes: what anybody would write first.

Every tap checks its position, so nothing becomes a vector instruction; it loses to row-wise windows wherever the plane is wider than
a few elements. Reference as for the definition in `pool_naive`.
"""

from __future__ import annotations

import numpy as np

from kernels.cost.roofline import memory_seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.reference.pieces import count, pieces
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.arrays import frozen
from kernels.problem.pool import AdaptivePool, Pool, adaptive_window
from kernels.runtime.jit import njit
from kernels.runtime.regions import region

Array = np.ndarray

SPEED = 1e8  # operations a second of one core


@njit
def plane_maxima(x, out, indices, depths, heights, widths, dilation):
    """Window maxima of x (d, h, w) into out (od, oh, ow); positions too if `indices` has planes. depths, heights, widths (2, outputs):
    where each window begins, and how many taps it has, `dilation` apart."""
    depth, height, width = x.shape
    for od in range(out.shape[0]):
        for oh in range(out.shape[1]):
            for ow in range(out.shape[2]):
                best, where = -np.inf, -1
                for kd in range(depths[1, od]):
                    d = depths[0, od] + kd * dilation[0]
                    if d < 0 or d >= depth:
                        continue
                    for kh in range(heights[1, oh]):
                        h = heights[0, oh] + kh * dilation[1]
                        if h < 0 or h >= height:
                            continue
                        for kw in range(widths[1, ow]):
                            w = widths[0, ow] + kw * dilation[2]
                            if 0 <= w < width:
                                value = x[d, h, w]
                                if where < 0 or value > best or (value != value and best == best):
                                    best, where = value, (d * height + h) * width + w
                out[od, oh, ow] = best
                if indices.shape[0]:
                    indices[od, oh, ow] = max(where, 0)


@njit
def plane_averages(x, out, depths, heights, widths, dilation, ends, include_pad, divisor):
    """Window averages of x (d, h, w) into out (od, oh, ow), windows as above; padding reaches to `ends`; divisor 0 means the number of taps
    that count."""
    depth, height, width = x.shape
    for od in range(out.shape[0]):
        for oh in range(out.shape[1]):
            for ow in range(out.shape[2]):
                total, inside, counted = 0.0, 0, 0
                for kd in range(depths[1, od]):
                    d = depths[0, od] + kd * dilation[0]
                    for kh in range(heights[1, oh]):
                        h = heights[0, oh] + kh * dilation[1]
                        for kw in range(widths[1, ow]):
                            w = widths[0, ow] + kw * dilation[2]
                            if d < ends[0] and h < ends[1] and w < ends[2]:
                                counted += 1
                            if 0 <= d < depth and 0 <= h < height and 0 <= w < width:
                                inside += 1
                                total += x[d, h, w]
                number = divisor if divisor else (counted if include_pad else inside)
                out[od, oh, ow] = total / number if number else 0.0


@njit
def place(task, out, piece):
    """(plane, top, bottom, left, right) of a task: the piece of a plane of out (planes, od, oh, ow), through all its depth."""
    oh, ow = out.shape[2:]
    across = (ow + piece[1] - 1) // piece[1]
    each = (oh + piece[0] - 1) // piece[0] * across
    top, left = task % each // across * piece[0], task % each % across * piece[1]
    return task // each, top, min(top + piece[0], oh), left, min(left + piece[1], ow)


@region
def maxima(task, thread, x, out, indices, depths, heights, widths, dilation, piece):
    """A piece of a plane of x (planes, d, h, w); `indices` (planes, od, oh, ow), or (1, 0, 0, 0) if no positions are wanted."""
    p, top, bottom, left, right = place(task, out, piece)
    found = indices[p % indices.shape[0], :, top:bottom, left:right]
    plane_maxima(x[p], out[p, :, top:bottom, left:right], found, depths, heights[:, top:bottom], widths[:, left:right], dilation)


@region
def averages(task, thread, x, out, depths, heights, widths, dilation, ends, include_pad, divisor, piece):
    """A piece of a plane of x (planes, d, h, w)."""
    p, top, bottom, left, right = place(task, out, piece)
    plane_averages(
        x[p], out[p, :, top:bottom, left:right], depths, heights[:, top:bottom], widths[:, left:right], dilation,
        ends=ends, include_pad=include_pad, divisor=divisor,
    )  # fmt: skip


def windows(problem: Pool | AdaptivePool, axis: int) -> Array:
    """(2, outputs) along an axis: where each window begins, and its taps."""
    if isinstance(problem, AdaptivePool):
        first, end = adaptive_window(problem.size[axis], problem.out_size[axis], np.arange(problem.out_size[axis]))
        return np.stack([first, end - first])
    starts = np.arange(problem.out_size[axis]) * problem.stride[axis] - problem.padding[axis][0]
    return np.stack([starts, np.full_like(starts, problem.kernel[axis])])


def prepare(problem: Pool | AdaptivePool, threads: int) -> Prepared:
    """The windows along three axes, the first of length 1 where there are two; compile."""
    axes = len(problem.size)
    size, out_size = (1,) * (3 - axes) + problem.size, (1,) * (3 - axes) + problem.out_size
    tables = [np.array([[0], [1]])] * (3 - axes) + [windows(problem, axis) for axis in range(axes)]
    ends, dilation, include_pad, divisor = problem.size, (1,) * axes, False, 0
    if isinstance(problem, Pool):
        ends = tuple(n + after for n, (_, after) in zip(problem.size, problem.padding))
        dilation, include_pad, divisor = problem.dilation, problem.count_include_pad, problem.divisor_override or 0
    ends, dilation = (1,) * (3 - axes) + ends, (1,) * (3 - axes) + dilation
    no_indices = np.empty((1, 0, 0, 0), np.int64)
    oh, ow = out_size[1:]
    piece = pieces(problem.flops / SPEED / max(problem.n * problem.c_in, 1), oh, ow)
    each, rest = count(oh, ow, piece), (dilation, ends, include_pad, divisor, piece)

    def run(x: Array, out: Array, indices: Array | None = None) -> None:
        planes, result = frozen(x).reshape(len(x) * problem.c_in, *size), out.reshape(len(x) * problem.c_in, *out_size)
        if problem.kind == "max":
            where = no_indices if indices is None else indices.reshape(result.shape)
            maxima.exact(threads, len(planes) * each, planes, result, where, *tables, dilation, piece)  # one of the inputs, however small
        else:
            averages(threads, len(planes) * each, planes, result, *tables, *rest)

    def no_images(size: tuple[int, ...], dtype: str) -> Array:
        return np.empty((0, problem.c_in, *size), dtype)

    indices = no_images(out_size, "int64") if problem.return_indices else None
    run(no_images(size, problem.dtype), no_images(out_size, problem.dtype), indices)  # compiles
    return Prepared(without_operands(run))


def estimate(problem: Pool | AdaptivePool) -> float:
    """What memory takes, and its operations."""
    return memory_seconds(problem) + problem.flops / SPEED


for _operation in ("pool", "pool3d", "adaptive_pool"):
    registry.add(
        Implementation("jit", _operation, lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=2, sum_order="loops")
    )

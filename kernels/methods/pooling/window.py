"""Pooling by rows in vectors: a window is combined down its columns first, where every lane works, then along the row.

The vertical pass reads each input row once per window row and leaves one padded row in the first-level cache, where padding costs
nothing; the horizontal pass fills the lanes with outputs, or with the taps of one output where the step is wide. Windows that cover
whole rows or planes are sums over contiguous lines. Reading the input is all that takes time, so it is limited by memory; it loses to
nothing here. The separation is that of van Herk's filters (Pattern Recognition Letters 13(7), 1992), by which long windows go too
(`long_windows`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.cost.memory import L2_BYTES
from kernels.cost.roofline import memory_seconds, rate
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.pooling.argmax import ArgmaxPlane, plane_positions
from kernels.methods.pooling.long_windows import cycles, is_long, prepare_long
from kernels.methods.pooling.narrow import TASK_BYTES, for_kind, in_lanes, in_strips, planes_of_task, prepare_lanes, prepare_strips
from kernels.methods.pooling.records import MaximaWindows, PlaneWindows, WholeLines, windows_of
from kernels.primitives.pool_window import LANE_STRIDES, MAXIMUM, TILED_STRIDES, PoolLines, PoolPlane, code, line, plane, window
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.conv import Problem
from kernels.problem.pool import Pool
from kernels.problem.window import dilated
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

SHARE = 0.2  # of the vectors' peak
BYTES_PER_CYCLE = 4  # of input and output on one core, roughly, where they are not still in the second-level cache


@region
def windows(task, thread, x, out, rows, geometry):
    """Some planes. x, out and rows are handles, of which each thread has one row; geometry: PlaneWindows."""
    g = geometry[0]
    row = pointed(rows) + thread * g.row_bytes
    for p in range(task * g.per_task, min((task + 1) * g.per_task, g.planes)):
        dst, src = pointed(out) + p * g.oh * g.ow * g.itemsize, pointed(x) + p * g.h * g.w * g.itemsize
        call(
            g.kernel,
            PoolPlane(
                kind=g.kind, stride=g.stride, window_rows=g.window_rows, lanes=g.lanes, itemsize=g.itemsize, dst=dst, src=src, row=row,
                row_counts=g.row_counts, counts=g.counts, oh=g.oh, ow=g.ow, h=g.h, w=g.w,
                kh=g.kh, kw=g.kw, sh=g.sh, sw=g.sw, top=g.top, left=g.left, dh=g.dh, dw=g.dw,
            ),
        )  # fmt: skip


@region
def positions(task, thread, x, out, where, geometry):
    """Some planes, with positions of maxima into `where` (int64), all handles; geometry: MaximaWindows."""
    g = geometry[0]
    for p in range(task * g.per_task, min((task + 1) * g.per_task, g.planes)):
        to, found = pointed(out) + p * g.oh * g.ow * g.itemsize, pointed(where) + p * g.oh * g.ow * 8
        source = pointed(x) + p * g.h * g.w * g.itemsize
        call(
            g.kernel,
            ArgmaxPlane(
                stride=g.stride, lanes=g.lanes, itemsize=g.itemsize, dst=to, where=found, src=source,
                oh=g.oh, ow=g.ow, h=g.h, w=g.w, kh=g.kh, kw=g.kw, sh=g.sh, sw=g.sw, top=g.top, left=g.left, dh=g.dh, dw=g.dw,
            ),
        )  # fmt: skip


@region
def lines(task, thread, x, out, geometry):
    """Some lines; x and out are handles; geometry: WholeLines."""
    g = geometry[0]
    first = task * g.per_task
    call(
        g.kernel,
        PoolLines(
            kind=g.kind, lanes=g.lanes, itemsize=g.itemsize, dst=pointed(out) + first * g.itemsize,
            src=pointed(x) + first * g.length * g.itemsize, row_counts=g.row_counts, counts=g.counts,
            lines=min(g.per_task, g.lines - first), length=g.length,
        ),
    )  # fmt: skip


def divisors(problem: Pool, axis: int) -> Array:
    """For each output along an axis, how many taps of its window the divisor of an average counts."""
    n, k, d = problem.size[axis], problem.kernel[axis], problem.dilation[axis]
    before, after = problem.padding[axis]
    low, high = (-before, n + after) if problem.count_include_pad else (0, n)
    first = np.arange(problem.out_size[axis]) * problem.stride[axis] - before
    ahead, inside = -((first - low) // d), -((first - high) // d)  # taps before low and before high, were there no end to them
    return np.maximum(np.clip(inside, 0, k) - np.clip(ahead, 0, k), 1)


def whole_lines(problem: Pool) -> int:
    """Length of the contiguous line that each output combines, if windows cover whole rows or planes; else 0."""
    (kh, kw), (h, w), (oh, ow) = problem.kernel, problem.size, problem.out_size
    if any(map(any, problem.padding)) or (kw != w and w > 1) or ow != 1 or (problem.dilation[1] > 1 and kw > 1):
        return 0
    if kh == h and oh == 1 and (problem.dilation[0] == 1 or kh == 1):
        return h * w
    return w if kh == 1 and problem.stride[0] == 1 else 0


def refuse(problem: Problem) -> str | None:
    """Wide dilated steps, and positions in planes that are too large to count."""
    assert isinstance(problem, Pool)
    if problem.return_indices:
        large = math.prod(problem.size) >= 1 << 31
        return "positions in planes of 2^31 numbers and more do not fit its counters; jit has larger ones" if large else None
    if problem.stride[1] > LANE_STRIDES and problem.dilation[1] > 1 and not whole_lines(problem) and not is_long(problem):
        return f"a dilated window that steps by more than {LANE_STRIDES} along the width has no vectors to load; jit does it"
    return None


def _prepare_positions(problem: Pool, threads: int) -> Prepared:
    """As `prepare`, for maxima with their positions."""
    step = problem.stride[1] if problem.stride[1] <= TILED_STRIDES else 0
    kernel = plane_positions(step, machine().lanes(problem.itemsize), problem.itemsize)
    per_task = planes_of_task(problem, threads)
    tasks = -(-problem.n * problem.c_in // per_task)
    geometry = MaximaWindows.packed(**windows_of(problem), kernel=kernel, kind=MAXIMUM, per_task=per_task, stride=step)
    launch = positions.exact.ready(0, 0, 0, geometry)

    def run(x: Array, out: Array, where: Array) -> None:
        launch(threads, tasks, handle(x), handle(out), handle(where), geometry)

    return Prepared(without_operands(run))


def prepare(problem: Pool, threads: int) -> Prepared:
    """Compile the micro-kernel, count the divisors, lay out the scratch rows."""
    near = problem.compulsory_bytes < machine().l2 / 2
    threads = threads_for(problem.compulsory_bytes / (L2_BYTES if near else BYTES_PER_CYCLE), threads)
    if problem.return_indices:
        return _prepare_positions(problem, threads)
    size = problem.itemsize
    lanes = machine().lanes(size)
    kind = code(problem.kind)
    w, (oh, ow) = problem.size[1], problem.out_size
    row_counts, counts = divisors(problem, 0), divisors(problem, 1)
    if problem.divisor_override:
        row_counts, counts = np.full(oh, problem.divisor_override), np.ones(ow)
    down = row_counts.astype(problem.dtype)
    across = np.append(counts, np.ones(lanes)).astype(problem.dtype)  # read by whole vectors
    divisors_at = {"row_counts": down.ctypes.data, "counts": across.ctypes.data}
    length = whole_lines(problem)
    if length:
        count = math.prod(problem.out_shape)
        per_task = max(1, TASK_BYTES // (length * size))
        of_lines = WholeLines.packed(
            **divisors_at, kernel=line(kind, lanes, size), kind=kind, lanes=lanes, itemsize=size, lines=count, per_task=per_task,
            length=length,
        )  # fmt: skip
        launch_lines = for_kind(lines, kind).ready(0, 0, of_lines)

        def run_lines(x: Array, out: Array, keep_alive: Any = (down, across)) -> None:
            launch_lines(threads, -(-count // per_task), handle(x), handle(out), of_lines)

        return Prepared(without_operands(run_lines), 0, f"whole lines of {length}")
    if is_long(problem):
        return prepare_long(problem, threads, row_counts, counts)
    if in_strips(problem):
        return prepare_strips(problem, threads)
    if in_lanes(problem):
        return prepare_lanes(problem, threads, down, across)
    left = problem.padding[1][0]
    inside = tuple(  # along each axis, whether no window reaches past the plane
        before == 0 and (out - 1) * step + dilated(k, d) <= n
        for n, k, step, d, out, (before, _) in zip(
            problem.size, problem.kernel, problem.stride, problem.dilation, problem.out_size, problem.padding
        )
    )
    shape = window(problem.kernel, problem.stride, problem.dilation, (inside[0], inside[1]))
    kernel = plane(kind, shape, lanes, size)
    # from the first tap of the last output on, a vector of taps or of outputs
    needed = (ow - 1) * problem.stride[1] + dilated(problem.kernel[1], problem.dilation[1]) + lanes * max(shape.stride, 1)
    row_bytes = whole(max(needed, left + w + lanes) * size)
    per_task = planes_of_task(problem, threads)
    tasks = -(-problem.n * problem.c_in // per_task)
    used = min(threads, tasks)
    scratch = Scratch(used * row_bytes)
    geometry = PlaneWindows.packed(
        **windows_of(problem), **divisors_at, kernel=kernel, kind=kind, per_task=per_task, stride=shape.stride,
        window_rows=shape.window_rows,
        row_bytes=row_bytes,
    )  # fmt: skip
    launch = for_kind(windows, kind).ready(0, 0, 0, geometry)
    neutral = -math.inf if kind == MAXIMUM else 0.0

    def run(x: Array, out: Array, keep_alive: Any = (down, across)) -> None:
        rows = scratch.take()
        if not all(inside) and not shape.tiled:  # a scratch row's margins are padding
            rows[: used * row_bytes].view(problem.dtype)[...] = neutral
        launch(used, tasks, handle(x), handle(out), handle(rows), geometry)
        scratch.give(rows)

    return Prepared(without_operands(run), scratch.nbytes)


def estimate(problem: Pool) -> float:
    """What memory takes, and its operations at a share of the vectors' peak; of long windows what running along their lines takes."""
    if is_long(problem) and not whole_lines(problem):
        return memory_seconds(problem) + cycles(problem) / calibration().clock
    return memory_seconds(problem) + problem.flops / rate(problem, SHARE)


registry.add(Implementation("window", "pool", refuse, prepare, rounding_bound, estimate=estimate))

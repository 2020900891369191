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

from kernels.cost.calibration import calibration, worth
from kernels.cost.memory import L2_BYTES
from kernels.cost.roofline import memory_seconds, rate
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.pooling.argmax import ArgmaxPlane, plane_positions
from kernels.methods.pooling.long_windows import cycles, is_long, prepare_long
from kernels.methods.pooling.narrow import (
    JOB_BYTES,
    for_kind,
    geometry,
    in_strips,
    planes_of_job,
    prepare_stacks,
    prepare_strips,
    stacks_planes,
)
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
def windows(job, thread, x, out, rows, row_bytes, kernel, sizes, row_counts, counts, planes, planes_per_job):
    """Some planes. x, out and rows are handles, of which each thread has one row; row_counts and counts addresses of arrays of numbers,
    kernel an address."""
    kind, stride, tall, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    row = pointed(rows) + thread * row_bytes
    for p in range(job * planes_per_job, min((job + 1) * planes_per_job, planes)):
        dst, src = pointed(out) + p * oh * ow * size, pointed(x) + p * h * w * size
        call(
            kernel,
            PoolPlane(
                kind=kind, stride=stride, tall=tall, lanes=lanes, itemsize=size, dst=dst, src=src, row=row, row_counts=row_counts,
                counts=counts, oh=oh, ow=ow, h=h, w=w, kh=kh, kw=kw, sh=sh, sw=sw, top=top, left=left, dh=dh, dw=dw,
            ),
        )  # fmt: skip


@region
def positions(job, thread, x, out, where, kernel, sizes, planes, planes_per_job):
    """Some planes, with positions of maxima into `where` (int64); arguments as for `windows`."""
    stride, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    for p in range(job * planes_per_job, min((job + 1) * planes_per_job, planes)):
        to, found = pointed(out) + p * oh * ow * size, pointed(where) + p * oh * ow * 8
        source = pointed(x) + p * h * w * size
        call(
            kernel,
            ArgmaxPlane(
                stride=stride, lanes=lanes, itemsize=size, dst=to, where=found, src=source,
                oh=oh, ow=ow, h=h, w=w, kh=kh, kw=kw, sh=sh, sw=sw, top=top, left=left, dh=dh, dw=dw,
            ),
        )  # fmt: skip


@region
def lines(job, thread, x, out, kernel, kind, lanes, size, row_counts, counts, count, per_job, length):
    """Some lines of `length`; arguments as for `windows`."""
    first = job * per_job
    number = min(per_job, count - first)
    to, source = pointed(out) + first * size, pointed(x) + first * length * size
    call(
        kernel,
        PoolLines(
            kind=kind, lanes=lanes, itemsize=size, dst=to, src=source, row_counts=row_counts, counts=counts, lines=number, length=length
        ),
    )


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
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes = machine().lanes(size)
    step = problem.stride[1] if problem.stride[1] <= TILED_STRIDES else 0
    kernel = plane_positions(step, lanes, size)
    sizes = (step, lanes, size, *geometry(problem))
    per_job = planes_of_job(problem, threads)
    used = min(threads, -(-planes // per_job))
    rest = kernel, sizes, planes, per_job
    launch, jobs = positions.exact.ready(0, 0, 0, *rest), -(-planes // per_job)

    def run(x: Array, out: Array, where: Array) -> None:
        launch(used, jobs, handle(x), handle(out), handle(where), *rest)

    return Prepared(without_operands(run))


def prepare(problem: Pool, threads: int) -> Prepared:
    """Compile the micro-kernel, count the divisors, lay out the scratch rows."""
    near = problem.compulsory_bytes < machine().l2 / 2
    threads = worth(threads, problem.compulsory_bytes / (L2_BYTES if near else BYTES_PER_CYCLE))
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
    planes = problem.n * problem.c_in
    held = down, across
    divisors_at = down.ctypes.data, across.ctypes.data
    length = whole_lines(problem)
    if length:
        count = math.prod(problem.out_shape)
        kernel = line(kind, lanes, size)
        per_job = max(1, JOB_BYTES // (length * size))
        used = min(threads, -(-count // per_job))

        rest = kernel, kind, lanes, size, *divisors_at, count, per_job, length
        launch_lines, line_jobs = for_kind(lines, kind).ready(0, 0, *rest), -(-count // per_job)

        def run_lines(x: Array, out: Array, held: Any = held) -> None:
            launch_lines(used, line_jobs, handle(x), handle(out), *rest)

        return Prepared(without_operands(run_lines), 0, f"whole lines of {length}")
    if is_long(problem):
        return prepare_long(problem, threads, row_counts, counts)
    if in_strips(problem):
        return prepare_strips(problem, threads)
    if stacks_planes(problem):
        return prepare_stacks(problem, threads, down, across)
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
    per_job = planes_of_job(problem, threads)
    used = min(threads, -(-planes // per_job))
    scratch = Scratch(used * row_bytes)
    sizes = (kind, shape.stride, shape.tall, lanes, size, *geometry(problem))

    arguments = row_bytes, kernel, sizes, *divisors_at, planes, per_job
    launch, jobs = for_kind(windows, kind).ready(0, 0, 0, *arguments), -(-planes // per_job)
    neutral = -math.inf if kind == MAXIMUM else 0.0

    def run(x: Array, out: Array, held: Any = held) -> None:
        rows = scratch.take()
        if not all(inside) and not shape.tiled:  # a scratch row's margins are padding
            rows[: used * row_bytes].view(problem.dtype)[...] = neutral
        launch(used, jobs, handle(x), handle(out), handle(rows), *arguments)
        scratch.give(rows)

    return Prepared(without_operands(run), scratch.nbytes)


def estimate(problem: Pool) -> float:
    """What memory takes, and its operations at a share of the vectors' peak; of long windows what running along their lines takes."""
    if is_long(problem) and not whole_lines(problem):
        return memory_seconds(problem) + cycles(problem) / calibration().clock
    return memory_seconds(problem) + problem.flops / rate(problem, SHARE)


registry.add(Implementation("window", "pool", refuse, prepare, rounding_bound, estimate=estimate))

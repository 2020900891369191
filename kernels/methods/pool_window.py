"""Pooling by rows in vectors: a window is combined down its columns first, where every lane works, then along the row.

The vertical pass reads each input row once per window row and leaves one padded row in the first-level cache, where padding costs
nothing; the horizontal pass fills the lanes with outputs, or with the taps of one output where the step is wide. Windows that cover
whole rows or planes are sums over contiguous lines. Reading the input is all that takes time, so it is limited by memory; it loses to
nothing here. The separation is that of van Herk's filters (Pattern Recognition Letters 13(7), 1992).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from kernels import registry
from kernels.blocks import start_counter
from kernels.calibration import worth
from kernels.implementation import Implementation, Operands, Prepared, rounding_bound
from kernels.jit import njit, region
from kernels.machine import machine
from kernels.microkernels.argmax import plane_positions
from kernels.microkernels.lines import ALONG, bring, put
from kernels.microkernels.stacked import stacked
from kernels.microkernels.window import LANE_STRIDES, MAXIMUM, SUM, TILED_STRIDES, line, plane, window
from kernels.problem import Pool, Problem, dilated
from kernels.scratch import ALIGNMENT, Scratch, raw, whole
from kernels.vector import call, flush_denormals, restore_denormals, take_next

Array = np.ndarray

BYTES_PER_CYCLE = 4  # of input and output on one core, roughly
JOB_BYTES = 1 << 18  # input bytes of one job: enough to hide taking it, few enough that threads end together


@njit
def _planes(first, last, x, out, row, kernel, sizes, row_counts, counts):
    kind, stride, tall, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    for p in range(first, last):
        dst, src = out + p * oh * ow * size, x + p * h * w * size
        call(kernel, (kind, stride, tall, lanes, size, dst, src, row, row_counts, counts, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw))


@region
def windows(threads, x, out, rows, row_bytes, kernel, sizes, row_counts, counts, planes, planes_per_job):
    """Every plane; threads take jobs of some planes from a counter at the end of `rows`. x, out and rows (one scratch row a thread) are
    bytes, row_counts and counts arrays of numbers, kernel an address."""
    counter = start_counter(rows, 0)
    for thread in prange(threads):
        state = flush_denormals()
        if sizes[0] == MAXIMUM:  # which is one of its inputs, however small
            restore_denormals(state)
        row = rows.ctypes.data + thread * row_bytes
        first = take_next(counter) * planes_per_job
        while first < planes:
            last = min(first + planes_per_job, planes)
            _planes(first, last, x.ctypes.data, out.ctypes.data, row, kernel, sizes, row_counts.ctypes.data, counts.ctypes.data)
            first = take_next(counter) * planes_per_job
        restore_denormals(state)


@region
def stacks(threads, x, out, scratch, scratch_bytes, bring_kernel, kernel, put_kernel, sizes, row_counts, counts, places, nothing, planes):
    """Every plane, as many at a time as there are lanes; places ([0]: all of them, [1]: those of the last time) say where each lane's
    plane begins and ends, in and out; nothing is a bias of zero; other arguments as for `windows`."""
    counter = start_counter(scratch, 0)
    kind, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    for thread in prange(threads):
        state = flush_denormals()
        if kind == MAXIMUM:  # which is one of its inputs, however small
            restore_denormals(state)
        block = scratch.ctypes.data + thread * scratch_bytes
        pooled = block + scratch_bytes // 2
        first = take_next(counter) * lanes
        while first < planes:
            table = places[int(first + lanes > planes)]
            call(bring_kernel, (ALONG, lanes, size, block, h * w, x.ctypes.data + first * h * w * size, table.ctypes.data, 1, 0, 1))
            call(kernel, (kind, lanes, size, pooled, block, row_counts.ctypes.data, counts.ctypes.data,
                          oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw))  # fmt: skip
            call(put_kernel, (ALONG, 0, lanes, size, pooled, oh * ow, out.ctypes.data + first * oh * ow * size,
                              table.ctypes.data + 3 * lanes * 8, 1, nothing.ctypes.data, 0, 0, 0, 0))  # fmt: skip
            first = take_next(counter) * lanes
        restore_denormals(state)


@region
def positions(threads, x, out, where, kernel, sizes, planes, planes_per_job, counter):
    """Every plane, with positions of maxima into `where` (int64); arguments as for `windows`, counter an array of one number."""
    counter[0] = 0
    stride, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    for _ in prange(threads):
        first = take_next(counter.ctypes.data) * planes_per_job
        while first < planes:
            for p in range(first, min(first + planes_per_job, planes)):
                to, found = out.ctypes.data + p * oh * ow * size, where.ctypes.data + p * oh * ow * 8
                source = x.ctypes.data + p * h * w * size
                call(kernel, (stride, lanes, size, to, found, source, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw))
            first = take_next(counter.ctypes.data) * planes_per_job


@region
def lines(threads, x, out, counter, kernel, kind, lanes, size, row_counts, counts, count, per_job, length):
    """Every line of `length`; arguments as for `windows`, counter an array of one number."""
    counter[0] = 0
    for _ in prange(threads):
        state = flush_denormals()
        if kind == MAXIMUM:  # which is one of its inputs, however small
            restore_denormals(state)
        first = take_next(counter.ctypes.data) * per_job
        while first < count:
            number = min(per_job, count - first)
            to, source = out.ctypes.data + first * size, x.ctypes.data + first * length * size
            call(kernel, (kind, lanes, size, to, source, row_counts.ctypes.data, counts.ctypes.data, number, length))
            first = take_next(counter.ctypes.data) * per_job
        restore_denormals(state)


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


def stacks_planes(problem: Pool) -> bool:
    """Whether planes are pooled one in each lane: where a row of outputs fills less than half a vector, and the planes of all lanes stay in
    the second-level cache."""
    lanes = machine().lanes(problem.itemsize)
    fits = math.prod(problem.size) * lanes * problem.itemsize <= machine().l2 // 4
    return problem.out_size[1] * 2 <= lanes <= problem.n * problem.c_in and fits


def refuse(problem: Problem) -> str | None:
    """Wide dilated steps, and positions in planes that are too large to count."""
    assert isinstance(problem, Pool)
    if problem.return_indices:
        large = math.prod(problem.size) >= 1 << 31
        return "positions in planes of 2^31 numbers and more do not fit its counters; jit has larger ones" if large else None
    if problem.stride[1] > LANE_STRIDES and problem.dilation[1] > 1 and not whole_lines(problem):
        return f"a dilated window that steps by more than {LANE_STRIDES} along the width has no vectors to load; jit does it"
    return None


def _prepare_positions(problem: Pool, threads: int) -> Prepared:
    """As `prepare`, for maxima with their positions."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes = machine().lanes(size)
    step = problem.stride[1] if problem.stride[1] <= TILED_STRIDES else 0
    kernel = plane_positions(step, lanes, size)
    place = *problem.kernel, *problem.stride, problem.padding[0][0], problem.padding[1][0], *problem.dilation
    sizes = (step, lanes, size, *problem.out_size, *problem.size, *place)
    per_job = max(1, min(JOB_BYTES // (math.prod(problem.size) * size), -(-planes // threads)))
    used = min(threads, -(-planes // per_job))
    example = np.empty((1, 1, 1, 1), np.uint8)
    rest = kernel, sizes, planes, per_job
    launch = positions.ready(used, used, example, example, example, *rest, np.empty(1, np.int64))

    def run(x: Array, out: Array, where: Array) -> None:
        launch(used, raw(x), raw(out), raw(where), *rest, np.empty(1, np.int64))

    return Prepared(run)


def _prepare_stacks(problem: Pool, threads: int, down: Array, across: Array) -> Prepared:
    """As `prepare`, for planes one in each lane."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes, kind = machine().lanes(size), MAXIMUM if problem.kind == "max" else SUM
    area, produced = math.prod(problem.size), math.prod(problem.out_size)
    places = np.zeros((2, 5, lanes), np.int64)
    for table, live in zip(places, (lanes, planes % lanes)):
        table[0], table[3] = np.arange(lanes) * area, np.arange(lanes) * produced
        table[2, :live], table[4, :live] = area, produced
    half = whole((max(area, produced) + lanes) * lanes * size)  # lines are turned in blocks of as many as there are lanes
    used = min(threads, -(-planes // lanes))
    scratch = Scratch(2 * used * half + ALIGNMENT)
    place = *problem.kernel, *problem.stride, problem.padding[0][0], problem.padding[1][0], *problem.dilation
    sizes = (kind, lanes, size, *problem.out_size, *problem.size, *place)
    kernels = bring(ALONG, lanes, size), stacked(kind, lanes, size), put(ALONG, False, lanes, size)
    rest = 2 * half, *kernels, sizes, raw(down), raw(across), places, np.zeros(1, problem.dtype), planes
    example = np.empty((1, 1, 1, 1), np.uint8)
    launch = stacks.ready(used, used, example, example, example.ravel(), *rest)

    def run(x: Array, out: Array) -> None:
        with scratch.take() as buffer:
            launch(used, raw(x), raw(out), buffer, *rest)

    return Prepared(run, scratch.nbytes, f"{lanes} planes at a time")


def prepare(problem: Pool, operands: Operands, threads: int) -> Prepared:
    """Compile the micro-kernel, count the divisors, lay out the scratch rows."""
    threads = worth(threads, problem.compulsory_bytes / BYTES_PER_CYCLE)
    if problem.return_indices:
        return _prepare_positions(problem, threads)
    size = problem.itemsize
    lanes = machine().lanes(size)
    kind = MAXIMUM if problem.kind == "max" else SUM
    (h, w), (oh, ow) = problem.size, problem.out_size
    row_counts, counts = divisors(problem, 0), divisors(problem, 1)
    if problem.divisor_override:
        row_counts, counts = np.full(oh, problem.divisor_override), np.ones(ow)
    down = row_counts.astype(problem.dtype)
    across = np.append(counts, np.ones(lanes)).astype(problem.dtype)  # read by whole vectors
    planes = problem.n * problem.c_in
    example = np.empty((1, 1, 1, 1), np.uint8)
    length = whole_lines(problem)
    if length:
        count = math.prod(problem.out_shape)
        kernel = line(kind, lanes, size)
        per_job = max(1, JOB_BYTES // (length * size))
        used = min(threads, -(-count // per_job))

        rest = kernel, kind, lanes, size, raw(down), raw(across), count, per_job, length
        launch_lines = lines.ready(used, used, example, example, np.empty(1, np.int64), *rest)

        def run_lines(x: Array, out: Array) -> None:
            launch_lines(used, raw(x), raw(out), np.empty(1, np.int64), *rest)

        return Prepared(run_lines, 0, f"whole lines of {length}")
    if stacks_planes(problem):
        return _prepare_stacks(problem, threads, down, across)
    left = problem.padding[1][0]
    inside = tuple(
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
    per_job = max(1, min(JOB_BYTES // (h * w * size), -(-planes // threads)))
    used = min(threads, -(-planes // per_job))
    scratch = Scratch(used * row_bytes + ALIGNMENT)
    place = oh, ow, h, w, *problem.kernel, *problem.stride, problem.padding[0][0], left, *problem.dilation
    sizes = (kind, shape.stride, shape.tall, lanes, size, *place)

    arguments = row_bytes, kernel, sizes, raw(down), raw(across), planes, per_job
    launch = windows.ready(used, used, example, example, example.ravel(), *arguments)
    neutral = -math.inf if kind == MAXIMUM else 0.0

    def run(x: Array, out: Array) -> None:
        with scratch.take() as rows:
            rows[:-ALIGNMENT].view(problem.dtype)[...] = neutral
            launch(used, raw(x), raw(out), rows, *arguments)

    return Prepared(run, scratch.nbytes)


registry.add(Implementation("window", "pool", refuse, prepare, rounding_bound))

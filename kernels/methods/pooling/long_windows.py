"""Pools of long windows that step by little: work by the number of inputs, however long the window is.

A line is cut into blocks as long as the window. A window is the end of one block and the beginning of the next, so its result is one of
the block's running results from behind combined with one of the next block's from the front:

    y[s] = combine(x[s] … x[end of its block])  with  combine(x[first of the next block] … x[s + k - 1])

Nothing is ever taken away again, so that each sum holds its own window's numbers only, however large, infinite or NaN its neighbours are.
Sums of float32 run in float64; those of float64 carry what rounding lost beside them. It loses to `window` where windows are short or step
by much of their length. References: M. van Herk, Pattern Recognition Letters 13(7), 1992; J. Gil and M. Werman, IEEE PAMI 15(5), 1993; the
sum of rounding errors is that of D. Knuth's TwoSum, The Art of Computer Programming 2, section 4.2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.pooling.narrow import for_kind
from kernels.primitives.pool_window import MAXIMUM, code
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.pool import Pool
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch

Array = np.ndarray

STEP = 9.0  # cycles for a number of a line, one after the other in two directions
COLUMN = 3.0  # cycles for a vector of columns, which go down side by side
LOAD = {"max": 2.0, "avg": 1.1}  # cycles for a vector of taps of the other method, which loads every tap of every window
CLEARLY = 1.2  # times as fast as the other method before this one is taken: both are estimates
TILE = 64  # columns that go down together: their running results of a block stay near
AHEAD = 4  # windows that a task is long at least: each task begins with one that it does twice


class Axis(NamedTuple):
    """Windows along one axis."""

    k: int  # taps
    stride: int
    before: int  # padding
    dilation: int


@njit
def _larger(a, b):
    """The maximum; NaN wins."""
    return a if a > b or a != a else b


@njit
def _maxima(x, out, first, last, axis, suffixes):
    """Outputs `first` to `last` of a line."""
    k, stride, before, dilation = axis
    n = x.size
    begin, end = first * stride - before, (last - 1) * stride - before
    for phase in range(min(dilation, end - begin + 1)):
        start = begin + phase
        count = (end - start) // dilation + 1  # windows of this phase, whether they are wanted or skipped
        for block in range(0, count, k):
            run = x.dtype.type(-np.inf)
            for t in range(k - 1, -1, -1):
                at = start + (block + t) * dilation
                if 0 <= at < n:
                    run = _larger(x[at], run)
                suffixes[t] = run
            run = x.dtype.type(-np.inf)
            for t in range(min(k, count - block)):
                place = start + (block + t) * dilation + before
                if stride == 1 or place % stride == 0:
                    out[place // stride] = _larger(suffixes[t], run)
                at = start + (block + k + t) * dilation
                if 0 <= at < n:
                    run = _larger(x[at], run)


@njit
def _add(total, lost, number):
    """(total + number, what rounding lost so far)."""
    new = total + number
    adjusted = new - total
    return new, lost + ((total - (new - adjusted)) + (number - adjusted))


@njit
def _sums(x, out, first, last, axis, room, divisors, careful):
    """The same of averages, whose divisors are the first of `divisors` times the others; room (2, k)."""
    k, stride, before, dilation = axis
    (suffixes, lost), (row_count, counts) = (room[0], room[1]), divisors
    n = x.size
    begin, end = first * stride - before, (last - 1) * stride - before
    for phase in range(min(dilation, end - begin + 1)):
        start = begin + phase
        count = (end - start) // dilation + 1
        for block in range(0, count, k):
            run, rest = 0.0, 0.0
            for t in range(k - 1, -1, -1):
                at = start + (block + t) * dilation
                if 0 <= at < n:
                    if careful:
                        run, rest = _add(run, rest, x[at])
                    else:
                        run += x[at]
                suffixes[t], lost[t] = run, rest
            run, rest = 0.0, 0.0
            for t in range(min(k, count - block)):
                place = start + (block + t) * dilation + before
                if stride == 1 or place % stride == 0:
                    total, missing = _add(suffixes[t], lost[t] + rest, run)
                    exact = total + missing
                    o = place // stride
                    out[o] = (exact if exact == exact else total) / (row_count * counts[o])  # beside an infinity nothing is missing
                at = start + (block + k + t) * dilation
                if 0 <= at < n:
                    if careful:
                        run, rest = _add(run, rest, x[at])
                    else:
                        run += x[at]


@njit
def _maxima_down(x, out, axis, left, right, suffixes, run):
    """All outputs down columns `left` to `right` of a plane."""
    k, stride, before, dilation = axis
    n, last = x.shape[0], out.shape[0]
    begin, end = -before, (last - 1) * stride - before
    width, neutral = right - left, -np.inf
    for phase in range(min(dilation, end - begin + 1)):
        start = begin + phase
        count = (end - start) // dilation + 1
        for block in range(0, count, k):
            run[:] = neutral
            for t in range(k - 1, -1, -1):
                at = start + (block + t) * dilation
                if 0 <= at < n:
                    for c in range(width):
                        run[c] = _larger(x[at, left + c], run[c])
                for c in range(width):
                    suffixes[t, c] = run[c]
            run[:] = neutral
            for t in range(min(k, count - block)):
                place = start + (block + t) * dilation + before
                if place % stride == 0:
                    for c in range(width):
                        out[place // stride, left + c] = _larger(suffixes[t, c], run[c])
                at = start + (block + k + t) * dilation
                if 0 <= at < n:
                    for c in range(width):
                        run[c] = _larger(x[at, left + c], run[c])


@njit
def _sums_down(x, out, axis, left, right, suffixes, run):
    """The same of sums, not divided."""
    k, stride, before, dilation = axis
    n, last = x.shape[0], out.shape[0]
    begin, end = -before, (last - 1) * stride - before
    width = right - left
    for phase in range(min(dilation, end - begin + 1)):
        start = begin + phase
        count = (end - start) // dilation + 1
        for block in range(0, count, k):
            run[:] = 0
            for t in range(k - 1, -1, -1):
                at = start + (block + t) * dilation
                if 0 <= at < n:
                    for c in range(width):
                        run[c] += x[at, left + c]
                for c in range(width):
                    suffixes[t, c] = run[c]
            run[:] = 0
            for t in range(min(k, count - block)):
                place = start + (block + t) * dilation + before
                if place % stride == 0:
                    for c in range(width):
                        out[place // stride, left + c] = suffixes[t, c] + run[c]
                at = start + (block + k + t) * dilation
                if 0 <= at < n:
                    for c in range(width):
                        run[c] += x[at, left + c]


@region
def max_lines(task, thread, x, out, suffixes, pieces, each, axis):
    """A piece of `each` outputs of a line of x (lines, w); held has room for a window a thread."""
    line, first = task // pieces, task % pieces * each
    _maxima(x[line], out[line], first, min(first + each, out.shape[1]), axis, suffixes[thread])


@region
def sum_lines(task, thread, x, out, suffixes, pieces, each, axis, row_counts, counts, careful):
    """The same of averages; held (threads, 2, k) in float64."""
    line, first = task // pieces, task % pieces * each
    last = min(first + each, out.shape[1])
    _sums(x[line], out[line], first, last, axis, suffixes[thread], (row_counts[line % row_counts.size], counts), careful)


@region
def max_down(task, thread, x, out, suffixes, tiles, tile, axis):
    """A tile of columns of a plane of x (planes, h, w); held (threads, k + 1, tile)."""
    plane, left = task // tiles, task % tiles * tile
    room = suffixes[thread]
    _maxima_down(x[plane], out[plane], axis, left, min(left + tile, x.shape[2]), room[: axis.k], room[axis.k])


@region
def sum_down(task, thread, x, out, suffixes, tiles, tile, axis):
    """The same of sums, in the precision of `out` and `held`."""
    plane, left = task // tiles, task % tiles * tile
    room = suffixes[thread]
    _sums_down(x[plane], out[plane], axis, left, min(left + tile, x.shape[2]), room[: axis.k], room[axis.k])


def cycles(problem: Pool) -> float:
    """What this method takes, of one core."""
    planes, lanes = problem.n * problem.c_in, machine().lanes(8)
    (h, w), (kh, kw), oh = problem.size, problem.kernel, problem.out_size[0]
    down = COLUMN * (h + kh) * (w / lanes + 1) if kh > 1 or oh != h else 0.0
    return planes * (down + STEP * oh * (w + kw))


def is_long(problem: Pool) -> bool:
    """Whether this method is clearly faster than one that loads every tap."""
    if problem.return_indices:
        return False
    lanes, (kh, kw), (oh, ow), w = machine().lanes(problem.itemsize), problem.kernel, problem.out_size, problem.size[1]
    taps = problem.n * problem.c_in * oh * (kh * -(-w // lanes) + ow * -(-kw // lanes)) * LOAD[problem.kind]
    return max(problem.kernel) > lanes and taps > CLEARLY * cycles(problem)


def prepare_long(problem: Pool, threads: int, row_counts: Array, counts: Array) -> Prepared:
    """Down first, if that is anything to do, into scratch; then along lines."""
    kind, dtype = code(problem.kind), np.dtype(problem.dtype)
    inner = dtype if kind == MAXIMUM else np.dtype(np.float64)
    planes, (h, w), (oh, ow), (kh, kw) = problem.n * problem.c_in, problem.size, problem.out_size, problem.kernel
    threads = threads_for(cycles(problem), threads)
    (top, _), (left, _), (sh, sw), (dh, dw) = *problem.padding, problem.stride, problem.dilation
    upright = kh > 1 or oh != h or sh > 1 or top > 0
    between = planes * oh * w if upright else 0
    lines = planes * oh
    each = ow if lines >= threads else min(ow, max(-(-ow // (2 * threads)), -(-AHEAD * kw * dw // sw)))
    pieces, tiles = -(-ow // each), -(-w // TILE)
    along = threads * kw * (1 if kind == MAXIMUM else 2)
    down = threads * (kh + 1) * TILE if upright else 0
    scratch = Scratch((between + along + down) * inner.itemsize)
    three, two = np.empty((0, 0, 0), dtype), np.empty((0, 0), inner if upright else dtype)
    space, rooms = np.empty((0, 0, 0), inner), np.empty((0, 0), inner)
    line_args = pieces, each, Axis(k=kw, stride=sw, before=left, dilation=dw)
    column_args = tiles, TILE, Axis(k=kh, stride=sh, before=top, dilation=dh)
    rest = () if kind == MAXIMUM else (row_counts.astype(np.float64), counts.astype(np.float64), dtype == np.float64)
    go_down = for_kind(max_down if kind == MAXIMUM else sum_down, kind).ready(three, space, space, *column_args) if upright else None
    out = np.empty((0, 0), dtype)
    lines_of = max_lines if kind == MAXIMUM else sum_lines
    go_along = for_kind(lines_of, kind).ready(two, out, rooms if kind == MAXIMUM else space, *line_args, *rest)

    def run(x: Array, out: Array) -> None:
        buffer = scratch.take()
        numbers = buffer.view(inner)
        source = x.reshape(planes * h, w)
        if go_down:
            middle = numbers[:between].reshape(planes, oh, w)
            suffixes = numbers[between + along :].reshape(threads, kh + 1, TILE)
            go_down(threads, planes * tiles, x.reshape(planes, h, w), middle, suffixes, *column_args)
            source = middle.reshape(lines, w)
        room = numbers[between : between + along].reshape((threads, kw) if kind == MAXIMUM else (threads, 2, kw))
        go_along(threads, lines * pieces, source, out.reshape(lines, ow), room, *line_args, *rest)
        scratch.give(buffer)

    return Prepared(without_operands(run), scratch.nbytes, "long windows by running results")

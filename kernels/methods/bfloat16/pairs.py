"""Float32s rounded to pairs of bfloat16, each as large as a float32: of two input channels, or of two columns of the only channel.

    step 1    a: x0 x1 x2 …   b: y0 y1 y2 …    ─►   x0|y0  x1|y1  x2|y2 …      lines of two channels, or of one and itself moved on
    step 2    a: x0 x1 x2 x3 x4 x5 …           ─►   x0|x1  x2|x3  x4|x5 …      channels, or columns, that lie side by side
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import Conv
from kernels.problem.window import dilated
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.ir_pairs import rounded_pairs
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import aligned, handle

Array = np.ndarray

CHUNK = 4096  # pairs of a task: 32 KB are read, which a first-level cache holds
LINE_COST, VECTOR_COST = 15, 6  # cycles a line and a vector of pairs


class PairLines(NamedTuple):
    """What rounding takes; numbers outside a range, which counts from the line's first, are zero and are not read."""

    step: Fixed  # 1 or 2, see above; of 2 there is no b, and a's range counts numbers, not pairs
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of a line
    a: int  # address of its first numbers
    b: int  # of its second numbers
    pairs: int  # in a line
    a_first: int  # the range of a that is read
    a_end: int
    b_first: int
    b_end: int
    times: int  # lines,
    dst_step: int  # whose elements are so many apart
    src_step: int


class _Line(NamedTuple):
    """One of them."""

    dst: int
    a: int
    b: int


@emitter
def _emit(w: VectorBuilder, p: PairLines, line: _Line) -> None:
    """One line."""
    b, lanes = w.b, p.lanes
    to, first, second = (w.pointer(place) for place in line)
    with w.loop(b.sdiv(b.add(p.pairs, i64(lanes - 1)), i64(lanes))) as vector:
        j = b.mul(vector, i64(lanes))
        if p.step == 1:
            one = w.load_first(w.at(first, j), w.between(j, p.a_first, p.a_end))
            other = w.load_first(w.at(second, j), w.between(j, p.b_first, p.b_end))
        else:
            starts = [b.add(b.mul(j, i64(2)), i64(half)) for half in (0, lanes)]
            both = [w.load_first(w.at(first, start), w.between(start, p.a_first, p.a_end)) for start in starts]
            one, other = w.every(both, 0), w.every(both, 1)
        w.store_first(rounded_pairs(w, one, other), w.at(to, j), w.first(b.sub(p.pairs, j)))


@njit
def _round_lines(p):
    for i in range(p.times):
        _emit(p, _Line(p.dst + i * p.dst_step * p.itemsize, p.a + i * p.src_step * p.itemsize, p.b + i * p.src_step * p.itemsize))


class Rounding(Record):
    """A region of tasks, each of some pairs of a line or of some lines. Lines come in groups, the last of one may lack second numbers or
    both, which are zeros then."""

    round_lines = address("of the micro-kernel; takes a PairLines")
    step = integer("1 or 2, see the module")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    total = integer("lines in all")
    lines = integer("of a group")
    first_lines = integer("of a group that have first numbers")
    second_lines = integer("of a group that have second numbers")
    group_step = integer("numbers of the source from group to group")
    line_step = integer("numbers of the source from line to line")
    second = integer("numbers of the source from a line's first to its second ones")
    numbers = integer("of a line of the source")
    first_pair = integer("of a line that has a number of the source as its first")
    second_pair = integer("of a line that has the same number as its second")
    pairs = integer("of a line")
    chunk = integer("pairs of a task at most")
    chunks = integer("tasks of a line")
    together = integer("lines of a task")


@njit
def clipped(first, end, count):
    """The part of a range that lies between 0 and count."""
    first = min(max(first, 0), count)
    return first, max(min(end, count), first)


@region
def _round(task, thread, source, pairs, geometry):
    """Some of the pairs of a source, both handles; geometry: a Rounding."""
    g = geometry[0]
    size = g.itemsize
    some, chunk = split(task, g.chunks)
    at, end, first = some * g.together, min((some + 1) * g.together, g.total), chunk * g.chunk
    count = min(g.chunk, g.pairs - first)
    while at < end:
        group, line = split(at, g.lines)
        has_first, has_second = line < g.first_lines, line < g.second_lines
        times = min(end - at, (g.second_lines if has_second else g.first_lines if has_first else g.lines) - line)
        a = pointed(source) + (group * g.group_step + line * g.line_step - g.first_pair + first * g.step) * size
        a_first, a_end = clipped(g.first_pair - first * g.step, g.first_pair + g.numbers * has_first - first * g.step, count * g.step)
        b_first, b_end = clipped(g.second_pair - first, g.second_pair + g.numbers * has_second - first, count)
        call(
            g.round_lines,
            PairLines(
                step=g.step, lanes=g.lanes, itemsize=size, dst=pointed(pairs) + (at * g.pairs + first) * size, a=a, b=a + g.second * size,
                pairs=count, a_first=a_first, a_end=a_end, b_first=b_first, b_end=b_end, times=times, dst_step=g.pairs,
                src_step=g.line_step,
            ),
        )  # fmt: skip
        at += times


Rounder = Callable[[Array, Array], None]  # of a source, contiguous float32s, to pairs in an array of the same dtype


def _rounder(threads: int, *, step: int, total: int, numbers: int, pairs: int, **fields: int) -> Rounder:
    """Compile the region; fields: those of a Rounding that differ from one group of lines side by side."""
    lanes, size = machine().lanes(4), 4
    chunks = max(1, -(-pairs // CHUNK))
    defaults = {
        "lines": total, "first_lines": total, "second_lines": total, "group_step": 0, "line_step": numbers, "second": 0, "first_pair": 0,
        "second_pair": 0,
    }  # fmt: skip
    together = max(1, CHUNK // max(pairs, 1)) if chunks == 1 else 1
    geometry = Rounding.packed(
        round_lines=micro_kernel.address(_round_lines, PairLines, step=step, lanes=lanes, itemsize=size), step=step, lanes=lanes,
        itemsize=size, total=total, numbers=numbers, pairs=pairs, chunk=min(CHUNK, pairs), chunks=chunks, together=together,
        **{**defaults, **fields},
    )  # fmt: skip
    threads, launch = threads_for(cycles(total, pairs), threads), _round.ready(0, 0, geometry)
    tasks = -(-total // together) * chunks

    def run(source: Array, to: Array) -> None:
        launch(threads, tasks, handle(source), handle(to), geometry)

    return run


def cycles(lines: int, pairs: int) -> float:
    """Cycles of one core to round so many lines."""
    return lines * (LINE_COST + VECTOR_COST * -(-pairs // machine().lanes(4)))


def _of_channels(groups: int, channels: int, numbers: int, pairs: int, threads: int) -> Rounder:
    """(groups, channels, numbers) -> (groups, so many pairs of channels, numbers); what channels lack for them is zero."""
    if numbers == 1:
        return _side_by_side(groups, channels, pairs, threads)
    return _rounder(
        threads, step=1, total=groups * pairs, numbers=numbers, pairs=numbers, lines=pairs, first_lines=-(-channels // 2),
        second_lines=channels // 2, group_step=channels * numbers, line_step=2 * numbers, second=numbers,
    )  # fmt: skip


def _side_by_side(lines: int, numbers: int, pairs: int, threads: int) -> Rounder:
    """(lines, numbers) -> (lines, so many pairs of numbers); what numbers lack for them is zero."""
    if numbers == 2 * pairs:
        lines, numbers, pairs = 1, lines * numbers, lines * pairs
    return _rounder(threads, step=2, total=lines, numbers=numbers, pairs=pairs)


def by_columns(problem: Conv) -> bool:
    """Whether pairs are of columns: a single channel has no other to be paired with, and an even kernel leaves no tap over, with whose zero
    an infinite number that the window does not see would make NaN."""
    return problem.c_in == 1 and problem.kernel[1] % 2 == 0


def paired(problem: Conv, depth: int = 1) -> Conv:
    """The convolution of pairs, a pair being one number; of several channels a multiple of `depth`, of which the last may be zeros."""
    if not by_columns(problem):
        pairs = -(-problem.c_in // (2 * problem.groups))
        pairs += -pairs % depth * (pairs > 1)
        return dataclasses.replace(problem, c_in=problem.groups * pairs, precision=None)
    taps, dilation = problem.kernel[1] // 2, 2 * problem.dilation[1]
    columns = (problem.conv_size[1] - 1) * problem.stride[1] + dilated(taps, dilation)
    return dataclasses.replace(
        problem, size=(problem.size[0], columns), kernel=(problem.kernel[0], taps), dilation=(problem.dilation[0], dilation),
        padding=(problem.padding[0], (0, 0)), precision=None,
    )  # fmt: skip


def input_rounder(problem: Conv, pairs: Conv, threads: int, last: bool) -> Rounder:
    """x -> that of the paired problem, both with channels last where that is so."""
    n, c_in, h, w = problem.x_shape
    if by_columns(problem):
        before, moved, columns = problem.padding[1][0], problem.dilation[1], pairs.size[1]
        return _rounder(threads, step=1, total=n * h, numbers=w, pairs=columns, second=moved, first_pair=before, second_pair=before - moved)
    ins, pairs_each = c_in // problem.groups, pairs.c_in // problem.groups
    if last:
        return _side_by_side(n * h * w * problem.groups, ins, pairs_each, threads)
    return _of_channels(n * problem.groups, ins, h * w, pairs_each, threads)


def weight_rounder(problem: Conv, pairs: Conv, threads: int) -> Callable[[Array], Array]:
    """Weights -> those of the paired problem."""
    shape = pairs.weight_shape
    outs, ins, *_ = problem.weight_shape
    if by_columns(problem):
        run = _side_by_side(outs * problem.kernel[0], problem.kernel[1], pairs.kernel[1], threads)
    else:
        run = _of_channels(outs, ins, problem.taps, shape[1], threads)

    def rounded(weight: Array) -> Array:
        found = aligned(4 * math.prod(shape)).view(np.float32).reshape(shape)
        run(weight, found)
        return found

    return rounded


def input_cycles(pairs: Conv) -> float:
    """Cycles of one core to round the input of the paired problem."""
    return cycles(pairs.n * pairs.c_in, math.prod(pairs.size))

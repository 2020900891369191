"""One axis of an array at other positions: each output is a weighted sum of a few inputs along it, as bilinear and cubic resizing want it.

Where numbers lie behind the axis, whole lines of them are combined by vector passes. Along the last axis some rows are transposed, combined
like that and transposed back, long ones in pieces, in scratch that stays in cache: a quarter of the time that gathering number by number
takes, which is left to few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import inlined
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

ROWS = 4  # rows of the last axis that a thread takes at a time
NUMBERS, TASKS = 4096, 8  # of a task of several lines at most, since one takes less than to ask for a task; tasks a thread at least
MOST, CACHED = 128, 1 << 17  # rows that are transposed at a time, and bytes of them and what comes out
LONG = 64  # rows at a time of which only a piece fits


class Lines(Record):
    """What combines lines where numbers lie behind the axis. Micro-kernels take a VectorPass."""

    first = address("of the micro-kernel that multiplies a line")
    first_form = integer("its form")
    more = address("of the one that multiplies a line and adds it")
    more_form = integer("its form")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    n = integer("inputs along the axis")
    m = integer("outputs along the axis")
    inner = integer("numbers of a line")
    taps = integer("inputs of an output")
    inputs = address("of which inputs each output has")
    weights = address("of the bits of each one's weight, a float64")


@inlined  # else Numba takes what it compiled for Lines for a record that has more fields, and warns
def _combine(g, i, source, to, pitch, numbers):
    """Output i, a line of `numbers` at the address `to`, from lines that lie `pitch` numbers apart."""
    inputs, weights, step = g.inputs + 8 * i * g.taps, g.weights + 8 * i * g.taps, pitch * g.itemsize
    place, p = source + read_index(inputs, 0) * step, read_index(weights, 0)
    call(
        g.first,
        VectorPass(form=g.first_form, lanes=g.lanes, itemsize=g.itemsize, y=to, a=place, b=place, c=place, numbers=numbers, p=p, q=0),
    )  # fmt: skip
    for k in range(1, g.taps):
        place, p = source + read_index(inputs, k) * step, read_index(weights, k)
        call(g.more, VectorPass(form=g.more_form, lanes=g.lanes, itemsize=g.itemsize, y=to, a=place, b=to, c=to, numbers=numbers, p=p, q=0))


class Together(Lines):
    """A task: some lines of outputs, one after the other."""

    count = integer("lines of all outputs")
    at_once = integer("of a task")


@region
def _lines(task, thread, x, y, geometry):
    """Some lines of inner numbers, each one output of one outer index; x and y are handles, geometry: Together."""
    g = geometry[0]
    size, numbers = g.itemsize, g.inner
    o, i = split(task * g.at_once, g.m)
    for number in range(task * g.at_once, min((task + 1) * g.at_once, g.count)):
        _combine(g, i, pointed(x) + o * g.n * numbers * size, pointed(y) + number * numbers * size, numbers, numbers)
        i += 1
        if i == g.m:
            o, i = o + 1, 0


class Transposed(Lines):
    """A task where rows are transposed: some rows, a piece of each."""

    transpose = address("of the micro-kernel; takes a Transpose")
    outer = integer("rows")
    rows = integer("of a task")
    pieces = integer("of a row")
    part = integer("outputs of a piece")
    spans = address("of the first input of each piece and the one behind its last")
    held = integer("inputs of a piece at most")
    share = integer("bytes of a thread's scratch")


@region
def _transposed(task, thread, x, y, scratch, geometry):
    """Some rows along the last axis; x, y and scratch are handles, geometry: Transposed."""
    g = geometry[0]
    lanes, size, pitch = g.lanes, g.itemsize, g.rows * g.itemsize
    group, piece = split(task, g.pieces)
    low, high = read_index(g.spans, 2 * piece), read_index(g.spans, 2 * piece + 1)
    begin, end = piece * g.part, min((piece + 1) * g.part, g.m)
    rows, own = min(g.rows, g.outer - group * g.rows), pointed(scratch) + thread * g.share
    source, made = pointed(x) + group * g.n * pitch + low * size, own + g.held * pitch
    to = pointed(y) + group * g.m * pitch + begin * size
    call(
        g.transpose,
        Transpose(lanes=lanes, itemsize=size, dst=own, dst_pitch=g.rows, src=source, src_pitch=g.n, rows=rows, columns=high - low),
    )  # fmt: skip
    for i in range(begin, end):
        _combine(g, i, own - low * pitch, made + (i - begin) * pitch, g.rows, rows)
    call(
        g.transpose,
        Transpose(lanes=lanes, itemsize=size, dst=to, dst_pitch=g.m, src=made, src_pitch=g.rows, rows=end - begin, columns=rows),
    )  # fmt: skip


def _cut(outer: int, n: int, m: int, size: int, lanes: int, threads: int) -> tuple[int, int]:
    """Rows that are transposed at a time, and outputs of a piece of them; no rows where there are too few."""
    rows = min(MOST, CACHED // ((n + m) * size) // lanes * lanes)
    part = m
    if not rows:  # of long ones a piece
        rows = min(LONG // lanes, -(-outer // lanes)) * lanes
        part = max(1, CACHED // (rows * size) * m // (n + m))
    while threads > 1 and rows > lanes and outer * m < 4 * threads * rows * part:
        rows = max(lanes, rows // 2 // lanes * lanes)
    return rows if outer >= lanes // 2 else 0, part


@region
def _numbers(task, thread, x, y, inputs, weights, size, zero, outer, n, m, taps):
    """A few rows along the last axis."""
    table, factors = pointed(inputs), pointed(weights)
    for o in range(task * ROWS, min((task + 1) * ROWS, outer)):
        source, to = pointed(x) + o * n * size, pointed(y) + o * m * size
        for i in range(m):
            total = zero
            for k in range(taps):
                number = read_number(source + read_index(table, i * taps + k) * size, zero)
                total += number * read_number(factors + (i * taps + k) * size, zero)
            write_number(to + i * size, total)


def resample(
    dtype: np.dtype, outer: int, n: int, inner: int, inputs: Array, weights: Array, threads: int
) -> Callable[[Array, Array], None]:  # fmt: skip
    """Compile x (outer, n, inner) -> y (outer, m, inner), contiguous: y[:, i] = sum of weights[i, k] * x[:, inputs[i, k]]."""
    dtype = np.dtype(dtype)
    size, lanes, (m, taps) = dtype.itemsize, machine().lanes(dtype.itemsize), inputs.shape
    threads = threads_for(outer * m * inner * taps * (1 if inner == 1 else 4 / lanes), threads)
    table = np.ascontiguousarray(inputs, np.int64)
    rows, part = _cut(outer, n, m, size, lanes, threads) if inner == 1 else (0, m)
    if inner == 1 and not rows:
        factors = np.ascontiguousarray(weights, dtype)
        fixed: tuple[Any, ...] = handle(table), handle(factors), size, dtype.type(0), outer, n, m, taps
        launch, tasks = _numbers.ready(0, 0, *fixed), -(-outer // ROWS)
    else:
        factors = np.array([[bits(float(weight)) for weight in row] for row in weights], np.int64)
        (first, first_form), (more, more_form) = line("affine", lanes, size), line("axpy", lanes, size)
        lines = {
            "first": first, "first_form": first_form, "more": more, "more_form": more_form, "lanes": lanes, "itemsize": size, "n": n,
            "m": m, "inner": inner, "taps": taps, "inputs": table.ctypes.data, "weights": factors.ctypes.data,
        }  # fmt: skip
        if rows:
            return _by_transposing(lines, outer, (rows, part), threads, (table, factors))
        at_once = max(1, min(NUMBERS // inner, outer * m // (TASKS * threads)))
        geometry = Together.packed(**lines, count=outer * m, at_once=at_once)
        fixed = (geometry,)
        launch, tasks = _lines.ready(0, 0, geometry), -(-outer * m // at_once)

    def run(x: Array, y: Array, keep_alive: tuple[Array, ...] = (table, factors)) -> None:
        launch(threads, tasks, handle(x), handle(y), *fixed)

    return run


def _by_transposing(
    lines: dict[str, int], outer: int, at_once: tuple[int, int], threads: int, alive: tuple[Array, ...]
) -> Callable[[Array, Array], None]:  # fmt: skip
    size, (rows, part), table = lines["itemsize"], at_once, alive[0]
    pieces = [table[at : at + part] for at in range(0, lines["m"], part)]
    spans = np.array([(piece.min(), piece.max() + 1) for piece in pieces], np.int64)
    held = int((spans[:, 1] - spans[:, 0]).max())
    share = whole((held + part) * rows * size)
    geometry = Transposed.packed(
        **lines, transpose=transpose(lines["lanes"], size), outer=outer, rows=rows, pieces=len(pieces), part=part,
        spans=spans.ctypes.data, held=held, share=share,
    )  # fmt: skip
    launch, tasks, kept = _transposed.ready(0, 0, 0, geometry), -(-outer // rows) * len(pieces), Scratch(share * threads)

    def run(x: Array, y: Array, keep_alive: tuple[Array, ...] = (*alive, spans)) -> None:
        scratch = kept.take()
        launch(threads, tasks, handle(x), handle(y), handle(scratch), geometry)
        kept.give(scratch)

    return run

"""Sums, maxima and minima along one axis of (outer, length, inner) numbers that lie one behind the other.

Where inner numbers are many, whole lines of them are combined by vector passes, in pieces that stay in the first-level cache; where the
axis is the last, four vectors of partial results run along it. Sums so are sums of 4 x lanes shorter ones: their rounding errors grow like
that of pairwise summation's first steps (N. Higham, "Accuracy and Stability of Numerical Algorithms", chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

KINDS = ["sum", "max", "min"]
PASSES = {"sum": "add", "max": "max", "min": "min"}
NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf}
PIECE = 2048  # inner numbers that a thread combines at a time
ROWS = 8  # rows of one axis that a thread takes at a time
CHAINS = 4  # vectors of partial results, as many as an addition takes cycles


class Row(NamedTuple):
    """to[0] = all of x[0:count] combined, times p."""

    kind: Fixed  # place in KINDS
    lanes: Fixed  # of a vector
    itemsize: Fixed
    to: int  # address
    x: int  # address
    numbers: int
    p: int  # bits of a float64


def along_row(
    w: VectorBuilder, source: ir.Value, numbers: ir.Value, neutral: ir.Value,
    add: Callable[[ir.Value, ir.Value, ir.Value | None], ir.Value], combine: Callable[[ir.Value, ir.Value], ir.Value],
) -> ir.Value:  # fmt: skip
    """source[0:numbers] gathered in CHAINS vectors, add(total, loaded, mask) giving a total's next value, then combined to a scalar. mask:
    of the last vector where it is incomplete, else None."""
    builder, lanes = w.b, w.lanes
    totals = [w.variable(neutral) for _ in range(CHAINS)]
    unrolled = builder.sdiv(numbers, i64(lanes * CHAINS))
    with w.loop(unrolled) as block:
        at = builder.mul(block, i64(lanes * CHAINS))
        for k, total in enumerate(totals):
            w.set(total, add(w.get(total), w.load(w.at(source, builder.add(at, i64(k * lanes)))), None))
    done = builder.mul(unrolled, i64(lanes * CHAINS))
    single = builder.sdiv(builder.sub(numbers, done), i64(lanes))
    with w.loop(single) as block:
        at = builder.add(done, builder.mul(block, i64(lanes)))
        w.set(totals[0], add(w.get(totals[0]), w.load(w.at(source, at)), None))
    last = builder.add(done, builder.mul(single, i64(lanes)))
    rest = builder.sub(numbers, last)
    with w.when(builder.icmp_signed(">", rest, i64(0))):
        mask = w.first(rest)
        w.set(totals[1], add(w.get(totals[1]), w.load_first(w.at(source, last), mask), mask))
    pairs = combine(combine(w.get(totals[0]), w.get(totals[1])), combine(w.get(totals[2]), w.get(totals[3])))
    return w.across(pairs, combine)


def combined(w: VectorBuilder, name: str, source: ir.Value, numbers: ir.Value) -> ir.Value:
    """All of source[0:numbers] combined ("sum", "max" or "min"): a scalar."""
    neutral = w.constant(NEUTRAL[name])

    def combine(a: ir.Value, b: ir.Value) -> ir.Value:
        if name == "sum":
            return w.b.fadd(a, b)
        return w.maximum(a, b) if name == "max" else w.b.fneg(w.maximum(w.b.fneg(a), w.b.fneg(b)))

    def add(total: ir.Value, loaded: ir.Value, mask: ir.Value | None) -> ir.Value:
        return combine(total, loaded if mask is None else w.b.select(mask, loaded, neutral))

    return along_row(w, source, numbers, neutral, add, combine)


@emitter
def _emit(w: VectorBuilder, row: Row) -> None:
    builder, total = w.b, combined(w, KINDS[row.kind], w.pointer(row.x), row.numbers)
    double = builder.bitcast(row.p, ir.DoubleType())
    factor = double if row.itemsize == 8 else builder.fptrunc(double, w.scalar)
    builder.store(builder.fmul(total, factor), w.pointer(row.to))


@njit
def _row(p):
    _emit(p, ())


def row(kind: str, lanes: int, itemsize: int) -> int:
    """Address of the compiled `Row`."""
    return micro_kernel.address(_row, Row, kind=KINDS.index(kind), lanes=lanes, itemsize=itemsize)


class Rows(Record):
    """A task where the axis is the last: a few rows."""

    row = address("of the micro-kernel; takes a Row")
    kind = integer("place in KINDS")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    outer = integer("rows")
    length = integer("numbers of a row")
    p = integer("bits of a float64 that results are multiplied by")


@region
def _along(task, thread, x, y, geometry):
    """y[i] = all of x[i, :] combined, for a few rows; x and y are handles, geometry: Rows."""
    g = geometry[0]
    size = g.itemsize
    for i in range(task * ROWS, min((task + 1) * ROWS, g.outer)):
        to, source = pointed(y) + i * size, pointed(x) + i * g.length * size
        call(g.row, Row(kind=g.kind, lanes=g.lanes, itemsize=size, to=to, x=source, numbers=g.length, p=g.p))


class Lines(Record):
    """A task where numbers lie behind the axis: a piece of them. Micro-kernels take a VectorPass."""

    copy = address("of the micro-kernel that copies")
    copy_form = integer("its form")
    combine = address("of the one that combines two lines")
    combine_form = integer("its form")
    scale = address("of the one that multiplies, or 0")
    scale_form = integer("its form")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    length = integer("lines that are combined")
    inner = integer("numbers of a line")
    piece = integer("numbers of a piece")
    p = integer("bits of a float64 that results are multiplied by")


@region
def _down(task, thread, x, y, geometry):
    """y[i, :] = all of x[i, k, :] combined over k, for a piece of the last axis; x and y are handles, geometry: Lines."""
    g = geometry[0]
    lanes, size = g.lanes, g.itemsize
    i, piece = split(task, (g.inner + g.piece - 1) // g.piece)
    count = min(g.piece, g.inner - piece * g.piece)
    to = pointed(y) + (i * g.inner + piece * g.piece) * size
    source = pointed(x) + (i * g.length * g.inner + piece * g.piece) * size
    call(
        g.copy,
        VectorPass(form=g.copy_form, lanes=lanes, itemsize=size, y=to, a=source, b=source, c=source, numbers=count, p=g.p, q=0),
    )  # fmt: skip
    for _ in range(1, g.length):
        source += g.inner * size
        call(
            g.combine,
            VectorPass(form=g.combine_form, lanes=lanes, itemsize=size, y=to, a=to, b=source, c=source, numbers=count, p=g.p, q=0),
        )  # fmt: skip
    if g.scale:
        call(g.scale, VectorPass(form=g.scale_form, lanes=lanes, itemsize=size, y=to, a=to, b=to, c=to, numbers=count, p=g.p, q=0))


def reduction(
    kind: str, dtype: np.dtype, outer: int, length: int, inner: int, factor: float, threads: int
) -> Callable[[Array, Array], None]:  # fmt: skip
    """Compile x (outer, length, inner) -> y (outer, inner), contiguous: "sum", "max" or "min" over the middle axis, times a factor."""
    size = np.dtype(dtype).itemsize
    lanes = machine().lanes(size)
    threads = threads_for(4 * outer * length * max(inner, 1) / lanes, threads)
    keeps = kind != "sum"  # a maximum is one of its inputs, however small
    if inner == 1:
        geometry = Rows.packed(
            row=row(kind, lanes, size), kind=KINDS.index(kind), lanes=lanes, itemsize=size, outer=outer, length=length, p=bits(factor)
        )
        launch, tasks = (_along.exact if keeps else _along).ready(0, 0, geometry), -(-outer // ROWS)
    else:
        (copy, copy_form), (combine, combine_form) = (line(name, lanes, size) for name in ("copy", PASSES[kind]))
        scale, scale_form = line("affine", lanes, size) if factor != 1 else (0, 0)
        piece = PIECE
        while threads > 1 and piece > 64 and outer * -(-inner // piece) < 2 * threads:
            piece //= 2
        geometry = Lines.packed(
            copy=copy, copy_form=copy_form, combine=combine, combine_form=combine_form, scale=scale, scale_form=scale_form, lanes=lanes,
            itemsize=size, length=length, inner=inner, piece=piece, p=bits(factor),
        )  # fmt: skip
        launch, tasks = (_down.exact if keeps else _down).ready(0, 0, geometry), outer * -(-inner // piece)

    def run(x: Array, y: Array) -> None:
        launch(threads, tasks, handle(x), handle(y), geometry)

    return run

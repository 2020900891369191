"""Softmax of contiguous rows: a row's maximum, exponentials, their sum and the division while the row stays in the first-level cache.

y = exp(p x - p max(x)) / sum of these, p > 0: nothing overflows, and the scale of attention costs nothing. Sums are of
a lane each, then of lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.activations import falling_exp
from kernels.primitives.records import Record, address, integer
from kernels.primitives.reduction import combined
from kernels.primitives.rows import Bind, by_rows, rows_of_a_task
from kernels.primitives.vector_math import CYCLES
from kernels.primitives.vector_pass import bits, each_vector
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region

ROW = 100  # cycles of a row beside its vectors: a call, two vectors summed across their lanes, a division


class SoftmaxRow(NamedTuple):
    """y[0:numbers] = softmax of p times x[0:numbers]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    y: int  # address, may be that of x
    x: int  # address
    numbers: int
    p: int  # bits of a float64


@emitter
def _emit(w: VectorBuilder, row: SoftmaxRow) -> None:
    builder = w.b
    x, y = w.pointer(row.x), w.pointer(row.y)
    double = builder.bitcast(row.p, ir.DoubleType())
    factor = w.splat(double if row.itemsize == 8 else builder.fptrunc(double, w.scalar))
    largest = w.splat(combined(w, "max", x, row.numbers))

    total = w.variable(w.zero())

    def exponential(loaded: list[ir.Value], mask: ir.Value | None) -> ir.Value:
        found = falling_exp(w, builder.fmul(builder.fsub(loaded[0], largest), factor))
        w.set(total, builder.fadd(w.get(total), found if mask is None else builder.select(mask, found, w.zero())))
        return found

    each_vector(w, [x], y, row.numbers, exponential)
    share = w.splat(builder.fdiv(ir.Constant(w.scalar, 1.0), w.across(w.get(total), w.add)))
    each_vector(w, [y], y, row.numbers, lambda loaded, mask: builder.fmul(loaded[0], share))


@njit
def _row(p):
    _emit(p, ())


class SoftmaxRows(Record):
    """A task: some rows."""

    row = address("of the micro-kernel; takes a SoftmaxRow")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    rows = integer("how many")
    length = integer("numbers of a row")
    at_once = integer("rows of a task")
    p = integer("bits of a float64 that rows are multiplied by")


@region
def _rows(task, thread, x, y, geometry):
    """Softmax of some rows; x and y are handles, geometry: SoftmaxRows."""
    g = geometry[0]
    size = g.itemsize
    for i in range(task * g.at_once, min((task + 1) * g.at_once, g.rows)):
        at = i * g.length * size
        call(g.row, SoftmaxRow(lanes=g.lanes, itemsize=size, y=pointed(y) + at, x=pointed(x) + at, numbers=g.length, p=g.p))


def softmax(dtype: np.dtype, rows: int, length: int, scale: float, threads: int) -> Bind:
    """What binds x and y (rows, length), contiguous, perhaps one and the same, to a run: y = softmax(scale x) row by row; scale > 0."""
    size = np.dtype(dtype).itemsize
    lanes = machine().lanes(size)
    threads = threads_for(rows * (ROW + (CYCLES["exp"] + 6) * -(-length // lanes)), threads)
    geometry = SoftmaxRows.packed(
        row=micro_kernel.address(_row, SoftmaxRow, lanes=lanes, itemsize=size), lanes=lanes, itemsize=size, rows=rows, length=length,
        at_once=rows_of_a_task(rows, threads), p=bits(scale),
    )  # fmt: skip
    return by_rows(_rows, geometry, threads)

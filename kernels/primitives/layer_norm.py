"""Layer norms of contiguous rows in one pass over memory: mean, deviation, then (x - mean) / deviation * gamma + beta while the row stays
in the first-level cache. Squared distances are taken from the row's own mean, so nothing cancels. An RMS norm is the same with a mean of 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.moments import squared_distances
from kernels.primitives.records import Record, address, integer
from kernels.primitives.reduction import combined
from kernels.primitives.rows import Bind, by_rows, rows_of_a_task
from kernels.primitives.vector_pass import bits, each_vector
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region

Array = np.ndarray

ROW = 120  # cycles of a row beside its vectors: a call, two vectors summed across their lanes, a root, a division


class LayerNormRow(NamedTuple):
    """y[0:numbers] = (x - mean) / sqrt(variance + epsilon) * gamma + beta of x[0:numbers]."""

    affine: Fixed  # 1: gamma, 2: beta, 3: both are there
    centred: Fixed  # 0: the mean is taken as 0
    lanes: Fixed  # of a vector
    itemsize: Fixed
    y: int  # address, may be that of x
    x: int  # address
    gamma: int  # address
    beta: int  # address
    numbers: int
    epsilon: int  # bits of a float64


@emitter
def _emit(w: VectorBuilder, row: LayerNormRow) -> None:
    builder = w.b
    x, y, gamma, beta = (w.pointer(each) for each in (row.x, row.y, row.gamma, row.beta))
    count = builder.sitofp(row.numbers, w.scalar)
    mean = w.splat(builder.fdiv(combined(w, "sum", x, row.numbers), count)) if row.centred else w.zero()
    double = builder.bitcast(row.epsilon, ir.DoubleType())
    epsilon = double if row.itemsize == 8 else builder.fptrunc(double, w.scalar)
    variance = builder.fdiv(squared_distances(w, x, row.numbers, mean), count)
    scale = builder.fdiv(w.constant(1.0), w.root(w.splat(builder.fadd(variance, epsilon))))

    def normal(loaded: list[ir.Value], mask: ir.Value | None) -> ir.Value:
        found = builder.fmul(builder.fsub(loaded[0], mean), scale)
        if row.affine == 3:
            return w.fma(found, *loaded[1:])
        if row.affine == 2:
            return builder.fadd(found, loaded[1])
        return builder.fmul(found, loaded[1]) if row.affine else found

    operands = [each for i, each in enumerate((gamma, beta)) if row.affine & 1 << i]
    each_vector(w, [x, *operands], y, row.numbers, normal)


@njit
def _row(p):
    _emit(p, ())


class LayerNormRows(Record):
    """A task: some rows."""

    row = address("of the micro-kernel; takes a LayerNormRow")
    affine = integer("1: gamma, 2: beta, 3: both are there")
    centred = integer("0: the mean is taken as 0")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    rows = integer("how many")
    length = integer("numbers of a row")
    at_once = integer("rows of a task")
    gamma = address("of factors, or 0")
    beta = address("of what is added, or 0")
    epsilon = integer("bits of what is added to the variance")


@region
def _rows(task, thread, x, y, geometry):
    """Layer norm of some rows; x and y are handles, geometry: LayerNormRows."""
    g = geometry[0]
    size = g.itemsize
    for i in range(task * g.at_once, min((task + 1) * g.at_once, g.rows)):
        at = i * g.length * size
        to, source = pointed(y) + at, pointed(x) + at
        call(
            g.row,
            LayerNormRow(affine=g.affine, centred=g.centred, lanes=g.lanes, itemsize=size, y=to, x=source, gamma=g.gamma, beta=g.beta,
                         numbers=g.length, epsilon=g.epsilon),
        )  # fmt: skip


def layer_norm(
    dtype: np.dtype, rows: int, length: int, epsilon: float, threads: int, gamma: Array | None = None, beta: Array | None = None, *,
    centred: bool = True,
) -> Bind:  # fmt: skip
    """What binds x and y (rows, length), contiguous, perhaps one and the same, to a run; gamma and beta: numbers along a row. Not centred:
    an RMS norm."""
    dtype = np.dtype(dtype)
    size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
    threads = threads_for(rows * (ROW + 8 * -(-length // lanes)), threads)
    held = [None if each is None else np.ascontiguousarray(each, dtype).reshape(-1) for each in (gamma, beta)]
    affine = sum(1 << i for i, each in enumerate(held) if each is not None)
    places = [0 if each is None else each.ctypes.data for each in held]
    geometry = LayerNormRows.packed(
        row=micro_kernel.address(_row, LayerNormRow, affine=affine, centred=int(centred), lanes=lanes, itemsize=size), affine=affine,
        centred=int(centred), lanes=lanes, itemsize=size, rows=rows, length=length, at_once=rows_of_a_task(rows, threads), gamma=places[0],
        beta=places[1], epsilon=bits(epsilon),
    )  # fmt: skip
    return by_rows(_rows, geometry, threads, (*held,))

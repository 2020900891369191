"""Layer norms of contiguous rows in one pass over memory: mean, deviation, then (x - mean) / deviation * gamma + beta while the row stays
in the first-level cache. Squared distances are taken from the row's own mean, so nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.moments import squared_distances
from kernels.primitives.records import Record, address, integer
from kernels.primitives.reduction import combined
from kernels.primitives.vector_pass import bits, each_vector
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

SHARES = 4  # tasks a thread
ROW = 120  # cycles of a row beside its vectors: a call, two vectors summed across their lanes, a root, a division


class LayerNormRow(NamedTuple):
    """y[0:numbers] = (x - mean) / sqrt(variance + epsilon) * gamma + beta of x[0:numbers]."""

    affine: Fixed  # 1: gamma, 2: beta, 3: both are there
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
    mean = w.splat(builder.fdiv(combined(w, "sum", x, row.numbers), count))
    double = builder.bitcast(row.epsilon, ir.DoubleType())
    epsilon = double if row.itemsize == 8 else builder.fptrunc(double, w.scalar)
    variance = builder.fdiv(squared_distances(w, x, row.numbers, mean), count)
    scale = builder.fdiv(w.constant(1.0), w.root(w.splat(builder.fadd(variance, epsilon))))

    def normal(loaded: ir.Value, at: ir.Value, mask: ir.Value | None) -> ir.Value:
        def numbers(of: ir.Value) -> ir.Value:
            return w.load(w.at(of, at)) if mask is None else w.load_first(w.at(of, at), mask)

        found = builder.fmul(builder.fsub(loaded, mean), scale)
        if row.affine == 3:
            return w.fma(found, numbers(gamma), numbers(beta))
        if row.affine == 2:
            return builder.fadd(found, numbers(beta))
        return builder.fmul(found, numbers(gamma)) if row.affine else found

    each_vector(w, x, y, row.numbers, normal)


@njit
def _row(p):
    _emit(p, ())


class LayerNormRows(Record):
    """A task: some rows."""

    row = address("of the micro-kernel; takes a LayerNormRow")
    affine = integer("1: gamma, 2: beta, 3: both are there")
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
            LayerNormRow(affine=g.affine, lanes=g.lanes, itemsize=size, y=to, x=source, gamma=g.gamma, beta=g.beta, numbers=g.length,
                         epsilon=g.epsilon),
        )  # fmt: skip


def layer_norm(
    dtype: np.dtype, rows: int, length: int, epsilon: float, threads: int, gamma: Array | None = None, beta: Array | None = None
) -> Callable[[Array, Array], Callable[[], None]]:
    """What binds x and y (rows, length), contiguous, perhaps one and the same, to a run; gamma and beta: numbers along a row."""
    dtype = np.dtype(dtype)
    size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
    threads = threads_for(rows * (ROW + 8 * -(-length // lanes)), threads)
    at_once = rows if threads == 1 else max(1, rows // (SHARES * threads))
    held = [None if each is None else np.ascontiguousarray(each, dtype).reshape(-1) for each in (gamma, beta)]
    affine = sum(1 << i for i, each in enumerate(held) if each is not None)
    places = [0 if each is None else each.ctypes.data for each in held]
    geometry = LayerNormRows.packed(
        row=micro_kernel.address(_row, LayerNormRow, affine=affine, lanes=lanes, itemsize=size), affine=affine, lanes=lanes, itemsize=size,
        rows=rows, length=length, at_once=at_once, gamma=places[0], beta=places[1], epsilon=bits(epsilon),
    )  # fmt: skip
    launch, tasks = _rows.ready(0, 0, geometry), -(-rows // at_once)

    def bind(x: Array, y: Array) -> Callable[[], None]:
        source, to = handle(x), handle(y)

        def run(keep_alive: tuple[Array | None, ...] = (x, y, *held)) -> None:
            launch(threads, tasks, source, to, geometry)

        return run

    return bind

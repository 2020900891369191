"""Sums, maxima and minima along one axis of (outer, length, inner) numbers that lie one behind the other.

Where inner numbers are many, whole lines of them are combined by vector passes, in pieces that stay in the first-level cache; where the
axis is the last, four vectors of partial results run along it. Sums so are sums of 4 x lanes shorter ones: their rounding errors grow like
that of pairwise summation's first steps (N. Higham, "Accuracy and Stability of Numerical Algorithms", chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.cost.calibration import worth
from kernels.primitives.vector_pass import bits, line
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.jit import address, njit
from kernels.runtime.machine import machine
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


@intrinsic(prefer_literal=True)
def _row(typing_context: Any, kind_: Any, lanes_: Any, itemsize_: Any, to: Any, x: Any, count: Any, p: Any) -> Any:
    """to[0] = all of x[0:count] combined, times p."""
    literals = kind_, lanes_, itemsize_
    kind, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, x, count, p = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        name = KINDS[kind]

        def combine(a: ir.Value, b: ir.Value) -> ir.Value:
            if name == "sum":
                return w.b.fadd(a, b)
            return w.maximum(a, b) if name == "max" else w.b.fneg(w.maximum(w.b.fneg(a), w.b.fneg(b)))

        def alone(a: ir.Value, b: ir.Value) -> ir.Value:
            """The same of two numbers; NaN wins."""
            if name == "sum":
                return w.b.fadd(a, b)
            better = w.b.fcmp_ordered(">" if name == "max" else "<", a, b)
            return w.b.select(w.b.or_(better, w.b.fcmp_unordered("uno", a, a)), a, b)

        source, neutral = w.pointer(x), w.constant(NEUTRAL[name])
        totals = [w.variable(neutral) for _ in range(CHAINS)]
        wide = builder.sdiv(count, i64(lanes * CHAINS))
        with w.loop(wide) as block:
            at = builder.mul(block, i64(lanes * CHAINS))
            for k, total in enumerate(totals):
                w.set(total, combine(w.get(total), w.load(w.at(source, builder.add(at, i64(k * lanes))))))
        done = builder.mul(wide, i64(lanes * CHAINS))
        single = builder.sdiv(builder.sub(count, done), i64(lanes))
        with w.loop(single) as block:
            at = builder.add(done, builder.mul(block, i64(lanes)))
            w.set(totals[0], combine(w.get(totals[0]), w.load(w.at(source, at))))
        last = builder.add(done, builder.mul(single, i64(lanes)))
        rest = builder.sub(count, last)
        with w.when(builder.icmp_signed(">", rest, i64(0))):
            tail = w.load_first(w.at(source, last), w.first(rest), NEUTRAL[name])
            w.set(totals[1], combine(w.get(totals[1]), tail))
        pairs = combine(combine(w.get(totals[0]), w.get(totals[1])), combine(w.get(totals[2]), w.get(totals[3])))
        places = [builder.extract_element(pairs, ir.Constant(ir.IntType(32), lane)) for lane in range(lanes)]
        while len(places) > 1:
            places = [alone(a, b) for a, b in zip(places[::2], places[1::2])]
        double = builder.bitcast(p, ir.DoubleType())
        factor = double if itemsize == 8 else builder.fptrunc(double, w.scalar)
        builder.store(builder.fmul(places[0], factor), w.pointer(to))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 4), codegen


@njit
def _rows(kind, lanes, itemsize, to, x, count, p):
    _row(kind, lanes, itemsize, to, x, count, p)


def row(kind: str, lanes: int, itemsize: int) -> int:
    """Address of the function that combines one row; it takes, all int64: kind, lanes, itemsize again; to, x, addresses; count; p, the bits
    of the number that the result is multiplied by."""
    return address(_rows, (KINDS.index(kind), lanes, itemsize), (types.int64,) * 4)


@region
def _along(job, thread, x, y, function, kind, lanes, size, outer, length, p, rows):
    """y[i] = all of x[i, :] combined, for a few rows."""
    for i in range(job * rows, min((job + 1) * rows, outer)):
        call(function, (kind, lanes, size, pointed(y) + i * size, pointed(x) + i * length * size, length, p))


@region
def _across(job, thread, x, y, copy, copy_form, combine, combine_form, scale, scale_form, lanes, size, length, inner, piece, p, q):
    """y[i, :] = all of x[i, k, :] combined over k, for a piece of the last axis."""
    i, part = split(job, (inner + piece - 1) // piece)
    count = min(piece, inner - part * piece)
    to = pointed(y) + (i * inner + part * piece) * size
    source = pointed(x) + (i * length * inner + part * piece) * size
    call(copy, (copy_form, lanes, size, to, source, source, source, count, p, q))
    for _ in range(1, length):
        source += inner * size
        call(combine, (combine_form, lanes, size, to, to, source, source, count, p, q))
    if scale:
        call(scale, (scale_form, lanes, size, to, to, to, to, count, p, q))


def reduction(
    kind: str, dtype: np.dtype, outer: int, length: int, inner: int, factor: float, threads: int
) -> Callable[[Array, Array], None]:  # fmt: skip
    """Compile x (outer, length, inner) -> y (outer, inner), contiguous: "sum", "max" or "min" over the middle axis, times a factor."""
    size = np.dtype(dtype).itemsize
    lanes = machine().lanes(size)
    threads = worth(threads, 4 * outer * length * max(inner, 1) / lanes)
    keeps = kind != "sum"  # a maximum is one of its inputs, however small
    if inner == 1:
        fixed: tuple[int, ...] = row(kind, lanes, size), KINDS.index(kind), lanes, size, outer, length, bits(factor), ROWS
        launch, jobs = (_along.exact if keeps else _along).ready(0, 0, *fixed), -(-outer // ROWS)
    else:
        scale, form = line("affine", lanes, size) if factor != 1 else (0, 0)
        piece = PIECE
        while threads > 1 and piece > 64 and outer * -(-inner // piece) < 2 * threads:
            piece //= 2
        fixed = (*line("copy", lanes, size), *line(PASSES[kind], lanes, size), scale, form, lanes, size, length, inner, piece,
                 bits(factor), bits(0.0))  # fmt: skip
        launch, jobs = (_across.exact if keeps else _across).ready(0, 0, *fixed), outer * -(-inner // piece)

    def run(x: Array, y: Array) -> None:
        launch(threads, jobs, handle(x), handle(y), *fixed)

    return run

"""Dot products of short rows of two planes, for all columns of a kernel at once.

    row of grad   g0 g1 g2 …  loaded once
    row of x      moved by each column's tap: sum of column t += g * x moved by t, in lanes where both are there

Which lanes those are is the same in every row, so rows are the inner loop and masks are made before it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from llvmlite import ir

from kernels.problem.conv import ConvWeight
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter

VECTORS = 4  # of a row at most: longer ones are read on and on
MASKS = 10  # at most: AVX-512 has registers for 7, and 16 of them (5 columns by two) took 1.3 times as long as column by column
ROW, TAP, PICKED = 2.0, 1.2, 1.5  # cycles to begin a row, for a column's vector, more for each vector that a stride spreads one over
BEGIN, ACROSS = 60.0, 14.0  # to begin, to add a sum's lanes


class Columns(NamedTuple):
    """The sums of one row of taps over some rows of two planes."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    stride: Fixed  # numbers of b from one of a's to the next
    columns: Fixed  # of the kernel
    a: int  # address of the first row
    a_pitch: int  # elements from row to row
    b: int
    b_pitch: int
    rows: int
    width: int  # of a row of a
    met: int  # address of [column] of first of a, first of b, and how many meet
    to: int  # address of the results
    resumed: int  # whether they are added to what is there


@emitter
def _emit(w: VectorBuilder, p: Columns) -> None:
    b, lanes, stride = w.b, p.lanes, p.stride
    sums = [w.variable(w.zero()) for _ in range(p.columns)]
    with w.loop(b.sdiv(b.add(p.width, i64(lanes - 1)), i64(lanes))) as vector:
        q = b.mul(vector, i64(lanes))
        inside, met = w.between(q, i64(0), p.width), []
        for column in range(p.columns):
            first, other, count = (w.load_index(p.met, i64(3 * column + field)) for field in range(3))
            mask = w.between(q, first, b.add(first, count))
            start = b.add(other, b.mul(b.sub(q, first), i64(stride)))
            reach = b.sub(b.mul(count, i64(stride)), i64(stride - 1))  # numbers of b from the first that is met to the last
            end = b.add(other, b.select(b.icmp_signed(">", count, i64(0)), reach, i64(0)))
            starts = [b.add(start, i64(piece * lanes)) for piece in range(stride)]
            met.append((mask, starts, [mask] if stride == 1 else [w.between(at, other, end) for at in starts]))
        with w.loop(p.rows) as row:
            mine = w.load_first(w.at(w.pointer(p.a, b.mul(row, p.a_pitch)), q), inside)
            second = w.pointer(p.b, b.mul(row, p.b_pitch))
            for total, (mask, starts, masks) in zip(sums, met):
                pieces = [w.load_first(w.at(second, at), there) for at, there in zip(starts, masks)]
                other = pieces[0] if stride == 1 else w.every(pieces, 0)
                w.set(total, b.select(mask, w.fma(mine, other, w.get(total)), w.get(total)))
    for column, total in enumerate(sums):
        store_sum(w, w.get(total), w.pointer(p.to, i64(column)), p.resumed)


def store_sum(w: VectorBuilder, total: ir.Value, target: ir.Value, resumed: ir.Value) -> None:
    """Store the sum of a vector's lanes, where it is resumed added to what is there."""
    result = w.variable(w.across(total, w.b.fadd))
    with w.when(w.b.icmp_signed("!=", resumed, i64(0))):
        w.set(result, w.b.fadd(w.get(result), w.load_scalar(target)))
    w.b.store(w.get(result), target, align=w.itemsize)


@njit
def _columns(p):
    _emit(p, ())


def columns(problem: ConvWeight, lanes: int) -> int:
    """Address of the compiled `Columns`."""
    return address(_columns, Columns, lanes=lanes, itemsize=problem.itemsize, stride=problem.stride[1], columns=problem.kernel[1])


def short(problem: ConvWeight) -> bool:
    """Whether rows are so short that all columns are summed at once. AVX2 has no registers for masks: it takes 0.4 to 1.9 times as long."""
    lanes, stride, columns = machine().lanes(problem.itemsize), problem.stride[1], problem.kernel[1]
    masks = 1 + columns * (1 if stride == 1 else 1 + stride)
    return machine().vector_bytes == 64 and problem.conv_size[1] <= VECTORS * lanes and columns > 1 and masks <= MASKS


def columns_cycles(problem: ConvWeight) -> float:
    """Of one core."""
    lanes, (oh, ow), (kh, kw) = machine().lanes(problem.itemsize), problem.conv_size, problem.kernel
    each = TAP + (PICKED * problem.stride[1] if problem.stride[1] > 1 else 0.0)
    return float(problem.n * problem.c_out * kh * (math.ceil(ow / lanes) * (oh * (ROW + kw * each)) + BEGIN + kw * ACROSS))

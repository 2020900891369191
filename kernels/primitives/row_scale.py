"""Rows times a number each: y[row, 0:numbers] = x[row, 0:numbers] * factors[row], rows one behind the other."""

from __future__ import annotations

from typing import NamedTuple

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class RowScale(NamedTuple):
    """y[row, 0:numbers] = x[row, 0:numbers] * factors[row]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    y: int  # address
    x: int  # address
    factors: int  # address
    rows: int
    numbers: int  # of a row


@emitter
def _emit(w: VectorBuilder, p: RowScale) -> None:
    b, x, y, factors = w.b, w.pointer(p.x), w.pointer(p.y), w.pointer(p.factors)
    whole = b.sdiv(p.numbers, i64(p.lanes))
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(p.numbers, done)
    mask, some = w.first(rest), b.icmp_signed(">", rest, i64(0))
    with w.loop(p.rows) as row:
        first = b.mul(row, p.numbers)
        factor, source, to = w.splat(w.load_scalar(w.at(factors, row))), w.at(x, first), w.at(y, first)
        with w.loop(whole) as block:
            at = b.mul(block, i64(p.lanes))
            w.store(b.fmul(w.load(w.at(source, at)), factor), w.at(to, at))
        with w.when(some):
            w.store_first(b.fmul(w.load_first(w.at(source, done), mask), factor), w.at(to, done), mask)


@njit
def _scale(p):
    _emit(p, ())


def row_scale(lanes: int, itemsize: int) -> int:
    """Address of the compiled scaling, which takes a RowScale."""
    return address(_scale, RowScale, lanes=lanes, itemsize=itemsize)

"""One number a row, repeated along it: how what is broadcast along columns comes into a block of rows that follow one another."""

from __future__ import annotations

from typing import NamedTuple

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class Repeat(NamedTuple):
    """y[row, 0:numbers] = x[row * step]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    y: int  # address
    x: int  # address
    rows: int
    step: int  # numbers from row to row of x
    numbers: int  # of a row


@emitter
def _emit(w: VectorBuilder, p: Repeat) -> None:
    b, x, y = w.b, w.pointer(p.x), w.pointer(p.y)
    whole = b.sdiv(p.numbers, i64(p.lanes))
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(p.numbers, done)
    mask, some = w.first(rest), b.icmp_signed(">", rest, i64(0))
    with w.loop(p.rows) as row:
        value, to = w.splat(w.load_scalar(w.at(x, b.mul(row, p.step)))), w.at(y, b.mul(row, p.numbers))
        with w.loop(whole) as block:
            w.store(value, w.at(to, b.mul(block, i64(p.lanes))))
        with w.when(some):
            w.store_first(value, w.at(to, done), mask)


@njit
def _repeat(p):
    _emit(p, ())


def repeat(lanes: int, itemsize: int) -> int:
    """Address of compiled repeating, which takes a Repeat."""
    return address(_repeat, Repeat, lanes=lanes, itemsize=itemsize)

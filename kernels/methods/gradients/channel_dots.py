"""Sums of two planes multiplied, channels in lanes: of short rows, which hardly fill a vector, a vector of channels is one position.

    to[i][j] (+)= sum over r < rows, t < columns of a[r][t] * b[r*b_row + i*b_tap + t*b_step + j*apart]        i < high, j < broad

Every number is a vector. The sums stay in registers; a is loaded once for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter


class ChannelDots(NamedTuple):
    """What summing takes. Steps are in vectors."""

    high: Fixed  # rows of taps
    broad: Fixed  # taps of a row
    apart: Fixed  # from tap to tap of a row
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed
    rows: int
    columns: int
    a: int  # address of rows x columns vectors
    b: int  # address
    b_row: int  # from row to row
    b_tap: int  # from row of taps to row of taps
    b_step: int  # from column to column
    to: int  # address of high x broad vectors
    resumed: int  # whether they are added to what is there


@emitter
def _emit(w: VectorBuilder, p: ChannelDots) -> None:
    b, lanes = w.b, i64(p.lanes)
    sums = [[w.variable(w.zero()) for _ in range(p.broad)] for _ in range(p.high)]
    with w.loop(p.rows) as row:
        mine = w.pointer(p.a, b.mul(b.mul(row, p.columns), lanes))
        others = [w.pointer(p.b, b.mul(b.add(b.mul(row, p.b_row), b.mul(i64(i), p.b_tap)), lanes)) for i in range(p.high)]
        with w.loop(p.columns) as column:
            factor = w.load(w.at(mine, b.mul(column, lanes)))
            start = b.mul(b.mul(column, p.b_step), lanes)
            for other, totals in zip(others, sums):
                for j, total in enumerate(totals):
                    value = w.load(w.at(w.at(other, start), j * p.apart * p.lanes))
                    w.set(total, w.fma(factor, value, w.get(total)))
    found = [total for totals in sums for total in totals]
    with w.when(b.icmp_signed("!=", p.resumed, i64(0))):
        for i, total in enumerate(found):
            w.set(total, w.add(w.get(total), w.load(w.pointer(p.to, i * p.lanes))))
    for i, total in enumerate(found):
        w.store(w.get(total), w.pointer(p.to, i * p.lanes))


@njit
def _channel_dots(p):
    _emit(p, ())


def channel_dots(high: int, broad: int, apart: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `ChannelDots`."""
    return address(_channel_dots, ChannelDots, high=high, broad=broad, apart=apart, lanes=lanes, itemsize=itemsize)


def most_rows(broad: int) -> int:
    """Rows of so many taps whose sums registers hold, beside two vectors; at least one."""
    return max(1, (machine().registers - 3) // broad)

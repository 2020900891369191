"""The inner-product tile: m rows of one array by n of another, whose products are summed along the rows, lanes along them too.

    y[i][q] (+)= sum over r < rows, t < width of a[i][r*a_step + t] * b[offsets[q] + r*b_step + t]        for i < m, q < n

`product_tile` has sums of neighbouring columns in a vector and needs factors laid out position by position; here both arrays are read as
rows lie, a vector of positions at a time, and every sum is a vector of partial sums, added up at the end. What lies behind a row is not
read.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class DotTile(NamedTuple):
    """What a tile of sums along rows takes."""

    m: Fixed  # rows of a
    n: Fixed  # rows of b
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    rows: int  # pieces of each row
    width: int  # numbers of a piece
    a: int  # address of the first
    a_pitch: int  # elements from i to i
    a_step: int  # elements from piece to piece
    b: int  # address
    b_step: int  # elements from piece to piece
    offsets: int  # address of n element offsets into b
    y: int  # address of the first sum
    y_pitch: int  # elements from i to i
    resumed: int  # whether y holds sums to add to


@emitter
def _emit(w: VectorBuilder, p: DotTile) -> None:
    b, m, n, lanes = w.b, p.m, p.n, p.lanes
    firsts = [w.pointer(p.a, b.mul(i64(i), p.a_pitch)) for i in range(m)]
    others = [w.pointer(p.b, w.load_index(p.offsets, i64(q))) for q in range(n)]
    c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]
    whole = b.sdiv(p.width, i64(lanes))
    done = b.mul(whole, i64(lanes))
    rest = b.sub(p.width, done)
    mask = w.first(rest)

    def add(at: ir.Value, other_at: ir.Value, mask: ir.Value | None = None) -> None:
        def read(pointer: ir.Value, index: ir.Value) -> ir.Value:
            place = w.at(pointer, index)
            return w.load(place) if mask is None else w.load_first(place, mask)

        factors = [read(first, at) for first in firsts]
        for q, other in enumerate(others):
            value = read(other, other_at)
            for i, factor in enumerate(factors):
                w.set(c[i][q], w.fma(factor, value, w.get(c[i][q])))

    with w.loop(p.rows) as row:
        mine, other = b.mul(row, p.a_step), b.mul(row, p.b_step)
        with w.loop(whole) as vector:
            t = b.mul(vector, i64(lanes))
            add(b.add(mine, t), b.add(other, t))
        with w.when(b.icmp_signed(">", rest, i64(0))):
            add(b.add(mine, done), b.add(other, done), mask)
    for i, start in itertools.product(range(m), range(0, n, lanes)):
        sums = [w.get(total) for total in c[i][start : start + lanes]]
        written = w.first(i64(len(sums)))
        found = w.variable(w.across_each(sums + [w.zero()] * (lanes - len(sums)), w.add))
        target = w.pointer(p.y, b.add(b.mul(i64(i), p.y_pitch), i64(start)))
        with w.when(b.icmp_signed("!=", p.resumed, i64(0))):
            w.set(found, w.add(w.get(found), w.load_first(target, written)))
        w.store_first(w.get(found), target, written)


@njit
def _dots(p):
    _emit(p, ())


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m by n rows, which takes a DotTile."""
    return address(_dots, DotTile, m=m, n=n, lanes=lanes, itemsize=itemsize)

"""The outer-product tile: m rows by n vectors of sums in registers, to which every position adds m numbers times n vectors.

    c[i][q] += a[t*a_pitch + i*a_row] * b[vectors[q] + offsets[t]]        for t < k positions, i < m, q < n vectors

It is `primitives.gemm_tile` for sums over positions rather than over taps: a block's sums are added to those of the blocks before, so it
has no bias and nothing follows; a row of `a` lies in a micro-panel wider than the tile, which packing in whole vectors makes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

UNROLL = 4  # positions per turn of the loop


class ProductTile(NamedTuple):
    """What a tile of sums over positions takes."""

    m: Fixed  # rows
    n: Fixed  # vectors of a row
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    apart: Fixed  # whether a_row is not 1; a_pitch is 1 then
    k: int  # positions
    a: int  # address of the first row's first number
    a_pitch: int  # elements from position to position
    a_row: int  # elements from row to row
    b: int  # address of the vectors
    offsets: int  # address of k element offsets into b
    vectors: int  # address of n element offsets into b
    y: int  # address of the sums, vectors side by side
    y_pitch: int  # elements from row to row
    resumed: int  # whether y holds sums to add to
    times: int  # how many such tiles side by side


class _Moved(NamedTuple):
    """Where one of several tiles is."""

    vectors: int
    y: int


@emitter
def _emit(w: VectorBuilder, p: ProductTile, at: _Moved) -> None:
    builder, m, n, lanes = w.b, p.m, p.n, p.lanes
    inputs = [w.at(w.pointer(p.b), w.load_index(at.vectors, i64(q))) for q in range(n)]
    rows = [w.at(w.pointer(at.y), builder.mul(i64(i), p.y_pitch)) for i in range(m)]
    c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]
    weights = [w.pointer(p.a, builder.mul(i64(i), p.a_row)) for i in range(m if p.apart else 1)]

    def add_position(t: ir.Value) -> None:
        offset = w.load_index(p.offsets, t)
        values = [w.load(w.at(start, offset)) for start in inputs]
        side_by_side = w.splats(w.at(weights[0], builder.mul(t, p.a_pitch)), 0 if p.apart else m)
        apart = (w.splat(w.load_scalar(w.at(row, t))) for row in weights) if p.apart else ()
        for i, factor in enumerate(itertools.chain(side_by_side, apart)):
            for q in range(n):
                w.set(c[i][q], w.fma(factor, values[q], w.get(c[i][q])))

    unrolled = builder.sdiv(p.k, i64(UNROLL))
    with w.loop(unrolled) as block:
        for u in range(UNROLL):
            add_position(builder.add(builder.mul(block, i64(UNROLL)), i64(u)))
            w.barrier()  # the next position's loads among these would leave a register short
    done = builder.mul(unrolled, i64(UNROLL))
    with w.loop(builder.sub(p.k, done)) as rest:
        add_position(builder.add(done, rest))
    # added at the end, not at the start: so a sum of B blocks of k rounds like sqrt(k) + sqrt(B), not like sqrt(k * B)
    with w.when(builder.icmp_signed("!=", p.resumed, i64(0))):
        for row, sums in zip(rows, c):
            for q in range(n):
                w.set(sums[q], w.add(w.get(sums[q]), w.load(w.at(row, q * lanes))))
    for row, sums in zip(rows, c):
        for q in range(n):
            w.store(w.get(sums[q]), w.at(row, q * lanes))


@njit
def _tiles(p):
    for i in range(p.times):
        _emit(p, _Moved(p.vectors + i * p.n * 8, p.y + i * p.n * p.lanes * p.itemsize))


def tile(m: int, n: int, lanes: int, itemsize: int, apart: bool = False) -> int:
    """Address of the compiled tile of m rows by n vectors, which takes a ProductTile."""
    return address(_tiles, ProductTile, m=m, n=n, lanes=lanes, itemsize=itemsize, apart=int(apart))

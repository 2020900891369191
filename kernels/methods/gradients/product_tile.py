"""The outer-product tile: m rows by n vectors of sums in registers, to which every position adds m numbers times n vectors.

    c[i][q] += a[t][i] * b[vectors[q] + offsets[t]]        for t < k positions, i < m, q < n vectors

It is `primitives.gemm_tile` for sums over positions rather than over taps: a block's sums are added to those of the blocks before, so it
has no bias and nothing follows; a row of `a` lies in a panel wider than the tile, which packing in whole vectors makes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

UNROLL = 4  # positions per turn of the loop


@intrinsic(prefer_literal=True)
def product_tile(typing_context: Any, m_: Any, n_: Any, lanes_: Any, itemsize_: Any,
                 k: Any, a: Any, a_pitch: Any, b: Any, offsets: Any, vectors: Any, y: Any, y_pitch: Any, resumed: Any) -> Any:  # fmt: skip
    """See `tile` for the arguments."""
    literals = m_, n_, lanes_, itemsize_
    m, n, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, a_pitch, b, offsets, vectors, y, y_pitch, resumed = values[4:]
        w = VectorBuilder(builder, lanes, itemsize)
        inputs = [w.at(w.pointer(b), w.load_index(vectors, i64(q))) for q in range(n)]
        rows = [w.at(w.pointer(y), builder.mul(i64(i), y_pitch)) for i in range(m)]
        c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]
        weights = w.pointer(a)

        def add_position(t: ir.Value) -> None:
            offset = w.load_index(offsets, t)
            column = w.at(weights, builder.mul(t, a_pitch))
            values = [w.load(w.at(start, offset)) for start in inputs]
            for i in range(m):
                factor = w.splat(w.load_scalar(w.at(column, i)))
                for q in range(n):
                    w.set(c[i][q], w.fma(factor, values[q], w.get(c[i][q])))

        turns = builder.sdiv(k, i64(UNROLL))
        with w.loop(turns) as turn:
            for u in range(UNROLL):
                add_position(builder.add(builder.mul(turn, i64(UNROLL)), i64(u)))
                w.barrier()  # the next position's loads among these would leave a register short
        done = builder.mul(turns, i64(UNROLL))
        with w.loop(builder.sub(k, done)) as rest:
            add_position(builder.add(done, rest))
        # added at the end, not at the start: so a sum of B blocks of k rounds like sqrt(k) + sqrt(B), not like sqrt(k * B)
        with w.when(builder.icmp_signed("!=", resumed, i64(0))):
            for row, sums in zip(rows, c):
                for q in range(n):
                    w.set(sums[q], w.add(w.get(sums[q]), w.load(w.at(row, q * lanes))))
        for row, sums in zip(rows, c):
            for q in range(n):
                w.store(w.get(sums[q]), w.at(row, q * lanes))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 9), codegen


@njit
def _tile(m, n, lanes, itemsize, k, a, a_pitch, b, offsets, vectors, y, y_pitch, resumed, times):
    for i in range(times):
        further = i * n * lanes * itemsize
        product_tile(m, n, lanes, itemsize, k, a, a_pitch, b, offsets, vectors + i * n * 8, y + further, y_pitch, resumed)


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile.

    It takes, all int64: the four sizes again; k positions; a, address of the first row, a_pitch elements from position to position; b;
    offsets, address of k int64 element offsets into b; vectors, address of n int64 element offsets into b; y, address of the sums, y_pitch
    elements from row to row, vectors side by side; resumed, whether y holds sums to add to; times, how many such tiles side by side.
    """
    return address(_tile, (m, n, lanes, itemsize), (types.int64,) * 10)

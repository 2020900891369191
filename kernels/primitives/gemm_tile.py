"""The GEMM tile: m rows of n vectors in registers, to which every tap adds a column of m weights times n vectors of input.

    c[i][q] += a[t][i] * x[vectors[q] + offsets[t]]        for t < k, i < m, q < n vectors

It is the matrix product at the heart of every method here. The table of offsets says where each tap lies, so one kernel serves any
kernel shape, dilation and channel stride, as indirection does in XNNPACK (M. Dukhan, "The Indirect Convolution Algorithm", arXiv
1907.02129); the table of vectors says where each vector of outputs lies, so a tile may hold parts of several rows. Registers: m*n sums,
n inputs and one weight; 9x3, 6x4 and 14x2 fill the 32 of AVX-512, 6x2 and 4x3 the 16 of AVX2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.register_post_ops import broadcast_row, finish
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

FIELDS = 3  # numbers per entry of the table of vectors
UNROLL = 3  # taps per turn of the loop; three of 6x4 gained 5 % over one, more gained nothing
AHEAD = 18  # taps between asking for input and using it: 18 * 12 cycles outlast the way from the second- and third-level cache. Without it
# a tile fell from 144 to 113 GFLOP/s where its input does not fit the first-level cache, with it it stays at 140
FAR, FAR_BYTES = 1000, 8192  # cycles between asking for weights and using them, which may come from memory, and at most how far beyond.
# Weights of 38 and 268 MB were waited for at 18 taps: 4.1 and 9.9 ms, at 80 and 128 taps 3.0 and 5.9
FROM_BIAS, LAST = 1, 2  # bits of `stage`: sums start from the bias rather than from y; sums are finished after these taps


def in_turns(w: VectorBuilder, k: ir.Value, add_tap: Callable[[ir.Value], None]) -> None:
    """add_tap(t) for every t < k, UNROLL of them in each turn of the loop, none begun before the one before is done: with the next tap's
    loads among this one's multiply-adds 9x3 was a register short, kept a sum on the stack, and in some processes ran at half its speed."""
    b = w.b
    rounds = b.sdiv(k, i64(UNROLL))
    with w.loop(rounds) as turn:
        for u in range(UNROLL):
            add_tap(b.add(b.mul(turn, i64(UNROLL)), i64(u)))
            w.barrier()
    summed = b.mul(rounds, i64(UNROLL))
    with w.loop(b.sub(k, summed)) as rest:
        add_tap(b.add(summed, rest))


def taps_ahead(m: int, n: int, nbytes: int) -> int:
    """Taps between asking for weights, `nbytes` of them a tap, and their use by m x n multiply-adds a tap."""
    return max(AHEAD, min(2 * FAR // (m * n), FAR_BYTES // nbytes))


@intrinsic(prefer_literal=True)
def gemm_tile(typing_context: Any, m_: Any, n_: Any, lanes_: Any, itemsize_: Any, apart_: Any, a_row: Any,
               k: Any, a: Any, x: Any, offsets: Any, y: Any, y_row: Any, vectors: Any, stage: Any, bias: Any, scale: Any, shift: Any,
               activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `tile` for the arguments."""
    literals = m_, n_, lanes_, itemsize_, apart_
    m, n, lanes, itemsize, apart = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        a_row, k, a, x, offsets, y, y_row, vectors, stage, bias, scale, shift, activation, slope = values[5:]
        w = VectorBuilder(builder, lanes, itemsize)
        in_x, in_y, counts = ([w.load_index(vectors, i64(FIELDS * q + field)) for q in range(n)] for field in range(FIELDS))
        inputs = [w.at(w.pointer(x), start) for start in in_x]
        whole_vectors = functools.reduce(builder.and_, [builder.icmp_signed(">=", count, i64(lanes)) for count in counts])
        outputs = w.pointer(y)
        rows = [w.at(outputs, builder.mul(i64(i), y_row)) for i in range(m)]
        c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]

        def each(action: Callable[..., None], masked: bool = False) -> None:
            """action(sums, their place in y, the mask of the lanes that count) for every vector of the tile."""
            masks = [w.first(count) if masked else None for count in counts]
            for row, of_row in zip(rows, c):
                for start, mask, sums in zip(in_y, masks, of_row):
                    action(sums, w.at(row, start), mask)

        # start: from the bias (or zero) at the first taps, from what y holds at later ones
        has_bias = builder.icmp_signed("!=", bias, i64(0))
        with builder.if_else(builder.icmp_signed("!=", builder.and_(stage, i64(FROM_BIAS)), i64(0))) as (fresh, resumed):
            with fresh, w.when(has_bias):
                for i in range(m):
                    value = broadcast_row(w, bias, i)
                    for q in range(n):
                        w.set(c[i][q], value)
            with resumed, builder.if_else(whole_vectors) as (whole, edge):
                with whole:
                    each(lambda sums, place, mask: w.set(sums, w.load(place)))
                with edge:
                    each(lambda sums, place, mask: w.set(sums, w.load_first(place, mask)), masked=True)

        # what will be written is asked for now, so that stores need not wait for it: 15.9 to 14.4 ms where outputs leave the caches
        each(lambda sums, place, mask: w.prefetch(w.at(place, lanes - 1), write=True))

        # sum: c[i][q] += a[t][i] * x[vectors[q] + offsets[t]]
        weights, far = w.pointer(a), taps_ahead(m, n, m * itemsize)
        weight_rows = [w.pointer(builder.add(a, builder.mul(a_row, i64(i)))) for i in range(m)] if apart else []

        def add_tap(t: ir.Value) -> None:
            ahead = w.load_index(offsets, builder.add(t, i64(AHEAD)))
            for start in inputs:
                w.prefetch(w.at(w.at(start, ahead), lanes - 1))
            offset = w.load_index(offsets, t)
            if apart:  # which the machine asks for ahead by itself, rows being read in order
                column = [w.at(row, t) for row in weight_rows]
            else:
                first = w.at(weights, builder.mul(t, i64(m)))
                w.prefetch(w.at(first, far * m))
                column = [w.at(first, i) for i in range(m)]
            values = [w.load(w.at(start, offset)) for start in inputs]
            for i, place in enumerate(column):
                weight = w.splat(w.load_scalar(place))
                for q in range(n):
                    w.set(c[i][q], w.fma(weight, values[q], w.get(c[i][q])))

        in_turns(w, k, add_tap)

        with w.when(builder.icmp_signed("!=", builder.and_(stage, i64(LAST)), i64(0))):
            finish(w, c, scale, shift, activation, slope)

        with builder.if_else(whole_vectors) as (whole, edge):
            with whole:
                each(lambda sums, place, mask: w.store(w.get(sums), place))
            with edge:
                each(lambda sums, place, mask: w.store_first(w.get(sums), place, mask), masked=True)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 14), codegen


@njit
def _tile(
    m, n, lanes, itemsize, k, a, x, offsets, y, y_row, vectors, stage, bias, scale, shift, activation, slope, times, a_step, y_step,
    vectors_step,
):  # fmt: skip
    for i in range(times):
        own_a, own_y, own_vectors = a + i * a_step, y + i * y_step, vectors + i * vectors_step
        gemm_tile(m, n, lanes, itemsize, 0, 0, k, own_a, x, offsets, own_y, y_row, own_vectors, stage, bias, scale, shift, activation,
                   slope)  # fmt: skip


@njit
def _tile_of_rows(
    m, n, lanes, itemsize, k, a, x, offsets, y, y_row, vectors, stage, bias, scale, shift, activation, slope, times, a_row, y_step,
    vectors_step,
):  # fmt: skip
    for i in range(times):
        own_y, own_vectors = y + i * y_step, vectors + i * vectors_step
        gemm_tile(m, n, lanes, itemsize, 1, a_row, k, a, x, offsets, own_y, y_row, own_vectors, stage, bias, scale, shift, activation,
                   slope)  # fmt: skip


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled GEMM tile of m rows by n vectors.

    It takes, all int64: the four sizes again; k taps; a, address of the weights [k][m]; x, address of the input; offsets, address of k
    int64 element offsets into x and AHEAD more (any values); y, address of the output, y_row elements from row to row; vectors, address
    of n int64 triples: element offset into x, element offset into y, how many of the lanes are written (and read, when resumed); stage,
    the bits FROM_BIAS and LAST; bias, scale, shift, addresses of m numbers or 0; activation, a code of ACTIVATIONS; slope, the bits of a
    float64; times, how many such tiles, each a_step, y_step and vectors_step bytes further, because calling one takes 90 cycles and
    the next in the same call 23. Reads whole vectors of x whatever the counts say.
    """
    return address(_tile, (m, n, lanes, itemsize), (types.int64,) * 17)


def tile_of_rows(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the same for weights as users have them, [m][k or more], rows `a_step` bytes apart, which all tiles of a call share."""
    return address(_tile_of_rows, (m, n, lanes, itemsize), (types.int64,) * 17)

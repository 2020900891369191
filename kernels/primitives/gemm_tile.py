"""The GEMM tile: m rows of n vectors in registers, to which every tap adds a column of m weights times n vectors of input.

    c[i][q] += a[t][i] * x[vectors[q] + offsets[t]]        for t < k, i < m, q < n vectors

It is the matrix product at the heart of every method here. The table of offsets says where each tap lies, so one kernel serves any
kernel shape, dilation and channel stride, as indirection does in XNNPACK (M. Dukhan, "The Indirect Convolution Algorithm", arXiv
1907.02129); the table of vectors says where each vector of outputs lies, so a tile may hold parts of several rows. Registers: m*n sums,
n inputs and one weight; 9x3, 6x4 and 14x2 fill the 32 of AVX-512, 6x2 and 4x3 the 16 of AVX2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.register_post_ops import broadcast_row, post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import inlined, njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

FIELDS = 3  # numbers per entry of the table of vectors
UNROLL = 3  # taps per step of the loop; three of 6x4 gained 5 % over one, more gained nothing
AHEAD = 18  # taps between prefetching input and using it: 18 * 12 cycles outlast the way from the second- and third-level cache. Without it
# a tile fell from 144 to 113 GFLOP/s where its input does not fit the first-level cache, with it it stays at 140
FAR, FAR_BYTES = 1000, 8192  # cycles between prefetching weights and using them, which may come from memory, and at most how far beyond.
# Weights of 38 and 268 MB were waited for at 18 taps: 4.1 and 9.9 ms, at 80 and 128 taps 3.0 and 5.9
# bits of `stage`: sums start from the bias; they are finished after these taps; they are added to y all the same; they go on from those in
# y, in the order in which one tile of all taps sums. With neither start they are added to y: a sum of sums
FROM_BIAS, LAST, ADDED, RESUMED = 1, 2, 4, 8


def unrolled(w: VectorBuilder, k: ir.Value, add_tap: Callable[[ir.Value], None]) -> None:
    """add_tap(t) for every t < k, UNROLL of them in each step of the loop, none begun before the one before is done: with the next tap's
    loads among this one's multiply-adds 9x3 was a register short, kept a sum on the stack, and in some processes ran at half its speed."""
    b = w.b
    steps = b.sdiv(k, i64(UNROLL))
    with w.loop(steps) as step:
        for u in range(UNROLL):
            add_tap(b.add(b.mul(step, i64(UNROLL)), i64(u)))
            w.barrier()
    summed = b.mul(steps, i64(UNROLL))
    with w.loop(b.sub(k, summed)) as rest:
        add_tap(b.add(summed, rest))


def taps_ahead(m: int, n: int, nbytes: int) -> int:
    """Taps between prefetching weights, `nbytes` of them a tap, and their use by m x n multiply-adds a tap."""
    return max(AHEAD, min(2 * FAR // (m * n), FAR_BYTES // nbytes))


class GemmTile(NamedTuple):
    """What a tile of the matrix product takes; other micro-kernels that compute outputs from packed input take it too."""

    m: Fixed  # rows: output channels
    n: Fixed  # vectors of outputs
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    k: int  # taps
    kc: int  # taps that are summed in registers; the sums of each further kc are added to y (blocked summation: the error grows less)
    a: int  # address of the weights [k][m]
    x: int  # address of the input, of which whole vectors are read whatever the counts say
    offsets: int  # address of k element offsets into x, and AHEAD more of any values
    y: int  # address of the output
    y_row: int  # elements from row to row of it
    vectors: int  # address of n entries of FIELDS int64s: element offsets into x and y, how many lanes are written (and read, if resumed)
    stage: int  # the bits FROM_BIAS, LAST, ADDED and RESUMED
    bias: int  # address of m numbers, or 0; so are scale and shift
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64
    times: int  # how many such tiles: calling one takes 90 cycles, the next in the same call 23
    a_step: int  # bytes from tile to tile, of y and of vectors too
    y_step: int
    vectors_step: int
    a_row: int  # bytes from row to row of weights that are not packed


class Moved(NamedTuple):
    """Where one of several tiles is, and one block of its taps."""

    a: int
    a_row: int  # bytes from row to row of weights that are not packed, 0 of those that are
    y: int
    vectors: int
    offsets: int
    k: int
    stage: int


def emit(w: VectorBuilder, p: GemmTile, at: Moved, packed: bool, multiply_add: Callable[..., ir.Value]) -> None:
    """One tile; multiply_add(a, b, c): a * b + c, or what else is summed of a weight, a vector of input and the sum so far."""
    builder, m, n, lanes, itemsize = w.b, p.m, p.n, p.lanes, p.itemsize
    offsets, bias, stage = at.offsets, p.bias, at.stage
    in_x, in_y, counts = ([w.load_index(at.vectors, i64(FIELDS * q + field)) for q in range(n)] for field in range(FIELDS))
    inputs = [w.at(w.pointer(p.x), start) for start in in_x]
    whole_vectors = functools.reduce(builder.and_, [builder.icmp_signed(">=", count, i64(lanes)) for count in counts])
    outputs = w.pointer(at.y)
    rows = [w.at(outputs, builder.mul(i64(i), p.y_row)) for i in range(m)]
    c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]

    def each(action: Callable[..., None], masked: bool = False) -> None:
        """action(sums, their place in y, the mask of the lanes that count) for every vector of the tile."""
        masks = [w.first(count) if masked else None for count in counts]
        for row, of_row in zip(rows, c):
            for start, mask, sums in zip(in_y, masks, of_row):
                action(sums, w.at(row, start), mask)

    def has(bits: int) -> ir.Value:
        """Whether the stage has one of these bits."""
        return builder.icmp_signed("!=", builder.and_(stage, i64(bits)), i64(0))

    def with_y(action: Callable[..., None]) -> None:
        """action(sums, what y holds there) for every vector of the tile."""
        with builder.if_else(whole_vectors) as (whole, edge):
            with whole:
                each(lambda sums, place, mask: action(sums, w.load(place)))
            with edge:
                each(lambda sums, place, mask: action(sums, w.load_first(place, mask)), masked=True)

    with w.when(builder.and_(builder.icmp_signed("!=", bias, i64(0)), has(FROM_BIAS))):
        for i in range(m):
            value = broadcast_row(w, bias, i)
            for q in range(n):
                w.set(c[i][q], value)

    with w.when(has(RESUMED)):
        with_y(w.set)

    # what will be written is prefetched now, so that stores need not wait for it: 15.9 to 14.4 ms where outputs leave the caches
    each(lambda sums, place, mask: w.prefetch(w.at(place, lanes - 1), write=True))

    # sum: c[i][q] += a[t][i] * x[vectors[q] + offsets[t]]
    weights, far = w.pointer(at.a), taps_ahead(m, n, m * itemsize)
    weight_rows = [w.pointer(builder.add(at.a, builder.mul(at.a_row, i64(i)))) for i in range(m)] if not packed else []

    # of vectors of 16 bytes, which mostly lie four to a cache line, one of four is prefetched
    line, in_line = (4, 0) if lanes * itemsize <= 16 else (1, lanes - 1)

    def add_tap(t: ir.Value) -> None:
        ahead = w.load_index(offsets, builder.add(t, i64(AHEAD)))
        for start in inputs[::line]:
            w.prefetch(w.at(w.at(start, ahead), in_line))
        offset = w.load_index(offsets, t)
        column: Iterator[ir.Value]
        if not packed:  # which the hardware prefetches by itself, rows being read in order
            column = (w.splat(w.load_scalar(w.at(row, t))) for row in weight_rows)
        else:
            first = w.at(weights, builder.mul(t, i64(m)))
            w.prefetch(w.at(first, far * m))
            column = w.splats(first, m)
        values = [w.load(w.at(start, offset)) for start in inputs]
        for i, weight in enumerate(column):
            for q in range(n):
                w.set(c[i][q], multiply_add(weight, values[q], w.get(c[i][q])))

    unrolled(w, at.k, add_tap)

    # sums of earlier taps are added last: a sum of sums of some taps each has a smaller error than one of all, one after the other
    with w.when(builder.or_(has(ADDED), builder.not_(has(FROM_BIAS | RESUMED)))):
        with_y(lambda sums, held: w.set(sums, w.add(w.get(sums), held)))

    with w.when(has(LAST)):
        post_ops(w, c, p.scale, p.shift, p.activation, p.slope)

    with builder.if_else(whole_vectors) as (whole, edge):
        with whole:
            each(lambda sums, place, mask: w.store(w.get(sums), place))
        with edge:
            each(lambda sums, place, mask: w.store_first(w.get(sums), place, mask), masked=True)


@emitter
def _emit_packed(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """One tile, of weights [k][m]."""
    emit(w, p, at, True, w.fma)


@emitter
def _emit_rows(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """One tile, of weights [m][k or more]."""
    emit(w, p, at, False, w.fma)


@inlined
def stage_of(p, first, k):
    """The stage of k taps from tap `first` on."""
    return (p.stage if first == 0 else p.stage & ~(FROM_BIAS | RESUMED)) & (-1 if first + k == p.k else ~LAST)


@njit
def _tile(p):
    for i in range(p.times):
        for first in range(0, p.k, p.kc):
            k = min(p.kc, p.k - first)
            a, y, vectors = p.a + i * p.a_step + first * p.m * p.itemsize, p.y + i * p.y_step, p.vectors + i * p.vectors_step
            _emit_packed(p, Moved(a, 0, y, vectors, p.offsets + 8 * first, k, stage_of(p, first, k)))


@njit
def _tile_of_rows(p):
    for i in range(p.times):
        for first in range(0, p.k, p.kc):
            k = min(p.kc, p.k - first)
            a, y, vectors = p.a + i * p.a_step + first * p.itemsize, p.y + i * p.y_step, p.vectors + i * p.vectors_step
            _emit_rows(p, Moved(a, p.a_row, y, vectors, p.offsets + 8 * first, k, stage_of(p, first, k)))


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m rows by n vectors, which takes a GemmTile."""
    return address(_tile, GemmTile, m=m, n=n, lanes=lanes, itemsize=itemsize)


def tile_of_rows(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the same for weights as users have them, [m][k or more]."""
    return address(_tile_of_rows, GemmTile, m=m, n=n, lanes=lanes, itemsize=itemsize)

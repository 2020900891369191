"""The transforms of a Winograd convolution, one tile per lane.

    input:   v = B'h d Bw      d is the th x tw patch of a tile, loaded as th*tw vectors of neighbouring tiles
    output:  y = A'h m Aw      then bias, scale and shift, activation; mh x mw outputs a tile, tiles side by side again

A matrix with the pair of points +p and -p has two rows that differ only in the signs of their odd (or even) columns, so both are had from
one sum E and one sum O as E + O and E - O; that halves the multiplications.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.jit import address, njit
from kernels.microkernels.outer import finish
from kernels.toomcook import Matrix, matrices
from kernels.vector import Words, i64

Vectors = list[ir.Value]


def combination(w: Words, coefficients: list[Fraction], vectors: Vectors) -> ir.Value | None:
    """Sum of coefficient * vector; None if all coefficients are zero."""
    total = None
    # a coefficient of one starts the sum for free
    for factor, vector in sorted(zip(coefficients, vectors), key=lambda pair: pair[0] != 1):
        if factor == 0:
            continue
        if total is None:
            total = vector if factor == 1 else w.b.fneg(vector) if factor == -1 else w.b.fmul(w.constant(float(factor)), vector)
        elif factor == 1:
            total = w.b.fadd(total, vector)
        elif factor == -1:
            total = w.b.fsub(total, vector)
        else:
            total = w.fma(w.constant(float(factor)), vector, total)
    return total


def product(w: Words, matrix: Matrix, vectors: Vectors) -> Vectors:
    """matrix times a column of vectors; rows that mirror each other share their sums."""
    results: list[ir.Value | None] = [None] * len(matrix)
    for i, row in enumerate(matrix):
        if results[i] is not None:
            continue
        mirrored = [k for k in range(i + 1, len(matrix)) if _mirrors(row, matrix[k])]
        if not mirrored:
            results[i] = combination(w, row, vectors)
            continue
        other = matrix[mirrored[0]]
        even = combination(w, [a if a == b else Fraction(0) for a, b in zip(row, other)], vectors)
        odd = combination(w, [a if a != b else Fraction(0) for a, b in zip(row, other)], vectors)
        results[i], results[mirrored[0]] = w.b.fadd(even, odd), w.b.fsub(even, odd)
    return [w.zero() if result is None else result for result in results]


def _mirrors(row: list[Fraction], other: list[Fraction]) -> bool:
    """Whether two rows agree up to signs, with some columns of either kind."""
    same = sum(a == b != 0 for a, b in zip(row, other))
    opposite = sum(a == -b != 0 for a, b in zip(row, other))
    return same + opposite == sum(a != 0 for a in row) and same > 0 and opposite > 0 and all(abs(a) == abs(b) for a, b in zip(row, other))


def both_axes(w: Words, rows: Matrix, columns: Matrix, values: list[Vectors]) -> list[Vectors]:
    """rows * values * columns', values[i][j] being vectors."""
    down = [product(w, rows, [line[j] for line in values]) for j in range(len(values[0]))]
    return [product(w, columns, [down[j][i] for j in range(len(down))]) for i in range(len(rows))]


@intrinsic(prefer_literal=True)
def _input(typing_context: Any, mh_: Any, rh_: Any, mw_: Any, rw_: Any, lanes_: Any, itemsize_: Any,
           dst: Any, point_stride: Any, src: Any, offsets: Any, count: Any) -> Any:  # fmt: skip
    """See `input_transform`."""
    literals = mh_, rh_, mw_, rw_, lanes_, itemsize_
    mh, rh, mw, rw, lanes, itemsize = (literal.literal_value for literal in literals)
    rows, columns = matrices(mh, rh)[2], matrices(mw, rw)[2]

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, point_stride, src, offsets, count = values[6:]
        w = Words(builder, lanes, itemsize)
        source, to = w.pointer(src), w.pointer(dst)
        tw = len(columns)
        starts = [[w.at(source, w.load_index(offsets, i64(i * tw + j))) for j in range(tw)] for i in range(len(rows))]
        blocks = builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))
        with w.loop(blocks) as block:
            q = builder.mul(block, i64(lanes))
            patch = [[w.load(w.at(start, q)) for start in line] for line in starts]
            out = w.at(to, q)
            for i, line in enumerate(both_axes(w, rows, columns, patch)):
                for j, value in enumerate(line):
                    w.store(value, w.at(out, builder.mul(i64(i * tw + j), point_stride)))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 5), codegen


@njit
def _input_transform(mh, rh, mw, rw, lanes, itemsize, dst, point_stride, src, offsets, count):
    _input(mh, rh, mw, rw, lanes, itemsize, dst, point_stride, src, offsets, count)


def input_transform(shape: tuple[int, int, int, int], lanes: int, itemsize: int) -> int:
    """Address of the compiled input transform of F(mh x mw, rh x rw), `shape` being (mh, rh, mw, rw).

    It takes, all int64: the six sizes again; dst, address of the results [point][tile], point_stride elements from point to point; src,
    address of one packed channel; offsets, address of the int64 element offsets of the patch's th*tw elements; count, how many tiles.
    Whole vectors are read and written.
    """
    return address(_input_transform, (*shape, lanes, itemsize), (types.int64,) * 5)


@intrinsic(prefer_literal=True)
def _output(typing_context: Any, mh_: Any, rh_: Any, mw_: Any, rw_: Any, lanes_: Any, itemsize_: Any,
            dst: Any, dst_row: Any, src: Any, point_stride: Any, bias: Any, scale: Any, shift: Any, activation: Any,
           slope: Any) -> Any:  # fmt: skip
    """One vector of tiles: mh lines of mw*lanes outputs at dst, dst_row elements apart; see `output_transform`."""
    literals = mh_, rh_, mw_, rw_, lanes_, itemsize_
    mh, rh, mw, rw, lanes, itemsize = (literal.literal_value for literal in literals)
    rows, columns = matrices(mh, rh)[0], matrices(mw, rw)[0]

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, dst_row, src, point_stride, bias, scale, shift, activation, slope = values[6:]
        w = Words(builder, lanes, itemsize)
        source, to = w.pointer(src), w.pointer(dst)
        tw = len(columns[0])
        points = [[w.load(w.at(source, builder.mul(i64(i * tw + j), point_stride))) for j in range(tw)] for i in range(len(rows[0]))]
        start = w.variable(w.zero())
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            w.set(start, w.splat(w.load_scalar(w.pointer(bias))))
        first = w.get(start)
        sums = [[w.variable(w.b.fadd(value, first)) for line in both_axes(w, rows, columns, points) for value in line]]
        finish(w, sums, scale, shift, activation, slope)
        finished = [w.get(slot) for slot in sums[0]]
        for i in range(mh):
            w.store_interleaved(finished[i * mw : (i + 1) * mw], w.at(to, builder.mul(i64(i), dst_row)))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 9), codegen


@njit
def _output_transform(
    mh, rh, mw, rw, lanes, itemsize, out, oh, ow, width, row, across, tiles, src, point_stride, line, bias, scale, shift, activation, slope
):
    for first in range(0, tiles, lanes):
        source = src + first * itemsize
        down, column = first // across, first % across
        to = out + ((row + down) * mh * ow + column * mw) * itemsize
        if column + lanes <= across and (column + lanes) * mw <= width and (row + down + 1) * mh <= oh:
            _output(mh, rh, mw, rw, lanes, itemsize, to, ow, source, point_stride, bias, scale, shift, activation, slope)
            continue
        _output(mh, rh, mw, rw, lanes, itemsize, line, mw * lanes, source, point_stride, bias, scale, shift, activation, slope)
        tile = first
        last = min(tiles, first + lanes)
        while tile < last:  # the part of one row of tiles that this vector holds
            down, column = tile // across, tile % across
            number = min(last - tile, across - column)
            count = min(number * mw, width - column * mw)
            for i in range(min(mh, oh - (row + down) * mh)):
                to = out + (((row + down) * mh + i) * ow + column * mw) * itemsize
                _copy_line(lanes, itemsize, to, line + (i * mw * lanes + (tile - first) * mw) * itemsize, count)
            tile += number


@intrinsic(prefer_literal=True)
def _copy_line(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, count: Any) -> Any:
    """dst[j] = src[j] for j < count; addresses."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        w = Words(builder, lanes, itemsize)
        w.copy(w.pointer(values[2]), w.pointer(values[3]), values[4])
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 3), codegen


def output_transform(shape: tuple[int, int, int, int], lanes: int, itemsize: int) -> int:
    """Address of the compiled output transform of one channel, `shape` being (mh, rh, mw, rw).

    It takes, all int64: the six sizes again; out, address of the (oh, ow) plane from the first column on; oh, ow; width, columns from
    there to the plane's edge; row, the first row of tiles; across, tiles per row; tiles, how many; src, address of the products
    [point][tile], point_stride elements from point to point; line, address of scratch for mh*mw vectors; bias, scale, shift, addresses
    of one number or 0; activation, slope as for the outer tile.
    """
    return address(_output_transform, (*shape, lanes, itemsize), (types.int64,) * 15)

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

from kernels.methods.winograd import tile_load as tile_patches
from kernels.methods.winograd import tile_store as tile_outputs
from kernels.methods.winograd.matrices import Matrix, matrices
from kernels.primitives.register_post_ops import finish
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

Vectors = list[ir.Value]


def combination(w: VectorBuilder, coefficients: list[Fraction], vectors: Vectors) -> ir.Value | None:
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


def product(w: VectorBuilder, matrix: Matrix, vectors: Vectors) -> Vectors:
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


def both_axes(w: VectorBuilder, rows: Matrix, columns: Matrix, values: list[Vectors]) -> list[Vectors]:
    """rows * values * columns', values[i][j] being vectors."""
    down = [product(w, rows, [line[j] for line in values]) for j in range(len(values[0]))]
    return [product(w, columns, [down[j][i] for j in range(len(down))]) for i in range(len(rows))]


@intrinsic(prefer_literal=True)
def _input(typing_context: Any, mh_: Any, rh_: Any, mw_: Any, rw_: Any, lanes_: Any, itemsize_: Any,
           dst: Any, point_stride: Any, src: Any, pitch: Any, ahead: Any, entries: Any, count: Any) -> Any:  # fmt: skip
    """See `input_transform`."""
    literals = mh_, rh_, mw_, rw_, lanes_, itemsize_
    mh, rh, mw, rw, lanes, itemsize = (literal.literal_value for literal in literals)
    rows, columns = matrices(mh, rh)[2], matrices(mw, rw)[2]
    th, tw = len(rows), len(columns)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, point_stride, src, pitch, ahead, entries, count = values[6:]
        w = VectorBuilder(builder, lanes, itemsize)
        plane, to = tile_patches.Plane(w.pointer(src), pitch, ahead), w.pointer(dst)
        with w.loop(count) as vector:
            entry = builder.add(entries, builder.mul(vector, i64(8 * tile_patches.entry_words(th, tw, lanes))))
            out = w.at(to, w.load_index(entry, i64(tile_patches.PLACE)))

            def transform(inner: bool) -> None:
                across = [product(w, columns, row) for row in tile_patches.patches(w, plane, entry, th, tw, mw, inner)]
                for j in range(tw):
                    for i, value in enumerate(product(w, rows, [line[j] for line in across])):
                        w.store(value, w.at(out, builder.mul(i64(i * tw + j), point_stride)))

            with builder.if_else(builder.icmp_signed("!=", w.load_index(entry, i64(tile_patches.INNER)), i64(0))) as (inside, edge):
                with inside:
                    transform(True)
                with edge:
                    transform(False)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 7), codegen


@njit
def _input_transform(mh, rh, mw, rw, lanes, itemsize, dst, point_stride, src, pitch, ahead, entries, count):
    _input(mh, rh, mw, rw, lanes, itemsize, dst, point_stride, src, pitch, ahead, entries, count)


def input_transform(shape: tuple[int, int, int, int], lanes: int, itemsize: int) -> int:
    """Address of the compiled input transform of F(mh x mw, rh x rw), `shape` being (mh, rh, mw, rw).

    It takes, all int64: the six sizes again; dst, address of the results [point][tile], point_stride elements from point to point; src,
    address of a plane, rows `pitch` elements apart; ahead, how many elements further lies what comes next; entries, address of what
    `tile_patches.write_entries` wrote; count, how many vectors of tiles. Whole vectors are written, ascending.
    """
    return address(_input_transform, (*shape, lanes, itemsize), (types.int64,) * 7)


@intrinsic(prefer_literal=True)
def _output(typing_context: Any, mh_: Any, rh_: Any, mw_: Any, rw_: Any, lanes_: Any, itemsize_: Any,
            dst: Any, pitch: Any, ahead: Any, entries: Any, count: Any, src: Any, point_stride: Any, bias: Any, scale: Any, shift: Any,
            activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `output_transform`."""
    literals = mh_, rh_, mw_, rw_, lanes_, itemsize_
    mh, rh, mw, rw, lanes, itemsize = (literal.literal_value for literal in literals)
    rows, columns = matrices(mh, rh)[0], matrices(mw, rw)[0]
    th, tw = len(rows[0]), len(columns[0])

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, pitch, ahead, entries, count, src, point_stride, bias, scale, shift, activation, slope = values[6:]
        w = VectorBuilder(builder, lanes, itemsize)
        plane = tile_outputs.Plane(w.pointer(dst), pitch, ahead)
        first = w.variable(w.zero())
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            w.set(first, w.splat(w.load_scalar(w.pointer(bias))))
        with w.loop(count) as vector:
            entry = builder.add(entries, builder.mul(vector, i64(8 * tile_outputs.entry_words(mw, lanes))))
            tile_outputs.ask(w, plane, entry, mh, mw)
            source = w.at(w.pointer(src), w.load_index(entry, i64(tile_outputs.PLACE)))
            points = [[w.load(w.at(source, builder.mul(i64(i * tw + j), point_stride))) for j in range(tw)] for i in range(th)]
            sums = [[w.variable(w.add(value, w.get(first))) for value in line] for line in both_axes(w, rows, columns, points)]
            finish(w, [[slot for line in sums for slot in line]], scale, shift, activation, slope)
            tile_outputs.put(w, plane, entry, [[w.get(slot) for slot in line] for line in sums])
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 12), codegen


@njit
def _output_transform(
    mh, rh, mw, rw, lanes, itemsize, dst, pitch, ahead, entries, count, src, point_stride, bias, scale, shift, activation, slope
):
    _output(mh, rh, mw, rw, lanes, itemsize, dst, pitch, ahead, entries, count, src, point_stride, bias, scale, shift, activation, slope)


def output_transform(shape: tuple[int, int, int, int], lanes: int, itemsize: int) -> int:
    """Address of the compiled output transform of one channel, `shape` being (mh, rh, mw, rw).

    It takes, all int64: the six sizes again; dst, address of the plane from the first column on; pitch, elements from row to row; ahead,
    how many elements further lies what is written next; entries, address of what `tile_outputs.write_entries` wrote; count, how many
    entries; src, address of the products [point][tile], point_stride elements from point to point; bias, scale, shift, addresses of one
    number or 0; activation, slope as for the GEMM tile.
    """
    return address(_output_transform, (*shape, lanes, itemsize), (types.int64,) * 12)

"""The transforms of a Winograd convolution, one tile per lane.

    input:   v = B'h d Bw      d is the th x tw patch of a tile, loaded as th*tw vectors of neighbouring tiles
    output:  y = A'h m Aw      then bias, scale and shift, activation; mh x mw outputs a tile, tiles side by side again

A matrix with the pair of points +p and -p has two rows that differ only in the signs of their odd (or even) columns, so both are had from
one sum E and one sum O as E + O and E - O; that halves the multiplications.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from llvmlite import ir

from kernels.methods.winograd import dilated, tile_load, tile_store
from kernels.methods.winograd.matrices import Matrix, matrices
from kernels.primitives.register_post_ops import post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

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


Tile = tuple[int, int, int, int]


class InputTransform(NamedTuple):
    """What the input transform takes."""

    mh: Fixed  # outputs of a tile along the height
    rh: Fixed  # taps
    mw: Fixed  # and along the width
    rw: Fixed
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dilated: Fixed  # whether patches lie as `dilated` says, else as `tile_load` does
    dst: int  # address of the results [point][tile], of which whole vectors are written, ascending
    point_stride: int  # elements from point to point
    src: int  # address of a plane
    pitch: int  # elements from row to row of a patch
    across: int  # and from column to column, where they are dilated
    ahead: int  # how many elements further lies what is transformed next
    entries: int  # address of what `write_entries` wrote
    vectors: int  # of tiles


@emitter
def _emit_input(w: VectorBuilder, p: InputTransform) -> None:
    """See `input_transform`."""
    b = w.b
    rows, columns = matrices(p.mh, p.rh)[2], matrices(p.mw, p.rw)[2]
    th, tw = len(rows), len(columns)
    plane, to = tile_load.Plane(w.pointer(p.src), p.pitch, p.ahead), w.pointer(p.dst)
    words = dilated.entry_words(tw, p.lanes) if p.dilated else tile_load.entry_words(th, tw, p.lanes)
    with w.loop(p.vectors) as vector:
        entry = b.add(p.entries, b.mul(vector, i64(8 * words)))
        out = w.at(to, w.load_index(entry, i64(tile_load.PLACE)))

        def transform(patches: Iterator[Vectors]) -> None:
            across = [product(w, columns, row) for row in patches]
            for j in range(tw):
                for i, value in enumerate(product(w, rows, [line[j] for line in across])):
                    w.store(value, w.at(out, b.mul(i64(i * tw + j), p.point_stride)))

        if p.dilated:
            transform(dilated.patches(w, plane, entry, th, tw, p.across))
        else:
            with b.if_else(b.icmp_signed("!=", w.load_index(entry, i64(tile_load.INNER)), i64(0))) as (inside, edge):
                with inside:
                    transform(tile_load.patches(w, plane, entry, th, tw, p.mw, inner=True))
                with edge:
                    transform(tile_load.patches(w, plane, entry, th, tw, p.mw, inner=False))


@njit
def _input_transform(p):
    _emit_input(p, ())


def input_transform(shape: Tile, lanes: int, itemsize: int, apart: bool = False) -> int:
    """Address of the compiled input transform of F(mh x mw, rh x rw), `shape` being (mh, rh, mw, rw): takes an InputTransform."""
    mh, rh, mw, rw = shape
    return address(_input_transform, InputTransform, mh=mh, rh=rh, mw=mw, rw=rw, lanes=lanes, itemsize=itemsize, dilated=int(apart))


class OutputTransform(NamedTuple):
    """What the output transform takes."""

    mh: Fixed  # outputs of a tile along the height
    rh: Fixed  # taps
    mw: Fixed  # and along the width
    rw: Fixed
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dilated: Fixed  # whether outputs lie as `dilated` says, else as `tile_store` does
    dst: int  # address of the plane from the first column on
    pitch: int  # elements from row to row of a tile
    ahead: int  # how many elements further lies what is written next
    entries: int  # address of what `write_entries` wrote
    vectors: int  # of tiles
    src: int  # address of the products [point][tile]
    point_stride: int  # elements from point to point
    bias: int  # address of a number, or 0; so are scale and shift
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


@emitter
def _emit_output(w: VectorBuilder, p: OutputTransform) -> None:
    """See `output_transform`."""
    b = w.b
    rows, columns = matrices(p.mh, p.rh)[0], matrices(p.mw, p.rw)[0]
    th, tw = len(rows[0]), len(columns[0])
    plane = tile_load.Plane(w.pointer(p.dst), p.pitch, p.ahead)
    shortest = dilated.SHORTEST if p.dilated else p.mw
    first = w.variable(w.zero())
    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        w.set(first, w.splat(w.load_scalar(w.pointer(p.bias))))
    with w.loop(p.vectors) as vector:
        entry = b.add(p.entries, b.mul(vector, i64(8 * tile_store.entry_words(p.mw, p.lanes, shortest))))
        tile_store.prefetch(w, plane, entry, p.mh, p.mw)
        source = w.at(w.pointer(p.src), w.load_index(entry, i64(tile_store.PLACE)))
        points = [[w.load(w.at(source, b.mul(i64(i * tw + j), p.point_stride))) for j in range(tw)] for i in range(th)]
        sums = [[w.variable(w.add(value, w.get(first))) for value in line] for line in both_axes(w, rows, columns, points)]
        post_ops(w, [[slot for line in sums for slot in line]], p.scale, p.shift, p.activation, p.slope)
        outputs = [[w.get(slot) for slot in line] for line in sums]
        if p.dilated:
            tile_store.store_pieces(w, plane, entry, outputs, tile_store.pieces(shortest, p.lanes))
        else:
            tile_store.store(w, plane, entry, outputs)


@njit
def _output_transform(p):
    _emit_output(p, ())


def output_transform(shape: Tile, lanes: int, itemsize: int, apart: bool = False) -> int:
    """Address of the compiled output transform of one channel, `shape` being (mh, rh, mw, rw): takes an OutputTransform."""
    mh, rh, mw, rw = shape
    return address(_output_transform, OutputTransform, mh=mh, rh=rh, mw=mw, rw=rw, lanes=lanes, itemsize=itemsize, dilated=int(apart))

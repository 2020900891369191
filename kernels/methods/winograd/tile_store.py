"""Outputs of Winograd tiles, one tile per lane, to where they lie in a plane: tiles side by side, and every edge a mask.

The lanes of a row of outputs in turns are its numbers, in as many vectors as a tile has columns. Vectors of tiles that lie side by side
with nothing past an edge are stored whole. Others hold pieces of several rows of tiles, or reach past the plane; where the pieces of each
vector belong stands in an entry, which all channels of a task share.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.methods.winograd.tile_load import Plane, first_place
from kernels.runtime.ir import VectorBuilder, i64, read_index
from kernels.runtime.jit import njit
from kernels.runtime.pointers import write_index

LINE = 64  # bytes that go to memory together
PLACE, WHOLE, START, PIECES = range(4)  # int64s of an entry
OFFSET, ROWS, NUMBERS, FROM, FIELDS = range(5)  # int64s of a piece, and how many


def pieces(shortest: int, lanes: int) -> int:
    """Pieces of a vector at most, which all have so many numbers but for the first and the last."""
    return min(lanes, (lanes - 2) // shortest + 2)


def entry_words(mw: int, lanes: int, shortest: int) -> int:
    """Int64s of one entry: the first tile's offset among the products, whether all outputs lie side by side, where then; for each of mw
    vectors how many pieces it has, and the pieces, at least `shortest` numbers long: where lane 0 would lie, rows,
    numbers, the first lane."""
    return PIECES + mw * (1 + FIELDS * pieces(shortest, lanes))


class OutputTiles(NamedTuple):
    """Outputs of rows x columns tiles of mh x mw in a plane of `height` rows, from row `row` of tiles on."""

    rows: int
    columns: int
    row: int
    pitch: int  # elements from row to row of the plane
    height: int
    width: int  # columns that are written, from the first tile on
    mh: int
    mw: int
    turn: int  # rows of tiles that take turns, and from row to row of a tile


@njit
def write_entries(to, words, at, lanes):
    """Entries of `words` int64s at the address `to` for OutputTiles; how many there are."""
    rows, columns, row, pitch, height, width, mh, mw, turn = at
    number, each, count = rows * columns, (words - PIECES) // mw, 0
    for first in range(0, number, lanes):
        entry, last = to + count * words * 8, min(first + lanes, number)
        down, across = row + first // columns, first % columns
        top = first_place(down, mh, turn)
        start = top * pitch + across * mw
        whole = first + lanes <= number and across + lanes <= columns
        whole = whole and (across + lanes) * mw <= width and top + (mh - 1) * turn < height
        for word, value in enumerate((first, int(whole), start)):
            write_index(entry + word * 8, value)
        for v in range(mw):
            write_index(entry + (PIECES + v * each) * 8, 0)
        tile = first
        while tile < last:
            down, across = row + tile // columns, tile % columns
            top = first_place(down, mh, turn)
            tiles = min(last - tile, columns - across)
            begin = (tile - first) * mw
            end = begin + max(0, min(tiles * mw, width - across * mw))
            start, live = top * pitch + across * mw, min(mh, (height - top + turn - 1) // turn)
            for v in range(begin // lanes, (end + lanes - 1) // lanes):
                line = entry + (PIECES + v * each) * 8
                known = read_index(line, 0)
                low, high = max(begin, v * lanes), min(end, (v + 1) * lanes)
                for field, value in enumerate((start + v * lanes - begin, live, high - low, low - v * lanes)):
                    write_index(line + (1 + known * FIELDS + field) * 8, value)
                write_index(line, known + 1)
            tile += tiles
        count += 1
    return count


def prefetch(w: VectorBuilder, plane: Plane, entry: ir.Value, mh: int, mw: int) -> None:
    """Prefetch the lines that what comes after this vector of tiles will be written to, so that stores need not wait for them."""
    start = w.at(w.at(plane.first, w.load_index(entry, i64(START))), plane.ahead)
    for i in range(mh):
        row = w.at(start, w.b.mul(i64(i), plane.pitch))
        for first in range(0, mw * w.lanes, LINE // w.itemsize):
            w.prefetch(w.at(row, first), write=True)


def store(w: VectorBuilder, plane: Plane, entry: ir.Value, outputs: list[list[ir.Value]]) -> None:
    """outputs[i][j], row i and column j of every tile, to where the entry at an address says."""
    b, mw = w.b, len(outputs[0])
    rows = [w.interleaved(row) for row in outputs]
    with b.if_else(b.icmp_signed("!=", w.load_index(entry, i64(WHOLE)), i64(0))) as (whole, partial):
        with whole:
            start = w.at(plane.first, w.load_index(entry, i64(START)))
            for i, vectors in enumerate(rows):
                for v, vector in enumerate(vectors):
                    w.store(vector, w.at(w.at(start, b.mul(i64(i), plane.pitch)), v * w.lanes))
        with partial:
            store_pieces(w, plane, entry, rows, pieces(mw, w.lanes))


def store_pieces(w: VectorBuilder, plane: Plane, entry: ir.Value, rows: list[list[ir.Value]], most: int) -> None:
    """The pieces of rows[i][v], at most so many, to where the entry says."""
    b = w.b
    for v in range(len(rows[0])):
        first = PIECES + v * (1 + FIELDS * most)
        with w.loop(w.load_index(entry, i64(first))) as piece:
            at = b.add(b.mul(piece, i64(FIELDS)), i64(first + 1))
            offset, live, numbers, low = (w.load_index(entry, b.add(at, i64(field))) for field in range(FIELDS))
            mask = w.between(i64(0), low, b.add(low, numbers))
            for i, row in enumerate(rows):
                with w.when(b.icmp_signed(">", live, i64(i))):
                    w.store_first(row[v], w.at(plane.first, b.add(offset, b.mul(i64(i), plane.pitch))), mask)

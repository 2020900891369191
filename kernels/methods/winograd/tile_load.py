"""Patches of Winograd tiles straight from a plane, one tile per lane: nothing is packed before.

    d[i][j], lane t  =  x[offsets[t] + i*pitch + j] where the plane has it, else 0        i < th, j < tw

A tile's part of a row, up to 8 numbers, is loaded at once; as many parts as fill a vector lie side by side in it. Shuffles within 16 bytes,
then others between them, load each column of all tiles into a vector of its own. Where the tiles lie, and which numbers of their patches
the plane has, stands in an entry for each vector of tiles, which all channels of a task share; so tiles of several rows fill a vector as
well as those of one. Parts that lie inside the plane's memory are loaded whole and columns outside it zeroed afterwards (330 cycles for 36
numbers of 16 tiles, transform included); at the first and last rows each part has its mask (390). Patches one column wide lie side by
side already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import I32, I64, VectorBuilder, i64, read_index
from kernels.runtime.jit import njit
from kernels.runtime.pointers import write_index

WIDEST = 8  # numbers of a patch's row at most
BLOCK, LINE = 16, 64  # bytes that shuffles keep together; bytes that come from memory together
BITS = 16  # of a mask: one for each lane of the widest vector
PLACE, INNER, OFFSETS = 0, 1, 2  # int64s of an entry


def entry_words(th: int, tw: int, lanes: int) -> int:
    """Int64s of one vector's entry: its offset among the transformed tiles, whether all parts lie inside the plane's memory, the tiles'
    offsets; masks of BITS each: the columns', then each row's of each tile. With patches one column wide the whole vector is one tile."""
    tiles = lanes if tw > 1 else 1
    return OFFSETS + tiles + -(-(tw + th * tiles) * BITS // 64)


@njit
def add_bits(masks, index, bits):
    """Set these bits of a mask, the index-th of BITS each from the address `masks` on."""
    word = masks + index * BITS // 64 * 8
    write_index(word, read_index(word, 0) | bits << index * BITS % 64)


@njit
def first_place(tile, outputs, turn):
    """The first output of a tile, along an axis on which so many tiles take turns and each has outputs a turn apart."""
    return tile // turn * outputs * turn + tile % turn


class PatchTiles(NamedTuple):
    """Patches of rows x columns tiles in a plane of height x width, where the corner of row 0 of all tiles would be at (row, column)."""

    rows: int
    columns: int
    row: int
    column: int
    height: int
    width: int
    mh: int  # outputs of a tile
    mw: int
    first: int  # of all rows of tiles, counted from (row, column)
    turn: int  # rows of tiles that take turns, and from row to row of a patch
    th: int  # rows of a patch
    tw: int  # columns of a patch


@njit
def write_entries(to, words, at, lanes, block):
    """Entries of `words` int64s at the address `to` for PatchTiles, `block` numbers in BLOCK bytes; how many there are. Lanes past the last
    tile are zero."""
    rows, columns, row, column, height, width, mh, mw, first_row, turn, th, tw = at
    single = tw == 1
    lines, line = (rows, columns) if single else (1, rows * columns)
    tiles, sides, count = 1 if single else lanes, (lanes + WIDEST - 1) // WIDEST, 0
    for r in range(lines):
        for first in range(0, line, lanes):
            entry = to + count * words * 8
            masks, inner = entry + (OFFSETS + tiles) * 8, True
            for word in range(words):
                write_index(entry + word * 8, 0)
            for t in range(tiles):
                tile = r * columns + min(first + t, line - 1)
                top, left = row + first_place(first_row + tile // columns, mh, turn), column + tile % columns * mw
                number = min(lanes, line - first) if single else tw
                low, high = min(max(-left, 0), number), min(max(width - left, 0), number)
                mask = ((1 << high) - 1) & ~((1 << low) - 1) if first + t < line else 0
                bottom = top + (th - 1) * turn
                start, end = top * width + left, bottom * width + left + WIDEST
                inner = inner and top >= 0 and bottom < height and start >= 0 and end <= height * width
                write_index(entry + (OFFSETS + t) * 8, start)
                for j in range(tw):
                    add_bits(masks, j, (mask >> j & 1) << t)
                for i in range(max(0, (turn - 1 - top) // turn), min(th, (height - top + turn - 1) // turn)):
                    add_bits(masks, tw + i * tiles + t, mask if single else mask << WIDEST * (t // block % sides))
            write_index(entry + PLACE * 8, r * columns + first)
            write_index(entry + INNER * 8, inner)
            count += 1
    return count


class Plane(NamedTuple):
    """What patches are loaded from, or outputs are stored to, as values of a micro-kernel."""

    first: ir.Value  # pointer
    pitch: ir.Value  # elements from row to row
    ahead: ir.Value  # elements to what is loaded or stored next, which is prefetched


def patches(w: VectorBuilder, plane: Plane, entry: ir.Value, th: int, tw: int, mw: int, inner: bool) -> Iterator[list[ir.Value]]:
    """For each of the th rows of a vector of patches its tw columns; entry: address of this vector's; inner: its INNER is set."""
    b, tiles, width = w.b, w.lanes if tw > 1 else 1, min(w.lanes, WIDEST)
    masks = b.gep(b.inttoptr(entry, I64.as_pointer()), [i64(OFFSETS + tiles)])
    often = max(1, LINE // (mw * w.itemsize)) if tw > 1 else 1
    for i in range(th):
        row = w.at(plane.first, b.mul(i64(i), plane.pitch))
        starts = [w.at(row, w.load_index(entry, i64(OFFSETS + t))) for t in range(tiles)]
        for start in starts[::often]:
            w.prefetch(w.at(start, plane.ahead))
        if tw == 1:
            yield [w.load_first(starts[0], mask_of(w, masks, 1 + i))]
            continue
        columns: list[ir.Value] = []
        for first in range(0, tw, width):
            own = [None if inner else mask_of(w, masks, tw + i * tiles + t, first) for t in range(tiles)]
            columns += _columns(w, [w.at(start, first) for start in starts], own, width)
        columns = columns[:tw]
        yield [b.select(mask_of(w, masks, j), column, w.zero()) for j, column in enumerate(columns)] if inner else columns


def mask_of(w: VectorBuilder, masks: ir.Value, index: int, first: int = 0) -> ir.Value:
    """One of the masks, from its bit `first` on."""
    b, pieces = w.b, max(w.lanes, 8)  # no less than a byte can be loaded
    all_bits = ir.IntType(pieces)
    bits = b.load(b.gep(b.bitcast(masks, all_bits.as_pointer()), [i64(index * BITS // pieces)]), align=pieces // 8)
    if w.lanes < pieces:
        bits = b.trunc(b.lshr(bits, all_bits(first)), ir.IntType(w.lanes))
    return b.bitcast(bits, w.mask)


def _columns(w: VectorBuilder, pointers: list[ir.Value], masks: list[ir.Value | None], width: int) -> list[ir.Value]:
    """Columns of parts of `width` numbers at a pointer for each lane, loaded by masks if there are any: result[j], lane t is number j of
    part t.

    With 16 lanes of float32, the vectors that are loaded and what becomes of them, | between 16 bytes:

        t0 t0 | t4 t4            four of such become     j0 of t0..t3 | j4 of t0..t3 | j0 of t4..t7 | j4 of t4..t7
        and two of those become  j0, or j4, of           t0..t3 | t4..t7 | t8..t11 | t12..t15
    """
    block, sides = BLOCK // w.itemsize, w.lanes // width
    reader = VectorBuilder(w.b, width, w.itemsize)
    together = ir.Constant(ir.VectorType(I32, w.lanes), list(range(w.lanes)))
    groups = []
    for g in range(0, w.lanes, block * sides):
        rows = []
        for r in range(g, g + block):
            own = range(r, r + block * sides, block)
            if masks[r] is None:
                parts = [reader.load(pointers[t]) for t in own]
                rows.append(parts[0] if sides == 1 else w.b.shuffle_vector(*parts, together))
                continue
            row: ir.Value = w.zero()
            for side, t in enumerate(own):  # the mask of a part that lies further up is moved up
                row = w.load_first(w.at(pointers[t], -side * width), masks[t], row)
            rows.append(row)
        groups.append(_halved(w, rows, block, 1))
    blocks = [_halved(w, [group[j] for group in groups], w.lanes, block) for j in range(block)]
    return [column for q in zip(*blocks) for column in q]


def _halved(w: VectorBuilder, vectors: list[ir.Value], size: int, piece: int) -> list[ir.Value]:
    """Of n vectors that hold pieces a, b, … of `piece` numbers, at least n in every `size` numbers: all the a, all the b, …, in as many
    steps as n has bits. A step takes the pieces at even positions of two vectors, then those at odd ones."""
    even_pieces = range(0, size // piece, 2)
    for _ in range(len(vectors).bit_length() - 1):
        exchanged = []
        for odd in (0, 1):
            pieces = [start + (even + odd) * piece + of for start in range(0, w.lanes, size) for of in (0, w.lanes) for even in even_pieces]
            picks = ir.Constant(ir.VectorType(I32, w.lanes), [first + i for first in pieces for i in range(piece)])
            exchanged += [w.b.shuffle_vector(one, other, picks) for one, other in zip(vectors[::2], vectors[1::2])]
        vectors = exchanged
    return vectors

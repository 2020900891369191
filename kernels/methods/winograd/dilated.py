"""Winograd tiles of a dilated convolution: a tile's patch and outputs are every `dilation`-th row and column.

    dilation 4, F(2, 3):   tile    0          1          …  3            4            5
                           patch   0 4 8 12   1 5 9 13   …  3 7 11 15    8 12 16 20   9 13 17 21
                           outputs 0 4        1 5        …  3 7          8 12         9 13

Tiles next to each other begin at neighbouring columns, as many as the dilation; then the next tiles of the same columns follow. So the j-th
column of a vector's patches is a few runs of numbers that lie side by side: each run is loaded, and stored, by its mask, and nothing is
shuffled or copied before. Rows of tiles take turns in the same way. The runs of a vector stand in an entry, which all channels of a task
share. Where only rows are dilated, tiles are loaded and stored as others are, from every `dilation`-th row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llvmlite import ir

from kernels.methods.winograd import tile_store
from kernels.methods.winograd.tile_load import BITS, Plane, add_bits, first_place, mask_of
from kernels.problem.conv import Conv
from kernels.runtime.ir import I64, VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address
from kernels.runtime.pointers import write_index

PLACE, RUNS, MASKS = range(3)  # int64s of an entry
OFFSET, LANES, FIRST, ROWS, FIELDS = range(5)  # int64s of a run, and how many
SHORTEST = 2  # numbers of a run but for the first and last of a vector


def turns(problem: Conv) -> tuple[int, int]:
    """How many rows and columns of tiles take turns: (1, 1) where windows are dense."""
    down, across = (d if k > 1 else 1 for d, k in zip(problem.dilation, problem.kernel))
    return down, across


def few_outputs(problem: Conv) -> bool:
    """Whether those of some axis are too few for tiles of more than one, a dilation apart."""
    return any(d > 1 and k > 1 and out <= d for d, k, out in zip(problem.dilation, problem.kernel, problem.conv_size))


def entry_words(tw: int, lanes: int) -> int:
    """Int64s of one vector's entry: its offset among the transformed tiles, how many runs it has; a mask of BITS for each column of the
    patches, of the lanes that have it; the runs: where lane 0 would lie, a mask of lanes, the first row of the patch inside, how many are.
    """
    return MASKS + -(-tw * BITS // 64) + FIELDS * tile_store.pieces(SHORTEST, lanes)


class DilatedTiles(NamedTuple):
    """Where tiles of a task lie in a plane."""

    outputs: Fixed  # whether entries are those of `tile_store`, else those of `patches`
    lanes: Fixed
    itemsize: Fixed
    to: int  # address of the entries
    words: int  # of an entry
    rows: int  # of tiles
    columns: int  # of tiles; whole turns
    row: int  # the first in the grid of all tiles, as its column is
    column: int
    top: int  # row of the plane where the grid's first tile begins, as left is the column
    left: int
    height: int  # of the plane
    width: int
    down: int  # rows from one row of a tile to the next
    across: int
    mh: int  # outputs of a tile
    mw: int
    th: int  # rows of what is loaded or stored of a tile
    tw: int


@njit
def _write_entries(p):
    number = p.rows * p.columns
    for first in range(0, number, p.lanes):
        entry, last = p.to + first // p.lanes * p.words * 8, min(first + p.lanes, number)
        for word in range(p.words):
            write_index(entry + word * 8, 0)
        write_index(entry + PLACE * 8, first)
        tile, known = first, 0
        while tile < last:
            row, column, lane = p.row + tile // p.columns, p.column + tile % p.columns, tile - first
            run = min(last - tile, p.across - column % p.across)
            y = p.top + first_place(row, p.mh, p.down)
            x = p.left + first_place(column, p.mw, p.across)
            above, inside = max(0, (-y + p.down - 1) // p.down), max(0, min(p.th, (p.height - y + p.down - 1) // p.down))
            for j in range(p.tw):
                own = x + j * p.across
                low, high = min(max(-own, 0), run), min(max(p.width - own, 0), run)
                if p.outputs:
                    line = entry + (tile_store.PIECES + j * ((p.words - tile_store.PIECES) // p.tw)) * 8
                    piece = line + (1 + known * tile_store.FIELDS) * 8
                    for field, value in enumerate((y * p.width + own - lane, inside, high, lane)):
                        write_index(piece + field * 8, value)
                    write_index(line, known + 1)
                else:
                    add_bits(entry + MASKS * 8, j, ((1 << high) - 1 & ~((1 << low) - 1)) << lane)
            if p.outputs:
                if lane == 0:
                    write_index(entry + tile_store.START * 8, y * p.width + x)
            else:
                at = entry + (MASKS + (p.tw * BITS + 63) // 64 + known * FIELDS) * 8
                for field, value in enumerate((y * p.width + x - lane, ((1 << run) - 1) << lane, above, max(0, inside - above))):
                    write_index(at + field * 8, value)
            known += 1
            tile += run
        if not p.outputs:
            write_index(entry + RUNS * 8, known)


def write_entries(outputs: bool, lanes: int, itemsize: int) -> int:
    """Address of what writes the entries of all vectors of a task's tiles, which takes DilatedTiles."""
    return address(_write_entries, DilatedTiles, outputs=int(outputs), lanes=lanes, itemsize=itemsize)


def patches(w: VectorBuilder, plane: Plane, entry: ir.Value, th: int, tw: int, across: ir.Value) -> Iterator[list[ir.Value]]:
    """For each of the th rows of a vector of patches its tw columns, `across` numbers apart; entry: address of this vector's. The plane's
    pitch goes from one row of a patch to the next."""
    b = w.b
    words = b.inttoptr(entry, I64.as_pointer())
    masks, places = b.gep(words, [i64(MASKS)]), i64(MASKS + -(-tw * BITS // 64))
    columns = [mask_of(w, masks, j) for j in range(tw)]
    for i in range(th):
        row = w.at(plane.first, b.mul(i64(i), plane.pitch))
        found = [w.variable(w.zero()) for _ in range(tw)]
        with w.loop(w.load_index(entry, i64(RUNS))) as run:
            at = b.add(places, b.mul(run, i64(FIELDS)))
            offset, first, rows = (w.load_index(entry, b.add(at, i64(field))) for field in (OFFSET, FIRST, ROWS))
            inside = b.icmp_unsigned("<", b.sub(i64(i), first), rows)
            with w.when(inside):
                lanes, start = mask_of(w, b.gep(words, [b.add(at, i64(LANES))]), 0), w.at(row, offset)
                for j, column in enumerate(found):
                    source = w.at(start, b.mul(across, i64(j)))
                    w.set(column, w.load_first(source, b.and_(lanes, columns[j]), w.get(column)))
        yield [w.get(column) for column in found]

"""Channels that lie side by side into tiles: of each row of weights the piece that every tile reads, by masked vectors.

    src [row][channel]  ─►  dst [tile][row][channel of the tile]

Pieces are short, and a call to copy each took longer than its bytes. Tile by tile, so that what is written lies together.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, emitter


class CopyTiles(NamedTuple):
    """What some rows take."""

    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dst: int  # address of the first tile
    k: int  # rows of a tile in all
    src: int  # address
    src_pitch: int  # numbers from row to row
    first: int  # row
    stop: int  # one behind the last
    channels: int
    tiles: int
    edge: int  # units of an edge tile; full tiles, which come first, have one more
    full: int  # full tiles
    unit: int  # channels


@emitter
def _emit(w: VectorBuilder, p: CopyTiles) -> None:
    b = w.b

    def least(x: ir.Value, y: ir.Value) -> ir.Value:
        return b.select(b.icmp_signed("<", x, y), x, y)

    with w.loop(p.tiles) as tile:
        first = b.mul(b.add(b.mul(tile, p.edge), least(tile, p.full)), p.unit)
        m = b.mul(b.select(b.icmp_signed("<", tile, p.full), b.add(p.edge, i64(1)), p.edge), p.unit)
        live = least(m, b.sub(p.channels, first))
        dst, src = w.pointer(p.dst, b.mul(first, p.k)), w.pointer(p.src, first)
        vectors = b.sdiv(b.add(live, i64(p.lanes - 1)), i64(p.lanes))
        with w.loop(b.sub(p.stop, p.first)) as number:
            row = b.add(p.first, number)
            to, piece = w.at(dst, b.mul(row, m)), w.at(src, b.mul(row, p.src_pitch))
            with w.loop(vectors) as vector:
                at = b.mul(vector, i64(p.lanes))
                inside = w.between(at, i64(0), live)
                w.store_first(w.load_first(w.at(piece, at), inside), w.at(to, at), inside)


@njit
def _copy(p):
    _emit(p, ())


def copy_tiles(lanes: int, itemsize: int) -> int:
    """Address of the compiled micro-kernel, which takes a CopyTiles."""
    return micro_kernel.address(_copy, CopyTiles, lanes=lanes, itemsize=itemsize)

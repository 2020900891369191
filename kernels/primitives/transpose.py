"""Transposing a matrix, `lanes` by `lanes` numbers at a time in registers.

    dst[c*dst_pitch + r] = src[r*src_pitch + c]        r < rows, c < columns

Every number is read and written once, in whole vectors; log2(lanes) shuffles a vector lie between, so that memory is what it waits for.
Numbers are only moved: any bits of their size pass through.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


def transposed(w: VectorBuilder, whole: bool, src: ir.Value, pitch: ir.Value, rows: ir.Value, columns: ir.Value) -> list[ir.Value]:
    """The columns of up to lanes x lanes numbers at src, whose rows are pitch elements apart; `whole`: of exactly so many, none is masked.
    Rows past the last are read from the first, for lanes that are not written or that nobody reads."""
    if whole:
        return w.interleaved([w.load(w.pointer(src, w.b.mul(pitch, i64(i)))) for i in range(w.lanes)])
    across, lines = w.first(columns), []
    for i in range(w.lanes):
        inside = w.b.select(w.b.icmp_signed(">", rows, i64(i)), i64(i), i64(0))
        lines.append(w.load_first(w.pointer(src, w.b.mul(pitch, inside)), across))
    return w.interleaved(lines)


class Transpose(NamedTuple):
    """What transposing takes."""

    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dst: int  # address of columns x rows numbers
    dst_pitch: int  # elements from line to line of it
    src: int  # address of rows x columns numbers
    src_pitch: int  # elements from row to row of it
    rows: int
    columns: int


class _Block(NamedTuple):
    """Up to lanes x lanes numbers."""

    dst: int
    src: int
    rows: int
    columns: int


@emitter
def _whole(w: VectorBuilder, p: Transpose, block: _Block) -> None:
    """A block of exactly lanes x lanes numbers."""
    for i, column in enumerate(transposed(w, True, block.src, p.src_pitch, block.rows, block.columns)):
        w.store(column, w.pointer(block.dst, w.b.mul(p.dst_pitch, i64(i))))


@emitter
def _edge(w: VectorBuilder, p: Transpose, block: _Block) -> None:
    """A block of fewer: what is not there is masked."""
    down = w.first(block.rows)
    for i, column in enumerate(transposed(w, False, block.src, p.src_pitch, block.rows, block.columns)):
        with w.when(w.b.icmp_signed(">", block.columns, i64(i))):
            w.store_first(column, w.pointer(block.dst, w.b.mul(p.dst_pitch, i64(i))), down)


@njit
def _transpose(p):
    lanes, rows, columns = p.lanes, p.rows, p.columns
    for c in range(0, columns, lanes):  # rows of dst are written from end to end, so that few of its lines are open at a time
        for r in range(0, rows, lanes):
            to, source = p.dst + (c * p.dst_pitch + r) * p.itemsize, p.src + (r * p.src_pitch + c) * p.itemsize
            if rows - r >= lanes and columns - c >= lanes:
                _whole(p, _Block(to, source, lanes, lanes))
            else:
                _edge(p, _Block(to, source, rows - r, columns - c))


def transpose(lanes: int, itemsize: int) -> int:
    """Address of compiled transposing, which takes a Transpose."""
    return address(_transpose, Transpose, lanes=lanes, itemsize=itemsize)

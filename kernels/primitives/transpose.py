"""Turning a matrix over, `lanes` by `lanes` numbers at a time in registers.

    dst[c*dst_pitch + r] = src[r*src_pitch + c]        r < rows, c < columns

Every number is read and written once, in whole vectors; log2(lanes) shuffles a vector lie between, so that memory is what it waits for.
Numbers are only moved: any bits of their size pass through.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


def turned(w: VectorBuilder, whole: int, src: ir.Value, pitch: ir.Value, rows: ir.Value, columns: ir.Value) -> list[ir.Value]:
    """The columns of up to lanes x lanes numbers at src, whose rows are pitch elements apart; `whole`: of exactly so many, none is masked.
    Rows past the last are read from the first, for lanes that are not written or that nobody reads."""
    if whole:
        return w.interleaved([w.load(w.pointer(src, w.b.mul(pitch, i64(i)))) for i in range(w.lanes)])
    across, lines = w.first(columns), []
    for i in range(w.lanes):
        inside = w.b.select(w.b.icmp_signed(">", rows, i64(i)), i64(i), i64(0))
        lines.append(w.load_first(w.pointer(src, w.b.mul(pitch, inside)), across))
    return w.interleaved(lines)


@intrinsic(prefer_literal=True)
def _block(typing_context: Any, whole_: Any, lanes_: Any, itemsize_: Any, dst: Any, dst_pitch: Any, src: Any, src_pitch: Any,
           rows: Any, columns: Any) -> Any:  # fmt: skip
    """One block of up to lanes x lanes numbers; `whole`: of exactly so many, none is masked."""
    literals = whole_, lanes_, itemsize_
    whole, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, dst_pitch, src, src_pitch, rows, columns = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        down = w.first(rows)
        for i, column in enumerate(turned(w, whole, src, src_pitch, rows, columns)):
            to = w.pointer(dst, builder.mul(dst_pitch, i64(i)))
            if whole:
                w.store(column, to)
                continue
            with w.when(builder.icmp_signed(">", columns, i64(i))):
                w.store_first(column, to, down)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 6), codegen


@njit
def _transpose(lanes, itemsize, dst, dst_pitch, src, src_pitch, rows, columns):
    for c in range(0, columns, lanes):  # rows of dst are written from end to end, so that few of its lines are open at a time
        for r in range(0, rows, lanes):
            to, source = dst + (c * dst_pitch + r) * itemsize, src + (r * src_pitch + c) * itemsize
            if rows - r >= lanes and columns - c >= lanes:
                _block(1, lanes, itemsize, to, dst_pitch, source, src_pitch, lanes, lanes)
            else:
                _block(0, lanes, itemsize, to, dst_pitch, source, src_pitch, rows - r, columns - c)


def transpose(lanes: int, itemsize: int) -> int:
    """Address of compiled `transpose`.

    It takes, all int64: the two literals again; dst, address of columns x rows numbers; dst_pitch, elements from line to line of dst; src,
    address of rows x columns numbers; src_pitch; rows; columns.
    """
    return address(_transpose, (lanes, itemsize), (types.int64,) * 6)

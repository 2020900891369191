"""Copying input into scratch, with zeros where the lines lie outside the plane, every `column_step`-th element if strided.

    dst[p][j] = src[first_row + p*row_step][first_column + j*column_step], or 0 outside the plane

This is where padding and stride disappear: whoever reads the scratch reads whole vectors at unit stride. Copying an element costs a
fraction of a cycle and serves c_out * kh multiply-adds at least.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.jit import address, njit
from kernels.vector import Words, i64

STRIDES = (2, 3, 4)  # steps whose numbers are picked out of whole vectors; other steps, and edges of these, are gathered


@intrinsic(prefer_literal=True)
def _line(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, count: Any, low: Any, high: Any, step: Any) -> Any:
    """dst[j] = src[j*step] for low <= j < high, else 0, for j < count rounded up to whole vectors; addresses."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, count, low, high, step = values[2:]
        w = Words(builder, lanes, itemsize)
        to, source = w.pointer(dst), w.pointer(src)
        vectors = builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))
        with builder.if_else(builder.icmp_signed("==", step, i64(1))) as (unit, strided):
            with unit, w.loop(vectors) as vector:
                j = builder.mul(vector, i64(lanes))
                w.store(w.load_first(w.at(source, j), w.between(j, low, high)), w.at(to, j))
            with strided:
                for pick in STRIDES:
                    with w.when(builder.icmp_signed("==", step, i64(pick))), w.loop(vectors) as vector:
                        j = builder.mul(vector, i64(lanes))
                        # a whole vector only where all it reads, lanes * pick numbers, ends with the last one wanted
                        start = builder.icmp_signed(">=", j, low)
                        end = builder.icmp_signed("<", builder.add(j, i64(lanes)), high)
                        with builder.if_else(builder.and_(start, end)) as (whole, edge):
                            with whole:
                                w.store(w.load_strided(w.at(source, builder.mul(j, i64(pick))), pick), w.at(to, j))
                            with edge:
                                gathered = w.gather(w.at(source, builder.mul(j, step)), step, w.between(j, low, high))
                                w.store(gathered, w.at(to, j))
                with w.when(builder.icmp_signed(">", step, i64(STRIDES[-1]))), w.loop(vectors) as vector:
                    j = builder.mul(vector, i64(lanes))
                    w.store(w.gather(w.at(source, builder.mul(j, step)), step, w.between(j, low, high)), w.at(to, j))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 6), codegen


@njit
def _pack(lanes, itemsize, dst, pitch, positions, count, src, first_row, row_step, first_column, column_step, height, width):
    low = min(count, (-first_column + column_step - 1) // column_step) if first_column < 0 else 0
    high = min(count, max(low, (width - first_column + column_step - 1) // column_step))
    if first_column == 0 and count == width == pitch and row_step == column_step == 1:  # whole rows, one behind the other: one long line
        above, below = max(-first_row, 0), min(max(height - first_row, 0), positions)
        start = src + first_row * width * itemsize
        _line(lanes, itemsize, dst, start, positions * width, above * width, max(above, below) * width, 1)
        return
    for position in range(positions):
        row = first_row + position * row_step
        end = high if 0 <= row < height else low
        start = src + (row * width + first_column) * itemsize
        _line(lanes, itemsize, dst + position * pitch * itemsize, start, count, low, end, column_step)


def pack(lanes: int, itemsize: int) -> int:
    """Address of the compiled packing of one plane (height, width) at `src` into `positions` lines of `count` elements at `dst`.

    dst[p*pitch + j] = src[first_row + p*row_step, first_column + j*column_step], or 0 outside the plane. Whole vectors are written, so
    up to a vector past each line's end, in ascending order. It takes, all
    int64: lanes and itemsize again, dst, pitch, positions, count, src, first_row, row_step, first_column, column_step, height, width.
    """
    return address(_pack, (lanes, itemsize), (types.int64,) * 11)

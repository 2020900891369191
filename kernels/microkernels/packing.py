"""Copying input into scratch, with zeros where the lines lie outside the plane, every `column_step`-th element if strided.

    dst[p][j] = src[first_row + p*row_step][first_column + j*column_step], or 0 outside the plane

This is where padding and stride disappear: whoever reads the scratch reads whole vectors at unit stride. Copying an element costs a
fraction of a cycle and serves c_out * kh multiply-adds at least.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.jit import address, njit
from kernels.vector import Words, i64

STRIDES = (2, 3, 4)  # steps whose numbers are picked out of whole vectors; others are copied one by one


@intrinsic(prefer_literal=True)
def _copy(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, count: Any, step: Any) -> Any:
    """dst[j] = src[j*step] for j < count; addresses."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, count, step = values[2:]
        w = Words(builder, lanes, itemsize)
        to, source = w.pointer(dst), w.pointer(src)
        with builder.if_else(builder.icmp_signed("==", step, i64(1))) as (unit, strided):
            with unit:
                w.copy(to, source, count)
            with strided:
                done = w.variable(i64(0))
                for pick in STRIDES:
                    with w.when(builder.icmp_signed("==", step, i64(pick))):
                        # whole vectors only as long as what they read, lanes * pick numbers, ends with the last one wanted
                        readable = builder.add(builder.mul(builder.sub(count, i64(1)), step), i64(1))
                        blocks = builder.sdiv(readable, i64(lanes * pick))
                        with w.loop(blocks) as block:
                            at = builder.mul(block, i64(lanes))
                            w.store(w.load_strided(w.at(source, builder.mul(at, i64(pick))), pick), w.at(to, at))
                        w.set(done, builder.mul(blocks, i64(lanes)))
                start = w.get(done)
                with w.loop(builder.sub(count, start)) as j:
                    index = builder.add(start, j)
                    builder.store(w.load_scalar(w.at(source, builder.mul(index, step))), w.at(to, index))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def _clear(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, count: Any) -> Any:
    """dst[j] = 0 for j < count; an address."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, count = values[2:]
        w = Words(builder, lanes, itemsize)
        to = w.pointer(dst)
        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as block:
            w.store(w.zero(), w.at(to, builder.mul(block, i64(lanes))))
        done = builder.mul(whole, i64(lanes))
        with w.loop(builder.sub(count, done)) as j:
            builder.store(ir.Constant(w.scalar, 0.0), w.at(to, builder.add(done, j)))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, types.int64, types.int64), codegen


@njit
def _pack(lanes, itemsize, dst, pitch, positions, count, src, first_row, row_step, first_column, column_step, height, width):
    low = min(count, (-first_column + column_step - 1) // column_step) if first_column < 0 else 0
    high = min(count, max(low, (width - first_column + column_step - 1) // column_step))
    for position in range(positions):
        row = first_row + position * row_step
        to = dst + position * pitch * itemsize
        if row < 0 or row >= height:
            _clear(lanes, itemsize, to, count)
            continue
        _clear(lanes, itemsize, to, low)
        start = row * width + first_column + low * column_step
        _copy(lanes, itemsize, to + low * itemsize, src + start * itemsize, high - low, column_step)
        _clear(lanes, itemsize, to + high * itemsize, count - high)


def pack(lanes: int, itemsize: int) -> int:
    """Address of the compiled packing of one plane (height, width) at `src` into `positions` lines of `count` elements at `dst`.

    dst[p*pitch + j] = src[first_row + p*row_step, first_column + j*column_step], or 0 outside the plane. It takes, all int64: lanes and
    itemsize again, dst, pitch, positions, count, src, first_row, row_step, first_column, column_step, height, width.
    """
    return address(_pack, (lanes, itemsize), (types.int64,) * 11)

"""Copying input into scratch: zeros where lines lie outside the plane, numbers `step` apart side by side.

    dst[u][v][p][j] = src[first_row + v + p*row_step][first_column + offsets[u] + j*step], or 0 outside the plane

This is where padding and stride disappear: whoever reads the scratch reads whole vectors at unit stride. Each input row is first copied
to a line with its zeros, then picked apart: with one to ten shuffles a vector, where gathering would take twenty cycles or, on CPUs that
had to slow it down, many times that. Lines as long as the plane's rows, one behind the other, are the plane moved on by some numbers with
zeros where a row has none: whole vectors, however short the rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder, i64, read_index
from kernels.runtime.jit import address, njit


@intrinsic(prefer_literal=True)
def _line(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, count: Any, low: Any, high: Any, ahead: Any) -> Any:
    """dst[j] = src[j] for low <= j < high, else 0, for j < count rounded up to whole vectors; addresses. src[j + ahead] is asked for."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, count, low, high, ahead = values[2:]
        w = VectorBuilder(builder, lanes, itemsize)
        to, source = w.pointer(dst), w.pointer(src)
        with w.loop(builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))) as vector:
            j = builder.mul(vector, i64(lanes))
            w.prefetch(w.at(w.at(source, j), ahead))
            w.store(w.load_first(w.at(source, j), w.between(j, low, high)), w.at(to, j))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 6), codegen


@intrinsic(prefer_literal=True)
def _pick(typing_context: Any, step_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, count: Any, stride: Any) -> Any:
    """dst[j] = src[j*step] for j < count rounded up to whole vectors; `stride` is the step where the literal is 0."""
    step, lanes, itemsize = (literal.literal_value for literal in (step_, lanes_, itemsize_))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, count, stride = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        to, source = w.pointer(dst), w.pointer(src)
        if step:
            with w.loop(builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))) as vector:
                j = builder.mul(vector, i64(lanes))
                w.store(w.load_strided(w.at(source, builder.mul(j, i64(step))), step), w.at(to, j))
        else:
            with w.loop(count) as j:
                builder.store(w.load_scalar(w.at(source, builder.mul(j, stride))), w.at(to, j))
        return context.get_dummy_value()

    return types.void(step_, lanes_, itemsize_, *(types.int64,) * 4), codegen


@intrinsic(prefer_literal=True)
def _moved(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, column_stride: Any, src: Any, first_column: Any, offsets: Any,
           columns: Any, width: Any, count: Any, low: Any, high: Any, ahead: Any) -> Any:  # fmt: skip
    """dst[u][j] = src[j + m], m = first_column + offsets[u], where low <= j < high and 0 <= j % width + m < width, else 0; for j < count
    rounded up to whole vectors; addresses. src[j + ahead] is asked for."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, column_stride, src, first_column, offsets, columns, width, count, low, high, ahead = values[2:]
        b, w = builder, VectorBuilder(builder, lanes, itemsize)
        wide, step = w.positions(width, 0), w.positions(b.srem(i64(lanes), width), 0)

        def wrapped(column: ir.Value) -> ir.Value:
            less = b.sub(column, wide)  # below zero it is a large number
            return b.select(b.icmp_unsigned("<", less, column), less, column)

        first = w.variable(w.positions(i64(0), 1))
        with w.loop(b.sdiv(i64(lanes - 1), width)):
            w.set(first, wrapped(w.get(first)))
        with w.loop(b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes))) as vector:
            w.prefetch(w.at(w.pointer(src, ahead), b.mul(vector, i64(lanes))))
        with w.loop(columns) as u:
            by = b.add(first_column, w.load_index(offsets, u))
            to, source = w.pointer(dst, b.mul(u, column_stride)), w.pointer(src, by)
            column = w.variable(w.get(first))
            with w.loop(b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes))) as vector:
                j = b.mul(vector, i64(lanes))
                there = b.icmp_unsigned("<", b.add(w.get(column), w.positions(by, 0)), wide)
                w.store(w.load_first(w.at(source, j), b.and_(there, w.between(j, low, high))), w.at(to, j))
                w.set(column, wrapped(b.add(w.get(column), step)))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 11), codegen


@njit
def _pack(
    step, lanes, itemsize, dst, line, offsets, columns, column_stride, phases, phase_stride, positions, pitch, count, span, src, first_row,
    row_step, first_column, column_step, height, width, ahead, times, dst_step,
):  # fmt: skip
    low, high = max(-first_column, 0), max(width - first_column, 0)
    alone = step == 1 and columns == 1
    as_wide = phases == row_step == column_step == 1 and count == pitch == width
    above, below = max(-first_row, 0), max(min(height - first_row, positions), 0)
    total, begin, end = positions * width, above * width, max(above, below) * width
    for c in range(times):
        plane, own = src + c * height * width * itemsize, dst + c * dst_step * itemsize
        if as_wide:
            start = plane + first_row * width * itemsize
            if alone and first_column == 0:
                _line(lanes, itemsize, own, start, total, begin, end, ahead)
            else:
                _moved(lanes, itemsize, own, column_stride, start, first_column, offsets, columns, width, total, begin, end, ahead)
            continue
        for v in range(phases):
            for p in range(positions):
                row = first_row + v + p * row_step
                to = own + (v * phase_stride + p * pitch) * itemsize
                inside = 0 <= row < height
                start = plane + (row * width + first_column) * itemsize
                _line(lanes, itemsize, to if alone else line, start, span, low, high if inside else low, ahead)
                if not alone:
                    for u in range(columns):
                        source = line + read_index(offsets, u) * itemsize
                        _pick(step, lanes, itemsize, to + u * column_stride * itemsize, source, count, column_step)


def pack(step: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled packing of planes (height, width) at `src` into lines of `count` elements at `dst`; see above.

    It takes, all int64: the literals (step: the column step, 0 for those that are picked one by one); dst; line, address of scratch for
    `span` numbers and step + 1 vectors more; offsets, address of the first columns of the `columns` planes, which are column_stride
    apart; phases, the rows that take turns, phase_stride apart; positions, lines of a plane, pitch apart; count, numbers in a line; span,
    input columns that all lines of a row cover; src, first_row, row_step, first_column, column_step, height, width; ahead, how many
    elements further lies what is packed next, which is asked for (samplecnn.conv2 4.8 to 4.2 ms); times, how many planes, one behind the
    other, each dst_step elements further. Whole vectors are written, so up to a vector past each line's end, ascending.
    """
    return address(_pack, (step, lanes, itemsize), (types.int64,) * 21)

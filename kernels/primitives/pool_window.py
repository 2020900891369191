"""Pooling windows over one plane: first down the columns with whole vectors, then along the row.

    row[w]     = combine over kh of x[oh*sh + kh*dh - top, w]         vertical, lanes along w, taps outside the plane skipped
    out[ow]    = combine over kw of row[ow*sw + kw*dw - left]         horizontal, from a padded row that stays in L1

combine is the maximum (NaN wins) or the sum. Horizontal windows that step by 1 to 4 fill the lanes with outputs; wider steps fill them
with the taps of one output, which are then combined across. Windows side by side (no padding, step = kernel) need no row in between:
`step` vectors are combined down the columns and picked apart in registers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.problem.window import Size
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

MAXIMUM, SUM = 0, 1  # literal values of `kind`
LANE_STRIDES = 4  # horizontal steps up to this fill the lanes with outputs
TILED_STRIDES = 8  # steps of windows side by side that are picked apart in registers
UNROLLED = 4  # rows of such windows that are written out; a loop over two costs more than they do
MERGED = 1024  # lines up to this length are combined `lanes` at a time: the steps across lanes outweigh their loads
AHEAD = 4096  # bytes between asking for input and using it: planes follow one another in memory, and the hardware asks too late by itself


def code(kind: str) -> int:
    """MAXIMUM for "max", SUM for "avg"."""
    return MAXIMUM if kind == "max" else SUM


class Combine:
    """The two kinds of pooling as algebra on vectors."""

    def __init__(self, w: VectorBuilder, kind: int) -> None:
        self.neutral = -math.inf if kind == MAXIMUM else 0.0
        self.start = w.constant(self.neutral)
        self.two = w.maximum if kind == MAXIMUM else w.add

    def all(self, values: list[ir.Value]) -> ir.Value:
        """All of them combined."""
        return functools.reduce(self.two, values)


@intrinsic(prefer_literal=True)
def _down(typing_context: Any, kind_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, rows: Any, row_stride: Any, count: Any) -> Any:
    """dst[j] = combine over r < rows of src[r*row_stride + j], for j < count; addresses."""
    kind, lanes, itemsize = (literal.literal_value for literal in (kind_, lanes_, itemsize_))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, rows, row_stride, count = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine = Combine(w, kind)
        to, source = w.pointer(dst), w.pointer(src)
        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as block:
            at = builder.mul(block, i64(lanes))
            total = w.variable(combine.start)
            with w.loop(rows) as r:
                w.set(total, combine.two(w.load(w.at(source, builder.add(builder.mul(r, row_stride), at))), w.get(total)))
            w.store(w.get(total), w.at(to, at))
        done = builder.mul(whole, i64(lanes))
        rest = builder.sub(count, done)
        with w.when(builder.icmp_signed(">", rest, i64(0))):
            mask = w.first(rest)
            total = w.variable(combine.start)
            with w.loop(rows) as r:
                w.set(total, combine.two(w.load_first(w.at(source, builder.add(builder.mul(r, row_stride), done)), mask), w.get(total)))
            w.store_first(w.get(total), w.at(to, done), mask)
        return context.get_dummy_value()

    return types.void(kind_, lanes_, itemsize_, *(types.int64,) * 5), codegen


def _finish(w: VectorBuilder, kind: int, total: ir.Value, divisor: ir.Value) -> ir.Value:
    return total if kind == MAXIMUM else w.b.fdiv(total, divisor)


@intrinsic(prefer_literal=True)
def _along(typing_context: Any, kind_: Any, stride_: Any, lanes_: Any, itemsize_: Any,
           dst: Any, row: Any, counts: Any, row_count: Any, taps: Any, dilation: Any, count: Any) -> Any:  # fmt: skip
    """dst[j] = combine over t < taps of row[j*stride + t*dilation], divided by row_count[0] * counts[j] if a sum; addresses."""
    kind, stride, lanes, itemsize = (literal.literal_value for literal in (kind_, stride_, lanes_, itemsize_))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, row, counts, row_count, taps, dilation, count = values[4:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine = Combine(w, kind)
        to, source, number = w.pointer(dst), w.pointer(row), w.pointer(counts)
        rows = w.splat(w.load_scalar(w.pointer(row_count)))
        blocks = builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))
        with w.loop(blocks) as block:
            j = builder.mul(block, i64(lanes))
            window = w.at(source, builder.mul(j, i64(stride)))
            total = w.variable(combine.start)
            with w.loop(taps) as t:
                w.set(total, combine.two(w.load_strided(w.at(window, builder.mul(t, dilation)), stride), w.get(total)))
            left = builder.sub(count, j)
            divisor = builder.fmul(rows, w.load(w.at(number, j)))
            result = _finish(w, kind, w.get(total), divisor)
            with builder.if_else(builder.icmp_signed(">=", left, i64(lanes))) as (whole, edge):
                with whole:
                    w.store(result, w.at(to, j))
                with edge:
                    w.store_first(result, w.at(to, j), w.first(left))
        return context.get_dummy_value()

    return types.void(kind_, stride_, lanes_, itemsize_, *(types.int64,) * 7), codegen


@intrinsic(prefer_literal=True)
def _tiled(typing_context: Any, kind_: Any, stride_: Any, tall_: Any, lanes_: Any, itemsize_: Any,
           dst: Any, src: Any, counts: Any, row_count: Any, rows: Any, row_stride: Any, count: Any) -> Any:  # fmt: skip
    """dst[j] = combine over r < rows and t < stride of src[r*row_stride + j*stride + t], divided as in `_along`; addresses. `tall` is the
    number of rows where it is known to the compiler, else 0."""
    literals = kind_, stride_, tall_, lanes_, itemsize_
    kind, stride, tall, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, counts, row_count, rows, row_stride, count = values[5:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine = Combine(w, kind)
        to, source, number = w.pointer(dst), w.pointer(src), w.pointer(counts)
        down = w.splat(w.load_scalar(w.pointer(row_count)))

        def outputs(j: ir.Value, masks: list[ir.Value] | None) -> ir.Value:
            """One vector of outputs from number j on."""
            first = w.at(source, builder.mul(j, i64(stride)))
            totals = [w.variable(combine.start) for _ in range(stride)]

            def add_row(r: ir.Value) -> None:
                row = w.at(first, builder.mul(r, row_stride))
                for i, total in enumerate(totals):
                    place = w.at(row, i * lanes)
                    w.prefetch(w.at(place, AHEAD // itemsize))
                    value = w.load_first(place, masks[i], combine.neutral) if masks else w.load(place)
                    w.set(total, combine.two(value, w.get(total)))

            for r in range(tall):
                add_row(i64(r))
            if not tall:
                with w.loop(rows) as r:
                    add_row(r)
            vectors = [w.get(total) for total in totals]
            if stride & (stride - 1):
                result = functools.reduce(combine.two, [w.every(vectors, t) for t in range(stride)])
            else:  # halved until one is left: 14 shuffles, not 56, where windows are 8 columns wide
                result = w.across_each(vectors, combine.two)
            return _finish(w, kind, result, builder.fmul(down, w.load(w.at(number, j))))

        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as block:
            j = builder.mul(block, i64(lanes))
            w.store(outputs(j, None), w.at(to, j))
        done = builder.mul(whole, i64(lanes))
        rest = builder.sub(count, done)
        with w.when(builder.icmp_signed(">", rest, i64(0))):
            inputs = builder.mul(rest, i64(stride))
            w.store_first(outputs(done, [w.first(inputs, i * lanes) for i in range(stride)]), w.at(to, done), w.first(rest))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 7), codegen


@intrinsic(prefer_literal=True)
def _over_each(typing_context: Any, kind_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, counts: Any, row_count: Any,
               taps: Any) -> Any:  # fmt: skip
    """dst[l] = combine over t < taps of src[l*taps + t] for every lane l, divided as in `_over`; addresses."""
    kind, lanes, itemsize = (literal.literal_value for literal in (kind_, lanes_, itemsize_))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, counts, row_count, taps = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine = Combine(w, kind)
        sources = [w.at(w.pointer(src), builder.mul(i64(lane), taps)) for lane in range(lanes)]
        rounds = builder.sdiv(taps, i64(lanes))
        done = builder.mul(rounds, i64(lanes))
        mask = w.first(builder.sub(taps, done))
        ragged = builder.icmp_signed(">", taps, done)
        totals = []
        for source in sources:
            total = w.variable(combine.start)
            with w.loop(rounds) as r:
                place = w.at(source, builder.mul(r, i64(lanes)))
                w.prefetch(w.at(place, AHEAD // itemsize))
                w.set(total, combine.two(w.load(place), w.get(total)))
            with w.when(ragged):
                w.set(total, combine.two(w.load_first(w.at(source, done), mask, combine.neutral), w.get(total)))
            totals.append(total)
        result = w.across_each([w.get(total) for total in totals], combine.two)
        number = w.splat(builder.fmul(w.load_scalar(w.pointer(row_count)), w.load_scalar(w.pointer(counts))))
        w.store(_finish(w, kind, result, number), w.pointer(dst))
        return context.get_dummy_value()

    return types.void(kind_, lanes_, itemsize_, *(types.int64,) * 5), codegen


@intrinsic(prefer_literal=True)
def _over(typing_context: Any, kind_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, counts: Any, row_count: Any, taps: Any) -> Any:
    """dst[0] = combine over t < taps of src[t], divided by row_count[0] * counts[0] if a sum; addresses."""
    kind, lanes, itemsize = (literal.literal_value for literal in (kind_, lanes_, itemsize_))
    unroll = 4  # independent running values, because each waits four cycles for the one before

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, counts, row_count, taps = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine = Combine(w, kind)
        source = w.pointer(src)
        running = [w.variable(combine.start) for _ in range(unroll)]
        rounds = builder.sdiv(taps, i64(unroll * lanes))
        with w.loop(rounds) as r:
            at = builder.mul(r, i64(unroll * lanes))
            for u in range(unroll):
                w.set(running[u], combine.two(w.load(w.at(source, builder.add(at, i64(u * lanes)))), w.get(running[u])))
        done = builder.mul(rounds, i64(unroll * lanes))
        for u in range(unroll):
            rest = builder.sub(taps, builder.add(done, i64(u * lanes)))
            with w.when(builder.icmp_signed(">", rest, i64(0))):
                value = w.load_first(w.at(source, builder.add(done, i64(u * lanes))), w.first(rest), combine.neutral)
                w.set(running[u], combine.two(value, w.get(running[u])))
        total = w.get(running[0])
        for u in range(1, unroll):
            total = combine.two(total, w.get(running[u]))
        number = builder.fmul(w.load_scalar(w.pointer(row_count)), w.load_scalar(w.pointer(counts)))
        result = w.across(total, combine.two)
        builder.store(_finish(w, kind, result, number), w.pointer(dst))
        return context.get_dummy_value()

    return types.void(kind_, lanes_, itemsize_, *(types.int64,) * 5), codegen


@njit
def rows_inside(y, h, kh, sh, top, dh):
    """(first row, number of rows) of the window of output row y that lie in the plane; the others are skipped."""
    first = y * sh - top
    skipped, last = 0, kh
    if first < 0:  # divisions take 40 to 90 cycles, as much as a short row
        skipped = (-first + dh - 1) // dh
    if first + (kh - 1) * dh >= h:
        last = (h - first + dh - 1) // dh
    return first + skipped * dh, max(last - skipped, 0)


@njit
def _reduce_row(kind, lanes, itemsize, src, row, y, h, w, kh, sh, top, left, dh):
    """The vertical pass of output row y, into `row` from `left` on."""
    first, number = rows_inside(y, h, kh, sh, top, dh)
    _down(kind, lanes, itemsize, row + left * itemsize, src + first * w * itemsize, number, dh * w, w)


@njit
def _side_by_side(
    kind, stride, tall, lanes, itemsize, dst, src, row, row_counts, counts, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw
):
    for y in range(oh):
        first, number = rows_inside(y, h, kh, sh, top, dh)
        start = src + first * w * itemsize
        to, factor = dst + y * ow * itemsize, row_counts + y * itemsize
        _tiled(kind, stride, tall, lanes, itemsize, to, start, counts, factor, number, dh * w, ow)


@njit
def _lanes_of_outputs(
    kind, stride, tall, lanes, itemsize, dst, src, row, row_counts, counts, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw
):
    for y in range(oh):
        _reduce_row(kind, lanes, itemsize, src, row, y, h, w, kh, sh, top, left, dh)
        _along(kind, stride, lanes, itemsize, dst + y * ow * itemsize, row, counts, row_counts + y * itemsize, kw, dw, ow)


@njit
def _lanes_of_taps(
    kind, stride, tall, lanes, itemsize, dst, src, row, row_counts, counts, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw
):
    for y in range(oh):
        _reduce_row(kind, lanes, itemsize, src, row, y, h, w, kh, sh, top, left, dh)
        for x in range(ow):
            to = dst + (y * ow + x) * itemsize
            _over(kind, lanes, itemsize, to, row + x * sw * itemsize, counts + x * itemsize, row_counts + y * itemsize, kw)


@njit
def _line(kind, lanes, itemsize, dst, src, row_counts, counts, lines, length):
    whole = lines // lanes * lanes if length <= MERGED else 0
    for y in range(0, whole, lanes):
        _over_each(kind, lanes, itemsize, dst + y * itemsize, src + y * length * itemsize, counts, row_counts, length)
    for y in range(whole, lines):
        _over(kind, lanes, itemsize, dst + y * itemsize, src + y * length * itemsize, counts, row_counts, length)


@dataclasses.dataclass(frozen=True)
class Window:
    """What the micro-kernel of a plane is compiled for. stride: the horizontal step if outputs fill the lanes, 0 if a window's taps do.
    tall: rows of a window where all have the same few, else 0. tiled: windows lie side by side inside the plane."""

    stride: int
    tall: int
    tiled: bool


def window(kernel: Size, stride: Size, dilation: Size, inside: tuple[bool, bool]) -> Window:
    """The micro-kernel for windows of which none leaves the plane along the axes that are `inside`."""
    tiled = inside[1] and 1 < kernel[1] == stride[1] <= TILED_STRIDES and dilation[1] == 1
    step = stride[1] if tiled or stride[1] <= LANE_STRIDES else 0
    return Window(step, kernel[0] if tiled and inside[0] and kernel[0] <= UNROLLED else 0, tiled)


def plane(kind: int, window: Window, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of one plane.

    It takes, all int64: kind, window.stride, window.tall, lanes and itemsize again; dst, address of (oh, ow) results; src, address of the
    (h, w) plane; row, address of a scratch row holding the neutral value left of `left` and right of left + w; row_counts (oh) and
    counts (ow, and a vector more), addresses of the factors of the divisor; then oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw.
    """
    function = _side_by_side if window.tiled else _lanes_of_outputs if window.stride else _lanes_of_taps
    return address(function, (kind, window.stride, window.tall, lanes, itemsize), (types.int64,) * 17)


def line(kind: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of whole lines: dst[y] from src[y][0:length], all int64: kind, lanes and itemsize again, dst, src,
    row_counts and counts (one number each), lines, length."""
    return address(_line, (kind, lanes, itemsize), (types.int64,) * 6)

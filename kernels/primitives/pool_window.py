"""Pooling windows over one plane: first down the columns with whole vectors, then along the row.

    row[w]     = combine over kh of x[oh*sh + kh*dh - top, w]         vertical, lanes along w, taps outside the plane skipped
    out[ow]    = combine over kw of row[ow*sw + kw*dw - left]         horizontal, from a padded row that stays in L1

combine is the maximum (NaN wins) or the sum. Horizontal windows that step by 1 to 4 fill the lanes with outputs; wider steps fill them
with the taps of one output, which are then combined across. Windows side by side (step = kernel) need no row in between:
`step` vectors are combined down the columns and picked apart in registers; of those that padding cuts only some columns are loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

from llvmlite import ir

from kernels.problem.window import Size
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

MAXIMUM, SUM = 0, 1  # literal values of `kind`
LANE_STRIDES = 4  # horizontal steps up to this fill the lanes with outputs
TILED_STRIDES = 8  # steps of windows side by side that are picked apart in registers
UNROLLED = 4  # rows of such windows that are written out; a loop over two costs more than they do
UNROLL = 4  # independent running values along a line, because each waits four cycles for the one before
MERGED = 1024  # lines up to this length are combined `lanes` at a time: the steps across lanes outweigh their loads
AHEAD = 4096  # bytes between prefetching input and using it: planes follow one another in memory, and the hardware prefetches too late


def code(kind: str) -> int:
    """MAXIMUM for "max", SUM for "avg"."""
    return MAXIMUM if kind == "max" else SUM


class PoolPlane(NamedTuple):
    """What pooling of one plane takes."""

    kind: Fixed  # MAXIMUM or SUM
    stride: Fixed  # the horizontal step if outputs fill the lanes, 0 if a window's taps do
    window_rows: Fixed  # rows of a window where all have the same few, else 0
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of (oh, ow) results
    src: int  # address of the (h, w) plane
    row: int  # address of a scratch row, which holds the neutral value left of `left` and right of left + w
    row_counts: int  # address of oh factors of the divisor
    counts: int  # address of ow factors more, and a vector behind them
    oh: int
    ow: int
    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    top: int  # padding; so is left
    left: int
    dh: int
    dw: int


class PoolLines(NamedTuple):
    """What pooling of whole lines takes: dst[y] from src[y][0:length]."""

    kind: Fixed  # MAXIMUM or SUM
    lanes: Fixed
    itemsize: Fixed
    dst: int
    src: int
    row_counts: int  # address of one number, a factor of the divisor
    counts: int  # address of another
    lines: int
    length: int


class Combine:
    """The two kinds of pooling as algebra on vectors."""

    def __init__(self, w: VectorBuilder, kind: int) -> None:
        self.neutral = -math.inf if kind == MAXIMUM else 0.0
        self.start = w.constant(self.neutral)
        self.two = w.maximum if kind == MAXIMUM else w.add

    def all(self, values: list[ir.Value]) -> ir.Value:
        """All of them combined."""
        return functools.reduce(self.two, values)


@emitter
def _down(w: VectorBuilder, p: PoolPlane, dst: ir.Value, src: ir.Value, rows: ir.Value, row_stride: ir.Value, count: ir.Value) -> None:
    """dst[j] = combine over r < rows of src[r*row_stride + j], for j < count; addresses."""
    b = w.b
    combine = Combine(w, p.kind)
    to, source = w.pointer(dst), w.pointer(src)
    whole = b.sdiv(count, i64(p.lanes))
    with w.loop(whole) as block:
        at = b.mul(block, i64(p.lanes))
        total = w.variable(combine.start)
        with w.loop(rows) as r:
            w.set(total, combine.two(w.load(w.at(source, b.add(b.mul(r, row_stride), at))), w.get(total)))
        w.store(w.get(total), w.at(to, at))
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(count, done)
    with w.when(b.icmp_signed(">", rest, i64(0))):
        mask = w.first(rest)
        total = w.variable(combine.start)
        with w.loop(rows) as r:
            w.set(total, combine.two(w.load_first(w.at(source, b.add(b.mul(r, row_stride), done)), mask), w.get(total)))
        w.store_first(w.get(total), w.at(to, done), mask)


def _finish(w: VectorBuilder, kind: int, total: ir.Value, divisor: ir.Value) -> ir.Value:
    return total if kind == MAXIMUM else w.b.fdiv(total, divisor)


@emitter
def _along(w: VectorBuilder, p: PoolPlane, dst: ir.Value, row_count: ir.Value) -> None:
    """dst[j] = combine over t < taps of row[j*stride + t*dilation], divided by row_count[0] * counts[j] if a sum; addresses."""
    b = w.b
    combine = Combine(w, p.kind)
    to, source, number = w.pointer(dst), w.pointer(p.row), w.pointer(p.counts)
    rows = w.splat(w.load_scalar(w.pointer(row_count)))
    blocks = b.sdiv(b.add(p.ow, i64(p.lanes - 1)), i64(p.lanes))
    with w.loop(blocks) as block:
        j = b.mul(block, i64(p.lanes))
        window = w.at(source, b.mul(j, i64(p.stride)))
        total = w.variable(combine.start)
        with w.loop(p.kw) as t:
            w.set(total, combine.two(w.load_strided(w.at(window, b.mul(t, p.dw)), p.stride), w.get(total)))
        left = b.sub(p.ow, j)
        divisor = b.fmul(rows, w.load(w.at(number, j)))
        result = _finish(w, p.kind, w.get(total), divisor)
        with b.if_else(b.icmp_signed(">=", left, i64(p.lanes))) as (whole, edge):
            with whole:
                w.store(result, w.at(to, j))
            with edge:
                w.store_first(result, w.at(to, j), w.first(left))


@emitter
def _tiled(
    w: VectorBuilder, p: PoolPlane, dst: ir.Value, src: ir.Value, counts: ir.Value, row_count: ir.Value, rows: ir.Value,
    row_stride: ir.Value, count: ir.Value,
) -> None:  # fmt: skip
    """dst[j] = combine over r < rows and t < stride of src[r*row_stride + j*stride + t] for j < count, divided as in `_along`; addresses.
    `window_rows` is the number of rows where it is known to the compiler, else 0."""
    b = w.b
    combine = Combine(w, p.kind)
    to, source, number = w.pointer(dst), w.pointer(src), w.pointer(counts)
    down = w.splat(w.load_scalar(w.pointer(row_count)))

    def outputs(j: ir.Value, masks: list[ir.Value] | None) -> ir.Value:
        """One vector of outputs from number j on."""
        first = w.at(source, b.mul(j, i64(p.stride)))
        totals = [w.variable(combine.start) for _ in range(p.stride)]

        def add_row(r: ir.Value) -> None:
            row = w.at(first, b.mul(r, row_stride))
            for i, total in enumerate(totals):
                place = w.at(row, i * p.lanes)
                w.prefetch(w.at(place, AHEAD // p.itemsize))
                value = w.load_first(place, masks[i], combine.neutral) if masks else w.load(place)
                w.set(total, combine.two(value, w.get(total)))

        for r in range(p.window_rows):
            add_row(i64(r))
        if not p.window_rows:
            with w.loop(rows) as r:
                add_row(r)
        vectors = [w.get(total) for total in totals]
        if p.stride & (p.stride - 1):
            result = functools.reduce(combine.two, [w.every(vectors, t) for t in range(p.stride)])
        else:  # halved until one is left: 14 shuffles, not 56, where windows are 8 columns wide
            result = w.across_each(vectors, combine.two)
        return _finish(w, p.kind, result, b.fmul(down, w.load(w.at(number, j))))

    whole = b.sdiv(count, i64(p.lanes))
    with w.loop(whole) as block:
        j = b.mul(block, i64(p.lanes))
        w.store(outputs(j, None), w.at(to, j))
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(count, done)
    with w.when(b.icmp_signed(">", rest, i64(0))):
        inputs = b.mul(rest, i64(p.stride))
        w.store_first(outputs(done, [w.first(inputs, i * p.lanes) for i in range(p.stride)]), w.at(to, done), w.first(rest))


@emitter
def _edge(
    w: VectorBuilder, p: PoolPlane, dst: ir.Value, src: ir.Value, count: ir.Value, row_count: ir.Value, rows: ir.Value,
    row_stride: ir.Value, taps: ir.Value,
) -> None:  # fmt: skip
    """dst[0] = combine over r < rows and t < taps of src[r*row_stride + t], divided by row_count[0] * count[0] if a sum: a window of which
    `taps` columns, at most `stride`, lie in the plane; addresses."""
    b = w.b
    combine = Combine(w, p.kind)
    source, total = w.pointer(src), w.variable(combine.start)
    masks = [w.first(b.sub(taps, i64(first))) for first in range(0, p.stride, p.lanes)]
    with w.loop(rows) as r:
        row = w.at(source, b.mul(r, row_stride))
        for i, mask in enumerate(masks):
            w.set(total, combine.two(w.load_first(w.at(row, i * p.lanes), mask, combine.neutral), w.get(total)))
    number = b.fmul(w.load_scalar(w.pointer(row_count)), w.load_scalar(w.pointer(count)))
    b.store(_finish(w, p.kind, w.across(w.get(total), combine.two), number), w.pointer(dst))


@emitter
def _over_each(w: VectorBuilder, p: PoolLines, dst: ir.Value, src: ir.Value, counts: ir.Value, row_count: ir.Value, taps: ir.Value) -> None:
    """dst[l] = combine over t < taps of src[l*taps + t] for every lane l, divided as in `_over`; addresses."""
    b = w.b
    combine = Combine(w, p.kind)
    sources = [w.at(w.pointer(src), b.mul(i64(lane), taps)) for lane in range(p.lanes)]
    steps = b.sdiv(taps, i64(p.lanes))
    done = b.mul(steps, i64(p.lanes))
    mask = w.first(b.sub(taps, done))
    ragged = b.icmp_signed(">", taps, done)
    totals = []
    for source in sources:
        total = w.variable(combine.start)
        with w.loop(steps) as r:
            place = w.at(source, b.mul(r, i64(p.lanes)))
            w.prefetch(w.at(place, AHEAD // p.itemsize))
            w.set(total, combine.two(w.load(place), w.get(total)))
        with w.when(ragged):
            w.set(total, combine.two(w.load_first(w.at(source, done), mask, combine.neutral), w.get(total)))
        totals.append(total)
    result = w.across_each([w.get(total) for total in totals], combine.two)
    number = w.splat(b.fmul(w.load_scalar(w.pointer(row_count)), w.load_scalar(w.pointer(counts))))
    w.store(_finish(w, p.kind, result, number), w.pointer(dst))


@emitter
def _over(w: VectorBuilder, p: PoolLines, dst: ir.Value, src: ir.Value, counts: ir.Value, row_count: ir.Value, taps: ir.Value) -> None:
    """dst[0] = combine over t < taps of src[t], divided by row_count[0] * counts[0] if a sum; addresses."""
    b = w.b
    combine = Combine(w, p.kind)
    source = w.pointer(src)
    running = [w.variable(combine.start) for _ in range(UNROLL)]
    steps = b.sdiv(taps, i64(UNROLL * p.lanes))
    with w.loop(steps) as r:
        at = b.mul(r, i64(UNROLL * p.lanes))
        for u in range(UNROLL):
            w.set(running[u], combine.two(w.load(w.at(source, b.add(at, i64(u * p.lanes)))), w.get(running[u])))
    done = b.mul(steps, i64(UNROLL * p.lanes))
    for u in range(UNROLL):
        rest = b.sub(taps, b.add(done, i64(u * p.lanes)))
        with w.when(b.icmp_signed(">", rest, i64(0))):
            value = w.load_first(w.at(source, b.add(done, i64(u * p.lanes))), w.first(rest), combine.neutral)
            w.set(running[u], combine.two(value, w.get(running[u])))
    total = w.get(running[0])
    for u in range(1, UNROLL):
        total = combine.two(total, w.get(running[u]))
    number = b.fmul(w.load_scalar(w.pointer(row_count)), w.load_scalar(w.pointer(counts)))
    result = w.across(total, combine.two)
    b.store(_finish(w, p.kind, result, number), w.pointer(dst))


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
def _reduce_row(p, y):
    """The vertical pass of output row y, into the scratch row from `left` on."""
    first, number = rows_inside(y, p.h, p.kh, p.sh, p.top, p.dh)
    _down(p, (p.row + p.left * p.itemsize, p.src + first * p.w * p.itemsize, number, p.dh * p.w, p.w))


@njit
def _side_by_side(p):
    """Windows that are all wholly inside the rows of the plane: 10 cycles a row less than where some are not."""
    size = p.itemsize
    for y in range(p.oh):
        first, number = rows_inside(y, p.h, p.kh, p.sh, p.top, p.dh)
        _tiled(p, (p.dst + y * p.ow * size, p.src + first * p.w * size, p.counts, p.row_counts + y * size, number, p.dh * p.w, p.ow))


@njit
def _padded_side_by_side(p):
    """Windows wholly inside from number `low` to `high`; those before and after see some columns only."""
    size, step = p.itemsize, p.sw
    low = min((p.left + step - 1) // step, p.ow)
    high = min(max((p.w + p.left) // step, low), p.ow)
    for y in range(p.oh):
        first, number = rows_inside(y, p.h, p.kh, p.sh, p.top, p.dh)
        to, source, row_count, pitch = p.dst + y * p.ow * size, p.src + first * p.w * size, p.row_counts + y * size, p.dh * p.w
        for x in range(low):
            taps = min(x * step - p.left + p.kw, p.w)
            _edge(p, (to + x * size, source, p.counts + x * size, row_count, number, pitch, taps))
        begin = source + (low * step - p.left) * size
        _tiled(p, (to + low * size, begin, p.counts + low * size, row_count, number, pitch, high - low))
        for x in range(high, p.ow):
            place = x * step - p.left
            _edge(p, (to + x * size, source + place * size, p.counts + x * size, row_count, number, pitch, min(p.kw, p.w - place)))


@njit
def _lanes_of_outputs(p):
    for y in range(p.oh):
        _reduce_row(p, y)
        _along(p, (p.dst + y * p.ow * p.itemsize, p.row_counts + y * p.itemsize))


@njit
def _lanes_of_taps(p):
    size = p.itemsize
    for y in range(p.oh):
        _reduce_row(p, y)
        for x in range(p.ow):
            _over(p, (p.dst + (y * p.ow + x) * size, p.row + x * p.sw * size, p.counts + x * size, p.row_counts + y * size, p.kw))


@njit
def _line(p):
    size = p.itemsize
    whole = p.lines // p.lanes * p.lanes if p.length <= MERGED else 0
    for y in range(0, whole, p.lanes):
        _over_each(p, (p.dst + y * size, p.src + y * p.length * size, p.counts, p.row_counts, p.length))
    for y in range(whole, p.lines):
        _over(p, (p.dst + y * size, p.src + y * p.length * size, p.counts, p.row_counts, p.length))


@dataclasses.dataclass(frozen=True)
class Window:
    """What the micro-kernel of a plane is compiled for. stride: the horizontal step if outputs fill the lanes, 0 if a window's taps do.
    window_rows: rows of a window where all have the same few, else 0. tiled: windows lie side by side;
    padded: of those some reach past the sides of the plane."""

    stride: int
    window_rows: int
    tiled: bool
    padded: bool


def window(kernel: Size, stride: Size, dilation: Size, inside: tuple[bool, bool]) -> Window:
    """The micro-kernel for windows of which none leaves the plane along the axes that are `inside`."""
    tiled = 1 < kernel[1] == stride[1] <= TILED_STRIDES and dilation[1] == 1
    step = stride[1] if tiled or stride[1] <= LANE_STRIDES else 0
    return Window(step, kernel[0] if tiled and inside[0] and kernel[0] <= UNROLLED else 0, tiled, tiled and not inside[1])


def plane(kind: int, window: Window, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of one plane, which takes a PoolPlane."""
    tiled = _padded_side_by_side if window.padded else _side_by_side
    function = tiled if window.tiled else _lanes_of_outputs if window.stride else _lanes_of_taps
    return address(function, PoolPlane, kind=kind, stride=window.stride, window_rows=window.window_rows, lanes=lanes, itemsize=itemsize)


def line(kind: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of whole lines, which takes a PoolLines."""
    return address(_line, PoolLines, kind=kind, lanes=lanes, itemsize=itemsize)

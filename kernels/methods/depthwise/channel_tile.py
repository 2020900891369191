"""Depthwise sums of as many planes as there are lanes, one in each: for maps whose rows are too short to fill vectors with neighbours.

    fill:   dst[places[p]][lane] = src[lane][p]             p < count
    spread: dst[r][c] = src[r][c]                           r < h, c < w
    sums:   y[p] = activation((bias + sum over t < k, c < columns of a[t][c] * x[place of p + offsets[t] + c]) * scale + shift)

Every element is a vector, whose lanes are channels; each has weights, bias, scale and shift of its own. `fill` transposes channels
first, `spread` copies channels last, both into a bed with a `border` of zeros, the padding. Stride and dilation are where places and
offsets point.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.register_post_ops import post_ops
from kernels.primitives.transpose import transposed
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

POSITIONS = 8  # sums in flight: twice four cycles for two units
FIELDS = 2  # numbers per entry of the table of runs
RUNS = {1: (8, 4, 2, 1), 2: (8, 4, 2, 1)}  # lengths of runs that there are, by step; of length 1 for all other steps


@emitter
def _clear(w: VectorBuilder, p: Border, dst: ir.Value, count: ir.Value) -> None:
    """`count` vectors of zeros."""
    b = w.b
    with w.loop(count) as i:
        w.store(w.zero(), w.pointer(dst, b.mul(i, i64(p.lanes))))


class Border(NamedTuple):
    """What making zero all of a bed of high x wide vectors takes, but h x w of them, from row `above` and column `before` on."""

    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of the bed
    bed_h: int
    bed_w: int
    above: int
    h: int
    before: int
    w: int


@njit
def _border(p):
    vector = p.lanes * p.itemsize
    for r in range(p.bed_h):
        row = p.dst + r * p.bed_w * vector
        if p.above <= r < p.above + p.h:
            _clear(p, (row, p.before))
            _clear(p, (row + (p.before + p.w) * vector, p.bed_w - p.before - p.w))
        else:
            _clear(p, (row, p.bed_w))


def border(lanes: int, itemsize: int) -> int:
    """Address of what makes a border of zeros: takes a Border."""
    return address(_border, Border, lanes=lanes, itemsize=itemsize)


class Fill(NamedTuple):
    """What `fill` takes."""

    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of the bed
    offsets: int  # address of an element offset for each position
    src: int  # address of the first plane
    pitch: int  # elements from plane to plane
    live: int  # how many planes there are; lanes past them get any numbers
    positions: int


@emitter
def _fill_whole(w: VectorBuilder, p: Fill, offsets: ir.Value, src: ir.Value) -> None:
    """`lanes` positions of as many planes."""
    to = w.pointer(p.dst)
    for i, column in enumerate(transposed(w, True, src, p.pitch, p.live, p.positions)):
        w.store(column, w.at(to, w.load_index(offsets, i64(i))))


@emitter
def _fill_edge(w: VectorBuilder, p: Fill, offsets: ir.Value, src: ir.Value, left: ir.Value) -> None:
    """`left` positions, or fewer planes."""
    to = w.pointer(p.dst)
    for i, column in enumerate(transposed(w, False, src, p.pitch, p.live, left)):
        with w.when(w.b.icmp_signed(">", left, i64(i))):
            w.store(column, w.at(to, w.load_index(offsets, i64(i))))


@njit
def _fill(p):
    for first in range(0, p.positions, p.lanes):
        offsets, source = p.offsets + first * 8, p.src + first * p.itemsize
        if p.positions - first >= p.lanes and p.live == p.lanes:
            _fill_whole(p, (offsets, source))
        else:
            _fill_edge(p, (offsets, source, p.positions - first))


def fill(lanes: int, itemsize: int) -> int:
    """Address of compiled `fill`, which takes a Fill."""
    return address(_fill, Fill, lanes=lanes, itemsize=itemsize)


class Spread(NamedTuple):
    """What `spread` takes."""

    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of the bed's first vector
    bed_w: int  # its vectors from row to row
    src: int  # address of the first number
    row_pitch: int  # elements from row to row,
    pitch: int  # from column to column
    live: int  # how many numbers a vector has, the others become 0
    h: int
    w: int


@emitter
def _copy(w: VectorBuilder, p: Spread, dst: ir.Value, src: ir.Value) -> None:
    """One row of `spread`."""
    b = w.b
    mask = w.first(p.live)
    with w.loop(p.w) as i:
        value = w.load_first(w.pointer(src, b.mul(i, p.pitch)), mask)
        w.store(value, w.pointer(dst, b.mul(i, i64(p.lanes))))


@njit
def _spread(p):
    for r in range(p.h):
        _copy(p, (p.dst + r * p.bed_w * p.lanes * p.itemsize, p.src + r * p.row_pitch * p.itemsize))


def spread(lanes: int, itemsize: int) -> int:
    """Address of compiled `spread`, which takes a Spread."""
    return address(_spread, Spread, lanes=lanes, itemsize=itemsize)


def _of_lanes(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
    """The vector at an address."""
    return w.load(w.pointer(array))


class Sums(NamedTuple):
    """What `sums` takes."""

    run: Fixed  # positions of a run
    step: Fixed  # vectors of x from position to position of it
    columns: Fixed  # taps side by side, which share what they load: of 3, a run of 8 loads 10 vectors, not 24
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    k: int  # kernel rows
    a: int  # address of k*columns vectors of weights
    x: int  # address of the input
    offsets: int  # address of k element offsets
    y: int  # address of the output
    y_step: int  # elements from position to position of a run,
    spacing: int  # from lane to lane
    table: int  # address of [place in x, place in y] of the first position of each run, in elements
    runs: int  # how many
    live: int  # how many lanes are written
    bias: int  # address of a vector, or 0; so are scale and shift
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


@emitter
def _sum_runs(w: VectorBuilder, p: Sums) -> None:
    """See `sums`."""
    builder = w.b
    inputs, weights, outputs, mask = w.pointer(p.x), w.pointer(p.a), w.pointer(p.y), w.first(p.live)
    side_by_side = builder.icmp_signed("==", p.spacing, i64(1))
    steps = ir.Constant(ir.VectorType(ir.IntType(64), p.lanes), [lane * p.itemsize for lane in range(p.lanes)])
    start = w.variable(w.zero())
    with w.when(builder.icmp_signed("!=", p.bias, i64(0))):
        w.set(start, w.load(w.pointer(p.bias)))

    def block(runs: int, first: ir.Value) -> None:
        """Runs from entry `first` on. What a run reads lies a constant apart, which costs no instruction beyond the load."""
        entries = [builder.mul(builder.add(first, i64(i)), i64(FIELDS)) for i in range(runs)]
        offsets = [w.at(inputs, w.load_index(p.table, entry)) for entry in entries]
        c = [[w.variable(w.get(start)) for _ in range(p.run)] for _ in range(runs)]
        with w.loop(p.k) as t:
            offset = w.load_index(p.offsets, t)
            tap = w.at(weights, builder.mul(t, i64(p.columns * p.lanes)))
            factors = [w.load(w.at(tap, column * p.lanes)) for column in range(p.columns)]
            for place, sums in zip(offsets, c):
                source = w.at(place, offset)
                for j in range((p.run - 1) * p.step + p.columns):
                    uses = [(i, j - i * p.step) for i in range(p.run) if 0 <= j - i * p.step < p.columns]
                    value = w.load(w.at(source, j * p.lanes)) if uses else None
                    for i, column in uses:
                        w.set(sums[i], w.fma(factors[column], value, w.get(sums[i])))
        post_ops(w, c, p.scale, p.shift, p.activation, p.slope, _of_lanes)
        to = [w.at(outputs, w.load_index(p.table, builder.add(entry, i64(1)))) for entry in entries]
        finished = [(w.at(place, builder.mul(p.y_step, i64(i))), w.get(row[i])) for place, row in zip(to, c) for i in range(p.run)]
        with builder.if_else(side_by_side) as (together, apart):
            with together:
                for place, total in finished:
                    w.store_first(total, place, mask)
            with apart:
                for place, total in finished:
                    lane_0 = w.splat_index(builder.ptrtoint(place, ir.IntType(64)))
                    w.scatter(total, builder.add(lane_0, builder.mul(steps, w.splat_index(p.spacing))), mask)

    together = POSITIONS // p.run
    whole = builder.sdiv(p.runs, i64(together))
    with w.loop(whole) as b:
        block(together, builder.mul(b, i64(together)))
    done = builder.mul(whole, i64(together))
    if together > 1:
        with w.loop(builder.sub(p.runs, done)) as rest:
            block(1, builder.add(done, rest))


@njit
def _sums(p):
    _sum_runs(p, ())


def sums(run: int, step: int, columns: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `sums`, which takes a Sums."""
    return address(_sums, Sums, run=run, step=step, columns=columns, lanes=lanes, itemsize=itemsize)

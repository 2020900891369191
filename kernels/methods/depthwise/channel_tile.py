"""Depthwise sums of as many planes as there are lanes, one in each: for maps whose rows are too short to fill vectors with neighbours.

    fill:   dst[places[p]][lane] = src[lane][p]             p < count
    spread: dst[r][c] = src[r][c]                           r < h, c < w
    sums:   y[p] = activation((bias + sum over t < k, c < columns of a[t][c] * x[place of p + offsets[t] + c]) * scale + shift)

Every element is a vector, whose lanes are channels; each has weights, bias, scale and shift of its own. `fill` turns over channels
first, `spread` copies channels last, both into a bed with a `border` of zeros, the padding. Stride and dilation are where places and
offsets point.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.register_post_ops import finish
from kernels.primitives.transpose import turned
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

POSITIONS = 8  # sums in flight: twice four cycles for two units
FIELDS = 2  # numbers per entry of the table of runs
RUNS = {1: (8, 4, 2, 1), 2: (8, 4, 2, 1)}  # lengths of runs that there are, by step; of length 1 for all other steps


@intrinsic(prefer_literal=True)
def _clear(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, count: Any) -> Any:
    """`count` vectors of zeros."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        w = VectorBuilder(builder, lanes, itemsize)
        with w.loop(values[3]) as i:
            w.store(w.zero(), w.pointer(values[2], builder.mul(i, i64(lanes))))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, types.int64, types.int64), codegen


@njit
def _border(lanes, itemsize, dst, high, wide, above, h, before, w):
    vector = lanes * itemsize
    for r in range(high):
        row = dst + r * wide * vector
        if above <= r < above + h:
            _clear(lanes, itemsize, row, before)
            _clear(lanes, itemsize, row + (before + w) * vector, wide - before - w)
        else:
            _clear(lanes, itemsize, row, wide)


def border(lanes: int, itemsize: int) -> int:
    """Address of what makes zero all of a bed of high x wide vectors at dst but h x w of them, from row `above` and column `before` on.

    It takes, all int64: the two literals again; dst; high; wide; above; h; before; w.
    """
    return address(_border, (lanes, itemsize), (types.int64,) * 7)


@intrinsic(prefer_literal=True)
def _fill_block(typing_context: Any, whole_: Any, lanes_: Any, itemsize_: Any, dst: Any, places: Any, src: Any, pitch: Any, live: Any,
                count: Any) -> Any:  # fmt: skip
    """Up to `lanes` positions of `live` planes; `whole`: of exactly so many, none is masked."""
    literals = whole_, lanes_, itemsize_
    whole, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, places, src, pitch, live, count = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        to = w.pointer(dst)
        for i, column in enumerate(turned(w, whole, src, pitch, live, count)):
            if whole:
                w.store(column, w.at(to, w.load_index(places, i64(i))))
                continue
            with w.when(builder.icmp_signed(">", count, i64(i))):
                w.store(column, w.at(to, w.load_index(places, i64(i))))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 6), codegen


@njit
def _fill(lanes, itemsize, dst, places, src, pitch, live, count):
    for p in range(0, count, lanes):
        source = src + p * itemsize
        if count - p >= lanes and live == lanes:
            _fill_block(1, lanes, itemsize, dst, places + p * 8, source, pitch, lanes, lanes)
        else:
            _fill_block(0, lanes, itemsize, dst, places + p * 8, source, pitch, live, count - p)


def fill(lanes: int, itemsize: int) -> int:
    """Address of compiled `fill`.

    It takes, all int64: the two literals again; dst, address of the bed; places, address of `count` int64 element offsets; src, address of
    the first plane; pitch, elements from plane to plane; live, how many planes there are (lanes past them get any numbers); count.
    """
    return address(_fill, (lanes, itemsize), (types.int64,) * 6)


@intrinsic(prefer_literal=True)
def _copy(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, pitch: Any, live: Any, count: Any) -> Any:
    """One row of `spread`."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, pitch, live, count = values[2:]
        w = VectorBuilder(builder, lanes, itemsize)
        mask = w.first(live)
        with w.loop(count) as i:
            value = w.load_first(w.pointer(src, builder.mul(i, pitch)), mask)
            w.store(value, w.pointer(dst, builder.mul(i, i64(lanes))))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 5), codegen


@njit
def _spread(lanes, itemsize, dst, wide, src, row_pitch, pitch, live, h, w):
    for r in range(h):
        _copy(lanes, itemsize, dst + r * wide * lanes * itemsize, src + r * row_pitch * itemsize, pitch, live, w)


def spread(lanes: int, itemsize: int) -> int:
    """Address of compiled `spread`.

    It takes, all int64: the two literals again; dst, address of the bed's first vector; wide, its vectors from row to row; src, address of
    the first number; row_pitch and pitch, elements from row to row and from column to column; live, how many numbers a vector has, the
    others become 0; h; w.
    """
    return address(_spread, (lanes, itemsize), (types.int64,) * 8)


def _of_lanes(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
    """The vector at an address."""
    return w.load(w.pointer(array))


@intrinsic(prefer_literal=True)
def _sum_runs(typing_context: Any, run_: Any, step_: Any, columns_: Any, lanes_: Any, itemsize_: Any, k: Any, a: Any, x: Any,
              offsets: Any, y: Any, y_step: Any, spacing: Any, table: Any, count: Any, live: Any, bias: Any, scale: Any, shift: Any,
              activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `sums`."""
    literals = run_, step_, columns_, lanes_, itemsize_
    run, step, columns, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, x, offsets, y, y_step, spacing, table, count, live, bias, scale, shift, activation, slope = values[5:]
        w = VectorBuilder(builder, lanes, itemsize)
        inputs, weights, outputs, mask = w.pointer(x), w.pointer(a), w.pointer(y), w.first(live)
        side_by_side = builder.icmp_signed("==", spacing, i64(1))
        steps = ir.Constant(ir.VectorType(ir.IntType(64), lanes), [lane * itemsize for lane in range(lanes)])
        start = w.variable(w.zero())
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            w.set(start, w.load(w.pointer(bias)))

        def block(runs: int, first: ir.Value) -> None:
            """Runs from entry `first` on. What a run reads lies a constant apart, which costs no instruction beyond the load."""
            entries = [builder.mul(builder.add(first, i64(i)), i64(FIELDS)) for i in range(runs)]
            places = [w.at(inputs, w.load_index(table, entry)) for entry in entries]
            c = [[w.variable(w.get(start)) for _ in range(run)] for _ in range(runs)]
            with w.loop(k) as t:
                offset = w.load_index(offsets, t)
                tap = w.at(weights, builder.mul(t, i64(columns * lanes)))
                factors = [w.load(w.at(tap, column * lanes)) for column in range(columns)]
                for place, sums in zip(places, c):
                    source = w.at(place, offset)
                    for j in range((run - 1) * step + columns):
                        uses = [(i, j - i * step) for i in range(run) if 0 <= j - i * step < columns]
                        value = w.load(w.at(source, j * lanes)) if uses else None
                        for i, column in uses:
                            w.set(sums[i], w.fma(factors[column], value, w.get(sums[i])))
            finish(w, c, scale, shift, activation, slope, _of_lanes)
            to = [w.at(outputs, w.load_index(table, builder.add(entry, i64(1)))) for entry in entries]
            finished = [(w.at(place, builder.mul(y_step, i64(i))), w.get(row[i])) for place, row in zip(to, c) for i in range(run)]
            with builder.if_else(side_by_side) as (together, apart):
                with together:
                    for place, total in finished:
                        w.store_first(total, place, mask)
                with apart:
                    for place, total in finished:
                        lane_0 = w.splat_index(builder.ptrtoint(place, ir.IntType(64)))
                        w.scatter(total, builder.add(lane_0, builder.mul(steps, w.splat_index(spacing))), mask)

        together = POSITIONS // run
        whole = builder.sdiv(count, i64(together))
        with w.loop(whole) as b:
            block(together, builder.mul(b, i64(together)))
        done = builder.mul(whole, i64(together))
        if together > 1:
            with w.loop(builder.sub(count, done)) as rest:
                block(1, builder.add(done, rest))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 15), codegen


@njit
def _sums(
    run, step, columns, lanes, itemsize, k, a, x, offsets, y, y_step, spacing, table, count, live, bias, scale, shift, activation, slope
):
    _sum_runs(
        run, step, columns, lanes, itemsize, k, a, x, offsets, y, y_step, spacing, table, count, live, bias, scale, shift, activation, slope
    )


def sums(run: int, step: int, columns: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `sums` for runs of `run` positions, `step` vectors of x apart, and kernel rows of `columns` taps side by side,
    which share what they load: of 3, a run of 8 loads 10 vectors, not 24.

    It takes, all int64: the five literals again; k kernel rows; a, address of k*columns vectors of weights; x, address of the input;
    offsets, address of k int64 element offsets; y, address of the output; y_step, elements from position to position of a run; spacing,
    elements from lane to lane; table, address of [place in x, place in y] of the first position of each run, in elements; count, how many
    runs; live, how many lanes are written; bias, scale, shift, addresses of a vector or 0; activation and slope as for the GEMM tile.
    """
    return address(_sums, (run, step, columns, lanes, itemsize), (types.int64,) * 15)

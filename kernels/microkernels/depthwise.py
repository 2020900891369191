"""Depthwise sums of as many planes as there are lanes, one in each: for maps whose rows are too short to fill vectors with neighbours.

    spread: dst[r][c] = src[r - above][c - before], or 0 outside it       r < high, c < wide
    sums:   y[p] = activation((bias + sum over t < k of a[t] * x[places[p] + offsets[t]]) * scale + shift)       p < count

Every element is a vector, whose lanes are channels; each has weights, bias, scale and shift of its own. Padding is what `spread` writes,
stride and dilation are where places and offsets point. Channels last lie so in memory; of channels first `transpose` makes them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.jit import address, njit
from kernels.microkernels.outer import finish
from kernels.vector import Words, i64

POSITIONS = 8  # sums in flight: twice four cycles for two units; their addresses fill the integer registers
FIELDS = 2  # numbers per entry of the table of positions


@intrinsic(prefer_literal=True)
def _copy(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, before: Any, count: Any, after: Any, src: Any, pitch: Any,
          live: Any) -> Any:  # fmt: skip
    """One row: zeros, `count` vectors from src, which lie pitch elements apart and have `live` numbers, zeros."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, before, count, after, src, pitch, live = values[2:]
        w = Words(builder, lanes, itemsize)
        mask, source = w.first(live), w.pointer(src)
        to = w.at(w.pointer(dst), builder.mul(before, i64(lanes)))
        end = w.at(to, builder.mul(count, i64(lanes)))
        with w.loop(before) as i:
            w.store(w.zero(), w.pointer(dst, builder.mul(i, i64(lanes))))
        with w.loop(count) as i:
            w.store(w.load_first(w.at(source, builder.mul(i, pitch)), mask), w.at(to, builder.mul(i, i64(lanes))))
        with w.loop(after) as i:
            w.store(w.zero(), w.at(end, builder.mul(i, i64(lanes))))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 7), codegen


@njit
def _spread(lanes, itemsize, dst, high, wide, above, h, before, w, src, row_pitch, pitch, live):
    for r in range(high):
        inside = above <= r < above + h
        start = src + (r - above) * row_pitch * itemsize
        count = w if inside else 0
        _copy(lanes, itemsize, dst + r * wide * lanes * itemsize, before, count, wide - before - count, start, pitch, live)


def spread(lanes: int, itemsize: int) -> int:
    """Address of compiled `spread`.

    It takes, all int64: the two literals again; dst, address of high*wide vectors; high; wide; above, rows of zeros before the first of
    src; h, rows of src; before, columns of zeros; w, columns of src; src, address of its first number; row_pitch and pitch, elements from
    row to row and from column to column of src; live, how many numbers of a vector src has, the others are 0.
    """
    return address(_spread, (lanes, itemsize), (types.int64,) * 11)


def _of_lanes(w: Words, array: ir.Value, i: int, q: int) -> ir.Value:
    """The vector at an address."""
    return w.load(w.pointer(array))


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, lanes_: Any, itemsize_: Any, k: Any, a: Any, x: Any, offsets: Any, y: Any, spacing: Any, table: Any,
          count: Any, live: Any, bias: Any, scale: Any, shift: Any, activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `sums`."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, x, offsets, y, spacing, table, count, live, bias, scale, shift, activation, slope = values[2:]
        w = Words(builder, lanes, itemsize)
        inputs, weights, outputs, mask = w.pointer(x), w.pointer(a), w.pointer(y), w.first(live)
        side_by_side = builder.icmp_signed("==", spacing, i64(1))
        steps = ir.Constant(ir.VectorType(ir.IntType(64), lanes), [lane * itemsize for lane in range(lanes)])
        start = w.variable(w.zero())
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            w.set(start, w.load(w.pointer(bias)))

        def block(n: int, p: ir.Value) -> None:
            """n positions from p on."""
            entries = [builder.mul(builder.add(p, i64(i)), i64(FIELDS)) for i in range(n)]
            places = [w.at(inputs, w.load_index(table, entry)) for entry in entries]
            c = [[w.variable(w.get(start)) for _ in range(n)]]
            with w.loop(k) as t:
                offset = w.load_index(offsets, t)
                weight = w.load(w.at(weights, builder.mul(t, i64(lanes))))
                for i in range(n):
                    w.set(c[0][i], w.fma(weight, w.load(w.at(places[i], offset)), w.get(c[0][i])))
            finish(w, c, scale, shift, activation, slope, _of_lanes)
            to = [w.at(outputs, w.load_index(table, builder.add(entry, i64(1)))) for entry in entries]
            with builder.if_else(side_by_side) as (together, apart):
                with together:
                    for i in range(n):
                        w.store_first(w.get(c[0][i]), to[i], mask)
                with apart:
                    for i in range(n):
                        first = w.splat_index(builder.ptrtoint(to[i], ir.IntType(64)))
                        w.scatter(w.get(c[0][i]), builder.add(first, builder.mul(steps, w.splat_index(spacing))), mask)

        whole = builder.sdiv(count, i64(POSITIONS))
        with w.loop(whole) as b:
            block(POSITIONS, builder.mul(b, i64(POSITIONS)))
        done = builder.mul(whole, i64(POSITIONS))
        with w.loop(builder.sub(count, done)) as rest:
            block(1, builder.add(done, rest))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, *(types.int64,) * 14), codegen


@njit
def _sums(lanes, itemsize, k, a, x, offsets, y, spacing, table, count, live, bias, scale, shift, activation, slope):
    _emit(lanes, itemsize, k, a, x, offsets, y, spacing, table, count, live, bias, scale, shift, activation, slope)


def sums(lanes: int, itemsize: int) -> int:
    """Address of compiled `sums`.

    It takes, all int64: the two literals again; k taps; a, address of k vectors of weights; x, address of the input; offsets, address of k
    int64 element offsets; y, address of the output, whose lanes are `spacing` elements apart; table, address of [place in x, place in y]
    for each position, in elements; count, positions; live, how many lanes are written; bias, scale, shift, addresses of a vector or 0;
    activation and slope as for the outer tile.
    """
    return address(_sums, (lanes, itemsize), (types.int64,) * 14)

"""Lines between where users keep them and vectors with one line in each lane: `bring`, `put` and, before it, `ask`.

    bring: rows[t][lane] = number first + t*stride of that lane's line, 0 before and after the line
    ask:   have what `put` will write brought to the second-level cache
    put:   number t of that lane's line = activation((rows[t ^ 1][lane] + bias) * scale + shift), for t < high

Each lane has a place of its own (a base and its limits, from a table), so lanes may be neighbouring columns, rows, tiles, channels or
images. Three ways to touch memory, of which the driver names the best that a vector of lines allows: NEIGHBOURS, lanes side by side in
memory; ALONG, lines whose numbers are side by side, so `lanes` numbers of each line are transposed in registers; APART, one by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.register_post_ops import finish
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

NEIGHBOURS, ALONG, APART = 0, 1, 2


def _addresses(w: VectorBuilder, array: ir.Value, bases: ir.Value, t: ir.Value, step: ir.Value) -> ir.Value:
    """Addresses of position t of every lane's line."""
    return w.addresses(w.b.add(array, w.b.mul(w.b.mul(t, step), i64(w.itemsize))), bases)


def _less(w: VectorBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of two integers, in every lane."""
    return w.b.select(w.b.icmp_signed("<", a, b), a, b)


@intrinsic(prefer_literal=True)
def _emit_bring(typing_context: Any, way_: Any, lanes_: Any, itemsize_: Any, rows: Any, count: Any, x: Any, places: Any, step: Any,
                start: Any, stride: Any) -> Any:  # fmt: skip
    """See `bring`."""
    literals = way_, lanes_, itemsize_
    way, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows, count, x, places, step, start, stride = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        to, source = w.pointer(rows), w.pointer(x)
        tables = [builder.add(places, i64(field * lanes * 8)) for field in range(3)]
        if way == ALONG:
            blocks = builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))
            with w.loop(blocks) as block:
                t = builder.mul(block, i64(lanes))
                lines = []
                for lane in range(lanes):
                    base, first, size = (w.load_index(table, i64(lane)) for table in tables)
                    mask = w.between(builder.add(builder.add(first, start), t), i64(0), size)
                    lines.append(w.load_first(w.at(source, builder.add(base, t)), mask))
                for i, row in enumerate(w.interleaved(lines)):
                    w.store(row, w.at(to, builder.mul(builder.add(t, i64(i)), i64(lanes))))
            return context.get_dummy_value()
        base, first, size = (w.load_indices(table) for table in tables)
        leading = w.load_index(places, i64(0))
        with w.loop(count) as t:
            position = builder.add(first, w.splat_index(builder.add(start, builder.mul(t, stride))))
            mask = builder.icmp_unsigned("<", position, size)  # before the line wraps to a large number
            if way == NEIGHBOURS:
                value = w.load_first(w.at(source, builder.add(leading, builder.mul(t, step))), mask)
            else:
                value = w.gather(_addresses(w, x, base, t, step), mask)
            w.store(value, w.at(to, builder.mul(t, i64(lanes))))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 7), codegen


@njit
def _bring(way, lanes, itemsize, rows, count, x, places, step, start, stride):
    _emit_bring(way, lanes, itemsize, rows, count, x, places, step, start, stride)


def bring(way: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `bring`.

    It takes, all int64: the three literals again; rows, address of the vectors, `count` of them (ALONG writes up to the next multiple of
    lanes); x, address of the numbers; places, address of three int64s for each lane, [base, first, size][lane]: element offset of row 0,
    its position in its line, and the line's length, 0 for a lane of zeros; step, elements from row to row (ALONG: 1); start, added to every
    lane's first position; stride, positions from row to row.
    """
    return address(_bring, (way, lanes, itemsize), (types.int64,) * 7)


@intrinsic(prefer_literal=True)
def _emit_ask(typing_context: Any, way_: Any, lanes_: Any, itemsize_: Any, count: Any, out: Any, places: Any, step: Any) -> Any:
    """See `ask`."""
    literals = way_, lanes_, itemsize_
    way, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        count, out, places, step = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        first = [w.at(w.pointer(out), w.load_index(places, i64(lane))) for lane in range(lanes)]
        if way == ALONG:
            with w.loop(builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))) as block:
                for start in first:
                    w.prefetch(w.at(start, builder.mul(block, i64(lanes))), level=2)
        elif way == NEIGHBOURS:
            with w.loop(count) as t:
                w.prefetch(w.at(first[0], builder.mul(t, step)), level=2)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 4), codegen


@njit
def _ask(way, lanes, itemsize, count, out, places, step):
    _emit_ask(way, lanes, itemsize, count, out, places, step)


def ask(way: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `ask`, which does nothing for numbers that lie APART.

    It takes, all int64: the three literals again; count, out, places and step as for `put`.
    """
    return address(_ask, (way, lanes, itemsize), (types.int64,) * 4)


@intrinsic(prefer_literal=True)
def _emit_put(typing_context: Any, way_: Any, each_: Any, lanes_: Any, itemsize_: Any, rows: Any, count: Any, out: Any, places: Any,
              step: Any, bias: Any, scale: Any, shift: Any, activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `put`."""
    literals = way_, each_, lanes_, itemsize_
    way, each, lanes, itemsize = (literal.literal_value for literal in literals)

    def of(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
        return w.load(w.pointer(array)) if each else w.splat(w.load_scalar(w.pointer(array)))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows, count, out, places, step, bias, scale, shift, activation, slope = values[4:]
        w = VectorBuilder(builder, lanes, itemsize)
        source, to = w.pointer(rows), w.pointer(out)
        bases, ends = places, builder.add(places, i64(lanes * 8))
        base, first = w.load_indices(bases), w.load_index(bases, i64(0))
        high = _less(w, w.load_indices(ends), w.splat_index(count))
        added = of(w, bias, 0, 0)
        blocks = builder.sdiv(builder.add(count, i64(lanes - 1)), i64(lanes))
        with w.loop(blocks) as block:
            t = builder.mul(block, i64(lanes))
            at = w.at(source, builder.mul(t, i64(lanes)))
            numbers = [w.variable(builder.fadd(w.load(w.at(at, (i ^ 1) * lanes)), added)) for i in range(lanes)]
            finish(w, [numbers], scale, shift, activation, slope, of)
            if way == ALONG:
                for lane, line in enumerate(w.interleaved([w.get(number) for number in numbers])):
                    start, end = (w.load_index(table, i64(lane)) for table in (bases, ends))
                    w.store_first(line, w.at(to, builder.add(start, t)), w.between(t, i64(0), _less(w, end, count)))
            else:
                for i, number in enumerate(numbers):
                    position = builder.add(t, i64(i))
                    mask = builder.icmp_signed("<", w.splat_index(position), high)
                    if way == NEIGHBOURS:
                        w.store_first(w.get(number), w.at(to, builder.add(first, builder.mul(position, step))), mask)
                    else:
                        w.scatter(w.get(number), _addresses(w, out, base, position, step), mask)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 10), codegen


@njit
def _put(way, each, lanes, itemsize, rows, count, out, places, step, bias, scale, shift, activation, slope):
    _emit_put(way, each, lanes, itemsize, rows, count, out, places, step, bias, scale, shift, activation, slope)


def put(way: int, each: bool, lanes: int, itemsize: int) -> int:
    """Address of compiled `put`; `each`: lanes are output channels, so bias, scale and shift differ from lane to lane.

    It takes, all int64: the four literals again; rows, address of the vectors, of which a multiple of lanes is read; count; out, address of
    the output; places, [base, high][lane]: element offset of number 0 and how many there are, at most count; step, elements from number
    to number; bias, address of one number or one for each lane; scale and shift, the
    same or 0; activation and slope as in `primitives.gemm_tile.tile`.
    """
    return address(_put, (way, int(each), lanes, itemsize), (types.int64,) * 10)

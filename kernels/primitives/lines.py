"""Lines between where users keep them and vectors with one line in each lane: loaded, stored and, before that, prefetched.

    load:     rows[t][lane] = number first + t*stride of that lane's line, 0 before and after the line
    prefetch: have what will be stored brought to the second-level cache
    store:    number t of that lane's line = activation((rows[t ^ 1][lane] + bias) * scale + shift), for t < high

Each lane has its own offset and limits, from a table, so lanes may be neighbouring columns, rows, tiles, channels or
images. Three ways to touch memory, of which the driver names the best that a vector of lines allows: NEIGHBOURS, lanes side by side in
memory; ALONG, lines whose numbers are side by side, so `lanes` numbers of each line are transposed in registers; APART, one by one.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.register_post_ops import post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

NEIGHBOURS, ALONG, APART = 0, 1, 2


def _addresses(w: VectorBuilder, array: ir.Value, bases: ir.Value, t: ir.Value, step: ir.Value) -> ir.Value:
    """Addresses of position t of every lane's line."""
    return w.addresses(w.b.add(array, w.b.mul(w.b.mul(t, step), i64(w.itemsize))), bases)


def _less(w: VectorBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of two integers, in every lane."""
    return w.b.select(w.b.icmp_signed("<", a, b), a, b)


class LoadLines(NamedTuple):
    """What loading takes."""

    way: Fixed  # NEIGHBOURS, ALONG or APART
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    rows: int  # address of the vectors
    numbers: int  # how many of them; ALONG writes up to the next multiple of lanes
    x: int  # address of the input
    offsets: int  # address of [base, first, size][lane]: element offset of row 0, its position in its line, the line's length (0: zeros)
    step: int  # elements from row to row (ALONG: 1)
    start: int  # added to every lane's first position
    stride: int  # positions from row to row
    limit: int  # positions from here on are zeros too, in every lane


@emitter
def _emit_load(w: VectorBuilder, p: LoadLines) -> None:
    """See `load_lines`."""
    b = w.b
    to, source = w.pointer(p.rows), w.pointer(p.x)
    tables = [b.add(p.offsets, i64(field * p.lanes * 8)) for field in range(3)]
    if p.way == ALONG:
        blocks = b.sdiv(b.add(p.numbers, i64(p.lanes - 1)), i64(p.lanes))
        with w.loop(blocks) as block:
            t = b.mul(block, i64(p.lanes))
            lines = []
            for lane in range(p.lanes):
                base, first, size = (w.load_index(table, i64(lane)) for table in tables)
                size = _less(w, size, p.limit)
                mask = w.between(b.add(b.add(first, p.start), t), i64(0), size)
                lines.append(w.load_first(w.at(source, b.add(base, t)), mask))
            for i, row in enumerate(w.interleaved(lines)):
                w.store(row, w.at(to, b.mul(b.add(t, i64(i)), i64(p.lanes))))
        return
    base, first, size = (w.load_indices(table) for table in tables)
    size = _less(w, size, w.splat_index(p.limit))
    leading = w.load_index(p.offsets, i64(0))
    with w.loop(p.numbers) as t:
        position = b.add(first, w.splat_index(b.add(p.start, b.mul(t, p.stride))))
        mask = b.icmp_unsigned("<", position, size)  # before the line wraps to a large number
        if p.way == NEIGHBOURS:
            value = w.load_first(w.at(source, b.add(leading, b.mul(t, p.step))), mask)
        else:
            value = w.gather(_addresses(w, p.x, base, t, p.step), mask)
        w.store(value, w.at(to, b.mul(t, i64(p.lanes))))


@njit
def _load(p):
    _emit_load(p, ())


def load_lines(way: int, lanes: int, itemsize: int) -> int:
    """Address of compiled loading, which takes a LoadLines."""
    return address(_load, LoadLines, way=way, lanes=lanes, itemsize=itemsize)


class PrefetchLines(NamedTuple):
    """What prefetching takes, which does nothing for numbers that lie APART."""

    way: Fixed  # NEIGHBOURS, ALONG or APART
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    numbers: int  # as for `store_lines`; so are the others
    out: int
    offsets: int
    step: int


@emitter
def _emit_prefetch(w: VectorBuilder, p: PrefetchLines) -> None:
    """See `prefetch_lines`."""
    b = w.b
    first = [w.at(w.pointer(p.out), w.load_index(p.offsets, i64(lane))) for lane in range(p.lanes)]
    if p.way == ALONG:
        with w.loop(b.sdiv(b.add(p.numbers, i64(p.lanes - 1)), i64(p.lanes))) as block:
            for start in first:
                w.prefetch(w.at(start, b.mul(block, i64(p.lanes))), level=2)
    elif p.way == NEIGHBOURS:
        with w.loop(p.numbers) as t:
            w.prefetch(w.at(first[0], b.mul(t, p.step)), level=2)


@njit
def _prefetch(p):
    _emit_prefetch(p, ())


def prefetch_lines(way: int, lanes: int, itemsize: int) -> int:
    """Address of compiled prefetching, which takes a PrefetchLines."""
    return address(_prefetch, PrefetchLines, way=way, lanes=lanes, itemsize=itemsize)


class StoreLines(NamedTuple):
    """What storing takes."""

    way: Fixed  # NEIGHBOURS, ALONG or APART
    oc_lanes: Fixed  # whether lanes are output channels, each with its own bias, scale and shift
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    rows: int  # address of the vectors, of which a multiple of lanes is read
    numbers: int  # of a line, at most
    out: int  # address of the output
    offsets: int  # address of [base, high][lane]: element offset of number 0, how many there are
    step: int  # elements from number to number
    bias: int  # address of one number or one for each lane; so are scale and shift, or 0
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


@emitter
def _emit_store(w: VectorBuilder, p: StoreLines) -> None:
    """See `store_lines`."""
    b = w.b
    def of(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
        return w.load(w.pointer(array)) if p.oc_lanes else w.splat(w.load_scalar(w.pointer(array)))
    source, to = w.pointer(p.rows), w.pointer(p.out)
    bases, ends = p.offsets, b.add(p.offsets, i64(p.lanes * 8))
    base, first = w.load_indices(bases), w.load_index(bases, i64(0))
    high = _less(w, w.load_indices(ends), w.splat_index(p.numbers))
    added = of(w, p.bias, 0, 0)
    blocks = b.sdiv(b.add(p.numbers, i64(p.lanes - 1)), i64(p.lanes))
    with w.loop(blocks) as block:
        t = b.mul(block, i64(p.lanes))
        at = w.at(source, b.mul(t, i64(p.lanes)))
        numbers = [w.variable(b.fadd(w.load(w.at(at, (i ^ 1) * p.lanes)), added)) for i in range(p.lanes)]
        post_ops(w, [numbers], p.scale, p.shift, p.activation, p.slope, of)
        if p.way == ALONG:
            for lane, line in enumerate(w.interleaved([w.get(number) for number in numbers])):
                start, end = (w.load_index(table, i64(lane)) for table in (bases, ends))
                w.store_first(line, w.at(to, b.add(start, t)), w.between(t, i64(0), _less(w, end, p.numbers)))
        else:
            for i, number in enumerate(numbers):
                position = b.add(t, i64(i))
                mask = b.icmp_signed("<", w.splat_index(position), high)
                if p.way == NEIGHBOURS:
                    w.store_first(w.get(number), w.at(to, b.add(first, b.mul(position, p.step))), mask)
                else:
                    w.scatter(w.get(number), _addresses(w, p.out, base, position, p.step), mask)


@njit
def _store(p):
    _emit_store(p, ())


def store_lines(way: int, oc_lanes: bool, lanes: int, itemsize: int) -> int:
    """Address of compiled storing, which takes a StoreLines."""
    return address(_store, StoreLines, way=way, oc_lanes=int(oc_lanes), lanes=lanes, itemsize=itemsize)

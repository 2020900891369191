"""Numbers moved and summed: what weights' gradients need besides tiles and transposition."""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class Total(NamedTuple):
    """dst[i] = src[i] + src[step + i] + … of so many parts in this order, i < numbers; one part is a copy."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    dst: int  # address
    src: int  # address
    step: int  # elements from part to part
    parts: int
    numbers: int


@emitter
def _total(w: VectorBuilder, p: Total) -> None:
    b = w.b
    more = b.sub(p.parts, i64(1))

    def one(at: ir.Value, mask: ir.Value | None) -> None:
        def read(part: ir.Value) -> ir.Value:
            place = w.at(w.pointer(p.src), b.add(at, b.mul(part, p.step)))
            return w.load(place) if mask is None else w.load_first(place, mask)

        sums = w.variable(read(i64(0)))
        with w.loop(more) as part:
            w.set(sums, w.add(w.get(sums), read(b.add(part, i64(1)))))
        place = w.at(w.pointer(p.dst), at)
        if mask is None:
            w.store(w.get(sums), place)
        else:
            w.store_first(w.get(sums), place, mask)

    whole = b.sdiv(p.numbers, i64(p.lanes))
    with w.loop(whole) as vector:
        one(b.mul(vector, i64(p.lanes)), None)
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(p.numbers, done)
    with w.when(b.icmp_signed(">", rest, i64(0))):
        one(done, w.first(rest))


@njit
def _total_of(p):
    _total(p, ())


def total(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Total`."""
    return address(_total_of, Total, lanes=lanes, itemsize=itemsize)


class Spread(NamedTuple):
    """dst[i*dst_step] = src[i*src_step], i < numbers."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    dst: int  # address
    dst_step: int  # elements
    src: int  # address
    src_step: int  # elements
    numbers: int


@emitter
def _spread(w: VectorBuilder, p: Spread) -> None:
    b = w.b
    with w.loop(p.numbers) as i:
        value = b.load(w.pointer(p.src, b.mul(i, p.src_step)), align=p.itemsize)
        b.store(value, w.pointer(p.dst, b.mul(i, p.dst_step)), align=p.itemsize)


@njit
def _spread_of(p):
    _spread(p, ())


def spread(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Spread`."""
    return address(_spread_of, Spread, lanes=lanes, itemsize=itemsize)


class Unfold(NamedTuple):
    """dst[i*dst_step + j] = line[at + i*step + j], j < run, i < numbers; 0 where the line, of `width` numbers, has none."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    dst: int  # address
    dst_step: int  # elements
    line: int  # address
    width: int
    at: int
    step: int
    run: int
    numbers: int


@emitter
def _unfold(w: VectorBuilder, p: Unfold) -> None:
    b, lanes = w.b, i64(p.lanes)

    def clipped(value: ir.Value, high: ir.Value) -> ir.Value:
        low = b.select(b.icmp_signed("<", value, i64(0)), i64(0), value)
        return b.select(b.icmp_signed("<", low, high), low, high)

    # runs before `begin` reach before the line, those from `end` on past it
    begin = clipped(b.sdiv(b.sub(b.sub(p.step, i64(1)), p.at), p.step), p.numbers)
    room = b.sub(b.sub(p.width, p.run), p.at)
    inside = b.select(b.icmp_signed("<", room, i64(0)), i64(0), b.add(b.sdiv(room, p.step), i64(1)))
    end = b.add(begin, clipped(b.sub(inside, begin), b.sub(p.numbers, begin)))
    with w.loop(b.sdiv(b.add(p.run, b.sub(lanes, i64(1))), lanes)) as vector:
        first = b.mul(vector, lanes)
        mask = w.first(b.sub(p.run, first))

        def move(i: ir.Value, edge: bool) -> None:
            at = b.add(b.add(p.at, b.mul(i, p.step)), first)
            there = b.and_(mask, w.between(at, i64(0), p.width)) if edge else mask
            target = w.pointer(p.dst, b.add(b.mul(i, p.dst_step), first))
            w.store_first(w.load_first(w.pointer(p.line, at), there), target, mask)

        with w.loop(begin) as i:
            move(i, True)
        with w.loop(b.sub(end, begin)) as i:
            move(b.add(begin, i), False)
        with w.loop(b.sub(p.numbers, end)) as i:
            move(b.add(end, i), True)


@njit
def _unfold_of(p):
    _unfold(p, ())


def unfold(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Unfold`."""
    return address(_unfold_of, Unfold, lanes=lanes, itemsize=itemsize)


class Clear(NamedTuple):
    """dst[i] = 0, i < numbers."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    dst: int  # address
    numbers: int


@emitter
def _clear(w: VectorBuilder, p: Clear) -> None:
    b = w.b
    whole = b.sdiv(p.numbers, i64(p.lanes))
    with w.loop(whole) as vector:
        w.store(w.zero(), w.pointer(p.dst, b.mul(vector, i64(p.lanes))))
    done = b.mul(whole, i64(p.lanes))
    w.store_first(w.zero(), w.pointer(p.dst, done), w.first(b.sub(p.numbers, done)))


@njit
def _clear_of(p):
    _clear(p, ())


def clear(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Clear`."""
    return address(_clear_of, Clear, lanes=lanes, itemsize=itemsize)

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

"""Pooling of narrow planes as they lie in memory: windows side by side, several rows of outputs in one vector.

    dst[s*ow + j] = combine over r < kh, t < kw of src[s*kh*w + r*w + j*kw + t]

A strip (kh rows of the input) makes a row of ow outputs, and strips follow each other without gaps. A vector of outputs takes lanes // ow
strips: their rows are combined first, with the columns of all strips side by side, then neighbouring columns. What lies side by side is
loaded so, everything else is picked from vectors by shuffles, which the literal sizes make constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.pool_window import MAXIMUM, Combine
from kernels.problem.window import Size
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

Loads = Callable[[int], ir.Value]


def _numbers(w: VectorBuilder, load: Loads, positions: list[int]) -> ir.Value:
    """The numbers at `places` from the source on, one a lane; `load` gives the vector that begins at a place."""
    if positions == list(range(positions[0], positions[0] + w.lanes)):
        return load(positions[0])
    blocks = sorted({position // w.lanes for position in positions})
    return w.pick([load(block * w.lanes) for block in blocks], [blocks.index(p // w.lanes) * w.lanes + p % w.lanes for p in positions])


def _block(w: VectorBuilder, combine: Combine, load: Loads, kh: int, kw: int, width: int, ow: int) -> ir.Value:
    """One vector of outputs, before its division; lanes past the last whole row of outputs hold what the last one does."""
    outputs = w.lanes // ow * ow
    columns = outputs * kw
    down = []
    for first in range(0, columns, w.lanes):
        positions = [divmod(min(column, columns - 1), ow * kw) for column in range(first, first + w.lanes)]
        rows = [_numbers(w, load, [strip * kh * width + r * width + column for strip, column in positions]) for r in range(kh)]
        down.append(combine.all(rows))
    lanes = [min(o, outputs - 1) for o in range(w.lanes)]
    return combine.all([w.pick(down, [o * kw + t for o in lanes]) if kw > 1 else down[0] for t in range(kw)])


class PoolStrips(NamedTuple):
    """What pooling of strips takes."""

    kind: Fixed  # MAXIMUM or SUM
    kh: Fixed  # of windows
    kw: Fixed
    width: Fixed  # numbers in a row
    ow: Fixed  # outputs in a row, at most lanes
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dst: int  # address of the outputs
    src: int  # address of the strips
    outputs: int  # how many, whole rows of them
    there: int  # numbers from src on that may be read
    divisor: int  # address of one number, by which sums are divided


@emitter
def _emit(w: VectorBuilder, p: PoolStrips) -> None:
    """See `pool_strips`."""
    b = w.b
    combine, strips = Combine(w, p.kind), p.lanes // p.ow
    outputs, span = strips * p.ow, strips * p.kh * p.width
    number = w.splat(w.load_scalar(w.pointer(p.divisor)))

    def emit(block: ir.Value, load: Callable[[ir.Value, int], ir.Value]) -> None:
        source = b.mul(block, i64(span))
        loaded: dict[int, ir.Value] = {}

        def load_cached(position: int) -> ir.Value:
            if position not in loaded:
                loaded[position] = load(source, position)
            return loaded[position]

        value = _block(w, combine, load_cached, p.kh, p.kw, p.width, p.ow)
        value = value if p.kind == MAXIMUM else b.fdiv(value, number)
        first = b.mul(block, i64(outputs))
        left = b.sub(p.outputs, first)
        most = b.select(b.icmp_signed("<", left, i64(outputs)), left, i64(outputs))
        w.store_first(value, w.at(w.pointer(p.dst), first), w.first(most))

    def masked(source: ir.Value, position: int) -> ir.Value:
        at = b.add(source, i64(position))
        return w.load_first(w.at(w.pointer(p.src), at), w.first(b.sub(p.there, at)))

    reach = -(-span // p.lanes) * p.lanes  # what whole vectors read
    blocks = b.sdiv(b.add(p.outputs, i64(outputs - 1)), i64(outputs))
    inside = b.sdiv(b.add(b.sub(p.there, i64(reach)), i64(span)), i64(span))
    inside = b.select(b.icmp_signed("<", p.there, i64(reach)), i64(0), inside)
    whole = b.select(b.icmp_signed("<", blocks, inside), blocks, inside)
    with w.loop(whole) as block:
        emit(block, lambda source, position: w.load(w.at(w.pointer(p.src), b.add(source, i64(position)))))
    with w.loop(b.sub(blocks, whole)) as block:
        emit(b.add(whole, block), masked)


@njit
def _pool_strips(p):
    _emit(p, ())


def pool_strips(kind: int, kernel: Size, width: int, ow: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of strips, with kernel (kh, kw) and rows of `width` numbers: takes a PoolStrips."""
    kh, kw = kernel
    return address(_pool_strips, PoolStrips, kind=kind, kh=kh, kw=kw, width=width, ow=ow, lanes=lanes, itemsize=itemsize)

"""Pooling of narrow planes as they lie in memory: windows side by side, several rows of outputs in one vector.

    dst[s*ow + j] = combine over r < kh, t < kw of src[s*kh*w + r*w + j*kw + t]

A strip (kh rows of the input) makes a row of ow outputs, and strips follow each other without gaps. A vector of outputs takes lanes // ow
strips: their rows are combined first, with the columns of all strips side by side, then neighbouring columns. What lies side by side is
loaded so, everything else is picked from vectors by shuffles, which the literal sizes make constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.pool_window import MAXIMUM, Combine
from kernels.problem.window import Size
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

Loads = Callable[[int], ir.Value]


def _numbers(w: VectorBuilder, load: Loads, places: list[int]) -> ir.Value:
    """The numbers at `places` from the source on, one a lane; `load` gives the vector that begins at a place."""
    if places == list(range(places[0], places[0] + w.lanes)):
        return load(places[0])
    blocks = sorted({place // w.lanes for place in places})
    return w.pick([load(block * w.lanes) for block in blocks], [blocks.index(p // w.lanes) * w.lanes + p % w.lanes for p in places])


def _block(w: VectorBuilder, combine: Combine, load: Loads, kh: int, kw: int, width: int, ow: int) -> ir.Value:
    """One vector of outputs, before its division; lanes past the last whole row of outputs hold what the last one does."""
    outputs = w.lanes // ow * ow
    columns = outputs * kw
    down = []
    for first in range(0, columns, w.lanes):
        places = [divmod(min(column, columns - 1), ow * kw) for column in range(first, first + w.lanes)]
        rows = [_numbers(w, load, [strip * kh * width + r * width + column for strip, column in places]) for r in range(kh)]
        down.append(combine.all(rows))
    lanes = [min(o, outputs - 1) for o in range(w.lanes)]
    return combine.all([w.pick(down, [o * kw + t for o in lanes]) if kw > 1 else down[0] for t in range(kw)])


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, kind_: Any, kh_: Any, kw_: Any, width_: Any, ow_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any,
          count: Any, there: Any, divisor: Any) -> Any:  # fmt: skip
    """See `flat`."""
    literals = kind_, kh_, kw_, width_, ow_, lanes_, itemsize_
    kind, kh, kw, width, ow, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, count, there, divisor = values[7:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine, strips = Combine(w, kind), lanes // ow
        outputs, span = strips * ow, strips * kh * width
        number = w.splat(w.load_scalar(w.pointer(divisor)))

        def emit(block: ir.Value, load: Callable[[ir.Value, int], ir.Value]) -> None:
            source = builder.mul(block, i64(span))
            loaded: dict[int, ir.Value] = {}

            def once(place: int) -> ir.Value:
                if place not in loaded:
                    loaded[place] = load(source, place)
                return loaded[place]

            value = _block(w, combine, once, kh, kw, width, ow)
            value = value if kind == MAXIMUM else builder.fdiv(value, number)
            first = builder.mul(block, i64(outputs))
            left = builder.sub(count, first)
            most = builder.select(builder.icmp_signed("<", left, i64(outputs)), left, i64(outputs))
            w.store_first(value, w.at(w.pointer(dst), first), w.first(most))

        def masked(source: ir.Value, place: int) -> ir.Value:
            at = builder.add(source, i64(place))
            return w.load_first(w.at(w.pointer(src), at), w.first(builder.sub(there, at)))

        reach = -(-span // lanes) * lanes  # what whole vectors read
        blocks = builder.sdiv(builder.add(count, i64(outputs - 1)), i64(outputs))
        inside = builder.sdiv(builder.add(builder.sub(there, i64(reach)), i64(span)), i64(span))
        inside = builder.select(builder.icmp_signed("<", there, i64(reach)), i64(0), inside)
        whole = builder.select(builder.icmp_signed("<", blocks, inside), blocks, inside)
        with w.loop(whole) as block:
            emit(block, lambda source, place: w.load(w.at(w.pointer(src), builder.add(source, i64(place)))))
        with w.loop(builder.sub(blocks, whole)) as block:
            emit(builder.add(whole, block), masked)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 5), codegen


@njit
def _flat(kind, kh, kw, width, ow, lanes, itemsize, dst, src, count, there, divisor):
    _emit(kind, kh, kw, width, ow, lanes, itemsize, dst, src, count, there, divisor)


def flat(kind: int, kernel: Size, width: int, ow: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of strips, with kernel (kh, kw) and rows of `width` numbers and ow <= lanes outputs.

    It takes, all int64: kind, kh, kw, width, ow, lanes and itemsize again; dst; src; count, outputs, whole rows of them; there, numbers
    from src on that may be read; divisor, address of one number, by which sums are divided.
    """
    return address(_flat, (kind, *kernel, width, ow, lanes, itemsize), (types.int64,) * 5)

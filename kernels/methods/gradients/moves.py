"""Numbers moved and summed: what weights' gradients need besides tiles and transposition."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


@intrinsic(prefer_literal=True)
def _total(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, step: Any, parts: Any, count: Any) -> Any:
    """See `total`."""
    literals = lanes_, itemsize_
    lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, step, parts, count = values[2:]
        w = VectorBuilder(builder, lanes, itemsize)
        more = builder.sub(parts, i64(1))

        def one(at: ir.Value, mask: ir.Value | None) -> None:
            def read(part: ir.Value) -> ir.Value:
                place = w.at(w.pointer(src), builder.add(at, builder.mul(part, step)))
                return w.load(place) if mask is None else w.load_first(place, mask)

            sums = w.variable(read(i64(0)))
            with w.loop(more) as part:
                w.set(sums, w.add(w.get(sums), read(builder.add(part, i64(1)))))
            place = w.at(w.pointer(dst), at)
            if mask is None:
                w.store(w.get(sums), place)
            else:
                w.store_first(w.get(sums), place, mask)

        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as vector:
            one(builder.mul(vector, i64(lanes)), None)
        done = builder.mul(whole, i64(lanes))
        rest = builder.sub(count, done)
        with w.when(builder.icmp_signed(">", rest, i64(0))):
            one(done, w.first(rest))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 5), codegen


@njit
def _total_of(lanes, itemsize, dst, src, step, parts, count):
    _total(lanes, itemsize, dst, src, step, parts, count)


def total(lanes: int, itemsize: int) -> int:
    """Address of dst[i] = src[i] + src[step + i] + … of so many parts in this order, i < count; one part is a copy.

    It takes, all int64: the two literals again; dst; src; step, elements from part to part; parts; count.
    """
    return address(_total_of, (lanes, itemsize), (types.int64,) * 5)


@intrinsic(prefer_literal=True)
def _spread(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, dst_step: Any, src: Any, src_step: Any, count: Any) -> Any:
    """See `spread`."""
    literals = lanes_, itemsize_
    lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, dst_step, src, src_step, count = values[2:]
        w = VectorBuilder(builder, lanes, itemsize)
        with w.loop(count) as i:
            value = builder.load(w.pointer(src, builder.mul(i, src_step)), align=itemsize)
            builder.store(value, w.pointer(dst, builder.mul(i, dst_step)), align=itemsize)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 5), codegen


@njit
def _spread_of(lanes, itemsize, dst, dst_step, src, src_step, count):
    _spread(lanes, itemsize, dst, dst_step, src, src_step, count)


def spread(lanes: int, itemsize: int) -> int:
    """Address of dst[i*dst_step] = src[i*src_step], i < count. It takes, all int64: the two literals again; dst; dst_step; src; src_step;
    count."""
    return address(_spread_of, (lanes, itemsize), (types.int64,) * 5)


@intrinsic(prefer_literal=True)
def _clear(typing_context: Any, lanes_: Any, itemsize_: Any, dst: Any, count: Any) -> Any:
    """See `clear`."""
    literals = lanes_, itemsize_
    lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, count = values[2:]
        w = VectorBuilder(builder, lanes, itemsize)
        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as vector:
            w.store(w.zero(), w.pointer(dst, builder.mul(vector, i64(lanes))))
        done = builder.mul(whole, i64(lanes))
        w.store_first(w.zero(), w.pointer(dst, done), w.first(builder.sub(count, done)))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 2), codegen


@njit
def _clear_of(lanes, itemsize, dst, count):
    _clear(lanes, itemsize, dst, count)


def clear(lanes: int, itemsize: int) -> int:
    """Address of dst[i] = 0, i < count. It takes, all int64: the two literals again; dst; count."""
    return address(_clear_of, (lanes, itemsize), (types.int64,) * 2)

"""The depthwise row: one line of outputs from one packed channel, however long, as a sum of shifted input vectors.

    y[q] = activation((bias + sum over t < k of a[t] * x[offsets[t] + q]) * scale + shift)        for q < count

One weight per tap serves the whole line, so there is nothing to share between channels: the line is walked UNROLL vectors at a time and
memory sets the pace. With `stream` results go past the caches, which saves reading every output line before overwriting it; it pays
where the output does not fit the last-level cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.gemm_tile import FIELDS
from kernels.primitives.register_post_ops import finish
from kernels.runtime.ir import I64, VectorBuilder, i64
from kernels.runtime.jit import address, njit

UNROLL = 6  # vectors in flight: six sums cover two FMA units waiting four cycles, less two loads a cycle


@intrinsic(prefer_literal=True)
def row_of(typing_context: Any, stream_: Any, lanes_: Any, itemsize_: Any,
           k: Any, a: Any, x: Any, offsets: Any, y: Any, vectors: Any, bias: Any, scale: Any, shift: Any,
           activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `row` for the arguments."""
    literals = stream_, lanes_, itemsize_
    stream, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, x, offsets, y, vectors, bias, scale, shift, activation, slope = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        in_x, in_y, columns = (w.load_index(vectors, i64(field)) for field in range(FIELDS))
        inputs, weights, outputs = w.at(w.pointer(x), in_x), w.pointer(a), w.at(w.pointer(y), in_y)
        start = w.variable(w.zero())
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            w.set(start, w.splat(w.load_scalar(w.pointer(bias))))

        def block(n: int, q: ir.Value) -> list[ir.Value]:
            """n vectors of finished sums from column q on."""
            c = [[w.variable(w.get(start)) for _ in range(n)]]
            with w.loop(k) as t:
                tap = w.at(w.at(inputs, w.load_index(offsets, t)), q)
                weight = w.splat(w.load_scalar(w.at(weights, t)))
                for i in range(n):
                    w.set(c[0][i], w.fma(weight, w.load(w.at(tap, i * lanes)), w.get(c[0][i])))
            finish(w, c, scale, shift, activation, slope)
            return [w.get(sums) for sums in c[0]]

        def edge(q: ir.Value, count: ir.Value) -> None:
            w.store_first(block(1, q)[0], w.at(outputs, q), w.first(count))

        # streaming stores need aligned vectors: a short first one reaches the boundary
        head = w.variable(i64(0))
        if stream:
            past = builder.and_(builder.udiv(builder.ptrtoint(outputs, I64), i64(itemsize)), i64(lanes - 1))
            short = builder.and_(builder.sub(i64(lanes), past), i64(lanes - 1))
            w.set(head, builder.select(builder.icmp_signed("<", short, columns), short, columns))
            with w.when(builder.icmp_signed(">", w.get(head), i64(0))):
                edge(i64(0), w.get(head))
        first = w.get(head)
        wide = builder.sdiv(builder.sub(columns, first), i64(UNROLL * lanes))
        with w.loop(wide) as b:
            q = builder.add(first, builder.mul(b, i64(UNROLL * lanes)))
            for i, sums in enumerate(block(UNROLL, q)):
                pointer = w.at(w.at(outputs, q), i * lanes)
                (w.stream if stream else w.store)(sums, pointer)
        rest = builder.add(first, builder.mul(wide, i64(UNROLL * lanes)))
        blocks = builder.sdiv(builder.add(builder.sub(columns, rest), i64(lanes - 1)), i64(lanes))
        with w.loop(blocks) as b:
            q = builder.add(rest, builder.mul(b, i64(lanes)))
            edge(q, builder.sub(columns, q))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 11), codegen


@njit
def _row(
    stream, n, lanes, itemsize, k, a, x, offsets, y, y_row, vectors, stage, bias, scale, shift, activation, slope, times, a_step, y_step,
    vectors_step,
):  # fmt: skip
    for i in range(times):
        row_of(stream, lanes, itemsize, k, a, x, offsets, y, vectors + i * vectors_step, bias, scale, shift, activation, slope)


def row(stream: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled row. It is called as the GEMM tile is, with m = n = 1 and a table of one vector whose count is the
    line's length; y_row, stage, a_step and y_step are unused, all taps come at once."""
    return address(_row, (int(stream), 1, lanes, itemsize), (types.int64,) * 17)

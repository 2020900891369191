"""The depthwise row: one line of outputs from one packed channel, however long, as a sum of shifted input vectors.

    y[q] = activation((bias + sum over t < k of a[t] * x[offsets[t] + q]) * scale + shift)        for q < count

One weight per tap serves the whole line, so there is nothing to share between channels: the line is walked UNROLL vectors at a time and
memory sets the pace. With `stream` results go past the caches, which saves reading every output line before overwriting it; it pays
where the output does not fit the last-level cache.
"""

from __future__ import annotations

from llvmlite import ir

from kernels.primitives.gemm_tile import FIELDS, GemmTile
from kernels.primitives.register_post_ops import post_ops
from kernels.runtime.ir import I64, VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import address, emitter

UNROLL = 6  # vectors in flight: six sums cover two FMA units waiting four cycles, less two loads a cycle


@emitter
def _emit(w: VectorBuilder, p: GemmTile, vectors: ir.Value) -> None:
    """One line; see `row`."""
    builder, lanes, itemsize = w.b, p.lanes, p.itemsize
    in_x, in_y, columns = (w.load_index(vectors, i64(field)) for field in range(FIELDS))
    inputs, weights, outputs = w.at(w.pointer(p.x), in_x), w.pointer(p.a), w.at(w.pointer(p.y), in_y)
    start = w.variable(w.zero())
    with w.when(builder.icmp_signed("!=", p.bias, i64(0))):
        w.set(start, w.splat(w.load_scalar(w.pointer(p.bias))))

    def block(n: int, q: ir.Value) -> list[ir.Value]:
        """n vectors of finished sums from column q on."""
        c = [[w.variable(w.get(start)) for _ in range(n)]]
        with w.loop(p.k) as t:
            tap = w.at(w.at(inputs, w.load_index(p.offsets, t)), q)
            weight = w.splat(w.load_scalar(w.at(weights, t)))
            for i in range(n):
                w.set(c[0][i], w.fma(weight, w.load(w.at(tap, i * lanes)), w.get(c[0][i])))
        post_ops(w, c, p.scale, p.shift, p.activation, p.slope)
        return [w.get(sums) for sums in c[0]]

    def edge(q: ir.Value, count: ir.Value) -> None:
        w.store_first(block(1, q)[0], w.at(outputs, q), w.first(count))

    # streaming stores need aligned vectors: a short first one reaches the boundary
    head = w.variable(i64(0))
    if p.m:
        past = builder.and_(builder.udiv(builder.ptrtoint(outputs, I64), i64(itemsize)), i64(lanes - 1))
        short = builder.and_(builder.sub(i64(lanes), past), i64(lanes - 1))
        w.set(head, builder.select(builder.icmp_signed("<", short, columns), short, columns))
        with w.when(builder.icmp_signed(">", w.get(head), i64(0))):
            edge(i64(0), w.get(head))
    first = w.get(head)
    unrolled = builder.sdiv(builder.sub(columns, first), i64(UNROLL * lanes))
    with w.loop(unrolled) as b:
        q = builder.add(first, builder.mul(b, i64(UNROLL * lanes)))
        for i, sums in enumerate(block(UNROLL, q)):
            pointer = w.at(w.at(outputs, q), i * lanes)
            (w.stream if p.m else w.store)(sums, pointer)
    rest = builder.add(first, builder.mul(unrolled, i64(UNROLL * lanes)))
    blocks = builder.sdiv(builder.add(builder.sub(columns, rest), i64(lanes - 1)), i64(lanes))
    with w.loop(blocks) as b:
        q = builder.add(rest, builder.mul(b, i64(lanes)))
        edge(q, builder.sub(columns, q))


@njit
def _row(p):
    for i in range(p.times):
        _emit(p, (p.vectors + i * p.vectors_step,))


def row(stream: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled row. It takes a GemmTile with n = 1 and a table of one vector whose count is the line's length; y_row, stage,
    a_step and y_step are unused, all taps come at once. m is 1 where results go past the caches, else 0."""
    return address(_row, GemmTile, m=int(stream), n=1, lanes=lanes, itemsize=itemsize)

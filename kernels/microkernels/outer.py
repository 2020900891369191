"""The outer tile: m rows of n vectors in registers, to which every tap adds a column of m weights times n vectors of input.

    c[i][q] += a[t][i] * x[offsets[t] + q]        for t < k, i < m, q < n vectors

It is the matrix product at the heart of every method here. The table of offsets says where each tap's vector starts, so one kernel
serves any kernel shape, dilation and channel stride, as indirection does in XNNPACK (M. Dukhan, "The Indirect Convolution Algorithm",
arXiv 1907.02129). Registers: m*n sums, n inputs and one weight; 8x3, 6x4 and 12x2 fill the 32 of AVX-512, 6x2 and 4x3 the 16 of AVX2.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.jit import address, njit
from kernels.vector import Words, i64

# what happens to a finished sum; the codes travel to the micro-kernel as a number, so one kernel serves all
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 2, "leaky_relu": 3}
FROM_BIAS, LAST = 1, 2  # bits of `stage`: sums start from the bias rather than from y; sums are finished after these taps


def _of_row(w: Words, array: ir.Value, i: int) -> ir.Value:
    """Number i of the array at an address, in every lane."""
    return w.splat(w.load_scalar(w.pointer(array, i)))


def _slope(w: Words, bits: ir.Value) -> ir.Value:
    """The slope below zero, sent as the bits of a float64."""
    number = w.b.bitcast(bits, ir.DoubleType())
    return number if w.itemsize == 8 else w.b.fptrunc(number, w.scalar)


def finish(w: Words, c: list[list[ir.Value]], scale: ir.Value, shift: ir.Value, activation: ir.Value, slope: ir.Value) -> None:
    """c[i][q] = activation(c[i][q] * scale[i] + shift[i]); scale and shift are addresses or 0, see `tile` for the others."""
    b = w.b
    with w.when(b.icmp_signed("!=", scale, i64(0))):
        for i, sums in enumerate(c):
            factor, offset = _of_row(w, scale, i), _of_row(w, shift, i)
            for value in sums:
                w.set(value, w.fma(w.get(value), factor, offset))
    with w.when(b.icmp_signed("!=", activation, i64(0))):
        six, below = w.constant(6.0), w.splat(_slope(w, slope))
        capped, leaky = (w.splat_bit(b.icmp_signed("==", activation, i64(ACTIVATIONS[name]))) for name in ("relu6", "leaky_relu"))
        for value in (value for sums in c for value in sums):
            number = w.get(value)
            # not number * slope for relu: -inf * 0 is NaN
            low = b.select(leaky, b.fmul(number, below), w.zero())
            number = b.select(b.fcmp_ordered("<", number, w.zero()), low, number)
            w.set(value, b.select(b.and_(b.fcmp_ordered(">", number, six), capped), six, number))


@intrinsic(prefer_literal=True)
def outer_tile(typing_context: Any, m_: Any, n_: Any, lanes_: Any, itemsize_: Any,
               k: Any, a: Any, x: Any, offsets: Any, y: Any, y_row: Any, columns: Any, stage: Any, bias: Any, scale: Any, shift: Any,
               activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `tile` for the arguments."""
    literals = m_, n_, lanes_, itemsize_
    m, n, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, x, offsets, y, y_row, columns, stage, bias, scale, shift, activation, slope = values[4:]
        w = Words(builder, lanes, itemsize)
        inputs, outputs = w.pointer(x), w.pointer(y)
        full = builder.icmp_signed(">=", columns, i64(n * lanes))
        masks = [w.first(columns, q * lanes) for q in range(n)]
        rows = [w.at(outputs, builder.mul(i64(i), y_row)) for i in range(m)]
        c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]

        # start: from the bias (or zero) at the first taps, from what y holds at later ones
        has_bias = builder.icmp_signed("!=", bias, i64(0))
        with builder.if_else(builder.icmp_signed("!=", builder.and_(stage, i64(FROM_BIAS)), i64(0))) as (fresh, resumed):
            with fresh, w.when(has_bias):
                for i in range(m):
                    value = _of_row(w, bias, i)
                    for q in range(n):
                        w.set(c[i][q], value)
            with resumed, builder.if_else(full) as (whole, edge):
                with whole:
                    for i in range(m):
                        for q in range(n):
                            w.set(c[i][q], w.load(w.at(rows[i], q * lanes)))
                with edge:
                    for i in range(m):
                        for q in range(n):
                            w.set(c[i][q], w.load_first(w.at(rows[i], q * lanes), masks[q]))

        # sum: c[i][q] += a[t][i] * x[offsets[t] + q]
        weights = w.pointer(a)
        with w.loop(k) as t:
            tap = w.at(inputs, w.load_index(offsets, t))
            column = w.at(weights, builder.mul(t, i64(m)))
            vectors = [w.load(w.at(tap, q * lanes)) for q in range(n)]
            for i in range(m):
                weight = w.splat(w.load_scalar(w.at(column, i)))
                for q in range(n):
                    w.set(c[i][q], w.fma(weight, vectors[q], w.get(c[i][q])))

        with w.when(builder.icmp_signed("!=", builder.and_(stage, i64(LAST)), i64(0))):
            finish(w, c, scale, shift, activation, slope)

        with builder.if_else(full) as (whole, edge):
            with whole:
                for i in range(m):
                    for q in range(n):
                        w.store(w.get(c[i][q]), w.at(rows[i], q * lanes))
            with edge:
                for i in range(m):
                    for q in range(n):
                        w.store_first(w.get(c[i][q]), w.at(rows[i], q * lanes), masks[q])
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 13), codegen


@njit
def _tile(m, n, lanes, itemsize, k, a, x, offsets, y, y_row, columns, stage, bias, scale, shift, activation, slope):
    outer_tile(m, n, lanes, itemsize, k, a, x, offsets, y, y_row, columns, stage, bias, scale, shift, activation, slope)


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled outer tile of m rows by n vectors.

    It takes, all int64: the four sizes again; k taps; a, address of the weights [k][m]; x, address of the input; offsets, address of k
    int64 element offsets into x; y, address of the output, y_row elements from row to row; columns, how many of the n*lanes columns are
    written (and read, when resumed); stage, the bits FROM_BIAS and LAST; bias, scale, shift, addresses of m numbers or 0; activation, a
    code of ACTIVATIONS; slope, the bits of a float64. Reads n*lanes elements at each offset whatever `columns` says.
    """
    return address(_tile, (m, n, lanes, itemsize), (types.int64,) * 13)

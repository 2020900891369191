"""Scale, shift and activation of sums that are still in registers."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64

# what happens to a finished sum; the codes travel to the micro-kernel as a number, so one kernel serves all
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 2, "leaky_relu": 3}


def broadcast_row(w: VectorBuilder, array: ir.Value, i: int, q: int = 0) -> ir.Value:
    """Number i of the array at an address, in every lane of every vector."""
    return w.splat(w.load_scalar(w.pointer(array, i)))


def slope_of(w: VectorBuilder, bits: ir.Value) -> ir.Value:
    """The slope below zero, sent as the bits of a float64."""
    number = w.b.bitcast(bits, ir.DoubleType())
    return number if w.itemsize == 8 else w.b.fptrunc(number, w.scalar)


def post_ops(
    w: VectorBuilder, c: list[list[ir.Value]], scale: ir.Value, shift: ir.Value, activation: ir.Value, slope: ir.Value,
    of: Callable[[VectorBuilder, ir.Value, int, int], ir.Value] = broadcast_row,
) -> None:  # fmt: skip
    """c[i][q] = activation(c[i][q] * scale + shift); scale and shift are addresses or 0, of which `of` takes what belongs to i and q; see
    `tile` for the others."""
    b = w.b
    with w.when(b.icmp_signed("!=", scale, i64(0))):
        for i, sums in enumerate(c):
            for q, value in enumerate(sums):
                w.set(value, w.fma(w.get(value), of(w, scale, i, q), of(w, shift, i, q)))
    every = [value for sums in c for value in sums]
    with w.when(b.icmp_signed("==", activation, i64(ACTIVATIONS["relu"]))):  # one instruction a vector, where all three take six
        for value in every:
            number = w.get(value)
            w.set(value, b.select(b.fcmp_ordered(">", w.zero(), number), w.zero(), number))
    with w.when(b.icmp_signed(">", activation, i64(ACTIVATIONS["relu"]))):
        six, below = w.constant(6.0), w.splat(slope_of(w, slope))
        capped, leaky = (w.splat_bit(b.icmp_signed("==", activation, i64(ACTIVATIONS[name]))) for name in ("relu6", "leaky_relu"))
        for value in every:
            number = w.get(value)
            # not number * slope for relu6: -inf * 0 is NaN
            low = b.select(leaky, b.fmul(number, below), w.zero())
            number = b.select(b.fcmp_ordered("<", number, w.zero()), low, number)
            w.set(value, b.select(b.and_(b.fcmp_ordered(">", number, six), capped), six, number))

"""Scale, shift and activation of sums that are still in registers."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64

# what happens to a finished sum; the codes travel to the micro-kernel as a number, so one kernel serves all
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 2, "leaky_relu": 3, "hardsigmoid": 4, "hardswish": 5}


def broadcast_row(w: VectorBuilder, array: ir.Value, i: int, q: int = 0) -> ir.Value:
    """Number i of the array at an address, in every lane of every vector."""
    return w.splat(w.load_scalar(w.pointer(array, i)))


def slope_of(w: VectorBuilder, bits: ir.Value) -> ir.Value:
    """The slope below zero, sent as the bits of a float64."""
    number = w.b.bitcast(bits, ir.DoubleType())
    return number if w.itemsize == 8 else w.b.fptrunc(number, w.scalar)


def at_most(w: VectorBuilder, x: ir.Value, limit: float) -> ir.Value:
    """The smaller of x and limit; NaN stays."""
    return w.b.select(w.b.fcmp_ordered(">", x, w.constant(limit)), w.constant(limit), x)


def at_least(w: VectorBuilder, x: ir.Value, limit: float) -> ir.Value:
    """The larger of x and limit; NaN stays."""
    return w.b.select(w.b.fcmp_ordered("<", x, w.constant(limit)), w.constant(limit), x)


def hardsigmoid(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x + 3 between 0 and 6, over 6: times its inverse, as a division takes as long as ten multiplications."""
    return w.b.fmul(at_least(w, at_most(w, w.b.fadd(x, w.constant(3.0)), 6.0), 0.0), w.constant(1 / 6))


def hardswish(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x * hardsigmoid(x)."""
    return w.b.fmul(x, hardsigmoid(w, x, slope))


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
    with w.when(b.icmp_signed("==", activation, i64(ACTIVATIONS["relu"]))):  # one instruction a vector
        for value in every:
            number = w.get(value)
            w.set(value, b.select(b.fcmp_ordered(">", w.zero(), number), w.zero(), number))
    with w.when(b.icmp_signed(">", activation, i64(ACTIVATIONS["leaky_relu"]))):
        swish = w.splat_bit(b.icmp_signed("==", activation, i64(ACTIVATIONS["hardswish"])))
        for value in every:
            number = w.get(value)
            gate = hardsigmoid(w, number, slope)
            w.set(value, b.select(swish, b.fmul(number, gate), gate))
    with w.when(b.icmp_signed("==", activation, i64(ACTIVATIONS["relu6"]))):  # two
        for value in every:
            w.set(value, at_least(w, at_most(w, w.get(value), 6.0), 0.0))
    with w.when(b.icmp_signed("==", activation, i64(ACTIVATIONS["leaky_relu"]))):
        below = w.splat(slope_of(w, slope))
        for value in every:
            number = w.get(value)
            w.set(value, b.select(b.fcmp_ordered("<", number, w.zero()), b.fmul(number, below), number))

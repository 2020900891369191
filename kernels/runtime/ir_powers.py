"""Whole numbers and powers of two out of floating-point numbers: the sum that rounds holds the bits of an exponent.

a + 1.5 * 2^23 has no room for fractions, and the nearest whole number of a in its last bits (float32; 2^52 for float64). Where a bias is
added as well, one shift makes the power of two of them.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from kernels.runtime.ir import VectorBuilder


def largest_exponent(w: VectorBuilder) -> int:
    """The power of two of the largest numbers; -largest_exponent + 1 is that of the smallest normal ones."""
    return 127 if w.itemsize == 4 else 1023


def nearest(w: VectorBuilder, a: ir.Value) -> ir.Value:
    """The nearest whole number, for |a| below 2^22."""
    shifter = w.constant(_shifter(w))
    return w.b.fsub(w.b.fadd(a, shifter), shifter)


def power_of_nearest(w: VectorBuilder, a: ir.Value, factor: float) -> tuple[ir.Value, ir.Value]:
    """(n, 2^n) with n the whole number nearest to a * factor, from -largest_exponent, where the power is zero, to largest_exponent."""
    shifter = w.constant(_shifter(w) + largest_exponent(w))
    moved = w.fma(a, w.constant(factor), shifter)
    return w.b.fsub(moved, shifter), _raised(w, w.b.bitcast(moved, _bits(w, 0).type))


def powers_of_nearest(w: VectorBuilder, a: ir.Value, factor: float) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(n, p, q) with n the whole number nearest to a * factor and p q = 2^n, for |n| below 2 * largest_exponent: what p and q multiply one
    after the other reaches infinity and numbers below the normal ones."""
    shifter = w.constant(_shifter(w) + 2 * largest_exponent(w))
    moved = w.fma(a, w.constant(factor), shifter)
    start = _bits(w, int(np.array(_shifter(w), f"f{w.itemsize}").view(f"i{w.itemsize}")))
    both = w.b.sub(w.b.bitcast(moved, start.type), start)  # n and two biases
    half = w.b.lshr(both, _bits(w, 1))
    return w.b.fsub(moved, shifter), _raised(w, half), _raised(w, w.b.sub(both, half))


def _mantissa(w: VectorBuilder) -> int:
    return 23 if w.itemsize == 4 else 52


def _shifter(w: VectorBuilder) -> float:
    return 1.5 * 2.0 ** _mantissa(w)


def _bits(w: VectorBuilder, value: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(8 * w.itemsize), w.lanes), [value] * w.lanes)


def _raised(w: VectorBuilder, exponents: ir.Value) -> ir.Value:
    """The powers of two whose biased exponents stand in the last bits."""
    return w.b.bitcast(w.b.shl(exponents, _bits(w, _mantissa(w))), w.vector)

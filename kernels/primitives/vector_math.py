"""Emitters for whole vectors of what activations do not need: exp of any number, logarithm, sine, powers, error function, rounding.

exp(x) = 2^n (1 + q) as in `activations`, with 2^n in two halves so that results reach infinity and zero where they should. log(x) with
x = 2^e m, m in [sqrt(1/2), sqrt(2)), s = (m - 1)/(m + 1) is e ln 2 + 2 s (1 + s^2/3 + s^4/5 + …), where s^2 < 0.0295 (J.-M. Muller,
"Elementary Functions", chapter 4). sin and cos reduce by multiples of pi/2 in three parts (Cody and Waite; chapter 11), good up to |x| of 6
million in float32 and 10^9 in float64; the series stop below a tenth of the last place.

Errors in units of the last place (tests/primitives/test_vector_math.py measures them): exp, log, sin and cos 2; erf 2 of 1; powers lose
|exponent * log(x)| units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from llvmlite import ir

from kernels.primitives.activations import (
    ERFC,
    FARTHEST,
    LN2,
    SERIES,
    elu,
    falling_exp,
    gelu,
    gelu_tanh,
    hardsigmoid,
    hardswish,
    polynomial,
    sigmoid,
    silu,
    tanh,
)
from kernels.primitives.register_post_ops import at_least, at_most
from kernels.runtime.ir import VectorBuilder
from kernels.runtime.ir_powers import largest_exponent, nearest, powers_of_nearest

PI_2 = Fraction("1.57079632679489661923132169163975144209858469968755291048747")
Emitter = Callable[[VectorBuilder, ir.Value, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]


def _parts(number: Fraction, itemsize: int, count: int) -> list[float]:
    """A number as a sum of `count` floats, the largest first, each with a few bits to spare so that whole multiples of it are exact."""
    found = []
    for _ in range(count):
        part = float(np.float32(float(number))) if itemsize == 4 else float(number)
        found.append(part)
        number -= Fraction(part)
    return found


def _exp(w: VectorBuilder, x: ir.Value) -> ir.Value:
    b = w.b
    limit = float(LN2) * (largest_exponent(w) + 1)
    inside = at_least(w, at_most(w, x, limit + 1), -limit - (60.0 if w.itemsize == 4 else 45.0))
    first, second = _parts(LN2, w.itemsize, 2)
    n, p, q = powers_of_nearest(w, inside, float(1 / LN2))
    r = w.fma(n, w.constant(-second), w.fma(n, w.constant(-first), inside))
    series = polynomial(w, SERIES[w.itemsize], r)
    grown = w.fma(b.fmul(r, r), series, r)
    return b.fmul(w.fma(p, grown, p), q)


def _log(w: VectorBuilder, x: ir.Value) -> ir.Value:
    b = w.b
    bits = ir.VectorType(ir.IntType(8 * w.itemsize), w.lanes)
    mantissa, bias = (23, 127) if w.itemsize == 4 else (52, 1023)

    def whole(value: int) -> ir.Constant:
        return ir.Constant(bits, [value] * w.lanes)

    smallest = w.constant(2.0 ** (1 - bias))
    tiny = b.fcmp_ordered("<", x, smallest)
    scaled = b.select(tiny, b.fmul(x, w.constant(2.0**mantissa)), x)
    raw = b.bitcast(scaled, bits)
    # the exponent that leaves a mantissa of sqrt(1/2) or more: what is added carries over from there on
    offset = int(np.float32(math.sqrt(0.5)).view(np.uint32)) if w.itemsize == 4 else int(np.float64(math.sqrt(0.5)).view(np.uint64))
    shifted = b.sub(raw, whole(offset))
    exponent = b.ashr(shifted, whole(mantissa))
    m = b.bitcast(b.sub(raw, b.shl(exponent, whole(mantissa))), w.vector)
    e = b.fsub(b.sitofp(exponent, w.vector), b.select(tiny, w.constant(float(mantissa)), w.zero()))
    s = b.fdiv(b.fsub(m, w.constant(1.0)), b.fadd(m, w.constant(1.0)))
    z = b.fmul(s, s)
    terms = 6 if w.itemsize == 4 else 12
    series = polynomial(w, [2 / (2 * k + 1) for k in range(1, terms)], z)
    first, second = _parts(LN2, w.itemsize, 2)
    # m - 1 is exact; 2 s = (m - 1) - (m - 1) s
    f = b.fsub(m, w.constant(1.0))
    low = w.fma(e, w.constant(second), w.fma(b.fmul(s, z), series, b.fneg(b.fmul(f, s))))
    found = w.fma(e, w.constant(first), b.fadd(f, low))
    infinity = w.constant(math.inf)
    found = b.select(b.fcmp_ordered("==", x, infinity), infinity, found)
    found = b.select(b.fcmp_ordered("==", x, w.zero()), w.constant(-math.inf), found)
    return b.select(b.fcmp_unordered("<", x, w.zero()), w.constant(math.nan), found)


def _turned(w: VectorBuilder, x: ir.Value, quarter: int) -> ir.Value:
    """sin(x + quarter * pi/2)."""
    b = w.b
    bits = ir.VectorType(ir.IntType(8 * w.itemsize), w.lanes)
    n = nearest(w, b.fmul(x, w.constant(float(1 / PI_2))))
    r = x
    for part in _parts(PI_2, w.itemsize, 3):
        r = w.fma(n, w.constant(-part), r)
    z = b.fmul(r, r)
    terms = 5 if w.itemsize == 4 else 10
    sine = w.fma(b.fmul(r, z), polynomial(w, [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, terms)], z), r)
    cosine = w.fma(z, polynomial(w, [(-1) ** k / math.factorial(2 * k) for k in range(1, terms + 1)], z), w.constant(1.0))
    count = b.add(b.fptosi(n, bits), ir.Constant(bits, [quarter] * w.lanes))
    odd = b.icmp_signed("!=", b.and_(count, ir.Constant(bits, [1] * w.lanes)), ir.Constant(bits, [0] * w.lanes))
    other = b.icmp_signed("!=", b.and_(count, ir.Constant(bits, [2] * w.lanes)), ir.Constant(bits, [0] * w.lanes))
    value = b.select(odd, cosine, sine)
    value = b.select(other, b.fneg(value), value)
    finite = b.fcmp_ordered("<", w.absolute(x), w.constant(math.inf))
    return b.select(finite, value, w.constant(math.nan))


def _erf(w: VectorBuilder, x: ir.Value) -> ir.Value:
    b, one = w.b, w.constant(1.0)
    size = w.absolute(x)
    far = w.constant(FARTHEST)
    z = b.select(b.fcmp_ordered(">", size, far), far, size)
    s = b.fdiv(z, b.fadd(z, w.constant(3.0)))
    tail = b.fdiv(b.fmul(falling_exp(w, b.fneg(b.fmul(z, z))), polynomial(w, list(ERFC[w.itemsize]), s)), w.fma(z, w.constant(2.0), one))
    return w.with_sign_of(b.fsub(one, tail), x)


def _mask(w: VectorBuilder, bit: ir.Value) -> ir.Value:
    return w.b.select(bit, w.constant(1.0), w.zero())


def _true(w: VectorBuilder, a: ir.Value) -> ir.Value:
    return w.b.fcmp_unordered("!=", a, w.zero())


def _power(w: VectorBuilder, size: ir.Value, p: ir.Value) -> ir.Value:
    return _exp(w, w.b.fmul(p, _log(w, size)))


def _minimum(w: VectorBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return w.b.fneg(w.maximum(w.b.fneg(a), w.b.fneg(b)))


def _sign(w: VectorBuilder, a: ir.Value) -> ir.Value:
    size = w.b.select(w.b.fcmp_ordered("==", a, w.zero()), w.zero(), w.with_sign_of(w.constant(1.0), a))
    return w.b.select(w.b.fcmp_unordered("uno", a, a), a, size)


# by name: operands a, b, c (vectors), p, q (one number in every lane); truth is 1 and 0
EMITTERS: dict[str, Emitter] = {
    "copy": lambda w, a, b, c, p, q: a,
    "fill": lambda w, a, b, c, p, q: p,
    "add": lambda w, a, b, c, p, q: w.b.fadd(a, b),
    "sub": lambda w, a, b, c, p, q: w.b.fsub(a, b),
    "mul": lambda w, a, b, c, p, q: w.b.fmul(a, b),
    "div": lambda w, a, b, c, p, q: w.b.fdiv(a, b),
    "max": lambda w, a, b, c, p, q: w.maximum(a, b),
    "min": lambda w, a, b, c, p, q: _minimum(w, a, b),
    "fma": lambda w, a, b, c, p, q: w.fma(a, b, c),
    "axpy": lambda w, a, b, c, p, q: w.fma(a, p, b),
    "affine": lambda w, a, b, c, p, q: w.fma(a, p, q),
    "div_by": lambda w, a, b, c, p, q: w.b.fdiv(a, p),
    "divide": lambda w, a, b, c, p, q: w.b.fdiv(p, a),
    "at_least": lambda w, a, b, c, p, q: w.maximum(a, p),
    "at_most": lambda w, a, b, c, p, q: _minimum(w, a, p),
    "clip": lambda w, a, b, c, p, q: _minimum(w, w.maximum(a, p), q),
    "abs": lambda w, a, b, c, p, q: w.absolute(a),
    "sqrt": lambda w, a, b, c, p, q: w.root(a),
    "exp": lambda w, a, b, c, p, q: _exp(w, a),
    "log": lambda w, a, b, c, p, q: _log(w, a),
    "sin": lambda w, a, b, c, p, q: _turned(w, a, 0),
    "cos": lambda w, a, b, c, p, q: _turned(w, a, 1),
    "erf": lambda w, a, b, c, p, q: _erf(w, a),
    "floor": lambda w, a, b, c, p, q: w.rounded(a, "floor"),
    "ceil": lambda w, a, b, c, p, q: w.rounded(a, "ceil"),
    "round": lambda w, a, b, c, p, q: w.rounded(a, "rint"),
    "sign": lambda w, a, b, c, p, q: _sign(w, a),
    "power": lambda w, a, b, c, p, q: _power(w, a, p),
    "power_even": lambda w, a, b, c, p, q: _power(w, w.absolute(a), p),
    "power_odd": lambda w, a, b, c, p, q: w.with_sign_of(_power(w, w.absolute(a), p), a),
    "relu": lambda w, a, b, c, p, q: w.maximum(a, w.zero()),
    "leaky_relu": lambda w, a, b, c, p, q: w.b.select(w.b.fcmp_ordered("<", a, w.zero()), w.b.fmul(a, p), a),
    "prelu": lambda w, a, b, c, p, q: w.b.select(w.b.fcmp_ordered("<", a, w.zero()), w.b.fmul(a, b), a),
    "elu": lambda w, a, b, c, p, q: elu(w, a, p),
    "gelu": lambda w, a, b, c, p, q: gelu(w, a, p),
    "gelu_tanh": lambda w, a, b, c, p, q: gelu_tanh(w, a, p),
    "sigmoid": lambda w, a, b, c, p, q: sigmoid(w, a, p),
    "tanh": lambda w, a, b, c, p, q: tanh(w, a, p),
    "silu": lambda w, a, b, c, p, q: silu(w, a, p),
    "less": lambda w, a, b, c, p, q: _mask(w, w.b.fcmp_ordered("<", a, b)),
    "less_equal": lambda w, a, b, c, p, q: _mask(w, w.b.fcmp_ordered("<=", a, b)),
    "equal": lambda w, a, b, c, p, q: _mask(w, w.b.fcmp_ordered("==", a, b)),
    "is_nan": lambda w, a, b, c, p, q: _mask(w, w.b.fcmp_unordered("uno", a, a)),
    "is": lambda w, a, b, c, p, q: _mask(w, _true(w, a)),
    "not": lambda w, a, b, c, p, q: w.b.fsub(w.constant(1.0), _mask(w, _true(w, a))),
    "where": lambda w, a, b, c, p, q: w.b.select(_true(w, a), b, c),
    "add_square": lambda w, a, b, c, p, q: w.fma(w.b.fsub(b, c), w.b.fsub(b, c), a),
    "hardsigmoid": lambda w, a, b, c, p, q: hardsigmoid(w, a, p),
    "hardswish": lambda w, a, b, c, p, q: hardswish(w, a, p),
}  # fmt: skip
# operands that each reads
ARITY = dict.fromkeys(EMITTERS, 1)
ARITY |= dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "axpy", "prelu", "less", "less_equal", "equal"), 2)
ARITY |= {"fma": 3, "where": 3, "add_square": 3}
# cycles a vector, roughly
CYCLES = dict.fromkeys(EMITTERS, 2) | {
    "div": 12, "div_by": 12, "divide": 12, "sqrt": 18, "exp": 20, "log": 30, "sin": 25, "cos": 25, "erf": 50, "power": 50,
    "power_even": 50, "power_odd": 50, "elu": 20, "gelu": 60, "gelu_tanh": 40, "sigmoid": 30, "tanh": 30, "silu": 30,
}  # fmt: skip

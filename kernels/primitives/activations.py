"""Activations with an exponential in them, and the hard ones that stand in for them: emitters, and the pass that applies one to a line.

Everything comes from exp, and nothing cancels. With n = round(x / ln 2) and r = x - n ln 2,

    exp(x) = p + p q,   expm1(x) = (p - 1) + p q,   p = 2^n,   q = r + r^2/2! + r^3/3! + …      |r| <= ln(2)/2

and the polynomial stops where what is left is below a tenth of the last place (J.-M. Muller, "Elementary Functions", chapters 3 and 11).
sigmoid(x) is 1 / (1 + exp(-x)), whose infinity gives zero, tanh(|x|) is -t/(2+t) with t = expm1(-2|x|). The normal distribution behind GELU
comes from erfc(z) = exp(-z^2) P(z/(z+3)) / (1 + 2z), on all z >= 0 at once (M. M. Shepherd and J. G. Laframboise,
"Chebyshev approximation of (1+2x)exp(x^2)erfc x in 0 <= x < ∞", Math. Comp. 36, 1981).

GELU in float32 takes a quotient of two polynomials, half the instructions.

Errors in units of the last place (tests/primitives/test_activations.py measures them): elu 1.5; tanh, sigmoid and hardswish 3; silu 4; gelu
5 and gelu_tanh 3 for positive x, and for negative x, where their results are small, 2.2 and 1 units of x's last place. Results below the
normal range are zero, and silu's of less than 100 times its least number may be. At -inf silu, gelu, gelu_tanh and hardswish are NaN as
PyTorch's are: -inf times zero, or over infinity.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.primitives.register_post_ops import ACTIVATIONS, at_least, at_most, hardsigmoid, hardswish, post_ops, slope_of
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.ir_powers import largest_exponent, power_of_nearest
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

LN2 = Fraction("0.693147180559945309417232121458176568076")
# (exp(r) - 1 - r) / r^2 by powers of r for |r| <= ln(2)/2: in float32 the polynomial with the smallest error of the result, 3.1e-9, where
# the series takes a term more for 7e-9; in float64 the series, 5e-18
SERIES = {
    4: (0.4999999343204617, 0.16666520397869028, 0.0416683907962786, 0.008368745245780159, 0.0013814540006095),
    8: tuple(1 / math.factorial(k) for k in range(2, 14)),
}
FARTHEST = 30.0  # erfc is zero beyond

# P by powers of z/(z+3), from the Chebyshev series in 40 digits; what is cut off is below 5e-9 (float32) and 9e-18 (float64)
ERFC = {
    4: (1.0, 2.6148639, -8.69603591, 13.6838927, -11.6310242, 4.0281792, 1.09536723, -0.260614221, -2.17793542, 2.27894339, -0.965588819,
        0.158331376),
    8: (1.0, 2.6148624987134583, -8.6959625090048583, 13.682387475473157, -11.615037589932105, 3.9278420907768246, 1.4943189390460074,
        -1.2991762174522815, -0.40303918855056176, 0.35720130913097051, 0.2127567017143361, -0.14618166490064579, 0.21314015335450654,
        -0.95825296982510837, 2.4141999413665368, -4.8578277663420953, 8.0566064335900542, -10.710402667603812, 11.301328815077537,
        -9.3341708586537731, 5.8666766504035666, -2.688330059652377, 0.84207221066374595, -0.16071491057466829, 0.014082350277098633),
}  # fmt: skip

# erf(t / sqrt(2)) for |t| <= EDGE is t P(t^2) / Q(t^2) within 2.5e-8, P and Q by powers of t^2: the quotient with the smallest largest
# error, by Lawson's weights. In float32 it is 1 at EDGE to the bit, which products with large numbers need
ERF = (
    (0.797884405, 0.0673882514, 0.00872945134, 0.000296283222, 6.07535731e-06, -4.50419932e-08, 2.42203285e-10),
    (1.0, 0.251123935, 0.0277974475, 0.00169990305, 5.5268978e-05),
)
EDGE = 5.3


def polynomial(w: VectorBuilder, coefficients: Sequence[float], x: ir.Value) -> ir.Value:
    """Sum of coefficients[k] * x^k, by Horner's rule."""
    total: ir.Value = w.constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = w.fma(total, x, w.constant(coefficient))
    return total


def _reduced(w: VectorBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(p, r) with exp(x) = p exp(r) and |r| <= ln(2)/2, for |x| up to that of the largest power, infinity, and of the smallest, zero."""
    high = float(np.float32(float(LN2))) if w.itemsize == 4 else float(LN2)
    low = float(LN2 - Fraction(high))
    n, p = power_of_nearest(w, x, float(1 / LN2))
    return p, w.fma(n, w.constant(-low), w.fma(n, w.constant(-high), x))


def _parts(w: VectorBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(p, q) with exp(x) = p + p q for x <= 0; p is zero where exp(x) is below the normal range."""
    p, r = _reduced(w, at_least(w, x, -largest_exponent(w) * float(LN2)))
    return p, w.fma(w.b.fmul(r, r), polynomial(w, SERIES[w.itemsize], r), r)


def falling_exp(w: VectorBuilder, x: ir.Value) -> ir.Value:
    """exp(x) for x <= 0; zero where it is below the normal range."""
    p, q = _parts(w, x)
    return w.fma(p, q, p)


def _expm1(w: VectorBuilder, x: ir.Value) -> ir.Value:
    """exp(x) - 1 for x <= 0."""
    p, q = _parts(w, x)
    return w.fma(p, q, w.b.fsub(p, w.constant(1.0)))


def elu(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x, or slope * (exp(x) - 1) where x is negative."""
    return w.b.select(w.b.fcmp_ordered(">", x, w.zero()), x, w.b.fmul(slope, _expm1(w, at_most(w, x, 0.0))))


def _one_and_exp(w: VectorBuilder, x: ir.Value) -> ir.Value:
    """1 + exp(-x); infinity where exp(-x) is beyond half of the largest number."""
    p, r = _reduced(w, at_most(w, at_least(w, w.b.fneg(x), -largest_exponent(w) * float(LN2)), (largest_exponent(w) + 1) * float(LN2)))
    return w.fma(p, polynomial(w, [1.0, 1.0, *SERIES[w.itemsize]], r), w.constant(1.0))


def sigmoid(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x))."""
    return w.b.fdiv(w.constant(1.0), _one_and_exp(w, x))


def tanh(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """The hyperbolic tangent."""
    t = _expm1(w, w.b.fmul(w.absolute(x), w.constant(-2.0)))
    return w.with_sign_of(w.b.fdiv(t, w.b.fadd(t, w.constant(2.0))), x)


def silu(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x * sigmoid(x)."""
    return w.b.fdiv(x, _one_and_exp(w, x))


def gelu_tanh(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x * (1 + tanh(u)) / 2, which is x * sigmoid(2u), with u = sqrt(2/pi) * (x + 0.044715 x^3)."""
    factor = 2 * math.sqrt(2 / math.pi)
    twice_u = w.b.fmul(x, w.fma(w.constant(0.044715 * factor), w.b.fmul(x, x), w.constant(factor)))
    return w.b.fdiv(x, _one_and_exp(w, twice_u))


def gelu(w: VectorBuilder, x: ir.Value, slope: ir.Value) -> ir.Value:
    """x * erfc(-x / sqrt(2)) / 2."""
    b, one = w.b, w.constant(1.0)
    if w.itemsize == 4:
        t = at_least(w, at_most(w, x, EDGE), -EDGE)
        above, below = (polynomial(w, coefficients, b.fmul(t, t)) for coefficients in ERF)
        return b.fmul(x, w.fma(b.fdiv(b.fmul(t, above), below), w.constant(0.5), w.constant(0.5)))
    z = at_most(w, b.fmul(w.absolute(x), w.constant(math.sqrt(0.5))), FARTHEST)
    s = b.fdiv(z, b.fadd(z, w.constant(3.0)))
    halved = [coefficient / 2 for coefficient in ERFC[w.itemsize]]
    tail = b.fdiv(b.fmul(falling_exp(w, b.fneg(b.fmul(z, z))), polynomial(w, halved, s)), w.fma(z, w.constant(2.0), one))
    return b.fmul(x, b.select(b.fcmp_ordered("<", x, w.zero()), tail, b.fsub(one, tail)))


SMOOTH: list[Callable[[VectorBuilder, ir.Value, ir.Value], ir.Value]] = [elu, gelu, gelu_tanh, sigmoid, tanh, silu, hardswish, hardsigmoid]
FORMS = {emitter.__name__: code for code, emitter in enumerate(SMOOTH, 1)}


def codes(activation: tuple[str, float] | None) -> tuple[int, int, int]:
    """(form, activation, slope) as micro-kernels are told a problem's activation: one of FORMS for a pass over finished sums, one of the
    GEMM tile's ACTIVATIONS, and the bits of the slope; form is 0 where the tile's own suffice."""
    name, slope = activation or ("", 0.0)
    known = ACTIVATIONS.get(name, 0)
    return 0 if known else FORMS.get(name, 0), known, struct.unpack("q", struct.pack("d", slope))[0]


class ActivationPass(NamedTuple):
    """What the pass over lines of one channel takes."""

    form: Fixed  # one of FORMS, or 0
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    y: int  # address of the first line
    pitch: int  # elements from line to line
    lines: int  # how many
    numbers: int  # in a line
    scale: int  # address of a number, or 0; so is shift
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


@emitter
def _emit(w: VectorBuilder, p: ActivationPass, y: ir.Value) -> None:
    """One line, at y."""
    b = w.b
    numbers, below = w.pointer(y), w.splat(slope_of(w, p.slope))

    def finished(value: ir.Value) -> ir.Value:
        sums = w.variable(value)
        post_ops(w, [[sums]], p.scale, p.shift, p.activation, p.slope)
        return SMOOTH[p.form - 1](w, w.get(sums), below) if p.form else w.get(sums)

    whole = b.sdiv(p.numbers, i64(p.lanes))
    with w.loop(whole) as block:
        place = w.at(numbers, b.mul(block, i64(p.lanes)))
        w.store(finished(w.load(place)), place)
    done = b.mul(whole, i64(p.lanes))
    rest = b.sub(p.numbers, done)
    with w.when(b.icmp_signed(">", rest, i64(0))):
        place, mask = w.at(numbers, done), w.first(rest)
        w.store_first(finished(w.load_first(place, mask)), place, mask)


@njit
def _lines(p):
    for i in range(p.lines):
        _emit(p, (p.y + i * p.pitch * p.itemsize,))


def lines(form: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled pass over lines, in place: y = form(activation(y * scale + shift)). It takes an ActivationPass."""
    return address(_lines, ActivationPass, form=form, lanes=lanes, itemsize=itemsize)

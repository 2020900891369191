"""Fourier transforms of real lines, one line in each lane: passes of any radix, and the step between real lines and half spectra.

A line of L real numbers is taken as N = L/2 complex ones (even positions real, odd positions imaginary parts), which in memory is the
same: element e is two vectors, real parts and imaginary parts. A transform is one pass in place for each factor of N; a pass works on
blocks of n = radix*m elements, with w = e^(-2 pi i/n):

    AFTER:   x[p + m*j] = w^(j*p) * sum over k of x[p + m*k] * e^(-2 pi i jk/radix)
    BEFORE:  x[p + m*k] = sum over j of w^(j*p) * x[p + m*j] * e^(-2 pi i jk/radix)

Passes AFTER from long blocks to short ones (decimation in frequency) leave the result in the order that `digit_reversed` tells; passes
BEFORE from short blocks to long ones (decimation in time) take it in that order. `spectrum` turns the N complex numbers into the N + 1 that
a real line's spectrum needs, `line` turns such a spectrum around, and both read that permutation, so nothing is ever sorted. The backward
transform is the forward one with real and imaginary parts exchanged on both sides, so the lines that come back have each pair of neighbours
exchanged: number t is at t ^ 1. In place, a line of 432 fits the first-level cache; into another buffer each pass took half as long again.
References: P. Duhamel and M. Vetterli, "Fast Fourier transforms: a tutorial review", Signal Processing 19, 1990; H. V. Sorensen and others,
"Real-valued fast Fourier transform algorithms", IEEE Trans. ASSP 35(6), 1987.
"""

from __future__ import annotations

import cmath
import math
from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

RADICES = (8, 4, 5, 3, 2)  # in the order in which a length is divided; fewer passes are fewer trips to the first-level cache
NEVER, AFTER, BEFORE = 0, 1, 2  # when a pass multiplies by twiddle factors
Complex = tuple[ir.Value, ir.Value]


def added(w: VectorBuilder, a: Complex, b: Complex) -> Complex:
    """a + b."""
    return w.b.fadd(a[0], b[0]), w.b.fadd(a[1], b[1])


def less(w: VectorBuilder, a: Complex, b: Complex) -> Complex:
    """a - b."""
    return w.b.fsub(a[0], b[0]), w.b.fsub(a[1], b[1])


def times(w: VectorBuilder, a: Complex, b: Complex) -> Complex:
    """a * b."""
    return w.fma(a[0], b[0], w.b.fneg(w.b.fmul(a[1], b[1]))), w.fma(a[0], b[1], w.b.fmul(a[1], b[0]))


def twiddled(w: VectorBuilder, a: Complex, k: int, n: int) -> Complex:
    """a * e^(-2 pi i k/n), for free or for less where the angle is a multiple of an eighth."""
    eighths, rest = divmod(8 * k, n)
    if rest:
        factor = cmath.exp(-2j * math.pi * k / n)
        return times(w, a, (w.constant(factor.real), w.constant(factor.imag)))
    if eighths % 2:
        half = w.constant(math.sqrt(0.5))
        a = w.b.fmul(half, w.b.fadd(a[0], a[1])), w.b.fmul(half, w.b.fsub(a[1], a[0]))
    for _ in range(eighths // 2 % 4):
        a = a[1], w.b.fneg(a[0])
    return a


def dft(w: VectorBuilder, x: list[Complex]) -> list[Complex]:
    """The transform of a few numbers: halves while they are even, the definition with its symmetry where they are odd."""
    n = len(x)
    if n == 1:
        return x
    if n % 2 == 0:
        even, odd = dft(w, x[::2]), dft(w, x[1::2])
        odd = [twiddled(w, value, k, n) for k, value in enumerate(odd)]
        return [added(w, a, b) for a, b in zip(even, odd)] + [less(w, a, b) for a, b in zip(even, odd)]
    sums = [added(w, x[k], x[n - k]) for k in range(1, n // 2 + 1)]
    differences = [less(w, x[k], x[n - k]) for k in range(1, n // 2 + 1)]
    result = [x[0]] * n
    for total in sums:
        result[0] = added(w, result[0], total)
    for j in range(1, n // 2 + 1):
        real, sines = x[0], (w.zero(), w.zero())
        for k, (total, difference) in enumerate(zip(sums, differences), 1):
            cosine, sine = (w.constant(f(2 * math.pi * (j * k % n) / n)) for f in (math.cos, math.sin))
            real = w.fma(cosine, total[0], real[0]), w.fma(cosine, total[1], real[1])
            sines = w.fma(sine, difference[0], sines[0]), w.fma(sine, difference[1], sines[1])
        turned = sines[1], w.b.fneg(sines[0])  # -i times it
        result[j], result[n - j] = added(w, real, turned), less(w, real, turned)
    return result


def load(w: VectorBuilder, base: ir.Value, index: ir.Value) -> Complex:
    """Element `index` of an array of complex vectors."""
    first = w.at(base, w.b.mul(index, i64(2 * w.lanes)))
    return w.load(first), w.load(w.at(first, w.lanes))


def store(w: VectorBuilder, value: Complex, base: ir.Value, index: ir.Value) -> None:
    """Set element `index`."""
    first = w.at(base, w.b.mul(index, i64(2 * w.lanes)))
    w.store(value[0], first)
    w.store(value[1], w.at(first, w.lanes))


def twiddle_at(w: VectorBuilder, twiddles: ir.Value, index: ir.Value) -> Complex:
    """Entry `index` of a table of complex numbers, in every lane."""
    first = w.at(twiddles, w.b.mul(index, i64(2)))
    return w.splat(w.load_scalar(first)), w.splat(w.load_scalar(w.at(first, 1)))


class RadixPass(NamedTuple):
    """What one pass takes."""

    radix: Fixed
    when: Fixed  # AFTER or BEFORE the sums, or NEVER, numbers are multiplied by twiddle factors; NEVER where m is 1 and all are 1
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    x: int  # address of the complex vectors
    blocks: int  # how many, one behind the other
    m: int  # numbers of a block in steps of the radix
    twiddles: int  # address of w^(j*p) as [p][j from 1] pairs of numbers


@emitter
def _emit_pass(w: VectorBuilder, p: RadixPass) -> None:
    """See `radix_pass`."""
    b = w.b
    array, table = w.pointer(p.x), w.pointer(p.twiddles)
    with w.loop(p.blocks) as block, w.loop(p.m if p.when else i64(1)) as inner:
        first = b.add(b.mul(b.mul(block, i64(p.radix)), p.m), inner)
        indices = [b.add(first, b.mul(p.m, i64(k))) for k in range(p.radix)]
        numbers = [load(w, array, index) for index in indices]
        factors = [twiddle_at(w, table, b.add(b.mul(inner, i64(p.radix - 1)), i64(j))) for j in range(p.radix - 1)] if p.when else []
        if p.when == BEFORE:
            numbers[1:] = [times(w, number, factor) for number, factor in zip(numbers[1:], factors)]
        numbers = dft(w, numbers)
        if p.when == AFTER:
            numbers[1:] = [times(w, number, factor) for number, factor in zip(numbers[1:], factors)]
        for number, index in zip(numbers, indices):
            store(w, number, array, index)


@njit
def _pass(p):
    _emit_pass(p, ())


def radix_pass(radix: int, when: int, lanes: int, itemsize: int) -> int:
    """Address of one compiled pass, which takes a RadixPass."""
    return address(_pass, RadixPass, radix=radix, when=when, lanes=lanes, itemsize=itemsize)


class Spectrum(NamedTuple):
    """What the step from N transformed complex numbers to the spectrum of the real line takes, and the step back."""

    back: Fixed  # 0: to the spectrum, 1: back from it
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    spectrum: int  # its address
    x: int  # address of the complex vectors
    n: int  # complex numbers
    stride: int  # elements from frequency to frequency
    im_step: int  # elements from real to imaginary parts
    twiddles: int  # address of e^(-2 pi i k/2N) for k <= N/2, pairs of numbers
    permutation: int  # address of N + 1 int64s, where each number is among the complex vectors (N: as 0)


@emitter
def _emit_spectrum(w: VectorBuilder, p: Spectrum) -> None:
    """See `spectrum` and `line`."""
    builder = w.b
    array, table = w.pointer(p.x), w.pointer(p.twiddles)
    with w.loop(builder.add(builder.sdiv(p.n, i64(2)), i64(1))) as k:
        pair = k, builder.sub(p.n, k)
        twiddle = twiddle_at(w, table, k)
        inside = [w.load_index(p.permutation, index) for index in pair]
        outside = [w.at(w.pointer(p.spectrum), builder.mul(index, p.stride)) for index in pair]
        if p.back:
            a, b = ((w.load(place), w.load(w.at(place, p.im_step))) for place in outside)
        else:
            a, b = (load(w, array, place) for place in inside)
        b = b[0], builder.fneg(b[1])
        even, odd = added(w, a, b), less(w, a, b)
        if p.back:
            odd = times(w, odd, (twiddle[0], builder.fneg(twiddle[1])))
            odd = odd[1], builder.fneg(odd[0])  # -i times it
            first, second = less(w, even, odd), added(w, even, odd)
            store(w, (first[1], first[0]), array, inside[0])
            store(w, (builder.fneg(second[1]), second[0]), array, inside[1])
        else:
            odd = times(w, (odd[1], builder.fneg(odd[0])), twiddle)
            first, second = added(w, even, odd), less(w, even, odd)
            for place, value in zip(outside, (first, (second[0], builder.fneg(second[1])))):
                w.store(value[0], place)
                w.store(value[1], w.at(place, p.im_step))


@njit
def _spectrum(p):
    _emit_spectrum(p, ())


def spectrum(lanes: int, itemsize: int) -> int:
    """Address of the compiled step from N transformed complex numbers to twice the N + 1 of the real line's spectrum: takes a Spectrum."""
    return address(_spectrum, Spectrum, back=0, lanes=lanes, itemsize=itemsize)


def line(lanes: int, itemsize: int) -> int:
    """Address of the compiled step from a spectrum to twice the complex numbers whose transform is the line, both with real and imaginary
    parts exchanged: takes a Spectrum."""
    return address(_spectrum, Spectrum, back=1, lanes=lanes, itemsize=itemsize)


def factors(n: int) -> list[int]:
    """Radices of the passes that transform n complex numbers. Raises ValueError if n has a prime factor beyond 5."""
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    if n != 1:
        raise ValueError(f"length {n} has a prime factor beyond 5")
    return found


def digit_reversed(radices: list[int]) -> list[int]:
    """Where passes AFTER of these radices leave each number of the transform, and once more where number 0 is."""
    found, left = [0], math.prod(radices)
    for radix in radices:  # of what is left to transform, number j + radix*rest comes to lie in block j
        left //= radix
        found = [place + j * left for j in range(radix) for place in found]
    return [*found, found[0]]

"""The transform of a vector of lines in place: which passes, with what twiddle factors, in what order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.methods.fft.codelets import AFTER, BEFORE, NEVER, RadixPass, digit_reversed, factors, radix_pass
from kernels.runtime.ir import call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine, remembered

Array = np.ndarray


@njit
def one_pass(passes, i, x, pieces, lanes, itemsize):
    """Pass i over one of so many pieces of the complex vectors."""
    radix, when, m, blocks, twiddles, kernel = passes[i]
    call(kernel, RadixPass(radix=radix, when=when, lanes=lanes, itemsize=itemsize, x=x, blocks=blocks // pieces, m=m, twiddles=twiddles))


@njit
def transform(passes, x, length, lanes, itemsize, fast):
    """All passes over the complex vectors at x, lines of `length` numbers, in place. Where they outgrow `fast` bytes the long blocks' pass
    comes alone, and then each of its blocks is finished while it is there."""
    first = 0 if passes[0, 1] == AFTER else passes.shape[0] - 1
    pieces = passes[first, 0] if length * lanes * itemsize > fast else 1
    if pieces > 1 and first == 0:
        one_pass(passes, 0, x, 1, lanes, itemsize)
    for piece in range(pieces):
        here = x + piece * (length // pieces) * lanes * itemsize
        for i in range(passes.shape[0]):
            if pieces == 1 or i != first:
                one_pass(passes, i, here, pieces, lanes, itemsize)
    if pieces > 1 and first > 0:
        one_pass(passes, first, x, 1, lanes, itemsize)


def pass_tables(length: int, itemsize: int) -> tuple[Array, Array, list[Array]]:
    """(passes forward, passes back, twiddle factors that they point into) for real lines of `length`: of each pass its radix, when it
    multiplies, m, blocks, and the addresses of its twiddle factors and of its code."""
    lanes, dtype = machine().lanes(itemsize), np.dtype(f"f{itemsize}")
    left, blocks = length // 2, 1
    forward: list[tuple[int, ...]] = []
    back: list[tuple[int, ...]] = []
    twiddles: list[Array] = []
    for radix in factors(left):
        m = left // radix
        twiddles.append(pairs(np.arange(m)[:, None] * np.arange(1, radix), left, dtype))
        for table, when in ((forward, AFTER), (back, BEFORE)):
            when = when if m > 1 else NEVER
            table.append((radix, when, m, blocks, twiddles[-1].ctypes.data, radix_pass(radix, when, lanes, itemsize)))
        left, blocks = m, blocks * radix
    return np.array(forward), np.array(back[::-1]), twiddles


def pairs(powers: Array, n: int, dtype: Any) -> Array:
    """e^(-2 pi i power/n) as pairs of numbers."""
    roots = np.exp(-2j * np.pi / n * (powers % n))
    return np.stack([roots.real, roots.imag], -1).astype(dtype)


class Tables(NamedTuple):
    """Of lines of one length: passes forward and back as `pass_tables` says; halves and permutation, which `codelets.spectrum`
    reads; and the twiddle factors that passes point into."""

    forward: Array
    back: Array
    halves: Array
    permutation: Array
    twiddles: list[Array]


@remembered
def tables(length: int, itemsize: int) -> Tables:
    """Those of real lines of `length`, which many plans share. Compiled code has their addresses: who gives it those keeps the tables."""
    forward, back, twiddles = pass_tables(length, itemsize)
    halves = pairs(np.arange(length // 4 + 1), length, np.dtype(f"f{itemsize}"))
    return Tables(forward, back, halves, np.array(digit_reversed(factors(length // 2))), twiddles)


def fast() -> int:
    """Bytes of complex vectors that the first-level cache holds beside what else passes need."""
    return machine().l1 * 7 // 8

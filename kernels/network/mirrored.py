"""Rows of weights that are even or odd about one position, as the cosines and sines of windowed transforms are.

With w[s - i] = w[i] a row's product with x is that of half as many weights with x[i] + x[s - i]; with w[s - i] = -w[i] it is that with
x[i] - x[s - i].
Reference: A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", on linear-phase filters.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Array = np.ndarray

ALIKE = 2.0**-30  # of a row's largest weight: what mirrored weights may differ by beside a rounding of their own, a 64th of one of float32
NOTHING = 2.0**-40  # of the largest weight: a row below it is all rounding, as the sine of multiples of pi in float64 is (4e-13 at 1000 pi)
SOME = 16  # every so many pairs are looked at first
RUNS = 4  # rows that follow one another and are alike make a product; more products would be small ones


@dataclasses.dataclass(frozen=True)
class Run:
    """Rows start to stop, all even or all odd. weight: (rows, singles and pairs) of even ones, (rows, pairs) of odd ones."""

    start: int
    stop: int
    odd: bool
    weight: Array


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """pairs: of positions i and total - i, from `first` on. singles: positions that even rows read as they are."""

    total: int
    first: int
    pairs: int
    singles: tuple[int, ...]
    runs: tuple[Run, ...]


def _kinds(left: Array, right: Array, alike: Array, rounding: float) -> tuple[Array, Array]:
    """Which rows of pairs are even, which are odd."""
    bound = alike + rounding * np.maximum(np.abs(left), np.abs(right))
    return (np.abs(left - right) <= bound).all(axis=1), (np.abs(left + right) <= bound).all(axis=1)


def mirrored(weight: Array) -> Mirrored | None:
    """How the rows of a matrix (rows, taps) mirror themselves, about the middle or about taps / 2; None where they do not."""
    rows, taps = weight.shape
    if rows == 0 or taps < 2 or not np.isfinite(weight).all():
        return None
    exact = weight.astype(np.float64)
    largest = np.abs(exact).max(axis=1)
    alike = np.where(largest <= NOTHING * largest.max(), np.inf, ALIKE * largest)[:, None]
    rounding = float(np.finfo(weight.dtype).eps)
    for total in (taps - 1, taps):
        first = total - taps + 1
        pairs = (total + 1) // 2 - first
        left, right = exact[:, first : first + pairs], exact[:, taps - 1 : taps - 1 - pairs : -1]
        alone = [i for i in range(taps) if not (first <= i < first + pairs or taps - pairs <= i)]
        even, odd = _kinds(left[:, ::SOME], right[:, ::SOME], alike, rounding)
        if not (even | odd).all():  # a look at some pairs rules out most weights
            continue
        even, odd = _kinds(left, right, alike, rounding)
        odd &= (np.abs(exact[:, alone]) <= alike).all(axis=1)
        if not (even | odd).all():
            continue
        singles = tuple(i for i in alone if exact[even, i].any())
        found: list[Run] = []
        start = 0
        for stop in range(1, rows + 1):
            kinds_even, kinds_odd = even[start : stop + 1].all(), odd[start : stop + 1].all()
            if stop < rows and (kinds_even or kinds_odd):
                continue
            is_odd = bool(not even[start:stop].all())
            half = (left - right if is_odd else left + right)[start:stop] / 2
            half = half if is_odd else np.concatenate([exact[start:stop, singles], half], axis=1)
            found.append(Run(start, stop, is_odd, np.ascontiguousarray(half, weight.dtype)))
            start = stop
        if len(found) <= RUNS and pairs:
            return Mirrored(total, first, pairs, singles, tuple(found))
    return None

"""Kernel taps that see nothing but padding, which a short map leaves: the same sums without them.

    kernel of 3 rows, padding 1, map of 1 row:   0 | x | 0   is a kernel of 1 row without padding, the one in the middle
    taps w0 w1 w2 spread by a dilation of 8, padding 8, map of 5:   w1 alone is ever multiplied by anything
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

from kernels.problem.conv import Conv
from kernels.problem.window import dilated


class Within(NamedTuple):
    """Taps that are part of a larger kernel: numbers of that from its start to the first, rows of taps, from row to row, taps of a row."""

    kernel: int
    begin: int
    rows: int
    row: int
    line: int

    @classmethod
    def whole(cls, taps: int) -> Within:
        """All taps of a kernel."""
        return cls(taps, 0, 1, 0, taps)

    @classmethod
    def of(cls, kernel: tuple[int, ...], taps: tuple[tuple[int, int], ...]) -> Within:
        """The taps (first, one behind the last) of each axis, of two."""
        (top, bottom), (left, right) = taps
        return cls(math.prod(kernel), top * kernel[1] + left, bottom - top, kernel[1], right - left)


def _axis(n: int, k: int, s: int, before: int, after: int, d: int) -> tuple[int, int]:
    """Taps at the beginning and at the end of an axis that see only padding and can go together with a step of it."""
    windows = (n + before + after - dilated(k, d)) // s + 1

    def unseen(tap: int) -> bool:
        start = tap * d - before
        inside = max(0, -(start // s))  # the first window in which it lies at zero or behind
        return inside >= windows or start + inside * s >= n

    first = len(list(itertools.takewhile(unseen, range(min(k - 1, before // d)))))
    last = len(list(itertools.takewhile(unseen, range(k - 1, max(first, k - 1 - after // d), -1))))
    return first, last


@functools.lru_cache(maxsize=4096)
def seen(problem: Conv) -> tuple[Conv, tuple[tuple[int, int], ...]]:
    """(the convolution by the taps that see the input, (first, one behind the last) of each axis); the problem itself if those are all.

    x, output and what follows are the same. A tap stays where its padding is shorter than the step to the next. The stride of an axis of
    one window, which nobody takes, is no longer than leaves it one, the dilation of a single tap 1: tables and lines would be as long.
    """
    axes = list(zip(problem.size, problem.kernel, problem.stride, problem.padding, problem.dilation))
    cut = [_axis(n, k, s, before, after, d) for n, k, s, (before, after), d in axes]
    taps = tuple((first, k - last) for k, (first, last) in zip(problem.kernel, cut))
    left = tuple(stop - start for start, stop in taps)
    padding = tuple((before - first * d, after - last * d) for (*_, (before, after), d), (first, last) in zip(axes, cut))
    dilation = tuple(d if k > 1 else 1 for k, d in zip(left, problem.dilation))
    lines = zip(problem.size, padding, left, dilation, problem.stride)
    stride = tuple(min(s, n + sum(pair) - dilated(k, d) + 1) for n, pair, k, d, s in lines)
    if not any(map(any, cut)) and (dilation, stride) == (problem.dilation, problem.stride):
        return problem, taps
    return dataclasses.replace(problem, kernel=left, padding=padding, dilation=dilation, stride=stride), taps

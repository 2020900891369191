"""Winograd's weights, transformed and packed: [point][group][tile][summand][channel of the tile]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import worth
from kernels.cost.gemm import even
from kernels.methods.winograd.matrices import matrices
from kernels.problem.operands import Array
from kernels.runtime.jit import njit
from kernels.runtime.regions import region
from kernels.runtime.scratch import aligned

LINE = 32  # summands transformed at a time: nine taps of 14 channels fill the first-level cache
POINT = 5  # to transform and move one point


@njit
def _combine(to, factors, lines):
    """to = the sum of every line times its factor; three at a time, so that sums stay in registers."""
    for first in range(0, len(factors), 3):
        a, b, c = factors[first], 0.0, 0.0
        one = two = three = lines[first]
        if first + 1 < len(factors):
            b, two = factors[first + 1], lines[first + 1]
        if first + 2 < len(factors):
            c, three = factors[first + 2], lines[first + 2]
        if first:
            for i in range(len(to)):
                to[i] += a * one[i] + b * two[i] + c * three[i]
        else:
            for i in range(len(to)):
                to[i] = a * one[i] + b * two[i] + c * three[i]


@region
def _interpolate(unit, thread, weights, rows, columns, packed, groups, parts, base, extra):
    """Some summands of packed from weights (c_out, k, taps): at point (y, x) the sum of taps, each times its numbers in rows[y] and
    columns[x], (points, taps) of each axis."""
    (high, down), (wide, across) = rows.shape, columns.shape
    c_out, k, _ = weights.shape
    pieces = (k + LINE - 1) // LINE
    t, first = unit // pieces, unit % pieces * LINE
    group, tile = t // parts, t % parts
    j, m = group * (c_out // groups) + tile * base + min(tile, extra), base + (tile < extra)
    count = min(LINE, k - first) * m
    lines, half, sums = np.empty((across, down, count)), np.empty((across, count)), np.empty(count)
    for c in range(m):
        for i in range(count // m):
            for y in range(down):
                for x in range(across):
                    lines[x, y, i * m + c] = weights[j + c, first + i, y * across + x]
    for y in range(high):
        for x in range(across):
            _combine(half[x], rows[y], lines[x])
        for x in range(wide):
            _combine(sums, columns[x], half)
            to = ((y * wide + x) * c_out + j) * k + first * m
            for i in range(count):
                packed[to + i] = sums[i]


def transformer(c_out: int, k: int, groups: int, m: int, tile: tuple[int, int], kernel: tuple[int, ...], dtype: str,
                threads: int) -> Callable[[Any], Array]:  # fmt: skip
    """What transforms contiguous weights (c_out, k, *kernel) for outputs of `tile`, G g G' in float64 and rounded once, and packs every
    point as `packer` does."""
    rows, columns = (np.array(matrices(*sizes)[1], np.float64) for sizes in zip(tile, kernel))
    points, taps = len(rows) * len(columns), math.prod(kernel)
    parts, base, extra = even(c_out // groups, m)
    threads = worth(threads, POINT * points * c_out * k)
    shape = c_out, k, taps
    rest = groups, parts, base, extra
    units = groups * parts * -(-k // LINE)
    launch = _interpolate.ready(np.empty((0, 0, 0), dtype), rows, columns, np.empty(0, dtype), *rest)

    def pack(weight: Array) -> Array:
        packed = aligned(points * c_out * k * weight.itemsize).view(dtype)
        launch(threads, units, weight.reshape(shape), rows, columns, packed, *rest)
        return packed

    return pack

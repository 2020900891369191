"""Weights as tiles read them, [group][tile][summand][channel of the tile]: what a plan does once and a function call each time.

Winograd's are transformed on the way, and lie so at every point: [point][group][tile][summand][channel of the tile].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from kernels.addresses import pointed
from kernels.calibration import worth
from kernels.cuts.direct import even
from kernels.jit import region
from kernels.machine import machine
from kernels.microkernels.transpose import transpose
from kernels.scratch import aligned, handle
from kernels.toomcook import matrices
from kernels.vector import call

Array = np.ndarray

LINE = 32  # summands transformed at a time: nine taps of 14 channels fill the first-level cache
CYCLES = 1  # to move one number
POINT = 6  # to transform and move one point


@region
def _turn(weights, packed, kernel, lanes, size, c_out, k, groups, parts, base, extra, unit):
    """packed from weights (c_out, k), both handles of elements of `size` bytes, every tile a matrix turned over by the kernel at an
    address; packed is zero where there are no rows."""
    outs = (parts * base + extra) * unit
    for t in prange(groups * parts):
        group, tile = t // parts, t % parts
        j, m = group * outs + (tile * base + min(tile, extra)) * unit, (base + (tile < extra)) * unit
        to, source = pointed(packed) + j * k * size, pointed(weights) + j * k * size
        call(kernel, (lanes, size, to, m, source, k, min(m, c_out - j), k))


def packer(c_out: int, k: int, groups: int, m: int, dtype: str, threads: int, unit: int = 1) -> Callable[[Any], Array]:
    """What packs contiguous weights of shape (c_out, k), or any other of as many elements, into tiles of even heights of at most m units
    of channels, the last filled up with zeros."""
    units = -(-(c_out // groups) // unit)
    parts, base, extra = even(units, m)
    threads = worth(threads, CYCLES * c_out * k)
    kind, number = np.dtype(dtype), groups * units * unit * k
    lanes = machine().lanes(kind.itemsize)
    rest = transpose(lanes, kind.itemsize), lanes, kind.itemsize, c_out, k, groups, parts, base, extra, unit
    launch = _turn.ready(threads, 0, 0, *rest)

    def pack(weight: Array) -> Array:
        packed = aligned(number * kind.itemsize).view(kind)  # whole vectors of them are read by `across`
        if number > c_out * k:
            packed.fill(0)
        launch(handle(weight), handle(packed), *rest)
        return packed

    return pack


@region
def _interpolate(weights, matrix, packed, groups, parts, base, extra):
    """packed from weights (c_out, k, taps): at every point the sum of taps, each times its number in matrix (points, taps)."""
    points, taps = matrix.shape
    c_out, k, _ = weights.shape
    pieces = (k + LINE - 1) // LINE
    for unit in prange(groups * parts * pieces):
        t, first = unit // pieces, unit % pieces * LINE
        group, tile = t // parts, t % parts
        j, m = group * (c_out // groups) + tile * base + min(tile, extra), base + (tile < extra)
        count = min(LINE, k - first) * m
        lines, sums = np.empty((taps, count)), np.empty(count)
        for c in range(m):
            for i in range(count // m):
                for tap in range(taps):
                    lines[tap, i * m + c] = weights[j + c, first + i, tap]
        for point in range(points):
            sums[:] = 0
            for tap in range(taps):
                factor, line = matrix[point, tap], lines[tap]
                for i in range(count):
                    sums[i] += factor * line[i]
            to = (point * c_out + j) * k + first * m
            for i in range(count):
                packed[to + i] = sums[i]


def transformer(c_out: int, k: int, groups: int, m: int, tile: tuple[int, int], kernel: tuple[int, ...], dtype: str,
                threads: int) -> Callable[[Any], Array]:  # fmt: skip
    """What transforms contiguous weights (c_out, k, *kernel) for outputs of `tile`, G g G' in float64 and rounded once, and packs every
    point as `packer` does."""
    rows, columns = (np.array(matrices(*sizes)[1], np.float64) for sizes in zip(tile, kernel))
    matrix = np.kron(rows, columns)
    parts, base, extra = even(c_out // groups, m)
    threads = worth(threads, POINT * len(matrix) * c_out * k)
    shape = c_out, k, matrix.shape[1]
    rest = groups, parts, base, extra
    launch = _interpolate.ready(threads, np.empty((0, 0, 0), dtype), matrix, np.empty(0, dtype), *rest)

    def pack(weight: Array) -> Array:
        packed = aligned(len(matrix) * c_out * k * weight.itemsize).view(dtype)
        launch(weight.reshape(shape), matrix, packed, *rest)
        return packed

    return pack

"""Weights as tiles read them, [group][tile][summand][channel of the tile]: what a plan does once and a function call each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from kernels.addresses import move, pointed
from kernels.calibration import worth
from kernels.cuts.direct import even
from kernels.jit import region
from kernels.scratch import handle

Array = np.ndarray

PIECE = 64  # summands of a tile turned at a time: what is written stays in the first-level cache until its lines are full
CYCLES = 2  # to move one number


@region
def _turn(weights, packed, size, c_out, k, groups, parts, base, extra, unit):
    """packed from weights (c_out, k), both handles of elements of `size` bytes; packed is zero where there are no rows."""
    outs = (parts * base + extra) * unit
    for t in prange(groups * parts):
        group, tile = t // parts, t % parts
        j, m = group * outs + (tile * base + min(tile, extra)) * unit, (base + (tile < extra)) * unit
        for first in range(0, k, PIECE):
            for c in range(min(m, c_out - j)):
                to, source = pointed(packed) + (j * k + c) * size, pointed(weights) + (j + c) * k * size
                for i in range(first, min(first + PIECE, k)):
                    move(to + i * m * size, source + i * size, size)


def packer(c_out: int, k: int, groups: int, m: int, dtype: str, threads: int, unit: int = 1) -> Callable[[Any], Array]:
    """What packs contiguous weights of shape (c_out, k), or any other of as many elements, into tiles of even heights of at most m units
    of channels, the last filled up with zeros."""
    units = -(-(c_out // groups) // unit)
    parts, base, extra = even(units, m)
    threads = worth(threads, CYCLES * c_out * k)
    kind, number = np.dtype(dtype), groups * units * unit * k
    rest = kind.itemsize, c_out, k, groups, parts, base, extra, unit
    launch = _turn.ready(threads, 0, 0, *rest)
    make = np.empty if number == c_out * k else np.zeros

    def pack(weight: Array) -> Array:
        packed = make(number, kind)
        launch(handle(weight), handle(packed), *rest)
        return packed

    return pack

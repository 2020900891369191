"""Weights as tiles read them, [group][tile][summand][channel of the tile]: what a plan does once and a function call each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from kernels.calibration import worth
from kernels.cuts.direct import even
from kernels.jit import region

Array = np.ndarray

PIECE = 64  # summands of a tile turned at a time: what is written stays in the first-level cache until its lines are full
CYCLES = 2  # to move one number


@region
def _turn(weights, packed, c_out, k, groups, parts, base, extra, unit):
    """packed (flat) from weights (c_out, ins, kh, kw); rows past the last are zero."""
    weight = weights.reshape(-1)
    outs = (parts * base + extra) * unit
    for t in prange(groups * parts):
        group, tile = t // parts, t % parts
        j, m = group * outs + (tile * base + min(tile, extra)) * unit, (base + (tile < extra)) * unit
        for first in range(0, k, PIECE):
            last = min(first + PIECE, k)
            for c in range(m):
                to, source = j * k + c, (j + c) * k
                if j + c < c_out:
                    for i in range(first, last):
                        packed[to + i * m] = weight[source + i]
                else:
                    for i in range(first, last):
                        packed[to + i * m] = 0


def packer(c_out: int, k: int, groups: int, m: int, dtype: str, threads: int, unit: int = 1) -> Callable[[Any], Array]:
    """What packs weights (c_out, ins, kh, kw), k = ins * kh * kw, into tiles of even heights of at most m units of channels, the last
    filled up with zeros."""
    units = -(-(c_out // groups) // unit)
    parts, base, extra = even(units, m)
    threads = worth(threads, CYCLES * c_out * k)
    rest = c_out, k, groups, parts, base, extra, unit
    launch = _turn.ready(threads, np.empty((0, 0, 0, 0), dtype), np.empty(0, dtype), *rest)
    size, kind = groups * units * unit * k, np.dtype(dtype)

    def pack(weight: Array) -> Array:
        packed = np.empty(size, kind)
        launch(weight, packed, *rest)
        return packed

    return pack

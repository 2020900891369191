"""Weights as tiles read them, [group][tile][summand][channel of the tile]: what a plan does once and a function call each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import worth
from kernels.cost.gemm import even
from kernels.primitives.transpose import Transpose, transpose
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import aligned, handle

Array = np.ndarray

CYCLES = 1  # to move one number


@region
def _turn(t, thread, weights, packed, kernel, lanes, size, c_out, k, parts, base, extra, unit):
    """A tile of packed from weights (c_out, k), both handles of elements of `size` bytes, a matrix turned over by the kernel at an
    address; packed is zero where there are no rows."""
    outs = (parts * base + extra) * unit
    group, tile = t // parts, t % parts
    j, m = group * outs + (tile * base + min(tile, extra)) * unit, (base + (tile < extra)) * unit
    to, source = pointed(packed) + j * k * size, pointed(weights) + j * k * size
    call(
        kernel, Transpose(lanes=lanes, itemsize=size, dst=to, dst_pitch=m, src=source, src_pitch=k, rows=min(m, c_out - j), columns=k)
    )


def packer(c_out: int, k: int, groups: int, m: int, dtype: str, threads: int, unit: int = 1) -> Callable[[Any], Array]:
    """What packs contiguous weights of shape (c_out, k), or any other of as many elements, into tiles of even heights of at most m units
    of channels, the last filled up with zeros."""
    units = -(-(c_out // groups) // unit)
    parts, base, extra = even(units, m)
    threads = worth(threads, CYCLES * c_out * k)
    kind, number = np.dtype(dtype), groups * units * unit * k
    lanes = machine().lanes(kind.itemsize)
    rest = transpose(lanes, kind.itemsize), lanes, kind.itemsize, c_out, k, parts, base, extra, unit
    launch = _turn.ready(0, 0, *rest)

    def pack(weight: Array) -> Array:
        packed = aligned(number * kind.itemsize).view(kind)  # whole vectors of them are read by `across`
        if number > c_out * k:
            packed.fill(0)
        launch(threads, groups * parts, handle(weight), handle(packed), *rest)
        return packed

    return pack



"""The gradient on its way back through a rectifier, and what it sums to in each channel: what the bias before the rectifier gains.

By themselves that is to read the gradient and the output, to write, and to read what was written; here nothing is read twice. A task is a
channel of all images. Sums are of pieces, pieces are added in float64, as in `batch_norm`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.moments import PIECE, ChannelPieces
from kernels.primitives.records import address
from kernels.primitives.vector_pass import each_vector
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call
from kernels.runtime.jit import njit
from kernels.runtime.machine import Machine, machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

PASSED = 3.0  # cycles a vector to be read twice and written


def positive(w: VectorBuilder, value: ir.Value, kept: ir.Value) -> ir.Value:
    """`kept` where value is positive or NaN, else 0."""
    return w.b.select(w.b.fcmp_unordered(">", value, w.zero()), kept, w.zero())


class Opened(NamedTuple):
    """out[i] = grad[i] where y[i] is positive or NaN, else 0; to[0] = sum of out[i]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    to: int  # address
    out: int  # address
    grad: int  # address
    y: int  # address
    numbers: int


@emitter
def _emit(w: VectorBuilder, p: Opened) -> None:
    total = w.variable(w.zero())

    def opened(loaded: list[ir.Value], mask: ir.Value | None) -> ir.Value:
        value = positive(w, loaded[1], loaded[0])  # what a mask leaves out is 0
        w.set(total, w.add(w.get(total), value))
        return value

    each_vector(w, [w.pointer(p.grad), w.pointer(p.y)], w.pointer(p.out), p.numbers, opened)
    w.b.store(w.across(w.get(total), w.b.fadd), w.pointer(p.to))


@njit
def _opened(p):
    _emit(p, ())


class Opening(ChannelPieces):
    """How gradients go back through a channel's rectifier."""

    opened = address("of the micro-kernel; takes an Opened")


@region
def _through(channel, thread, grad, y, out, sums, geometry, zero):
    """out and the channel's sum; all handles, geometry: Opening."""
    g = geometry[0]
    to, total = pointed(sums) + channel * g.itemsize, 0.0
    for i in range(g.n):
        for at in range(0, g.length, g.piece):
            place = ((i * g.channels + channel) * g.length + at) * g.itemsize
            call(
                g.opened,
                Opened(
                    lanes=g.lanes, itemsize=g.itemsize, to=to, out=pointed(out) + place, grad=pointed(grad) + place, y=pointed(y) + place,
                    numbers=min(g.piece, g.length - at),
                ),
            )  # fmt: skip
            total += float(read_number(to, zero))
    write_number(to, type(zero)(total))


@functools.lru_cache(maxsize=256)
def _ready(shape: tuple[int, int, int], dtype: np.dtype, threads: int, spec: Machine) -> Callable[..., None]:
    (n, channels, length), size, zero = shape, dtype.itemsize, dtype.type(0)
    lanes = spec.lanes(size)
    geometry = Opening.packed(
        opened=micro_kernel.address(_opened, Opened, lanes=lanes, itemsize=size), lanes=lanes, itemsize=size, n=n, channels=channels,
        length=length, piece=PIECE,
    )  # fmt: skip
    used = threads_for(PASSED * math.prod(shape) / lanes, min(threads, channels))
    launch = _through.ready(0, 0, 0, 0, geometry, zero)

    def run(*arrays: Array) -> None:
        launch(used, channels, *map(handle, arrays), geometry, zero)

    return run


def gradient(grad: Array, y: Array, threads: int, out: Array, sums: Array) -> None:
    """Into out the gradient of what was rectified to y, from that of y; into sums (channels,) what it sums to. grad, y and out are
    contiguous, (n, channels, length), of one dtype."""
    assert grad.shape == y.shape == out.shape and sums.shape == (y.shape[1],), f"{grad.shape}, {y.shape}, {out.shape}, {sums.shape}"
    _ready(y.shape, y.dtype, threads, machine())(grad, y, out, sums)

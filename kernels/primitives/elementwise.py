"""What follows a convolution, element by element, for methods that do not do it inside: one pass over memory on all threads.

Order: bias (the convolution's own), scale and shift per output channel, activation. Definitions as in PyTorch's functional module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.activations import ActivationPass, codes, lines
from kernels.primitives.driver import epilogue_of
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

PIECE = 1 << 14  # numbers that a thread takes at a time: long enough that a call is nothing, short enough to share out one plane
CYCLES = 50  # to read a vector, apply the activation and write it; gelu takes more, relu waits for memory


class Pieces(Record):
    """A task: a piece of a plane."""

    activation_pass = address("of the micro-kernel; takes an ActivationPass")
    form = integer("one of FORMS; 0: none")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    channels = integer("of an image")
    piece = integer("numbers of a piece")
    activation = integer("a code of ACTIVATIONS")
    slope = integer("bits of a float64")


@region
def _run(task, thread, y, plane, scales, shifts, geometry):
    """A piece of a plane of so many numbers of y; y, scales and shifts are handles; geometry: Pieces."""
    g = geometry[0]
    pieces = (plane + g.piece - 1) // g.piece
    _, scale, shift = epilogue_of(g, (0, 0, pointed(scales), pointed(shifts)), task // pieces % g.channels)
    first = task % pieces * g.piece
    to = pointed(y) + (task // pieces * plane + first) * g.itemsize
    call(
        g.activation_pass,
        ActivationPass(
            form=g.form, lanes=g.lanes, itemsize=g.itemsize, y=to, pitch=0, lines=1, numbers=min(g.piece, plane - first),
            scale=scale, shift=shift, activation=g.activation, slope=g.slope,
        ),
    )  # fmt: skip


def prepare(problem: Conv, threads: int) -> Callable[[Operands], Callable[[Array], None]]:
    """Compile scale, shift and activation of a problem; with operands it gives what does them in place on any contiguous y (n, c_out,
    *spatial)."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    form, activation, slope = codes(problem.activation)
    threads = threads_for(CYCLES * math.prod(problem.conv_shape) / lanes, threads)
    geometry = Pieces.packed(
        activation_pass=lines(form, lanes, size), form=form, lanes=lanes, itemsize=size, channels=problem.c_out, piece=PIECE,
        activation=activation, slope=slope,
    )  # fmt: skip
    launch = _run.ready(0, 1, 0, 0, geometry)

    def pack(operands: Operands) -> Callable[[Array], None]:
        scale, shift = handle(operands.scale), handle(operands.shift)

        def run(y: Array, keep_alive: Any = operands) -> None:
            planes = y.shape[0] * y.shape[1] if problem.scale else 1  # without numbers per channel everything is one line
            plane = y.size // max(planes, 1)
            launch(threads, planes * -(-plane // PIECE), handle(y), plane, scale, shift, geometry)

        return run

    return pack

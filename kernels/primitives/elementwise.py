"""What follows a convolution, element by element, for methods that do not do it inside: one pass over memory on all threads.

Order: bias (the convolution's own), scale and shift per output channel, activation. Definitions as in PyTorch's functional module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import worth
from kernels.primitives.activations import ActivationPass, codes, lines
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

PIECE = 1 << 14  # numbers that a thread takes at a time: long enough that a call is nothing, short enough to share out one plane
CYCLES = 50  # to read a vector, apply_activation it and write it; gelu takes more, relu waits for memory


@region
def _run(job, thread, y, lines, form, lanes, size, plane, channels, piece, scales, shifts, activation, slope):
    """A piece of a plane of y; y, scales and shifts are handles."""
    pieces = (plane + piece - 1) // piece
    scale, shift = pointed(scales), pointed(shifts)
    channel = job // pieces % channels * size
    first = job % pieces * piece
    to = pointed(y) + (job // pieces * plane + first) * size
    call(
        lines,
        ActivationPass(
            form=form, lanes=lanes, itemsize=size, y=to, pitch=0, lines=1, numbers=min(piece, plane - first),
            scale=scale + channel if scale else 0, shift=shift + channel if scale else 0, activation=activation, slope=slope,
        ),
    )  # fmt: skip


def prepare(problem: Conv, threads: int) -> Callable[[Operands], Callable[[Array], None]]:
    """Compile scale, shift and activation of a problem; with operands it gives what does them in place on any contiguous y (n, c_out,
    *spatial)."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    form, activation, slope = codes(problem.activation)
    threads = worth(threads, CYCLES * math.prod(problem.conv_shape) / lanes)
    kernel = lines(form, lanes, size), form, lanes, size
    launch = _run.ready(0, *kernel, 1, problem.c_out, PIECE, 0, 0, activation, slope)

    def bind(operands: Operands) -> Callable[[Array], None]:
        rest = problem.c_out, PIECE, handle(operands.scale), handle(operands.shift), activation, slope

        def run(y: Array, held: Any = operands) -> None:  # what the handles are of
            planes = y.shape[0] * y.shape[1] if problem.scale else 1  # without numbers per channel everything is one line
            plane = y.size // max(planes, 1)
            launch(threads, planes * -(-plane // PIECE), handle(y), *kernel, plane, *rest)

        return run

    return bind

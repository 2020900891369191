"""Sets the phases of a stride apart, for methods that slide by one; see `methods.winograd.stride_phases`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import worth
from kernels.methods.winograd.stride_phases import axes, polyphase
from kernels.primitives.deinterleave import Deinterleave, deinterleave
from kernels.primitives.interleave import WIDEST
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray


def _weights(problem: Conv, weight: Array) -> Array:
    """Those of `polyphase`: channels are [channel][phase of rows][phase of columns]."""
    found = axes(problem)
    assert found
    (down, across), ins = found, problem.c_in // problem.groups
    spread = np.zeros((problem.c_out, ins, len(down.starts), len(across.starts), down.kernel, across.kernel), weight.dtype)
    for (y, (row, i)), (x, (column, j)) in itertools.product(enumerate(down.taps), enumerate(across.taps)):
        spread[:, :, row, column, i, j] = weight[:, :, y, x]
    return spread.reshape(problem.c_out, -1, down.kernel, across.kernel)


@region
def _part(plane, thread, x, planes, starts, targets, kernel, few, lanes, size, height, width, rows, columns, stride, step):
    """A plane of one phase of rows: every channel's planes are [phase of rows][phase of columns][row][column]; x and planes are handles,
    starts the first row of each phase, targets as `deinterleave` says."""
    across = (targets >= 0).sum()
    channel, phase = split(plane, len(starts))
    to = pointed(planes) + plane * across * rows * columns * size
    for i in range(rows):
        row = starts[phase] + i * stride
        source = pointed(x) + (channel * height + min(row, height - 1)) * width * size
        call(
            kernel,
            Deinterleave(
                few=few, lanes=lanes, itemsize=size, out=to + i * columns * size, columns=columns, targets=targets.ctypes.data, row=source,
                width=width if row < height else 0, stride=step,
            ),
        )  # fmt: skip


def prepare_polyphase(problem: Conv, threads: int, prepare: Callable[[Conv, int], Prepared]) -> Prepared:
    """`prepare` for the phases, which each call sets apart first."""
    found, slides = axes(problem), polyphase(problem)
    assert found and slides
    down, across = found
    prepared = prepare(slides, threads)
    scratch = Scratch(math.prod(slides.x_shape) * problem.itemsize)
    size, lanes, (stride, step) = problem.itemsize, machine().lanes(problem.itemsize), problem.stride
    targets = np.full(step, -1)
    targets[list(across.starts)] = np.arange(len(across.starts)) * math.prod(slides.size)
    few = step if step <= WIDEST else 0
    rest = (np.array(down.starts), targets, deinterleave(few, lanes, size), few, lanes, size, *problem.size, *slides.size,
            stride, step)  # fmt: skip
    launch = _part.ready(0, 0, *rest)
    helpers = worth(threads, 2 * math.prod(slides.x_shape))  # cycles: a load and a store each
    units = problem.n * problem.c_in * len(down.starts)

    def bind(operands: Operands) -> Run:
        assert operands.weight is not None
        convolve = prepared.bind(operands._replace(weight=_weights(problem, operands.weight)))

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            phases = buffer.view(problem.dtype).reshape(slides.x_shape)
            launch(helpers, units, handle(x), handle(phases), *rest)
            convolve(phases, out)
            scratch.give(buffer)

        return run

    return Prepared(bind, scratch.nbytes + prepared.workspace_bytes, f"phases of the input as {slides}: {prepared.note}")

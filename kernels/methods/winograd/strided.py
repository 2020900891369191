"""Sets the phases of a stride apart, for methods that slide by one; see `methods.winograd.stride_phases`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.winograd.stride_phases import axes, polyphase
from kernels.primitives.deinterleave import Deinterleave, deinterleave
from kernels.primitives.interleave import few_of
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, read_index, split
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


class PhasePlanes(Record):
    """A task: the planes of a channel whose rows are of one phase."""

    deinterleave = address("of the micro-kernel; takes a Deinterleave")
    few = integer("`few` of a Deinterleave")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    h = integer("input rows")
    w = integer("input columns")
    rows = integer("of a phase")
    columns = integer("of a phase")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    row_phases = integer("phases of rows")
    column_phases = integer("phases of columns that have taps")
    starts = address("of the first row of each phase of rows, below 0 of zeros before the input")
    before = integer("zeros before the first column")
    targets = address("of where each phase of columns goes, as a Deinterleave reads it")


@region
def _phase(plane, thread, x, planes, geometry):
    """A task; a channel's planes are [phase of rows][phase of columns][row][column]. x and planes are handles; geometry: PhasePlanes."""
    g = geometry[0]
    channel, phase = split(plane, g.row_phases)
    to = pointed(planes) + plane * g.column_phases * g.rows * g.columns * g.itemsize
    start = read_index(g.starts, phase)
    for i in range(g.rows):
        row = start + i * g.sh
        source = pointed(x) + (channel * g.h + max(0, min(row, g.h - 1))) * g.w * g.itemsize
        call(
            g.deinterleave,
            Deinterleave(
                few=g.few, lanes=g.lanes, itemsize=g.itemsize, out=to + i * g.columns * g.itemsize, columns=g.columns, targets=g.targets,
                row=source, before=g.before, width=g.w if 0 <= row < g.h else 0, stride=g.sw,
            ),
        )  # fmt: skip


def phases_apart(problem: Conv, threads: int) -> Callable[[Array, Array], None]:
    """What sets the phases of x apart, into an array of the shape that `polyphase` has."""
    found, slides = axes(problem), polyphase(problem)
    assert found and slides
    down, across = found
    size, lanes, (stride, step) = problem.itemsize, machine().lanes(problem.itemsize), problem.stride
    targets = np.full(step, -1, np.int64)
    targets[[start + across.before for start in across.starts]] = np.arange(len(across.starts)) * math.prod(slides.size)
    few = few_of(step)
    starts = np.array(down.starts, np.int64)
    (h, w), (rows, columns) = problem.size, slides.size
    geometry = PhasePlanes.packed(
        deinterleave=deinterleave(few, lanes, size), few=few, lanes=lanes, itemsize=size, h=h, w=w, rows=rows, columns=columns, sh=stride,
        sw=step, row_phases=len(starts), column_phases=len(across.starts), starts=starts.ctypes.data, before=across.before,
        targets=targets.ctypes.data,
    )  # fmt: skip
    launch = _phase.ready(0, 0, geometry)
    helpers = threads_for(2 * math.prod(slides.x_shape), threads)  # cycles: a load and a store each
    units = problem.n * problem.c_in * len(down.starts)

    def apart(x: Array, phases: Array, keep_alive: Any = (starts, targets)) -> None:
        launch(helpers, units, handle(x), handle(phases), geometry)

    return apart


def prepare_polyphase(problem: Conv, threads: int, prepare: Callable[[Conv, int], Prepared]) -> Prepared:
    """`prepare` for the phases, which each call sets apart first."""
    slides, apart = polyphase(problem), phases_apart(problem, threads)
    assert slides
    prepared = prepare(slides, threads)
    scratch = Scratch(math.prod(slides.x_shape) * problem.itemsize)

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        convolve = prepared.pack(operands._replace(weight=_weights(problem, operands.weight)))

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            phases = buffer.view(problem.dtype).reshape(slides.x_shape)
            apart(x, phases)
            convolve(phases, out)
            scratch.give(buffer)

        return run

    return Prepared(pack, scratch.nbytes + prepared.workspace_bytes, f"phases of the input as {slides}: {prepared.note}")

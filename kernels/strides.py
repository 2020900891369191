"""A strided convolution as one that slides by one: every `stride`-th row and column of the input is a phase, an input channel of its own.

    stride 2, kernel 5, padding 1:   taps at -1 0 1 2 3  =  even 0 2 and odd -1 1 3  ->  two channels, a kernel of 3 at bins -1 0 1

Taps that a phase does not have are zero: 36 for 25 here, which is little beside what fast methods save.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
from numba import prange

from kernels.calibration import worth
from kernels.implementation import Operands, Prepared, Run
from kernels.jit import region
from kernels.problem import Conv
from kernels.scratch import Scratch

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Axis:
    """taps: the phase and the place of each tap in the window. starts: of each phase, its first input position. size, kernel, padding:
    of the convolution that slides by one."""

    taps: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    size: int
    kernel: int
    padding: tuple[int, int]


def _axis(problem: Conv, axis: int) -> Axis | None:
    """None where the padding is as long as the window: it may see nothing of the input."""
    stride, reach = problem.stride[axis], (problem.kernel[axis] - 1) * problem.dilation[axis]
    before, after = problem.padding[axis]
    if max(before, after) > reach:
        return None
    bins = [divmod(tap * problem.dilation[axis] - before, stride) for tap in range(problem.kernel[axis])]
    starts = tuple(sorted({start for _, start in bins}))
    low, high = bins[0][0], bins[-1][0]
    last = problem.conv_size[axis] - 1 + high  # the last bin that an output sees
    size = min(-(-problem.size[axis] // stride), last + 1)
    return Axis(tuple((starts.index(start), place - low) for place, start in bins), starts, size, high - low + 1, (-low, last + 1 - size))


def _axes(problem: Conv) -> list[Axis] | None:
    axes = [axis for axis in (_axis(problem, 0), _axis(problem, 1)) if axis]
    return axes if len(axes) == 2 else None


def dense(problem: Conv) -> Conv | None:
    """The convolution of the phases; None where there is none."""
    axes = _axes(problem)
    if axes is None:
        return None
    size, kernel, padding = (tuple(getattr(axis, name) for axis in axes) for name in ("size", "kernel", "padding"))
    channels = problem.c_in * math.prod(len(axis.starts) for axis in axes)
    return dataclasses.replace(problem, c_in=channels, size=size, kernel=kernel, stride=(1, 1), dilation=(1, 1), padding=padding)


def _weights(problem: Conv, weight: Array) -> Array:
    """Those of `dense`: channels are [channel][phase of rows][phase of columns]."""
    axes = _axes(problem)
    assert axes
    (down, across), ins = axes, problem.c_in // problem.groups
    spread = np.zeros((problem.c_out, ins, len(down.starts), len(across.starts), down.kernel, across.kernel), weight.dtype)
    for (y, (row, i)), (x, (column, j)) in itertools.product(enumerate(down.taps), enumerate(across.taps)):
        spread[:, :, row, column, i, j] = weight[:, :, y, x]
    return spread.reshape(problem.c_out, -1, down.kernel, across.kernel)


@region
def _part(x, planes, starts, lefts, stride, step):
    """planes (channel, phase of rows, phase of columns, row, column) of x (channel, row, column), zero past its ends."""
    channels, phases, _, rows, columns = planes.shape
    for unit in prange(channels * phases * rows):
        channel, phase, i = unit // (phases * rows), unit // rows % phases, unit % rows
        row = starts[phase] + i * stride
        for p in range(len(lefts)):
            line, left = planes[channel, phase, p, i], lefts[p]
            live = min(columns, (x.shape[2] - left + step - 1) // step) if row < x.shape[1] else 0
            if step == 2:  # which the compiler then knows: whole vectors and shuffles
                for j in range(live):
                    line[j] = x[channel, row, left + 2 * j]
            else:
                for j in range(live):
                    line[j] = x[channel, row, left + step * j]
            line[live:] = 0


def prepare_dense(problem: Conv, threads: int, prepare: Callable[[Conv, int], Prepared]) -> Prepared:
    """`prepare` for the phases, which each call sets apart first."""
    axes, slides = _axes(problem), dense(problem)
    assert axes and slides
    prepared = prepare(slides, threads)
    scratch = Scratch(math.prod(slides.x_shape) * problem.itemsize)
    maps = (problem.n * problem.c_in, *problem.size)
    planes = (problem.n * problem.c_in, *(len(axis.starts) for axis in axes), *slides.size)
    rest = (*(np.array(axis.starts) for axis in axes), *problem.stride)
    empty = np.empty((0, 0, 0), problem.dtype), np.empty((0, 0, 0, 0, 0), problem.dtype)
    launch = _part.ready(worth(threads, 2 * math.prod(slides.x_shape)), *empty, *rest)  # cycles: a load and a store each

    def bind(operands: Operands) -> Run:
        assert operands.weight is not None
        convolve = prepared.bind(operands._replace(weight=_weights(problem, operands.weight)))

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            phases = buffer.view(problem.dtype)
            launch(x.reshape(maps), phases.reshape(planes), *rest)
            convolve(phases.reshape(slides.x_shape), out)
            scratch.give(buffer)

        return run

    return Prepared(bind, scratch.nbytes + prepared.workspace_bytes, f"phases of the input as {slides}: {prepared.note}")

"""A strided convolution as one that slides by one: every `stride`-th row and column of the input is a phase, an input channel of its own.

    stride 2, kernel 5, padding 1:   taps at -1 0 1 2 3  =  even 0 2 and odd -1 1 3  ->  two channels, a kernel of 3 at bins -1 0 1

Taps that a phase does not have are zero: 36 for 25 here, which is little beside what fast methods save. Where the first tap is the first of
a bin, windows see fewest bins; if that makes the kernel shorter, bins begin in the zeros before the input:

    stride 2, kernel 4, padding 1:   taps at -1 0 1 2  =  bins -1 0 0 1;  bins from -1 on: 0 0 1 1, a kernel of 2
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TypeVar

from kernels.cost.calibration import calibration
from kernels.cost.memory import handed_cycles
from kernels.problem.conv import Conv
from kernels.runtime.machine import machine

AnyConv = TypeVar("AnyConv", bound=Conv)
NUMBER, ROW = 0.8, 45.0  # cycles to set a number apart, and to begin a row: 128 channels of 400 rows of 6 took 0.67 ms of a core, not 0.1


@dataclasses.dataclass(frozen=True)
class Axis:
    """taps: the phase and the place of each tap in the window. starts: of each phase, its first input position. before: zeros with which
    bins begin, so that a start may be one of them. size, kernel, padding: of the convolution that slides by one."""

    taps: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    before: int
    size: int
    kernel: int
    padding: tuple[int, int]


def _axis(problem: Conv, axis: int) -> Axis | None:
    """None where the padding is as long as the window: it may see nothing of the input."""
    stride, reach = problem.stride[axis], (problem.kernel[axis] - 1) * problem.dilation[axis]
    before, after = problem.padding[axis]
    if max(before, after) > reach:
        return None
    zeros = before % stride if -before % stride + reach % stride >= stride else 0
    bins = [divmod(tap * problem.dilation[axis] - before + zeros, stride) for tap in range(problem.kernel[axis])]
    phases = sorted({phase for _, phase in bins})
    low, high = bins[0][0], bins[-1][0]
    last = problem.conv_size[axis] - 1 + high  # the last bin that an output sees
    size = min(-(-(problem.size[axis] + zeros) // stride), last + 1)
    taps, starts = tuple((phases.index(phase), place - low) for place, phase in bins), tuple(phase - zeros for phase in phases)
    return Axis(taps, starts, zeros, size, high - low + 1, (-low, last + 1 - size))


def axes(problem: Conv) -> list[Axis] | None:
    """Both axes, or None."""
    found = [axis for axis in (_axis(problem, 0), _axis(problem, 1)) if axis]
    return found if len(found) == 2 else None


@functools.lru_cache(maxsize=64)
def polyphase(problem: Conv) -> Conv | None:
    """The convolution of the phases; None where there is none. A choice needs it a dozen times."""
    found = axes(problem)
    if found is None:
        return None
    size, kernel, padding = (tuple(getattr(axis, name) for axis in found) for name in ("size", "kernel", "padding"))
    channels = problem.c_in * math.prod(len(axis.starts) for axis in found)
    return dataclasses.replace(problem, c_in=channels, size=size, kernel=kernel, stride=(1, 1), dilation=(1, 1), padding=padding)


def sliding_by_one(problem: AnyConv) -> AnyConv:
    """The layer, or weights' gradient, whose windows move by one: the problem itself, or that of its stride's phases, which exists."""
    found = polyphase(problem) if max(problem.stride) > 1 else problem
    assert isinstance(found, type(problem))
    return found


def cycles(problem: Conv) -> float:
    """Estimated cycles of one core to set the phases apart; where they leave its cache, they are written to the next and read again."""
    slides = polyphase(problem)
    if slides is None:
        return math.inf
    numbers, known = math.prod(slides.x_shape), calibration()
    nbytes, rows = numbers * problem.itemsize, math.prod(slides.x_shape[:-1])
    again = 2 * nbytes / known.bandwidth * known.clock if nbytes > machine().l2 else 0.0
    return ROW * rows + NUMBER * numbers + again


def lost_cycles(problem: Conv, threads: int) -> float:
    """What so many threads lose together, each of which reads its share of phases that all set apart."""
    slides = polyphase(problem) if max(problem.stride) > 1 else None
    return float(handed_cycles(math.prod(slides.x_shape) * problem.itemsize, threads, machine())) if slides else 0.0

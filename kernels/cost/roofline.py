"""Seconds of one core by rates: operations at a share of the vector peak, bytes at the bandwidth that `calibration` knows."""

from __future__ import annotations

import math
from collections.abc import Callable

from kernels.cost.calibration import calibration, threads_for
from kernels.problem.conv import Conv, Problem
from kernels.runtime.machine import machine

BIND = 10_000  # cycles to begin packing


def rate(problem: Problem, share: float) -> float:
    """Operations per second: two FMA units, each a vector of multiply-adds per cycle."""
    return share * calibration().clock * 4 * machine().lanes(problem.itemsize)


def threads_that_pay(problem: Problem, threads: int, cycles: Callable[[], float], saved: float = 1.0) -> int:
    """How many of so many threads to take for a problem of `cycles()` of one core, which are only counted where the multiply-adds do not
    tell, `saved` of which are one of the method's."""
    least = problem.flops / (4 * machine().lanes(problem.itemsize)) / saved
    enough = threads_for(least, threads)
    return enough if enough == threads else threads_for(cycles(), threads)


def seconds(cycles: float) -> float:
    """What so many cycles take."""
    return cycles / calibration().clock


def memory_seconds(problem: Problem) -> float:
    """To read and write once what must be."""
    return problem.compulsory_bytes / calibration().bandwidth


def map_seconds(problem: Conv) -> float:
    """Input and output alone, for blockings whose cycles count how weights are read; an output that outgrows the caches is fetched before
    it is written, which only depthwise rows avoid and prefetching hides but for a quarter."""
    output = math.prod(problem.conv_shape) * problem.itemsize
    moved = problem.compulsory_bytes - math.prod(problem.weight_shape) * problem.itemsize + (output / 4 if output > machine().l3 else 0)
    return moved / calibration().bandwidth

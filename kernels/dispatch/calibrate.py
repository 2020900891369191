"""Measure what cost estimates rest on: multiply-add peak, bandwidth, the time to wake a thread, how far each method is from its estimate.

Methods are timed on one thread, as estimates are, on made-up layers of the kinds that music models have; a method's factor is the
geometric mean of measured over estimated seconds. It takes about a minute, most of it compiling.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable
from statistics import geometric_mean
from typing import Any

import numpy as np

from kernels.cost.calibration import Calibration, calibration, using
from kernels.cost.peak import SUMS, peak
from kernels.dispatch.heuristic import choose
from kernels.dispatch.measure import checked, lingering, race, timed
from kernels.methods import load
from kernels.methods.contract import operation
from kernels.problem.conv import parse
from kernels.runtime.machine import cores, machine
from kernels.runtime.regions import region

LAYERS = (
    "conv2d n1 c32 40x100 -> c48 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32",
    "conv2d n1 c48 18x33 -> c32 k5x5 s1x1 p2+2x2+2 d1x1 g1 bias float32",
    "conv2d n1 c2 72x180 -> c24 k40x3 s1x1 p0+0x1+1 d1x1 g1 bias float32",
    "conv1d n1 c24 1x3000 -> c40 k1x48 s1x3 p0+0x0+0 d1x1 g1 bias float32",
    "conv2d n1 c96 20x41 -> c80 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias float32",
    "conv2d n1 c48 60x90 -> c48 k3x3 s1x1 p1+1x1+1 d1x1 g48 bias float32",
    "conv1d n1 c96 1x5000 -> c96 k1x5 s1x1 p0+0x8+8 d1x4 g96 bias float32",
    "max_pool2d n1 c40 60x100 -> k2x3 s2x3 p0+0x0+0 d1x1 float32",
    "avg_pool2d n1 c24 60x100 -> k3x3 s2x2 p1+1x1+1 d1x1 float32",
)
LONGEST = 0.1  # seconds; a method that is estimated slower is not timed on a layer
BUDGET = 0.4  # seconds of calls for each layer
ARRAY = 64 << 20  # bytes of each of two arrays, larger than what a core has of the last cache
ASLEEP = 0.02  # seconds after which threads of the pool have stopped waiting actively
TIMES = 15
SLOWEST_WAKING = 2e-4  # seconds; where waking took longer, the other cores were busy with something else
STEADY = 0.05  # share by which the multiply-add peak may differ between beginning and end


@region
def nothing(i, thread, counts):
    """One number each."""
    counts[i] += 1


def best_of(call: Callable[[], Any], times: int = TIMES, pause: float = 0.0) -> float:
    """The seconds of the fastest call, each after a pause."""
    seconds = math.inf
    for _ in range(times):
        time.sleep(pause)
        seconds = min(seconds, timed(call))
    return seconds


def multiply_adds() -> float:
    """Multiply-adds a second of one core."""
    lanes, y, k = machine().lanes(4), np.empty(1, np.float32), 200_000
    spin = peak(lanes, 4)
    return SUMS * lanes * k / best_of(lambda: spin(k, y.ctypes.data))


def bandwidth() -> float:
    """Bytes a second of one core, read and written, of y = a * x."""
    x, y = np.ones(ARRAY // 4, np.float32), np.zeros(ARRAY // 4, np.float32)
    return 2 * ARRAY / best_of(lambda: np.multiply(x, np.float32(1.5), out=y))


def waking() -> float:
    """Seconds that a region takes whose threads are asleep and that has nothing to do; what is built in, where there is one core."""
    if cores() == 1:
        return calibration().waking
    counts = np.zeros(cores(), np.int64)
    launch = nothing.ready(counts)
    launch(cores(), cores(), counts)
    return min(max(best_of(lambda: launch(cores(), cores(), counts), pause=ASLEEP), 1e-6), SLOWEST_WAKING)


def calibrate(tell: Callable[[str], object]) -> Calibration:
    """Measure everything; `tell` gets a line for each thing that is known. The result is not kept yet."""
    load()
    rate = multiply_adds()
    base = Calibration(rate / (2 * machine().lanes(4)), bandwidth(), waking())
    tell(f"multiply-adds: {2e-9 * rate:.1f} GFLOP/s a core, as of two units at {1e-9 * base.clock:.2f} GHz")
    tell(f"bandwidth: {1e-9 * base.bandwidth:.1f} GB/s a core")
    tell(f"waking threads: {1e6 * base.waking:.0f} us")
    ratios = collections.defaultdict(list)
    for line in LAYERS:
        problem = parse(line)
        with using(base):
            estimated = {name: seconds for name, seconds in choose(problem).estimates.items() if seconds <= LONGEST}
        names = sorted(estimated, key=estimated.__getitem__)
        seconds = race(checked(problem, 1, names, BUDGET), BUDGET, lingering(problem), everybody=True)
        for name, measured in seconds.items():
            ratios[f"{operation(problem)} {name}"].append(measured / estimated[name])
        tell(f"{problem}: " + ", ".join(f"{name} {1e3 * s:.3g} ms ({s / estimated[name]:.2f})" for name, s in seconds.items()))
    factors = {name: geometric_mean(each) for name, each in sorted(ratios.items())}
    if abs(multiply_adds() / rate - 1) > STEADY:
        tell("other programs took part of the machine meanwhile, or its clock changed: better calibrate again when it is idle")
    tell("measured over estimated: " + ", ".join(f"{name} {factor:.2f}" for name, factor in factors.items()))
    return Calibration(base.clock, base.bandwidth, base.waking, factors)

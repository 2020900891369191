"""Seconds that methods take for a problem, by estimate.

They are seconds of one core and only need to rank: cycles counted by the method's own blocking, or operations at the rate its kernels
reach (a share of the vector peak) plus what it adds; `calibration` says how long a cycle and a byte take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kernels.cost.calibration import calibration
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.depthwise import blocking as depthwise
from kernels.methods.direct import blocking as direct
from kernels.methods.fft import blocking as lines
from kernels.methods.fft import scipy_blocking as tiles
from kernels.methods.winograd import blocking as winograd
from kernels.methods.winograd import stride_phases as strides
from kernels.problem.conv import Conv, Problem
from kernels.runtime.machine import machine


def rate(problem: Problem, share: float) -> float:
    """Operations per second: two FMA units, each a vector of multiply-adds per cycle."""
    return share * calibration().clock * 4 * machine().lanes(problem.itemsize)


def memory_seconds(problem: Problem) -> float:
    """Seconds to read and write once what must be."""
    return problem.compulsory_bytes / calibration().bandwidth


def map_seconds(problem: Conv) -> float:
    """Input and output alone, for cuts whose cycles count how weights are read; an output that outgrows the caches is fetched before it is
    written, which only depthwise rows avoid and asking ahead hides but for a quarter."""
    output = math.prod(problem.conv_shape) * problem.itemsize
    moved = problem.compulsory_bytes - math.prod(problem.weight_shape) * problem.itemsize + (output / 4 if output > machine().l3 else 0)
    return moved / calibration().bandwidth


# Seconds that a product by BLAS costs whoever comes next: its threads spin on for 30 ms beside them. Three such layers took SampleCNN
# from 27 to 167 ms, two took VGGish from 22 to 48; a layer of its own that gains half of that may still have it.
SPINNING = 15e-3


def _im2col(problem: Conv) -> float:
    # unfolding writes and reads taps copies of the input; groups run one product after another, 5 us each
    unfolded = problem.n * problem.c_in * problem.taps * math.prod(problem.conv_size) * problem.itemsize
    unfolding = 2 * unfolded / calibration().bandwidth
    return problem.flops / rate(problem, 0.25) + unfolding + 5e-6 * problem.groups * problem.n + memory_seconds(problem) + SPINNING


GROUP = 3000  # cycles that groups take beyond their transforms: 512 of 62x4 took 2.2 ms of a core, not 1.2


def _fft(problem: Conv) -> float:
    by_scipy = tiles.layout(problem)
    cut = lines.by_lines(problem)
    cycles = cut.cycles if cut else by_scipy.cycles if by_scipy else math.inf
    return (cycles + GROUP * problem.n * problem.groups) / calibration().clock + map_seconds(problem)


_ESTIMATES: dict[str, dict[str, Callable[[Any], float]]] = {
    "conv": {
        "direct": lambda problem: direct.best(problem, 1).cycles / calibration().clock + map_seconds(problem),
        "depthwise": lambda problem: depthwise.cycles(problem) / calibration().clock + memory_seconds(problem),
        "winograd": lambda problem: winograd.best(problem, 1).cycles / calibration().clock + map_seconds(problem),
        "fft": _fft,
        "im2col": _im2col,
        "jit": lambda problem: problem.flops / 5e8 + memory_seconds(problem),
        "naive": lambda problem: problem.flops / 1e7,
    },
    "pool": {
        "window": lambda problem: memory_seconds(problem) + problem.flops / rate(problem, 0.2),
        "jit": lambda problem: memory_seconds(problem) + problem.flops / 1e8,
        "naive": lambda problem: problem.flops / 5e5,
    },
}
# cycles, measured: for a point of Winograd's weights (2.3 to 6), for a number of a line of whole vectors (3 to 13), by SciPy (50 to 200)
TRANSFORMED, SPECTRAL, BY_SCIPY = 5.0, 6.0, 60.0
BIND = 10_000  # cycles to begin packing


def _weights(problem: Conv) -> float:
    return BIND + direct.PACKED * math.prod(problem.weight_shape)


def _rows(problem: Conv) -> float:
    given = direct.best_as_given(problem, 1)
    return BIND + max(0.0, given.cycles - direct.best(problem, 1).cycles) if given else _weights(problem)


def _points(problem: Conv) -> float:
    cut = winograd.best(problem, 1)
    return BIND + TRANSFORMED * math.prod(cut.patch(problem)) * math.prod(problem.weight_shape) / problem.taps


def _spectra(problem: Conv) -> float:
    cut = lines.by_lines(problem)
    if cut:
        lanes = machine().lanes(problem.itemsize)
        channels = problem.groups * -(-problem.c_out // problem.groups // lanes) * lanes
        return BIND + SPECTRAL * channels * lines.summands(problem, cut) * cut.length
    by_scipy = tiles.layout(problem)
    return BIND + BY_SCIPY * (by_scipy.weight_bytes / problem.itemsize if by_scipy else 0)


# cycles of one core that operands take to be packed or transformed, in every call of a function; none where they are taken as they are
_PACKING: dict[str, Callable[[Any], float]] = {
    "direct": _weights, "depthwise": _weights, "winograd": _points, "fft": _spectra,
}  # fmt: skip
# the same of methods that do better where a problem is done as it stands (`prepare_once`); its parts are packed
_ONCE: dict[str, Callable[[Any], float]] = {"direct": _rows}


def packing_seconds(
    problem: Problem, implementation: Implementation, cycles: dict[str, Callable[[Any], float]] = _PACKING | _ONCE
) -> float:
    """Seconds of one core to pack the operands of all parts, once."""
    if not isinstance(problem, Conv) or implementation.name not in _PACKING:
        return 0.0
    parts = implementation.parts(problem)
    if parts is not None:  # which may have parts of their own: a transposed volume is volumes, a volume is images
        return sum(packing_seconds(part, registry.get(part, implementation.name), _PACKING) for part, _ in parts)
    return cycles[implementation.name](problem) / calibration().clock


def estimate(problem: Problem, implementation: Implementation) -> float | None:
    """Seconds of one core, of all parts where there are some; None where no estimate is known."""
    parts = implementation.parts(problem)
    if parts is not None:  # there may be none: outputs that no tap reaches
        seconds = [estimate(part, registry.get(part, implementation.name)) for part, _ in parts]
        apart = 0.0
        if isinstance(problem, Conv) and implementation.operation == "conv":
            apart = strides.cycles(problem) / calibration().clock
        if None in seconds:
            return None
        return apart + memory_seconds(problem) + sum(t * n for t, (_, n) in zip(seconds, parts) if t is not None)
    kind = "conv" if isinstance(problem, Conv) else "pool"
    known = _ESTIMATES[kind].get(implementation.name)
    return None if known is None else known(problem) * calibration().factors.get(f"{kind} {implementation.name}", 1.0)

"""Which implementation "auto" takes: of those that are able and meet the error bound, the one with the lowest cost estimate.

Estimates are seconds and only need to rank: floating-point operations at the rate each method's kernels reach, plus what the method
adds (transforms, unfolding). Rates are shares of the vector peak of one core times the threads. An implementation without an
estimate here is never taken by "auto".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from kernels import registry
from kernels.errors import ProblemError, RefusedError
from kernels.implementation import Implementation
from kernels.machine import machine
from kernels.problem import Conv, Pool, Problem

ERROR_BOUND = 1e-4  # "auto" takes only methods whose error stays below this share of the largest output
CLOCK = 2.5e9  # hertz; a common sustained vector clock, the same for all estimates, so its error cancels in the ranking
BANDWIDTH = 10e9  # bytes per second and core from memory


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was taken, and for every other implementation why not (None: able, but slower by estimate or not considered)."""

    implementation: Implementation
    refusals: dict[str, str | None]
    estimates: dict[str, float]


def _rate(problem: Problem, share: float) -> float:
    """Operations per second: two FMA units, each a vector of multiply-adds per cycle."""
    return share * CLOCK * 4 * machine().lanes(problem.itemsize)


def _memory(problem: Problem) -> float:
    return problem.compulsory_bytes / BANDWIDTH


def _direct(problem: Conv) -> float:
    # few outputs per tile or few channels leave registers idle: a tile wants about 6 channels and 4 vectors
    channels = problem.c_out // problem.groups
    filled = min(1.0, channels / 6) * min(1.0, math.prod(problem.conv_size) / machine().lanes(problem.itemsize))
    return problem.flops / _rate(problem, 0.75 * filled) + _memory(problem)


def _im2col(problem: Conv) -> float:
    # unfolding writes and reads taps copies of the input; groups run one product after another, 5 us each
    unfolded = problem.n * problem.c_in * problem.taps * math.prod(problem.conv_size) * problem.itemsize
    return problem.flops / _rate(problem, 0.5) + 2 * unfolded / BANDWIDTH + 5e-6 * problem.groups * problem.n + _memory(problem)


def _fft(problem: Conv) -> float:
    # transforms cost 2.5 N log2 N (real input) at scalar-like rates; products 8 flops per complex multiply-add, memory-bound
    padded = math.prod(n + before + after for n, (before, after) in zip(problem.size, problem.padding))
    planes = problem.n * (problem.c_in + problem.c_out)
    transforms = 2.5 * padded * math.log2(padded + 1) * planes
    products = 8 * problem.n * problem.c_out * problem.c_in // problem.groups * padded / 2
    return transforms / _rate(problem, 0.05) + products / _rate(problem, 0.15) + 2e-4 + _memory(problem)


_ESTIMATES: dict[str, dict[str, Callable[[Problem], float]]] = {
    "conv": {
        "direct": _direct,  # type: ignore[dict-item]
        "fft": _fft,  # type: ignore[dict-item]
        "im2col": _im2col,  # type: ignore[dict-item]
        "jit": lambda problem: problem.flops / _rate(problem, 0.05),
        "naive": lambda problem: problem.flops / 1e7,
    },
    "pool": {
        "window": lambda problem: _memory(problem) + problem.flops / _rate(problem, 0.2),
        "jit": lambda problem: _memory(problem) + problem.flops / _rate(problem, 0.02),
        "naive": lambda problem: problem.flops / 1e7,
    },
}


def choose(problem: Problem, name: str = "auto", bound: float = ERROR_BOUND) -> Choice:
    """The implementation for a problem.

    Raises RefusedError with its sentence if a named one cannot do it, ProblemError if it does not exist.
    """
    if name != "auto":
        implementation = registry.get(problem, name)
        sentence = implementation.refuse(problem)
        if sentence:
            raise RefusedError(f"{problem.op}: implementation {name!r} refuses: {sentence}")
        return Choice(implementation, {name: None}, {})
    kind = "pool" if isinstance(problem, Pool) else "conv"
    refusals = registry.able(problem)
    known = registry.every(kind)
    for key, sentence in refusals.items():
        error = known[key].error_bound(problem)
        if sentence is None and error > bound:
            refusals[key] = f"its error bound {error:.1e} exceeds {bound:.1e}"
    estimates = {key: _ESTIMATES[kind][key](problem) for key in _ESTIMATES[kind] if refusals.get(key, "not registered") is None}
    if not estimates:
        reasons = "; ".join(f"{key}: {why}" for key, why in refusals.items())
        raise ProblemError(f"{problem.op}: no implementation can do {problem}: {reasons}")
    return Choice(known[min(estimates, key=estimates.__getitem__)], refusals, estimates)

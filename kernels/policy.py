"""Which implementation "auto" takes: of those that are able and meet the error bound, the one with the lowest cost estimate.

Estimates are seconds of one core and only need to rank: cycles counted by the method's own cut, or operations at the rate its kernels
reach (a share of the vector peak) plus what it adds. An implementation without an estimate here is never taken by "auto".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from kernels import registry
from kernels.cuts import direct, lines, winograd
from kernels.cuts import fft as tiles
from kernels.errors import ProblemError, RefusedError
from kernels.implementation import Implementation, operation, rounding_bound
from kernels.machine import CLOCK, machine
from kernels.problem import Conv, Problem

ERROR_BOUND = 1e-4  # "auto" takes only methods whose error stays below this share of the largest output
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


def _depthwise(problem: Conv) -> float:
    # one load a multiply-add, and every plane packed first: 4 cycles per vector of either
    vectors = problem.n * (problem.c_in * math.prod(problem.size) + problem.c_out * math.prod(problem.conv_size) * problem.taps)
    return 4 * vectors / machine().lanes(problem.itemsize) / CLOCK + _memory(problem)


def _im2col(problem: Conv) -> float:
    # unfolding writes and reads taps copies of the input; groups run one product after another, 5 us each
    unfolded = problem.n * problem.c_in * problem.taps * math.prod(problem.conv_size) * problem.itemsize
    return problem.flops / _rate(problem, 0.25) + 2 * unfolded / BANDWIDTH + 5e-6 * problem.groups * problem.n + _memory(problem)


def _fft(problem: Conv) -> float:
    by_scipy = tiles.layout(problem)
    cut = lines.by_lines(problem)
    return (cut.cycles if cut else by_scipy.cycles if by_scipy else math.inf) / CLOCK + _memory(problem)


_ESTIMATES: dict[str, dict[str, Callable[[Any], float]]] = {
    "conv": {
        "direct": lambda problem: direct.best(problem, 1).cycles / CLOCK + _memory(problem),
        "depthwise": _depthwise,
        "winograd": lambda problem: winograd.best(problem, 1).cycles / CLOCK + _memory(problem),
        "fft": _fft,
        "im2col": _im2col,
        "jit": lambda problem: problem.flops / 5e8 + _memory(problem),
        "naive": lambda problem: problem.flops / 1e7,
    },
    "pool": {
        "window": lambda problem: _memory(problem) + problem.flops / _rate(problem, 0.2),
        "jit": lambda problem: _memory(problem) + problem.flops / 5e8,
        "naive": lambda problem: problem.flops / 1e7,
    },
}


def _estimate(problem: Problem, implementation: Implementation) -> float | None:
    """Seconds of one core, of all parts where there are some; None where no estimate is known."""
    parts = implementation.parts(problem)
    if parts is not None:  # there may be none: outputs that no tap reaches
        seconds = [_estimate(part, registry.get(part, implementation.name)) for part, _ in parts]
        return None if None in seconds else _memory(problem) + sum(t * n for t, (_, n) in zip(seconds, parts) if t is not None)
    known = _ESTIMATES["conv" if isinstance(problem, Conv) else "pool"].get(implementation.name)
    return None if known is None else known(problem)


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
    bound = max(bound, rounding_bound(problem))  # of long sums no method is asked for more than the definition keeps
    refusals = registry.able(problem)
    known = registry.every(operation(problem))
    for key, sentence in refusals.items():
        if sentence is None and known[key].error_bound(problem) > bound:
            refusals[key] = f"its error bound {known[key].error_bound(problem):.1e} exceeds {bound:.1e}"
    considered = {key: _estimate(problem, known[key]) for key, sentence in refusals.items() if sentence is None}
    estimates = {key: seconds for key, seconds in considered.items() if seconds is not None}
    if not estimates:
        reasons = "; ".join(f"{key}: {why}" for key, why in refusals.items())
        raise ProblemError(f"{problem.op}: no implementation can do {problem}: {reasons}")
    return Choice(known[min(estimates, key=estimates.__getitem__)], refusals, estimates)

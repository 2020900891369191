"""Which implementation "auto" takes: of those that are able and meet the error bound, the one with the lowest cost estimate.

Estimates are seconds of one core and only need to rank: cycles counted by the method's own cut, or operations at the rate its kernels
reach (a share of the vector peak) plus what it adds; `calibration` says how long a cycle and a byte take. An implementation without an
estimate here is never taken by "auto". Where a problem was measured, its winner is taken instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

from kernels import registry
from kernels.calibration import calibration
from kernels.cuts import depthwise, direct, lines, strides, winograd
from kernels.cuts import fft as tiles
from kernels.errors import ProblemError, RefusedError
from kernels.implementation import Implementation, operation, rounding_bound
from kernels.machine import machine, memory
from kernels.problem import Conv, Problem
from kernels.tuning import Measured

ERROR_BOUND = 1e-4  # "auto" takes only methods whose error stays below this share of the largest output
ABLE, PROMISING = 4.0, 2.0  # times the lowest estimate: up to which an implementation is measured, and its variants are
LARGE = 64  # of layers that take more than this part of memory no variants are measured: each packs the weights once more


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was taken, as a variant or as it is (""), and for every other implementation why not (None: able, but slower by estimate or
    not considered); what was measured, if that decided."""

    implementation: Implementation
    refusals: dict[str, str | None]
    estimates: dict[str, float]
    variant: str = ""
    measured: Measured | None = None

    @property
    def name(self) -> str:
        """The implementation's name, with its variant behind a colon."""
        return f"{self.implementation.name}:{self.variant}" if self.variant else self.implementation.name


def _rate(problem: Problem, share: float) -> float:
    """Operations per second: two FMA units, each a vector of multiply-adds per cycle."""
    return share * calibration().clock * 4 * machine().lanes(problem.itemsize)


def _memory(problem: Problem) -> float:
    return problem.compulsory_bytes / calibration().bandwidth


def _maps(problem: Conv) -> float:
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
    return problem.flops / _rate(problem, 0.25) + unfolding + 5e-6 * problem.groups * problem.n + _memory(problem) + SPINNING


GROUP = 3000  # cycles that groups take beyond their transforms: 512 of 62x4 took 2.2 ms of a core, not 1.2


def _fft(problem: Conv) -> float:
    by_scipy = tiles.layout(problem)
    cut = lines.by_lines(problem)
    cycles = cut.cycles if cut else by_scipy.cycles if by_scipy else math.inf
    return (cycles + GROUP * problem.n * problem.groups) / calibration().clock + _maps(problem)


_ESTIMATES: dict[str, dict[str, Callable[[Any], float]]] = {
    "conv": {
        "direct": lambda problem: direct.best(problem, 1).cycles / calibration().clock + _maps(problem),
        "depthwise": lambda problem: depthwise.cycles(problem) / calibration().clock + _memory(problem),
        "winograd": lambda problem: winograd.best(problem, 1).cycles / calibration().clock + _maps(problem),
        "fft": _fft,
        "im2col": _im2col,
        "jit": lambda problem: problem.flops / 5e8 + _memory(problem),
        "naive": lambda problem: problem.flops / 1e7,
    },
    "pool": {
        "window": lambda problem: _memory(problem) + problem.flops / _rate(problem, 0.2),
        "jit": lambda problem: _memory(problem) + problem.flops / 1e8,
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


def _packing(problem: Problem, implementation: Implementation, cycles: dict[str, Callable[[Any], float]] = _PACKING | _ONCE) -> float:
    """Seconds of one core to pack the operands of all parts, once."""
    if not isinstance(problem, Conv) or implementation.name not in _PACKING:
        return 0.0
    parts = implementation.parts(problem)
    if parts is not None:  # which may have parts of their own: a transposed volume is volumes, a volume is images
        return sum(_packing(part, registry.get(part, implementation.name), _PACKING) for part, _ in parts)
    return cycles[implementation.name](problem) / calibration().clock


def estimate(problem: Problem, implementation: Implementation) -> float | None:
    """Seconds of one core, of all parts where there are some; None where no estimate is known."""
    parts = implementation.parts(problem)
    if parts is not None:  # there may be none: outputs that no tap reaches
        seconds = [estimate(part, registry.get(part, implementation.name)) for part, _ in parts]
        apart = 0.0
        if isinstance(problem, Conv) and implementation.operation == "conv":
            apart = strides.cycles(problem) / calibration().clock
        return None if None in seconds else apart + _memory(problem) + sum(t * n for t, (_, n) in zip(seconds, parts) if t is not None)
    kind = "conv" if isinstance(problem, Conv) else "pool"
    known = _ESTIMATES[kind].get(implementation.name)
    return None if known is None else known(problem) * calibration().factors.get(f"{kind} {implementation.name}", 1.0)


def _named(problem: Problem, name: str, threads: int) -> Choice:
    """The implementation of that name, or its variant where a colon and one follow."""
    name, _, variant = name.partition(":")
    whole = registry.get(problem, name)
    implementation = whole.variants(problem, threads).get(variant) if variant else whole
    if implementation is None:
        known = ", ".join(whole.variants(problem, threads)) or "none"
        raise ProblemError(f"{problem.op}: implementation {name!r} has no variant {variant!r} for this problem; it has {known}")
    sentence = implementation.refuse(problem)
    if sentence:
        raise RefusedError(f"{problem.op}: implementation {name!r} refuses: {sentence}")
    return Choice(implementation, {name: None}, {}, variant)


def _tolerable(problem: Problem) -> float:
    """The error bound that "auto" asks for: of long sums no method is asked for more than the definition keeps."""
    return max(ERROR_BOUND, rounding_bound(problem))


def candidates(problem: Problem, threads: int) -> list[str]:
    """What is worth measuring, lowest estimate first: implementations that could be taken, and variants of the most promising."""
    choice = choose(problem, threads=threads)
    lowest = min(choice.estimates.values())
    names = sorted((name for name, seconds in choice.estimates.items() if seconds <= ABLE * lowest), key=choice.estimates.__getitem__)
    if problem.compulsory_bytes > memory() / LARGE:
        return names
    return names + [
        f"{name}:{key}" for name in names if choice.estimates[name] <= PROMISING * lowest
        for key, variant in registry.get(problem, name).variants(problem, threads).items()
        if variant.refuse(problem) is None and variant.error_bound(problem) <= _tolerable(problem)
    ]  # fmt: skip


def choose(problem: Problem, name: str = "auto", threads: int = 1, measured: Measured | None = None, *, packs: bool = False) -> Choice:
    """The implementation for a problem: the one that is named, as "name" or "name:variant"; for "auto" the one that was measured fastest
    on so many threads, or has the lowest estimate. packs: each call packs the operands anew, which estimates then hold.

    Raises RefusedError with its sentence if a named one cannot do it, ProblemError if it does not exist.
    """
    if name != "auto":
        return _named(problem, name, threads)
    bound = _tolerable(problem)
    refusals = registry.able(problem)
    known = registry.every(operation(problem))
    for key, sentence in refusals.items():
        if sentence is None and known[key].error_bound(problem) > bound:
            refusals[key] = f"its error bound {known[key].error_bound(problem):.1e} exceeds {bound:.1e}"
    considered = {key: estimate(problem, known[key]) for key, sentence in refusals.items() if sentence is None}
    estimates = {key: seconds for key, seconds in considered.items() if seconds is not None}
    if packs:
        estimates = {key: seconds + _packing(problem, known[key]) for key, seconds in estimates.items()}
    if not estimates:
        reasons = "; ".join(f"{key}: {why}" for key, why in refusals.items())
        raise ProblemError(f"{problem.op}: no implementation can do {problem}: {reasons}")
    if measured is not None:
        with contextlib.suppress(ProblemError, RefusedError):  # an entry that was written by hand
            winner = _named(problem, measured.winner, threads)
            if winner.implementation.error_bound(problem) <= bound:
                return dataclasses.replace(winner, refusals=refusals, estimates=estimates, measured=measured)
    return Choice(known[min(estimates, key=estimates.__getitem__)], refusals, estimates)

"""Which method "auto" takes: of those that support the problem and meet the error bound, the one with the lowest cost estimate. A method
without an estimate is never taken by "auto". Where a problem was measured, its winner is taken instead.
"""

from __future__ import annotations

import contextlib
import dataclasses

from kernels.dispatch.tuning import Measured
from kernels.methods import registry
from kernels.methods.contract import Implementation, operation, precision_bound
from kernels.methods.estimate import estimate, packing_seconds
from kernels.problem.conv import Problem
from kernels.problem.errors import ProblemError, RefusedError, shown
from kernels.runtime.machine import memory

ERROR_BOUND = 1e-4  # "auto" takes only methods whose error stays below this share of the largest output
ABLE, PROMISING = 4.0, 2.0  # times the lowest estimate: up to which an implementation is measured, and its variants are
LARGE = 64  # of layers that take more than this part of memory no variants are measured: each packs the weights once more


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was taken, as a variant or as it is (""), and for every other implementation why not (None: supported, but slower by estimate or
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

    @property
    def seconds(self) -> float | None:
        """What is expected of a call: as measured, or as estimated for one core; None where the implementation was named."""
        return self.measured.seconds.get(self.name) if self.measured else self.estimates.get(self.name)


def _named(problem: Problem, name: str, threads: int) -> Choice:
    """The implementation of that name, or its variant where a colon and one follow."""
    name, _, variant = name.partition(":")
    whole = registry.get(problem, name)
    implementation = (whole.variants(problem, threads).get(variant) or whole.named_variant(problem, variant)) if variant else whole
    if implementation is None:
        known = ", ".join(whole.variants(problem, threads)) or "none"
        raise ProblemError(f"{problem.op}: implementation {name!r} has no variant {shown(variant)} for this problem; it has {known}")
    sentence = registry.refusal(problem, implementation)
    if sentence:
        raise RefusedError(f"{problem.op}: implementation {name!r} refuses: {sentence}")
    return Choice(implementation, {name: None}, {}, variant)


def _tolerable(problem: Problem) -> float:
    """The error bound that "auto" requires: of long sums no more than the definition keeps, or what the precision allows."""
    return max(ERROR_BOUND, precision_bound(problem))


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
        if registry.refusal(problem, variant) is None and variant.error_bound(problem) <= _tolerable(problem)
    ]  # fmt: skip


def choose(problem: Problem, name: str = "auto", threads: int = 1, measured: Measured | None = None, *, packs: bool = False) -> Choice:
    """The implementation for a problem: the one that is named, as "name" or "name:variant"; for "auto" the one that was measured fastest
    on so many threads, or has the lowest estimate. packs: each call packs the operands anew, which estimates then hold.

    Raises RefusedError with its sentence if a named one cannot do it, ProblemError if it does not exist.
    """
    if name != "auto":
        return _named(problem, name, threads)
    bound = _tolerable(problem)
    refusals = registry.refusals(problem)
    known = registry.every(operation(problem))
    for key, sentence in refusals.items():
        if sentence is None and known[key].error_bound(problem) > bound:
            refusals[key] = f"its error bound {known[key].error_bound(problem):.1e} exceeds {bound:.1e}"
    considered = {key: estimate(problem, known[key], threads) for key, sentence in refusals.items() if sentence is None}
    estimates = {key: seconds for key, seconds in considered.items() if seconds is not None}
    if packs:
        estimates = {key: seconds + packing_seconds(problem, known[key]) for key, seconds in estimates.items()}
    if len(set(refusals.values())) == 1 and None not in refusals.values():  # the machine's: all say the same
        raise RefusedError(f"{problem.op}: {next(iter(refusals.values()))}")
    if not estimates:
        reasons = "; ".join(f"{key}: {why}" for key, why in refusals.items())
        raise ProblemError(f"{problem.op}: no implementation can do {problem}: {reasons}")
    if measured is not None:
        with contextlib.suppress(ProblemError, RefusedError):  # an entry that was written by hand
            winner = _named(problem, measured.winner, threads)
            if winner.implementation.error_bound(problem) <= bound:
                return dataclasses.replace(winner, refusals=refusals, estimates=estimates, measured=measured)
    return Choice(known[min(estimates, key=estimates.__getitem__)], refusals, estimates)

"""What is taken for a problem now, remembered: measured where it was, else of the class that a problem of another length belongs to."""

from __future__ import annotations

import dataclasses
import functools
import math

from kernels.cost.classes import Classes, class_of
from kernels.dispatch import tuning
from kernels.dispatch.heuristic import Choice, choose
from kernels.methods import registry
from kernels.methods.contract import operation
from kernels.methods.unseen_taps import OPERATIONS
from kernels.problem.conv import Conv, ConvWeight, Problem
from kernels.problem.errors import ProblemError, shown
from kernels.problem.seen_taps import seen
from kernels.runtime.machine import Machine, machine

REMEMBERED = 512  # problems whose preparation is remembered; of choices, which are small, eight times as many


@functools.lru_cache(maxsize=8 * REMEMBERED)
def _choice(problem: Problem, name: str, threads: int, packs: bool, generation: int, _: Machine) -> Choice:
    measured = tuning.recall(problem, threads) if name == "auto" and not packs else None
    if name != "auto" or measured is not None:
        return choose(problem, name, threads, measured, packs=packs)
    taps = seen(problem)[0].kernel if operation(problem) in OPERATIONS else None  # lengths of a class may see different ones
    key = class_of(problem), taps, threads, packs, generation, machine()
    found = _classes.get(key)
    if found is None or registry.refusal(problem, found[1].implementation):
        choice = choose(problem, name, threads, packs=packs)
        _classes.put(key, problem, choice)
        return choice
    other, choice = found
    larger = math.prod(problem.out_shape) / max(math.prod(other.out_shape), 1)
    return dataclasses.replace(choice, estimates={method: seconds * larger for method, seconds in choice.estimates.items()})


_classes: Classes[Choice] = Classes()


def choice_for(problem: Problem, name: str, threads: int, *, packs: bool = False) -> Choice:
    """What is taken for a problem now, remembered; packs: for calls that pack the operands anew."""
    packs = packs and isinstance(problem, Conv) and not isinstance(problem, ConvWeight)
    if not isinstance(name, str):
        raise ProblemError(f"{problem.op}: implementation is {shown(name)}, must be a name")
    return _choice(problem, name, threads, packs, tuning.generation(), machine())


def forget() -> None:
    """Drop what is remembered of recent problems."""
    _choice.cache_clear()
    _classes.forget()

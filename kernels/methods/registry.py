"""The one list of implementations. Each adds itself when its file is imported; the list knows none of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from kernels.methods import unseen_taps
from kernels.methods.contract import Implementation, operation
from kernels.problem.conv import Conv, Problem
from kernels.problem.errors import ProblemError, meant, shown
from kernels.runtime.machine import machine

_all: dict[tuple[str, str], Implementation] = {}
_lowerings: list[tuple[str, str, Callable[[str], Implementation]]] = []


def add(implementation: Implementation) -> None:
    """Register an implementation, and by the lowerings what it is for other operations. Raises ValueError if its name is taken for its
    operation by another that is not lowered."""
    key = implementation.operation, implementation.name
    if key in _all and not _all[key].lowered:
        raise ValueError(f"implementation {key[1]!r} for {key[0]!r} is registered already")
    if implementation.operation in unseen_taps.OPERATIONS and not implementation.trust:  # what others are compared with does as it is told
        implementation = unseen_taps.without_unseen_taps(implementation)
    _all[key] = implementation
    for source, target, make in _lowerings:
        if source == implementation.operation:
            _lower(implementation, target, make)


def lower(source: str, target: str, make: Callable[[str], Implementation]) -> None:
    """Every implementation of the operation `source`, now and from now on, is one of `target` too, as `make(name)`; unless it registers
    itself for that."""
    _lowerings.append((source, target, make))
    for implementation in every(source).values():
        _lower(implementation, target, make)


def _lower(implementation: Implementation, target: str, make: Callable[[str], Implementation]) -> None:
    name = implementation.name
    if (target, name) not in _all:
        same = {field: getattr(implementation, field) for field in ("trust", "lingers", "sum_order")}
        add(dataclasses.replace(make(name), lowered=True, **same))


def every(operation_name: str) -> dict[str, Implementation]:
    """All implementations of "conv", "pool" or another operation by name, sorted by their names."""
    return dict(sorted((name, value) for (kind, name), value in _all.items() if kind == operation_name))


def operations() -> list[str]:
    """The operations that have implementations, in order of registration."""
    return list(dict.fromkeys(kind for kind, _ in _all))


def get(problem: Problem, name: str) -> Implementation:
    """The implementation called `name` for this problem's operation. Raises ProblemError if there is none."""
    found = _all.get((operation(problem), name))
    if found is None:
        known = every(operation(problem))
        names = ", ".join(known) + meant(name, known)
        raise ProblemError(f'{problem.op}: implementation {shown(name)} does not exist; use "auto" or one of {names}')
    return found


def refusals(problem: Problem) -> dict[str, str | None]:
    """For each implementation of this operation: None if it can do the problem, else the sentence it refuses with."""
    return {name: refusal(problem, implementation) for name, implementation in every(operation(problem)).items()}


def refusal(problem: Problem, implementation: Implementation) -> str | None:
    """None if an implementation can do the problem as accurately as it requires, else the sentence why not."""
    if isinstance(problem, Conv) and problem.precision == "bfloat16" and not machine().bfloat16:
        return 'precision="bfloat16" needs a CPU with AVX512_BF16, which this one, or what Numba compiles for, lacks; use "float32"'
    if not implementation.local and isinstance(problem, Conv) and problem.accuracy == "each":  # known without an enumeration
        return 'accuracy="each" rules it out: its transforms spread errors, NaN and inf over neighbouring outputs; use direct or "largest"'
    return implementation.refuse(problem)

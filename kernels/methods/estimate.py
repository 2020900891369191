"""Seconds that methods take for a problem, by their own estimates: of one core, to rank them by."""

from __future__ import annotations

from kernels.cost.calibration import calibration
from kernels.cost.roofline import memory_seconds
from kernels.cost.roofline import seconds as seconds_of
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.problem.conv import Conv, Problem


def packing_seconds(problem: Problem, implementation: Implementation, *, unpacked: bool = True) -> float:
    """To pack the operands of all sub-problems; unpacked: as `prepare_unpacked` does it, which they do not."""
    found = implementation.sub_problems(problem)
    another = unpacked and implementation.lowered and implementation.packing_unpacked  # a way that weights of one call take, as a whole
    if found is not None and not another:  # which may have some of their own: a transposed volume is volumes, a volume is images
        of_parts = sum(packing_seconds(part, registry.get(part, implementation.name), unpacked=False) for part, _ in found)
        return of_parts + seconds_of(implementation.lowering_packing(problem))
    cycles = (unpacked and implementation.packing_unpacked) or implementation.packing
    return seconds_of(cycles(problem)) if cycles else 0.0


def estimate(problem: Problem, implementation: Implementation, threads: int = 1) -> float | None:
    """Of all sub-problems where there are some; None where no estimate is known. Of several threads what they lose counts too."""
    lost = seconds_of(implementation.lost(problem, threads)) if implementation.lost and threads > 1 else 0.0
    found = implementation.sub_problems(problem)
    if found is not None:  # there may be none: outputs that no tap reaches
        seconds = [estimate(part, registry.get(part, implementation.name), threads) for part, _ in found]
        if None in seconds:
            return None
        apart = seconds_of(implementation.lowering_cycles(problem)) + memory_seconds(problem) + lost
        return apart + sum(t * n for t, (_, n) in zip(seconds, found) if t is not None)
    if implementation.estimate is None:
        return None
    kind = "conv" if isinstance(problem, Conv) else "pool"
    return (implementation.estimate(problem) + lost) * calibration().factor(kind, implementation.name)

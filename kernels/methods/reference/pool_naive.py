"""The definition of pooling in plain Python loops: a window slides over each plane or volume and keeps its maximum, or its average.

The maximum tells whether an activation occurs in a local region and discards where; the average is mostly used over whole axes at the
end of a network. It is here to be read and to be compared with, and loses to everything on time. Reference: Y.-L. Boureau, J. Ponce, Y.
LeCun, "A theoretical analysis of feature pooling in visual recognition", ICML 2010.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.pool import AdaptivePool, Pool, adaptive_window

Array = np.ndarray

SPEED = 5e5  # operations a second


def window(problem: Pool | AdaptivePool, place: tuple[int, ...]) -> tuple[list[tuple[int, ...]], int]:
    """(positions of the input that the window at an output's place sees, number of taps on input or padding: overhang is neither)."""
    if isinstance(problem, AdaptivePool):
        spans = (adaptive_window(n, outputs, o) for n, outputs, o in zip(problem.size, problem.out_size, place))
        seen = list(itertools.product(*(range(*span) for span in spans)))
        return seen, len(seen)
    inside, counted = [], 0
    for tap in np.ndindex(problem.kernel):
        axes = zip(place, problem.stride, problem.padding, tap, problem.dilation)
        spot = tuple(o * s - before + t * d for o, s, (before, _), t, d in axes)
        counted += all(i < n + after for i, n, (_, after) in zip(spot, problem.size, problem.padding))
        if all(0 <= i < n for i, n in zip(spot, problem.size)):
            inside.append(spot)
    return inside, counted


def prepare(problem: Pool | AdaptivePool, threads: int) -> Prepared:
    """Nothing to prepare."""

    def run(x: Array, out: Array, indices: Array | None = None) -> None:
        for place in np.ndindex(problem.out_size):
            inside, counted = window(problem, place)
            for plane in np.ndindex(*problem.x_shape[:2]):
                values = [float(x[(*plane, *spot)]) for spot in inside]
                if problem.kind == "max":
                    best = largest(values)
                    out[(*plane, *place)] = values[best] if values else -math.inf
                    if indices is not None:
                        indices[(*plane, *place)] = np.ravel_multi_index(inside[best], problem.size) if values else 0
                else:
                    divisor = counted
                    if isinstance(problem, Pool):
                        divisor = problem.divisor_override or (counted if problem.count_include_pad else len(inside))
                    out[(*plane, *place)] = sum(values) / divisor if divisor else 0.0

    return Prepared(without_operands(run))


def largest(values: list[float]) -> int:
    """Index of the first of the largest values; a NaN counts as larger than everything."""
    best = 0
    for i, value in enumerate(values):
        if value > values[best] or (math.isnan(value) and not math.isnan(values[best])):
            best = i
    return best


def estimate(problem: Pool | AdaptivePool) -> float:
    """Its operations."""
    return problem.flops / SPEED


for _operation in ("pool", "pool3d", "adaptive_pool"):
    registry.add(
        Implementation(
            "naive", _operation, lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=1, sum_order="definition"
        )
    )

"""The definition of pooling in plain Python loops: a window slides over each plane and keeps its maximum, or its average.

The maximum tells whether an activation occurs in a local region and discards where; the average is mostly used over whole axes at the
end of a network. It is here to be read and to be compared with, and loses to everything on time. Reference: Y.-L. Boureau, J. Ponce, Y.
LeCun, "A theoretical analysis of feature pooling in visual recognition", ICML 2010.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import registry
from kernels.implementation import Implementation, Operands, Prepared, rounding_bound
from kernels.problem import Pool

Array = np.ndarray


def window(problem: Pool, oh: int, ow: int) -> tuple[list[tuple[int, int]], int]:
    """(positions of the input that the window at (oh, ow) sees, number of taps on input or padding: overhang is neither)."""
    inside, counted = [], 0
    (height, width), ((top, bottom), (left, right)) = problem.size, problem.padding
    for kh in range(problem.kernel[0]):
        for kw in range(problem.kernel[1]):
            h = oh * problem.stride[0] - top + kh * problem.dilation[0]
            w = ow * problem.stride[1] - left + kw * problem.dilation[1]
            counted += h < height + bottom and w < width + right
            if 0 <= h < height and 0 <= w < width:
                inside.append((h, w))
    return inside, counted


def prepare(problem: Pool, operands: Operands, threads: int) -> Prepared:
    """Nothing to prepare."""

    def run(x: Array, out: Array, indices: Array | None = None) -> None:
        for n, c, oh, ow in np.ndindex(*problem.out_shape):
            inside, counted = window(problem, oh, ow)
            values = [float(x[n, c, h, w]) for h, w in inside]
            if problem.kind == "max":
                best = largest(values)
                out[n, c, oh, ow] = values[best] if values else -math.inf
                if indices is not None:
                    indices[n, c, oh, ow] = inside[best][0] * problem.size[1] + inside[best][1] if values else 0
            else:
                divisor = problem.divisor_override or (counted if problem.count_include_pad else len(inside))
                out[n, c, oh, ow] = sum(values) / divisor if divisor else 0.0

    return Prepared(run)


def largest(values: list[float]) -> int:
    """Index of the first of the largest values; a NaN counts as larger than everything."""
    best = 0
    for i, value in enumerate(values):
        if value > values[best] or (math.isnan(value) and not math.isnan(values[best])):
            best = i
    return best


registry.add(Implementation("naive", "pool", lambda problem: None, prepare, rounding_bound))

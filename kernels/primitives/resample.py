"""One axis of an array at other positions: each output is a weighted sum of a few inputs along it, as bilinear and cubic resizing want it.

Where numbers lie behind the axis, whole lines of them are combined by vector passes; along the last axis each output gathers its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import worth
from kernels.primitives.vector_pass import bits, line
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

ROWS = 4  # rows of the last axis that a thread takes at a time


@region
def _lines(job, thread, x, y, inputs, weights, first, first_form, more, more_form, lanes, size, n, m, inner, taps):
    """Output m of one outer index: a line of inner numbers."""
    o, i = split(job, m)
    to, source = pointed(y) + job * inner * size, pointed(x) + o * n * inner * size
    table, bent = pointed(inputs) + 8 * i * taps, pointed(weights) + 8 * i * taps
    place = source + read_index(table, 0) * inner * size
    call(first, (first_form, lanes, size, to, place, place, place, inner, read_index(bent, 0), 0))
    for k in range(1, taps):
        place = source + read_index(table, k) * inner * size
        call(more, (more_form, lanes, size, to, place, to, to, inner, read_index(bent, k), 0))


@region
def _numbers(job, thread, x, y, inputs, weights, size, zero, outer, n, m, taps):
    """A few rows along the last axis."""
    table, factors = pointed(inputs), pointed(weights)
    for o in range(job * ROWS, min((job + 1) * ROWS, outer)):
        source, to = pointed(x) + o * n * size, pointed(y) + o * m * size
        for i in range(m):
            total = zero
            for k in range(taps):
                number = read_number(source + read_index(table, i * taps + k) * size, zero)
                total += number * read_number(factors + (i * taps + k) * size, zero)
            write_number(to + i * size, total)


def resample(
    dtype: np.dtype, outer: int, n: int, inner: int, inputs: Array, weights: Array, threads: int
) -> Callable[[Array, Array], None]:  # fmt: skip
    """Compile x (outer, n, inner) -> y (outer, m, inner), contiguous: y[:, i] = sum of weights[i, k] * x[:, inputs[i, k]]."""
    dtype = np.dtype(dtype)
    size, lanes, (m, taps) = dtype.itemsize, machine().lanes(dtype.itemsize), inputs.shape
    threads = worth(threads, outer * m * inner * taps * (1 if inner == 1 else 4 / lanes))
    table = np.ascontiguousarray(inputs, np.int64)
    if inner == 1:
        held = np.ascontiguousarray(weights, dtype)
        fixed: tuple[Any, ...] = handle(table), handle(held), size, dtype.type(0), outer, n, m, taps
        launch, jobs = _numbers.ready(0, 0, *fixed), -(-outer // ROWS)
    else:
        held = np.array([[bits(float(weight)) for weight in row] for row in weights], np.int64)
        fixed = (handle(table), handle(held), *line("affine", lanes, size), *line("axpy", lanes, size), lanes, size, n, m, inner, taps)
        launch, jobs = _lines.ready(0, 0, *fixed), outer * m

    def run(x: Array, y: Array, kept: tuple[Array, ...] = (table, held)) -> None:
        launch(threads, jobs, handle(x), handle(y), *fixed)

    return run

"""One axis of an array at other positions: each output is a weighted sum of a few inputs along it, as bilinear and cubic resizing want it.

Where numbers lie behind the axis, whole lines of them are combined by vector passes; along the last axis each output gathers its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

ROWS = 4  # rows of the last axis that a thread takes at a time


class Lines(Record):
    """A task where numbers lie behind the axis: a line of one output. Micro-kernels take a VectorPass."""

    first = address("of the micro-kernel that multiplies a line")
    first_form = integer("its form")
    more = address("of the one that multiplies a line and adds it")
    more_form = integer("its form")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    n = integer("inputs along the axis")
    m = integer("outputs along the axis")
    inner = integer("numbers of a line")
    taps = integer("inputs of an output")
    inputs = address("of which inputs each output has")
    weights = address("of the bits of each one's weight, a float64")


@region
def _lines(task, thread, x, y, geometry):
    """Output m of one outer index: a line of inner numbers; x and y are handles, geometry: Lines."""
    g = geometry[0]
    lanes, size, numbers = g.lanes, g.itemsize, g.inner
    o, i = split(task, g.m)
    to, source = pointed(y) + task * numbers * size, pointed(x) + o * g.n * numbers * size
    inputs, weights = g.inputs + 8 * i * g.taps, g.weights + 8 * i * g.taps
    place, p = source + read_index(inputs, 0) * numbers * size, read_index(weights, 0)
    call(g.first, VectorPass(form=g.first_form, lanes=lanes, itemsize=size, y=to, a=place, b=place, c=place, numbers=numbers, p=p, q=0))
    for k in range(1, g.taps):
        place, p = source + read_index(inputs, k) * numbers * size, read_index(weights, k)
        call(g.more, VectorPass(form=g.more_form, lanes=lanes, itemsize=size, y=to, a=place, b=to, c=to, numbers=numbers, p=p, q=0))


@region
def _numbers(task, thread, x, y, inputs, weights, size, zero, outer, n, m, taps):
    """A few rows along the last axis."""
    table, factors = pointed(inputs), pointed(weights)
    for o in range(task * ROWS, min((task + 1) * ROWS, outer)):
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
    threads = threads_for(outer * m * inner * taps * (1 if inner == 1 else 4 / lanes), threads)
    table = np.ascontiguousarray(inputs, np.int64)
    if inner == 1:
        held = np.ascontiguousarray(weights, dtype)
        fixed: tuple[Any, ...] = handle(table), handle(held), size, dtype.type(0), outer, n, m, taps
        launch, tasks = _numbers.ready(0, 0, *fixed), -(-outer // ROWS)
    else:
        held = np.array([[bits(float(weight)) for weight in row] for row in weights], np.int64)
        (first, first_form), (more, more_form) = line("affine", lanes, size), line("axpy", lanes, size)
        geometry = Lines.packed(
            first=first, first_form=first_form, more=more, more_form=more_form, lanes=lanes, itemsize=size, n=n, m=m, inner=inner,
            taps=taps, inputs=table.ctypes.data, weights=held.ctypes.data,
        )  # fmt: skip
        fixed = (geometry,)
        launch, tasks = _lines.ready(0, 0, geometry), outer * m

    def run(x: Array, y: Array, keep_alive: tuple[Array, ...] = (table, held)) -> None:
        launch(threads, tasks, handle(x), handle(y), *fixed)

    return run

"""Weights without the kernel taps that see only padding, copied by threads: 16 of 64 taps of 33 MB are 8 MB in every call. Gradients of
weights go the other way, and those of the other taps are zeros."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, integer
from kernels.problem.conv import Conv, ConvWeight
from kernels.runtime.byte_copy import clear_bytes, copy_bytes
from kernels.runtime.leases import packed_weights
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray
Taps = tuple[tuple[int, int], ...]  # (first, one behind the last) of each axis

KERNELS = 256  # of a task
LINE = 8.0  # cycles to copy a line of a kernel, besides its bytes


class SeenTaps(Record):
    """Tasks of `copy_seen` and `spread_seen`: some kernels. Bytes; an axis that a layer has not got has one tap."""

    kernels = integer("how many there are")
    kernel = integer("of a whole kernel")
    plane = integer("from depth to depth of it")
    row = integer("from row to row of it")
    first = integer("from its start to the first tap that is seen")
    depths = integer("how many are seen")
    rows = integer("how many are seen")
    line = integer("of what is seen of a row")


@region
def copy_seen(task, thread, weight, out, geometry):
    """Some of the kernels of out from weight, both handles."""
    g = geometry[0]
    for kernel in range(task * KERNELS, min((task + 1) * KERNELS, g.kernels)):
        for depth in range(g.depths):
            for row in range(g.rows):
                to = pointed(out) + ((kernel * g.depths + depth) * g.rows + row) * g.line
                copy_bytes(to, pointed(weight) + kernel * g.kernel + g.first + depth * g.plane + row * g.row, g.line)


@region
def spread_seen(task, thread, some, out, geometry):
    """Some of the kernels of out, zeros but for those taps, from `some`, both handles."""
    g = geometry[0]
    first, last = task * KERNELS, min((task + 1) * KERNELS, g.kernels)
    clear_bytes(pointed(out) + first * g.kernel, (last - first) * g.kernel)
    for kernel in range(first, last):
        for depth in range(g.depths):
            for row in range(g.rows):
                to = pointed(out) + kernel * g.kernel + g.first + depth * g.plane + row * g.row
                copy_bytes(to, pointed(some) + ((kernel * g.depths + depth) * g.rows + row) * g.line, g.line)


def _tasks(kernels: int, problem: Conv, taps: Taps, threads: int) -> tuple[int, Array]:
    """How many threads to take for so many kernels, of which these taps are copied, and the record."""
    size, absent = problem.itemsize, 3 - len(taps)
    _, rows, columns = whole = (1,) * absent + problem.kernel
    first, left = (0,) * absent + tuple(start for start, _ in taps), (1,) * absent + tuple(stop - start for start, stop in taps)
    used = threads_for(kernels * (left[0] * left[1] * LINE + math.prod(left)), threads)
    return used, SeenTaps.packed(
        kernels=kernels, kernel=math.prod(whole) * size, plane=rows * columns * size, row=columns * size,
        first=((first[0] * rows + first[1]) * columns + first[2]) * size, depths=left[0], rows=left[1], line=left[2] * size,
    )  # fmt: skip


def copier(problem: Conv, taps: Taps, threads: int) -> Callable[[Array], Array]:
    """What copies those taps of the problem's weights or of its adjoint's."""
    kernels = math.prod(problem.weight_shape[:2])
    used, geometry = _tasks(kernels, problem, taps, threads)
    launch = copy_seen.ready(0, 0, geometry)
    left = [stop - start for start, stop in taps]

    def copy(given: Array) -> Array:
        weight = np.ascontiguousarray(given)
        some = packed_weights.take((*weight.shape[:2], *left), weight.dtype)
        launch(used, -(-kernels // KERNELS), handle(weight), handle(some), geometry)
        return some

    return copy


def spreader(problem: ConvWeight, taps: Taps, threads: int) -> Callable[[Array, Array], None]:
    """What writes a gradient of those taps into one of all, whose others become zeros."""
    kernels = math.prod(problem.out_shape[:2])
    used, geometry = _tasks(kernels, problem, taps, threads)
    launch = spread_seen.ready(0, 0, geometry)

    def spread(some: Array, out: Array) -> None:
        launch(used, -(-kernels // KERNELS), handle(some), handle(out), geometry)

    return spread

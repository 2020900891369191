"""Weights without the kernel taps that see only padding, copied by threads: 16 of 64 taps of 33 MB are 8 MB in every call."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, integer
from kernels.problem.conv import Conv
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.leases import packed_weights
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

KERNELS = 256  # of a task
LINE = 8.0  # cycles to copy a line of a kernel, besides its bytes


class SeenTaps(Record):
    """Tasks of `copy_seen`: some kernels. Bytes; an axis that a layer has not got has one tap."""

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


def copier(problem: Conv, taps: tuple[tuple[int, int], ...], threads: int) -> Callable[[Array], Array]:
    """What copies those taps, (first, one behind the last) of each axis, of the problem's weights or of its adjoint's."""
    size, absent = problem.itemsize, 3 - len(taps)
    _, rows, columns = whole = (1,) * absent + problem.kernel
    first, left = (0,) * absent + tuple(start for start, _ in taps), (1,) * absent + tuple(stop - start for start, stop in taps)
    kernels = math.prod(problem.weight_shape[:2])
    used = threads_for(kernels * (left[0] * left[1] * LINE + math.prod(left)), threads)
    geometry = SeenTaps.packed(
        kernels=kernels, kernel=math.prod(whole) * size, plane=rows * columns * size, row=columns * size,
        first=((first[0] * rows + first[1]) * columns + first[2]) * size, depths=left[0], rows=left[1], line=left[2] * size,
    )  # fmt: skip
    launch = copy_seen.ready(0, 0, geometry)

    def copy(given: Array) -> Array:
        weight = np.ascontiguousarray(given)
        some = packed_weights.take((*weight.shape[:2], *left[absent:]), weight.dtype)
        launch(used, -(-kernels // KERNELS), handle(weight), handle(some), geometry)
        return some

    return copy

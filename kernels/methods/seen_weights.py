"""Weights without the kernel taps that see only padding, copied by threads: 16 of 64 taps of 33 MB are 8 MB in every call."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.problem.conv import Conv
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.leases import packed_weights
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

KERNELS = 256  # of a task
LINE = 8.0  # cycles to copy a line of a kernel, besides its bytes


@region
def copy_seen(task, thread, weight, out, kernels, whole, left, first, size):
    """Some of so many kernels of out (kernels, *left) from weight (kernels, *whole), both handles; three axes, from tap `first` on."""
    line, each = left[2] * size, left[0] * left[1] * left[2] * size
    for kernel in range(task * KERNELS, min((task + 1) * KERNELS, kernels)):
        for depth in range(left[0]):
            for row in range(left[1]):
                place = ((kernel * whole[0] + first[0] + depth) * whole[1] + first[1] + row) * whole[2] + first[2]
                copy_bytes(pointed(out) + kernel * each + (depth * left[1] + row) * line, pointed(weight) + place * size, line)


def copier(problem: Conv, taps: tuple[tuple[int, int], ...], threads: int) -> Callable[[Array], Array]:
    """What copies those taps, (first, one behind the last) of each axis, of the problem's weights or of its adjoint's."""
    absent = 3 - len(taps)
    whole, first = (1,) * absent + problem.kernel, (0,) * absent + tuple(start for start, _ in taps)
    left = (1,) * absent + tuple(stop - start for start, stop in taps)
    kernels = math.prod(problem.weight_shape[:2])
    used = threads_for(kernels * (left[0] * left[1] * LINE + math.prod(left)), threads)
    launch = copy_seen.ready(0, 0, 1, whole, left, first, 1)

    def copy(given: Array) -> Array:
        weight = np.ascontiguousarray(given)
        some = packed_weights.take((*weight.shape[:2], *left[absent:]), weight.dtype)
        launch(used, -(-kernels // KERNELS), handle(weight), handle(some), kernels, whole, left, first, weight.itemsize)
        return some

    return copy

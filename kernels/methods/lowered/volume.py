"""Convolution over three axes by any method: kernel depth becomes input channels, output depth becomes images of a 2-D convolution.

Each plane of the output sees kernel-depth planes of the input, which are copied side by side, some output planes at a time, so the copies
stay bounded. No copy is needed where one window is as deep as the unpadded input, nor where two axes that lie side by side have kernels of
one tap and merge into one. Reference: as for unfolding in `methods.conv_im2col`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch

Array = np.ndarray

BUDGET = 16 << 20  # bytes of copied planes at a time, as for unfolded input


@region
def gather(task, thread, x, planes, first, depth, stride, before, dilation):
    """An item and channel of planes (items, c, kd, plane) from x (n, c, d, plane): items are output planes, `depth` an image, counted from
    `first`; zeros for padding."""
    channels, taps, size = planes.shape[1:]
    item, c = task // channels, task % channels
    n, od = (first + item) // depth, (first + item) % depth
    for tap in range(taps):
        d = od * stride - before + tap * dilation
        target = planes[item, c, tap]
        if 0 <= d < x.shape[2]:
            source = x[n, c, d]
            for i in range(size):
                target[i] = source[i]
        else:
            target[:] = 0


@region
def place(task, thread, y, out, first):
    """An item and channel of out (n, c, d, plane) from y (items, c, plane), output planes counted from `first`."""
    channels, size = y.shape[1:]
    item, c = task // channels, task % channels
    n, od = (first + item) // out.shape[2], (first + item) % out.shape[2]
    source, target = y[item, c], out[n, c, od]
    for i in range(size):
        target[i] = source[i]


def _flattened(problem: Conv, **changes: Any) -> Conv:
    return dataclasses.replace(problem, op="conv2d", pool=None, **changes)


def as_stored(problem: Conv) -> Conv | None:
    """The 2-D convolution that this is with x and the output just as they lie in memory, if there is one."""
    axes = list(zip(problem.size, problem.kernel, problem.stride, problem.padding, problem.dilation))
    (d, h, w), (depth, rows, columns) = problem.size, axes
    free = [axis[1:4] == (1, 1, (0, 0)) for axis in axes]  # one tap at every position
    if free[0] and free[1]:
        c_in, two = problem.c_in, ((d * h, 1, 1, (0, 0), 1), columns)
    elif free[1] and free[2]:
        c_in, two = problem.c_in, (depth, (h * w, 1, 1, (0, 0), 1))
    elif (depth[1], *depth[3:]) == (d, (0, 0), 1):  # one window spans the depth
        c_in, two = problem.c_in * d, (rows, columns)
    else:
        return None
    size, kernel, stride, padding, dilation = zip(*two)
    return _flattened(problem, c_in=c_in, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def items(problem: Conv) -> int:
    """Output planes at a time where planes are copied."""
    each = problem.c_in * problem.kernel[0] * math.prod(problem.size[1:]) + problem.c_out * math.prod(problem.conv_size[1:])
    return max(1, min(problem.n * problem.conv_size[0], BUDGET // (each * problem.itemsize)))


def flat(problem: Conv) -> Conv:
    """The 2-D convolution, without the pool: of all that is stored, or of some output planes."""
    return as_stored(problem) or _flattened(
        problem, n=items(problem), c_in=problem.c_in * problem.kernel[0], size=problem.size[1:], kernel=problem.kernel[1:],
        stride=problem.stride[1:], padding=problem.padding[1:], dilation=problem.dilation[1:],
    )  # fmt: skip


def lowered(engine: str) -> Implementation:
    """The method called `engine`, for three axes."""

    def method() -> Implementation:
        return registry.every("conv")[engine]

    def sub_problems(problem: Conv) -> tuple[tuple[Any, int], ...]:
        return ((flat(problem), 1 if as_stored(problem) else -(-problem.n * problem.conv_size[0] // items(problem))),)

    def fuses(problem: Conv) -> bool:
        return problem.pool is None and method().fuses(flat(problem))

    def prepare(problem: Conv, threads: int) -> Prepared:
        plane = flat(problem)
        prepared = method().prepare(plane, threads)

        def flattened(operands: Operands) -> Run:
            assert operands.weight is not None
            weight = operands.weight.reshape(plane.weight_shape)  # (c_in/groups, kd) lie side by side as they are
            return prepared.pack(operands._replace(weight=weight))

        if as_stored(problem):

            def pack_stored(operands: Operands) -> Run:
                convolve = flattened(operands)
                return lambda x, out: convolve(x.reshape(plane.x_shape), out.reshape(plane.conv_shape))

            return dataclasses.replace(prepared, pack=pack_stored, note=f"x as it is stored: {plane} {prepared.note}")
        window = problem.conv_size[0], problem.stride[0], problem.padding[0][0], problem.dilation[0]
        copied, made = math.prod(plane.x_shape), math.prod(plane.conv_shape)
        scratch = Scratch((copied + made) * problem.itemsize)
        shape = plane.n, problem.c_in, problem.kernel[0], math.prod(problem.size[1:])
        x_shape, out_shape = (*problem.x_shape[:3], shape[3]), (*problem.conv_shape[:3], math.prod(problem.conv_size[1:]))
        used = threads_for((copied + made) * problem.itemsize / 4, threads)  # bytes a cycle that are read and written
        three, four = np.empty((0, 0, 0), problem.dtype), np.empty((0, 0, 0, 0), problem.dtype)
        fill, put = gather.ready(four, four, 0, *window), place.ready(three, four, 0)
        total, channels = problem.n * problem.conv_size[0], problem.conv_shape[1]

        def pack(operands: Operands) -> Run:
            convolve = flattened(operands)

            def run(x: Array, out: Array) -> None:
                buffer = scratch.take()
                memory = buffer.view(problem.dtype)
                planes, y = memory[:copied].reshape(shape), memory[copied:].reshape(plane.conv_shape)
                for step in range(0, total, plane.n):
                    first = min(step, total - plane.n)  # the last block goes back over planes done before: one shape serves all
                    fill(used, plane.n * problem.c_in, x.reshape(x_shape), planes, first, *window)
                    convolve(planes.reshape(plane.x_shape), y)
                    put(used, plane.n * channels, y.reshape(plane.n, -1, out_shape[3]), out.reshape(out_shape), first)
                scratch.give(buffer)

            return run

        note = f"{plane.n} output planes at a time: {plane} {prepared.note}"
        return Prepared(pack, prepared.workspace_bytes + scratch.nbytes, note)

    return Implementation(
        engine, "conv3d", lambda problem: method().refuse(flat(problem)), prepare, lambda problem: method().error_bound(flat(problem)),
        fuses, sub_problems, local=method().local,
    )  # fmt: skip


registry.lower("conv", "conv3d", lowered)

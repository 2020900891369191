"""The gradient of a max pool from its input alone: positions are found again, which costs less than to have kept them.

Positions take twice the memory of the outputs, and to find them in the layer takes several times what the maxima alone do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.api.grad_pool import windows_of
from kernels.dispatch.choices import REMEMBERED
from kernels.dispatch.preparation import REMEMBERED_BYTES
from kernels.problem.pool import Pool
from kernels.problem.request import request_of
from kernels.runtime.bounded_cache import Recent
from kernels.runtime.machine import Machine, machine
from kernels.runtime.pages import ALIGNMENT

Array = np.ndarray
Compute = Callable[[Array, Array, Array, int], None]

_computing: Recent[Compute] = Recent(REMEMBERED, REMEMBERED_BYTES)


def from_input(op: str, x: Array, grad: Array, arguments: tuple[Any, ...], threads: int, out: Array) -> None:
    """Into out, all of them contiguous arrays of one dtype, channels first, with a batch; arguments: kernel_size, stride, padding, dilation
    and ceil_mode of max_pool1d to max_pool3d, in tuples."""
    key = op, x.shape, x.dtype, arguments, machine()
    compute = _computing.get(key)
    if compute is None:
        compute, nbytes = _prepared(*key)
        _computing.put(key, compute, nbytes)
    compute(x, grad, out, threads)


def _prepared(
    op: str, shape: tuple[int, ...], dtype: np.dtype, arguments: tuple[Any, ...], spec: Machine
) -> tuple[Compute, int]:  # fmt: skip
    """What computes such a call, and the bytes that it holds: to find windows and look up compiled code takes longer than many a call."""
    from kernels.methods.gradients import maxima, pools  # brings Numba

    problem = request_of(op, shape, dtype, arguments, {}).problem
    assert isinstance(problem, Pool)
    windows = windows_of(problem)
    depth, height, width = *(1,) * (3 - len(problem.size)), *problem.size
    kernel, stride = ((*(1,) * (3 - len(some)), *some) for some in (problem.kernel, problem.stride))
    lanes, size, planes = spec.lanes(dtype.itemsize), dtype.itemsize, shape[0] * shape[1]
    outputs = tuple(len(axis.first) for axis in windows)
    held = sum(each.nbytes for axis in windows for each in axis[:3])
    whole = all(bool((axis.number == taps).all()) for axis, taps in zip(windows, kernel))
    _, kh, kw = kernel
    planar = depth == outputs[0] == 1 and all(axis.number.all() for axis in windows)  # no window sees padding alone
    side_by_side = planar and whole and _side_by_side(problem, kernel, stride)
    if side_by_side or (planar and kw >= maxima.LONG and windows[2].step == 1):
        plane = np.empty((1, 1, 1), dtype)
        if side_by_side:
            more: tuple[Any, ...] = maxima.back_to_taps(kh, kw, stride[2], lanes, size), (kh, kw, *stride[1:]), lanes, size
            launch = maxima.side_by_side.exact.ready(plane, plane, plane, *more)
        else:
            places = np.empty((1, 1), np.int64)
            more = *windows[1:], lanes, size
            longest = maxima.first_largest(lanes, size)
            launch = maxima.long_windows.exact.ready(plane, plane, plane, longest, places, *more)

        def by_vectors(x: Array, grad: Array, out: Array, threads: int) -> None:
            flat = x.reshape(planes, height, width), grad.reshape(planes, *outputs[1:]), out.reshape(planes, height, width)
            own = () if side_by_side else (longest, np.empty((threads, ALIGNMENT // 8), np.int64))
            launch(threads, planes, *flat, *own, *more)

        return by_vectors, held
    steps = [tap * axis.step for tap, axis in zip(np.indices(kernel).reshape(3, -1), windows)]
    taps = ((steps[0] * height + steps[1]) * width + steps[2]).astype(np.uint64)

    def one_by_one(x: Array, grad: Array, out: Array, threads: int) -> None:
        source, target, given = x.reshape(planes, -1), out.reshape(planes, -1), grad.reshape(planes, *outputs)
        pools.maxima.exact(threads, planes, source, given, target, taps, np.array((height, width)), *windows)

    return one_by_one, held + taps.nbytes


def _side_by_side(problem: Pool, kernel: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether windows begin where the input does and none meets another, and are small."""
    from kernels.methods.gradients.maxima import TAPS, WIDEST

    apart = all(step >= taps for step, taps in zip(stride, kernel)) and max(problem.dilation) == 1
    return apart and not any(before for before, _ in problem.padding) and kernel[1] * kernel[2] <= TAPS and stride[2] <= WIDEST

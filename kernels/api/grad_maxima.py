"""The gradient of a max pool from its input alone: positions are found again, which costs less than to have kept them.

Positions take twice the memory of the outputs, and to find them in the layer ten times what the maxima take alone. Of 8x64x96x64 in windows
of 2x2: 6.6 ms of a core here, 6.6 and 1.3 in the layer and to scatter (Zen 5, 2026-11-29).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.api.grad_pool import windows_of
from kernels.problem.pool import Pool
from kernels.problem.request import request
from kernels.runtime.machine import machine
from kernels.runtime.scratch import ALIGNMENT

Array = np.ndarray


def from_input(op: str, x: Array, grad: Array, arguments: tuple[Any, ...], threads: int, out: Array) -> None:
    """Into out, all of them contiguous arrays of one dtype, channels first, with a batch; arguments: kernel_size, stride, padding, dilation
    and ceil_mode of max_pool1d to max_pool3d."""
    from kernels.methods.gradients import maxima, pools  # brings Numba

    problem = request(op, x.shape, x.dtype, arguments, {}).problem
    assert isinstance(problem, Pool)
    windows = windows_of(problem)
    depth, height, width = *(1,) * (3 - len(problem.size)), *problem.size
    kernel, stride = ((*(1,) * (3 - len(some)), *some) for some in (problem.kernel, problem.stride))
    planes = x.shape[0] * x.shape[1]
    lanes, size = machine().lanes(x.itemsize), x.itemsize
    given = grad.reshape(planes, *(len(axis.first) for axis in windows))
    whole = all(bool((axis.number == taps).all()) for axis, taps in zip(windows, kernel))
    _, kh, kw = kernel
    if depth == 1 and whole and _side_by_side(problem, kernel, stride):
        compiled = maxima.back_to_taps(kh, kw, stride[2], lanes, size)
        flat = x.reshape(planes, height, width), given[:, 0], out.reshape(planes, height, width)
        maxima.side_by_side.exact(threads, planes, *flat, compiled, (kh, kw, *stride[1:]), lanes, size)
        return
    if depth == 1 and kw >= maxima.LONG and windows[2].step == 1:
        flat = x.reshape(planes, height, width), given[:, 0], out.reshape(planes, height, width)
        places = np.empty((threads, ALIGNMENT // 8), np.int64)
        maxima.long_windows.exact(threads, planes, *flat, maxima.first_largest(lanes, size), places, *windows[1:], lanes, size)
        return
    steps = [tap * axis.step for tap, axis in zip(np.indices(kernel).reshape(3, -1), windows)]
    taps = ((steps[0] * height + steps[1]) * width + steps[2]).astype(np.uint64)
    source, target = x.reshape(planes, -1), out.reshape(planes, -1)
    pools.maxima.exact(threads, planes, source, given, target, taps, np.array((height, width)), *windows)


def _side_by_side(problem: Pool, kernel: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether windows begin where the input does and none meets another, and are small."""
    from kernels.methods.gradients.maxima import TAPS, WIDEST

    apart = all(step >= taps for step, taps in zip(stride, kernel)) and max(problem.dilation) == 1
    return apart and not any(before for before, _ in problem.padding) and kernel[1] * kernel[2] <= TAPS and stride[2] <= WIDEST

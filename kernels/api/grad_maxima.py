"""The gradient of a max pool from its input alone: positions are found again, which costs less than to have kept them.

Positions take twice the memory of the outputs, and to find them in the layer ten times what the maxima take alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.api.grad_pool import windows_of
from kernels.problem.pool import Pool
from kernels.problem.request import request

Array = np.ndarray


def from_input(op: str, x: Array, grad: Array, arguments: tuple[Any, ...], threads: int, out: Array) -> None:
    """Into out, all of them contiguous arrays of one dtype, channels first, with a batch; arguments: kernel_size, stride, padding, dilation
    and ceil_mode of max_pool1d to max_pool3d."""
    from kernels.methods.gradients import pools  # brings Numba

    problem = request(op, x.shape, x.dtype, arguments, {}).problem
    assert isinstance(problem, Pool)
    windows = windows_of(problem)
    sizes = [(*(1,) * (3 - (len(each.shape) - 2)), *each.shape[2:]) for each in (x, grad)]
    source, given, target = (
        each.reshape(-1, *size) for each, size in ((x, sizes[0]), (grad, sizes[1]), (out, sizes[0]))
    )  # fmt: skip
    pools.maxima(threads, len(target), source, given, target, *windows)

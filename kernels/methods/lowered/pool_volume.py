"""Pooling over three axes by any method of two: windows over each plane first, then along depth.

A maximum of maxima is the maximum, and since a window's box is cut at the edges along each axis by itself, the divisor of an average is the
product of the axes' own, so an average of averages is the average. Positions of maxima are found along depth, then looked up in the planes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.operands import Operands
from kernels.problem.pool import Pool
from kernels.runtime.scratch import Scratch

Array = np.ndarray


def planes(problem: Pool) -> Pool:
    """The pooling of every plane; sums where the divisor is given."""
    return dataclasses.replace(
        problem, op=problem.op.replace("3d", "2d"), c_in=problem.c_in * problem.size[0], size=problem.size[1:], kernel=problem.kernel[1:],
        stride=problem.stride[1:], padding=problem.padding[1:], dilation=problem.dilation[1:],
        divisor_override=1 if problem.divisor_override else None,
    )  # fmt: skip


def depths(problem: Pool) -> Pool:
    """What follows along depth: each pooled plane is one long row."""
    return dataclasses.replace(
        problem, op=problem.op.replace("3d", "2d"), size=(problem.size[0], math.prod(problem.out_size[1:])), kernel=(problem.kernel[0], 1),
        stride=(problem.stride[0], 1), padding=(problem.padding[0], (0, 0)), dilation=(problem.dilation[0], 1),
    )  # fmt: skip


def lowered(engine: str) -> Implementation:
    """The method called `engine`, for three axes."""

    def method() -> Implementation:
        return registry.every("pool")[engine]

    def sub_problems(problem: Pool) -> tuple[tuple[Any, int], ...]:
        return (planes(problem), 1), (depths(problem), 1)

    def refuse(problem: Pool) -> str | None:
        return method().refuse(planes(problem)) or method().refuse(depths(problem))

    def error_bound(problem: Pool) -> float:
        return sum(method().error_bound(part) for part, _ in sub_problems(problem))

    def prepare(problem: Pool, threads: int) -> Prepared:
        first, second = planes(problem), depths(problem)
        across, along = (method().prepare(part, threads) for part in (first, second))
        pool_planes, pool_depths = (prepared.pack(Operands()) for prepared in (across, along))
        scratch = Scratch(math.prod(first.out_shape) * problem.itemsize)
        volumes = problem.n, problem.c_in, -1

        def run(x: Array, out: Array, indices: Array | None = None) -> None:
            buffer = scratch.take()
            pooled, source, result = buffer.view(problem.dtype), x.reshape(first.x_shape), out.reshape(second.out_shape)
            if indices is None:
                pool_planes(source, pooled.reshape(first.out_shape))
                pool_depths(pooled.reshape(second.x_shape), result)
                scratch.give(buffer)
                return
            where = np.empty(first.out_shape, np.int64)
            pool_planes(source, pooled.reshape(first.out_shape), where)
            pool_depths(pooled.reshape(second.x_shape), result, indices.reshape(second.out_shape))
            # the depth and the pooled place, which knows the position in its plane
            deep = indices.reshape(volumes)
            found = np.take_along_axis(where.reshape(volumes), deep, axis=2)
            deep[...] = deep // second.size[1] * math.prod(first.size) + found
            scratch.give(buffer)

        note = f"{first} {across.note}, then {second} {along.note}"
        return Prepared(without_operands(run), across.workspace_bytes + along.workspace_bytes + scratch.nbytes, note)

    return Implementation(engine, "pool3d", refuse, prepare, error_bound, sub_problems=sub_problems)


registry.lower("pool", "pool3d", lowered)

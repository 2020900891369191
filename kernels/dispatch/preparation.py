"""What a plan runs, prepared and remembered: the method's own preparation, followed by whatever of the epilogue it does not fuse."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kernels.dispatch import choices
from kernels.dispatch.choices import REMEMBERED, choice_for
from kernels.dispatch.heuristic import Choice
from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv, Problem, pool_problem
from kernels.problem.operands import Operands
from kernels.runtime.bounded_cache import Recent
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch

Array = np.ndarray

REMEMBERED_BYTES = 256 << 20  # of scratch space

_prepared: Recent[Prepared] = Recent(REMEMBERED, REMEMBERED_BYTES)


def forget() -> None:
    """Drop what is remembered of recent problems, what was chosen for them too."""
    choices.forget()
    _prepared.forget()


def prepare(problem: Problem, choice: Choice, threads: int, *, last: bool = False, packs: bool = False) -> Prepared:
    """What the implementation prepares for the whole problem, remembered; last: for arrays with channels last; packs: for calls that bring
    operands of their own."""
    method = choice.implementation
    unpacked = None if last or not packs else method.prepare_unpacked
    key = problem, choice.name, threads, last, unpacked is None, machine()  # most methods have one preparation for plans and calls
    found = _prepared.get(key)
    if found is None:
        if unpacked:
            method = dataclasses.replace(method, prepare=unpacked)
        found = _with_channels_last(problem, choice, threads) if last else _composed(problem, method, threads)
        _prepared.put(key, found, found.workspace_bytes)
    return found


def _composed(problem: Problem, implementation: Implementation, threads: int) -> Prepared:
    """The implementation's own preparation, followed by whatever of the epilogue it does not fuse."""
    if not isinstance(problem, Conv) or problem.is_bare or implementation.fuses(problem):
        return implementation.prepare(problem, threads)
    return _pooled(problem, implementation, threads) if problem.pool else _followed(problem, implementation, threads)


def _followed(problem: Conv, implementation: Implementation, threads: int) -> Prepared:
    """The bare convolution, then scale, shift and activation in place."""
    from kernels.primitives import elementwise as epilogue  # brings Numba, see `methods.load`

    bare = implementation.prepare(problem.bare(), threads)
    steps = epilogue.prepare(problem, threads)

    def pack(operands: Operands) -> Run:
        convolve, follow = bare.pack(Operands(operands.weight, operands.bias)), steps(operands)

        def followed(x: Array, out: Array) -> None:
            convolve(x, out)
            follow(out)

        return followed

    return Prepared(pack, bare.workspace_bytes, bare.note)


def _pooled(problem: Conv, implementation: Implementation, threads: int) -> Prepared:
    """The convolution with all but its pool, then the pool."""
    unpooled = _composed(dataclasses.replace(problem, pool=None), implementation, threads)
    pooling = pool_problem(problem)
    pool = prepare(pooling, choice_for(pooling, "auto", threads), threads)
    before_pool = math.prod(problem.conv_shape) * problem.itemsize
    scratch = Scratch(before_pool)

    def pack(operands: Operands) -> Run:
        convolve, reduce = unpooled.pack(operands), pool.pack(Operands())

        def pooled(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y = buffer.view(problem.dtype).reshape(problem.conv_shape)
            convolve(x, y)
            reduce(y, out)
            scratch.give(buffer)

        return pooled

    return Prepared(pack, unpooled.workspace_bytes + pool.workspace_bytes + before_pool, unpooled.note)


def _with_channels_last(problem: Problem, choice: Choice, threads: int) -> Prepared:
    """The same for channels last: by the implementation itself where it knows how, else transposed before and after."""
    from kernels.primitives.channels_last import channels_last  # brings Numba, see `methods.load`

    implementation = choice.implementation
    if implementation.prepare_last and isinstance(problem, Conv) and (problem.is_bare or implementation.fuses(problem)):
        return implementation.prepare_last(problem, threads)
    return channels_last(prepare(problem, choice, threads), problem, threads)

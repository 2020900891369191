"""Neighbouring stages that can be done at once become one, where that changes nothing but rounding.

A batch norm goes into the weights before it, an activation into the convolution's epilogue, a pool too where the method that is chosen
pools inside. A batch norm in front of a pool moves behind it, where there is less to do: averages commute with it, maxima where its factors
are positive.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.api.batch_norm import fold_batch_norm
from kernels.dispatch.heuristic import Choice
from kernels.dispatch.plan import choice_for
from kernels.network.layers import Join, Linear, Pointwise, Stage, Window, named
from kernels.problem.arrays import canonical, result_dtypes
from kernels.problem.conv import Conv, ConvTranspose, Problem
from kernels.problem.operands import Operands
from kernels.problem.options import Request

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Choosing:
    """What plans will be made for: threads, and seconds to measure each problem for (0: estimates decide)."""

    threads: int
    budget: float = 0.0

    def choice(self, problem: Problem, name: str) -> Choice:
        """What is taken for a problem, measured first where that was asked for."""
        if self.budget and name == "auto":
            from kernels.dispatch.measure import measure  # brings Numba

            measure(problem, self.threads, self.budget)
        return choice_for(problem, name, self.threads)


def fuse(stages: Sequence[Stage], choosing: Choosing) -> tuple[Stage, ...]:
    """Neighbours that can be done at once, joined."""
    for i, (first, second) in enumerate(itertools.pairwise(stages)):
        joined = _fused(first, second, choosing)
        if joined:
            return fuse([*stages[:i], *joined, *stages[i + 2 :]], choosing)
    return tuple(
        dataclasses.replace(each, branches=tuple(fuse(branch, choosing) for branch in each.branches)) if isinstance(each, Join) else each
        for each in stages
    )


def _fused(first: Stage, second: Stage, choosing: Choosing) -> list[Stage] | None:
    """What two stages become, None if they stay as they are."""
    where, words = tuple(dict.fromkeys(first.where + second.where)), first.words + second.words
    both: dict[str, Any] = {"where": where, "words": words, "out_shape": second.out_shape, "dtype": second.dtype}
    if isinstance(second, Pointwise) and getattr(first, "activation", None) is None:
        if isinstance(first, Pointwise) and second.scale is None:
            return [dataclasses.replace(first, **both, activation=second.activation)]
        if isinstance(first, Linear) and second.axis == len(second.x_shape) - 1:
            folded = (first.weight, first.bias) if second.scale is None else _folded(first.weight, first.bias, second)
            return [dataclasses.replace(first, **both, weight=folded[0], bias=folded[1], activation=second.activation)]
        if isinstance(first, Window) and first.conv and first.conv.activation is None and second.axis == 1:
            asked = _into_convolution(first, first.conv, second)
            return [dataclasses.replace(first, **both, asked=asked)] if asked else None
    if isinstance(second, Window) and second.pool:
        if isinstance(first, Window) and first.conv:
            pooled = dataclasses.replace(first.conv, pool=second.pool)
            with named(first.index):
                inside = choosing.choice(pooled, first.implementation).implementation.fuses(pooled)
            if inside:
                signature = dataclasses.replace(first.asked.signature, out_shape=second.out_shape)
                return [dataclasses.replace(first, **both, asked=dataclasses.replace(first.asked, problem=pooled, signature=signature))]
        if isinstance(first, Pointwise) and first.scale is not None and first.activation is None and first.axis == 1 and (
            second.pool[0] == "avg" or (first.scale > 0).all()
        ):  # fmt: skip
            return [second, dataclasses.replace(first, x_shape=second.out_shape, out_shape=second.out_shape)]
    return None


def _into_convolution(stage: Window, problem: Conv, after: Pointwise) -> Request | None:
    """The convolution with a batch norm in its weights and an activation at its end; None where it has a scale of its own."""
    operands = stage.asked.operands
    if after.scale is not None:
        if problem.scale:
            return None
        assert operands.weight is not None
        transposed = isinstance(problem, ConvTranspose)
        operands = Operands(*_folded(operands.weight, operands.bias, after, transposed=transposed, groups=problem.groups))
        problem = dataclasses.replace(problem, bias=True)
    problem = dataclasses.replace(problem, activation=after.activation)
    return dataclasses.replace(stage.asked, problem=problem, operands=operands)


def _folded(weight: Array, bias: Array | None, after: Pointwise, **which: Any) -> tuple[Array, Array]:
    """(weight, bias) of the layer that does the scale and shift too, in the dtype of weight."""
    assert after.scale is not None
    count = np.zeros(len(after.scale)), np.ones(len(after.scale))
    folded = fold_batch_norm(weight, bias, *count, after.scale, after.shift, eps=0.0, **which)
    dtype = result_dtypes([weight.dtype])[0]
    return canonical(folded[0], dtype, weight.shape), canonical(folded[1], dtype, after.scale.shape)

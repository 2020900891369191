"""Neighbouring stages that can be done at once become one, where that changes nothing but rounding.

A batch norm goes into the weights before it, an activation into the convolution's epilogue, a pool too where the method that is chosen
pools inside. A batch norm in front of a pool moves behind it, where there is less to do: averages commute with it, maxima where its factors
are positive. Where some are negative, as trained ones are, the convolution's own weights change sign for those channels, so that the
maximum finds what was the minimum: act(min z) = act(-max -z), and the rest is done on the pooled map. A batch norm behind a pool goes
into the weights of the convolution before the pool.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.api.batch_norm import fold_batch_norm
from kernels.dispatch.choices import choice_for
from kernels.dispatch.heuristic import Choice
from kernels.dispatch.measure import measure
from kernels.network.layers import Join, Linear, Pointwise, Stage, Window, named
from kernels.problem.arrays import canonical, result_dtypes
from kernels.problem.conv import Conv, ConvTranspose, Problem
from kernels.problem.operands import Operands
from kernels.problem.options import Request

Array = np.ndarray


RISING = "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "hardsigmoid"
FEWER = 2  # times as few numbers behind a pool as before it, from which two passes there cost no more than one before


@dataclasses.dataclass(frozen=True)
class Choosing:
    """What plans will be made for: threads, and seconds to measure each problem for (0: estimates decide)."""

    threads: int
    budget: float = 0.0

    def choice(self, problem: Problem, name: str) -> Choice:
        """What is taken for a problem, measured first where that was asked for."""
        if self.budget and name == "auto":
            measure(problem, self.threads, self.budget)
        return choice_for(problem, name, self.threads)


def fuse(stages: Sequence[Stage], choosing: Choosing) -> tuple[Stage, ...]:
    """Neighbours that can be done at once, joined."""
    for i in range(len(stages) - 1):
        three = stages[i : i + 3]
        joined = (_into_weights(*three) or _signs_into_weights(*three)) if len(three) == 3 else None
        if joined:
            return fuse([*stages[:i], *joined, *stages[i + 3 :]], choosing)
        joined = _fused(stages[i], stages[i + 1], choosing)
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
        if isinstance(first, Linear) and (second.scale is None or second.axis == len(second.x_shape) - 1):
            folded = (first.weight, first.bias) if second.scale is None else _folded(first.weight, first.bias, second)
            return [dataclasses.replace(first, **both, weight=folded[0], bias=folded[1], activation=second.activation)]
        if isinstance(first, Window) and first.conv and first.conv.activation is None and second.axis == 1:
            request = _into_convolution(first, first.conv, second)
            return [dataclasses.replace(first, **both, request=request)] if request else None
    if isinstance(second, Window) and second.pool:
        if isinstance(first, Window) and first.conv:
            pooled = dataclasses.replace(first.conv, pool=second.pool)
            with named(first.index):
                inside = choosing.choice(pooled, first.implementation).implementation.fuses(pooled)
            if inside:
                signature = dataclasses.replace(first.request.signature, out_shape=second.out_shape)
                return [dataclasses.replace(first, **both, request=dataclasses.replace(first.request, problem=pooled, signature=signature))]
        if isinstance(first, Pointwise) and first.scale is not None and first.activation is None and first.axis == 1 and (
            second.pool[0] == "avg" or (first.scale > 0).all()
        ):  # fmt: skip
            return [second, dataclasses.replace(first, x_shape=second.out_shape, out_shape=second.out_shape)]
    return None


def _rising(activation: tuple[str, float] | None) -> bool:
    """Whether an activation never falls, so that it commutes with maxima."""
    return activation is None or (activation[0] in RISING and activation[1] >= 0)


def _into_weights(first: Stage, second: Stage, third: Stage) -> list[Stage] | None:
    """A convolution, a pool and what commutes with it, a batch norm or an activation: the pool last, so that the convolution takes that."""
    if not (isinstance(first, Window) and first.conv and first.conv.activation is None and not first.conv.scale):
        return None
    if not (isinstance(second, Window) and second.pool and isinstance(third, Pointwise) and third.axis == 1):
        return None
    average = second.pool[0] == "avg"
    if not (average or third.scale is None or (third.scale > 0).all()):
        return None
    if third.scale is None and (average or not _rising(third.activation)):
        return None
    early = not average and _rising(third.activation)
    moved = dataclasses.replace(
        third, x_shape=first.out_shape, out_shape=first.out_shape, activation=third.activation if early else None
    )
    left = [] if early or third.activation is None else [dataclasses.replace(third, scale=None, shift=None)]
    return [first, moved, second, *left]


def _signs_into_weights(first: Stage, second: Stage, third: Stage) -> list[Stage] | None:
    """A convolution with an activation, a batch norm with negative factors and a maximum: signs go into the weights, the rest behind."""
    if not (isinstance(first, Window) and first.conv and _rising(first.conv.activation)):
        return None
    if not (isinstance(second, Pointwise) and second.scale is not None and second.axis == 1 and second.activation is None):
        return None
    if not (isinstance(third, Window) and third.pool and third.pool[0] == "max" and (second.scale < 0).any()):
        return None
    if FEWER * math.prod(third.out_shape) > math.prod(second.out_shape):
        return None
    signs, problem = np.where(second.scale < 0, -1.0, 1.0), first.conv
    after: dict[str, Any] = {"x_shape": third.out_shape, "out_shape": third.out_shape}
    flip = dataclasses.replace(second, words=("sign",), scale=signs, shift=np.zeros_like(signs), **after)
    operands = first.request.operands
    if problem.scale:
        assert operands.scale is not None and operands.shift is not None
        signed = signs.astype(operands.scale.dtype)
        operands = operands._replace(scale=operands.scale * signed, shift=operands.shift * signed)
    else:
        assert operands.weight is not None
        transposed = isinstance(problem, ConvTranspose)
        weight, bias = _folded(operands.weight, operands.bias, flip, transposed=transposed, groups=problem.groups)
        operands = operands._replace(weight=weight, bias=bias if problem.bias else None)
    bare = dataclasses.replace(problem, activation=None)
    convolution = dataclasses.replace(first, request=dataclasses.replace(first.request, problem=bare, operands=operands))
    flip = dataclasses.replace(flip, activation=problem.activation)
    return [convolution, third, flip, dataclasses.replace(second, **after)]


def _into_convolution(stage: Window, problem: Conv, after: Pointwise) -> Request | None:
    """The convolution with a batch norm in its weights and an activation at its end; None where it has a scale of its own."""
    operands = stage.request.operands
    if after.scale is not None:
        if problem.scale:
            return None
        assert operands.weight is not None
        transposed = isinstance(problem, ConvTranspose)
        operands = Operands(*_folded(operands.weight, operands.bias, after, transposed=transposed, groups=problem.groups))
        problem = dataclasses.replace(problem, bias=True)
    problem = dataclasses.replace(problem, activation=after.activation)
    return dataclasses.replace(stage.request, problem=problem, operands=operands)


def _folded(weight: Array, bias: Array | None, after: Pointwise, **which: Any) -> tuple[Array, Array]:
    """(weight, bias) of the layer that does the scale and shift too, in the dtype of weight."""
    assert after.scale is not None
    count = np.zeros(len(after.scale)), np.ones(len(after.scale))
    folded = fold_batch_norm(weight, bias, *count, after.scale, after.shift, eps=0.0, **which)
    dtype = result_dtypes([weight.dtype])[0]
    return canonical(folded[0], dtype, weight.shape), canonical(folded[1], dtype, after.scale.shape)

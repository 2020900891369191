"""Windows of many taps that move on by many, as transforms of frames do: frames are copied out and become products.

Cosines and sines under a window are even and odd about the middle of a frame: a frame is folded first, its halves added and subtracted, and
its products are half as long.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kernels.cost.calibration import calibration
from kernels.dispatch.choices import choice_for
from kernels.network.graph import Node
from kernels.network.lowering import Lowering
from kernels.network.mirrored import Mirrored, mirrored
from kernels.network.plans import bind_plan, plan_of
from kernels.network.views import Array, View
from kernels.primitives.vector_program import Operation
from kernels.problem.conv import Conv, Problem
from kernels.problem.operands import Operands
from kernels.problem.options import Signature

LONG, WIDE, MANY = 128, 64, 128  # taps, output channels and frames from which copied frames were measured to cost less
DOUBT = 0.9  # of another method's estimate: what folded frames must be below; the two err apart by a tenth


def as_frames(lowering: Lowering, node: Node, problem: Problem, x: View, operands: Operands) -> bool:
    """A window of many taps that moves on by many along one axis: its columns are copied out, each tap's numbers of all frames side by
    side, and become the channels of a layer of one tap. Direct sums then read whole vectors."""
    if not isinstance(problem, Conv) or len(problem.size) != 2 or problem.size[0] != 1 or problem.kernel[0] != 1 or problem.groups > 1:
        return False
    if problem.pool or any(map(any, problem.padding)) or problem.c_in != 1 or problem.n == 0 or problem.stride[1] == 1:
        return False
    if problem.kernel[1] < LONG or problem.c_out < WIDE or problem.conv_size[1] < MANY:
        return False
    threads = lowering.settings.threads
    picks = choice_for(problem, "auto", threads).implementation.picks_strides
    rank, taps, frames = len(x.shape), problem.kernel[1], problem.conv_size[1]
    inner = dataclasses.replace(problem, c_in=taps, size=(1, frames), kernel=(1, 1), stride=(1, 1), dilation=(1, 1))
    weight = None if operands.weight is None else operands.weight.reshape(problem.c_out, taps)
    halves = mirrored(weight) if weight is not None else None
    if halves is not None and not _pays(inner, halves, _seconds(inner, threads) if picks else _seconds(problem, threads, DOUBT), threads):
        halves = None
    if halves is None and not picks:
        return False
    strides = (x.strides[0], x.strides[-1] * problem.dilation[1], 1, x.strides[-1] * problem.stride[1])
    columns = lowering.temporary((problem.n, taps, 1, frames), x.dtype)
    lowering.copy(node, View(x.buffer, x.offset, columns.shape, strides, x.dtype), columns)
    y = lowering.new(node.y, range(rank), anywhere=False)
    if halves is not None:
        _folded(lowering, node, inner, halves, columns, y, operands.bias)
    else:
        given = operands._replace(weight=None if weight is None else weight[:, :, None, None])
        _product(lowering, node, inner, [(columns, y)], given, "frames")
    return True


def _product(lowering: Lowering, node: Node, problem: Conv, places: list[tuple[View, View]], operands: Operands, what: str) -> None:
    """A layer of one tap as a step for each x and y, which are contiguous; its weights are packed once."""
    plan = plan_of(lowering, problem, Signature(problem.x_shape, problem.out_shape, np.dtype(problem.dtype), 2), operands)
    bind, own = bind_plan(plan, problem.x_shape, problem.out_shape), plan.workspace_bytes
    for x, y in places:
        lowering.step(node, [x], [y], bind, f"{what}, {plan.implementation}", plan.seconds, own=own)
        own = 0


def _parts(problem: Conv, found: Mirrored) -> list[Conv]:
    """The products of folded frames of one image."""
    return [dataclasses.replace(problem, n=1, c_in=run.weight.shape[1], c_out=run.stop - run.start) for run in found.runs]


def _pays(problem: Conv, found: Mirrored, whole: float | None, threads: int) -> bool:
    """Whether folding and its products are estimated lower than what would be done otherwise."""
    halves = [_seconds(part, threads) for part in _parts(problem, found)]
    folding = 2 * problem.n * problem.c_in * problem.size[1] * problem.itemsize / calibration().bandwidth
    return whole is not None and None not in halves and problem.n * sum(filter(None, halves)) + folding < whole


def _folded(lowering: Lowering, node: Node, problem: Conv, found: Mirrored, columns: View, y: View, bias: Array | None) -> None:
    """Frames are folded, image by image multiplied with the rows that are even and those that are odd."""
    half = len(found.singles) + found.pairs
    folded = lowering.temporary((problem.n, half + found.pairs, 1, problem.size[1]), columns.dtype)
    _fold(lowering, node, found, columns, folded)
    for run, part in zip(found.runs, _parts(problem, found)):
        given = Operands(run.weight[:, :, None, None], None if bias is None else bias[run.start : run.stop])
        start, length = (half, found.pairs) if run.odd else (0, half)
        places = [
            (folded.part(0, image, 1).part(1, start, length), y.part(0, image, 1).part(1, run.start, run.stop - run.start))
            for image in range(problem.n)
        ]
        _product(lowering, node, part, places, given, "odd frames" if run.odd else "even frames")


def _seconds(problem: Conv, threads: int, times: float = 1.0) -> float | None:
    """What is estimated for a problem, if anything is, so many times."""
    seconds = choice_for(problem, "auto", threads).seconds
    return None if seconds is None else times * seconds


def _fold(lowering: Lowering, node: Node, found: Mirrored, columns: View, folded: View) -> None:
    """Positions that are read as they are, sums of pairs, differences of pairs."""
    singles, pairs = len(found.singles), found.pairs
    for i, position in enumerate(found.singles):
        lowering.copy(node, columns.part(1, position, 1), folded.part(1, i, 1))
    left, right = columns.part(1, found.first, pairs), columns.part(1, found.total - found.first, pairs, -1)
    outs = [(2, folded.part(1, singles, pairs)), (3, folded.part(1, singles + pairs, pairs))]
    operations = [Operation("add", 2, (0, 1)), Operation("sub", 3, (0, 1))]
    lowering.program(node, np.dtype(columns.dtype), [left, right], outs, operations, "folded frames")

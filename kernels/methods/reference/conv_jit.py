"""The same loops as the definition, compiled by Numba and shared out over output channels: what anybody would write first.

It shows what a compiler alone gives: no blocking for caches or registers, an index check per tap, one running sum that each addition
waits for. It beats plain Python a hundredfold and loses to everything else on all but tiny layers.
Reference: S. K. Lam, A. Pitrou, S. Seibert, "Numba: a LLVM-based Python JIT compiler", LLVM-HPC 2015.
"""

from __future__ import annotations

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import memory_seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.reference.pieces import count, pieces
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.jit import njit
from kernels.runtime.regions import region

Array = np.ndarray

SPEED = 5e8  # operations a second of one core
CYCLES = 3  # for an operation: the running sum waits for each addition


@njit
def channel(x, weight, bias, out, stride, before, dilation):
    """One output channel out (oh, ow) from the channels x (c, h, w) of its group and one filter weight (c, kh, kw)."""
    _, height, width = x.shape
    for oh in range(out.shape[0]):
        for ow in range(out.shape[1]):
            total = bias
            for c in range(weight.shape[0]):
                for kh in range(weight.shape[1]):
                    h = oh * stride[0] - before[0] + kh * dilation[0]
                    if h < 0 or h >= height:
                        continue
                    for kw in range(weight.shape[2]):
                        w = ow * stride[1] - before[1] + kw * dilation[1]
                        if 0 <= w < width:
                            total += weight[c, kh, kw] * x[c, h, w]
            out[oh, ow] = total


@region
def loops(task, thread, x, weight, bias, out, stride, before, dilation, groups, piece):
    """A piece of a plane of out (n, c_out, oh, ow) from x (n, c_in, h, w); stride, before, dilation, piece are (h, w) pairs."""
    (c_out, ins), (oh, ow) = weight.shape[:2], out.shape[2:]
    across = (ow + piece[1] - 1) // piece[1]
    each = (oh + piece[0] - 1) // piece[0] * across
    image, part = task // each, task % each
    n, j = image // c_out, image % c_out
    first = j // (c_out // groups) * ins
    top, left = part // across * piece[0], part % across * piece[1]
    within = before[0] - top * stride[0], before[1] - left * stride[1]
    some = out[n, j, top : min(top + piece[0], oh), left : min(left + piece[1], ow)]
    channel(x[n, first : first + ins], weight[j], bias[j], some, stride, within, dilation)


def prepare(problem: Conv, threads: int) -> Prepared:
    """Compile."""
    (oh, ow), planes = problem.conv_size, problem.n * problem.c_out
    piece = pieces(problem.flops / SPEED / max(planes, 1), oh, ow)
    tasks = planes * count(oh, ow, piece)
    rest = problem.stride, (problem.padding[0][0], problem.padding[1][0]), problem.dilation, problem.groups, piece
    no_bias = np.zeros(problem.c_out, problem.dtype)
    four = np.empty((0, 0, 0, 0), problem.dtype)
    launch, threads = loops.ready(four, four, no_bias, four, *rest), threads_for(problem.flops * CYCLES, threads)

    def pack(operands: Operands) -> Run:
        weight, bias = operands.weight, no_bias if operands.bias is None else operands.bias

        def run(x: Array, out: Array) -> None:
            launch(threads, tasks, x, weight, bias, out, *rest)

        return run

    return Prepared(pack)


def estimate(problem: Conv) -> float:
    """Its operations, and what memory takes."""
    return problem.flops / SPEED + memory_seconds(problem)


registry.add(Implementation("jit", "conv", lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=2, sum_order="loops"))

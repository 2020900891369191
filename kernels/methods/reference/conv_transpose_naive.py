"""The definition of a transposed convolution in plain Python loops: every input value stamps the kernel, times itself, onto the output.

Stamps of neighbours lie `stride` apart and add where they overlap, so a stride of 2 doubles the size. It is here to be read and to be
compared with, and loses to everything on time. Reference: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep
learning", arXiv 1603.07285, section 4.
"""

from __future__ import annotations

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands

Array = np.ndarray

SPEED = 1e7  # operations a second, of which a multiply-add is two


def stamp(problem: ConvTranspose, channel: Array, kernel: Array, out: Array) -> None:
    """Add what one input channel makes with one kernel to one output channel; what falls on the cropped rim is dropped."""
    for place in np.ndindex(channel.shape):
        for tap in np.ndindex(kernel.shape):
            axes = zip(place, tap, problem.stride, problem.dilation, problem.padding)
            target = tuple(i * s + t * d - before for i, t, s, d, (before, _) in axes)
            if all(0 <= o < length for o, length in zip(target, out.shape)):
                out[target] += float(kernel[tap]) * float(channel[place])


def prepare(problem: ConvTranspose, threads: int) -> Prepared:
    """Nothing to prepare."""
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups

    def pack(operands: Operands) -> Run:
        weight, bias = operands.weight, operands.bias
        assert weight is not None

        def run(x: Array, out: Array) -> None:
            for n in range(problem.n):
                for j in range(problem.c_out):
                    total = np.zeros(problem.conv_size)
                    for c in range(j // outs * ins, (j // outs + 1) * ins):
                        stamp(problem, x[n, c], weight[c, j % outs], total)
                    out[n, j] = total + (float(bias[j]) if bias is not None else 0.0)

        return run

    return Prepared(pack)


def estimate(problem: ConvTranspose) -> float:
    """Its operations."""
    return problem.flops / SPEED


registry.add(
    Implementation(
        "naive", "conv_transpose", lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=1, sum_order="definition"
    )
)

"""Depthwise convolution by rows: each output channel sees one input channel, so there is no sum over channels to share.

Every output line is a sum of kh*kw shifted input vectors, times one weight each; packing puts zeros where padding is and strided
columns side by side, and the arithmetic hides behind memory. Long lines go through in pieces that stay in the first-level cache, and
results that will not fit the last-level cache bypass it. It loses on many taps over few channels, which pay for one load each, and
refuses more input channels per group, where register tiles over several output channels reuse what they load. Reference: P. Zhang, E.
Lo, B. Lu, "High performance depthwise and pointwise convolutions on mobile devices", AAAI 2020, arXiv 2001.02504.
"""

from __future__ import annotations

import math

from kernels import registry
from kernels.blocks import prepare_blocks
from kernels.calibration import worth
from kernels.cuts.depthwise import best
from kernels.implementation import Implementation, Prepared, rounding_bound
from kernels.machine import machine
from kernels.microkernels.row import row
from kernels.microkernels.smooth import codes
from kernels.problem import Conv, Problem


def refuse(problem: Problem) -> str | None:
    """More than one input channel per group."""
    assert isinstance(problem, Conv)
    if problem.groups != problem.c_in:
        return f"it takes one input channel per group, this has {problem.c_in // problem.groups}; direct does it"
    return None


def prepare(problem: Conv, threads: int) -> Prepared:
    """Cut into blocks, compile the row."""
    # results that another pass reads must stay in cache
    stream = math.prod(problem.conv_shape) * problem.itemsize > machine().l3 and not codes(problem.activation)[0]
    block = best(problem)
    threads = worth(threads, block.cycles)
    line = block.rows * block.columns
    return prepare_blocks(problem, threads, block, lambda m, n, lanes, itemsize: row(stream, lanes, itemsize), line)


def fuses(problem: Conv) -> bool:
    """Scale, shift and activation are applied, pools are not."""
    return problem.pool is None


registry.add(Implementation("depthwise", "conv", refuse, prepare, rounding_bound, fuses))

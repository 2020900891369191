"""The definition of a convolution layer, told step by step in plain Python loops.

Step 1: each kernel of a filter slides over its own input channel and gives one processed channel. Step 2: the processed channels are
summed. Step 3: the filter's one bias is added. One filter gives one output channel, J filters give J. It is here to be read and to be
compared with; a million times slower than it needs to be, it never loses on clarity. Reference: V. Dumoulin and F. Visin, "A guide to
convolution arithmetic for deep learning", arXiv 1603.07285.
"""

from __future__ import annotations

import numpy as np

from kernels import registry
from kernels.implementation import Implementation, Operands, Prepared, rounding_bound
from kernels.problem import Conv

Array = np.ndarray


def slide(problem: Conv, channel: Array, kernel: Array) -> list[list[float]]:
    """Step 1: one kernel slides over one input channel (h, w); taps that fall on padding add nothing."""
    (height, width), (kernel_height, kernel_width) = problem.size, problem.kernel
    (stride_h, stride_w), (dilation_h, dilation_w) = problem.stride, problem.dilation
    top, left = problem.padding[0][0], problem.padding[1][0]
    out_height, out_width = problem.conv_size
    processed = [[0.0] * out_width for _ in range(out_height)]
    for oh in range(out_height):
        for ow in range(out_width):
            total = 0.0
            for kh in range(kernel_height):
                for kw in range(kernel_width):
                    h = oh * stride_h - top + kh * dilation_h
                    w = ow * stride_w - left + kw * dilation_w
                    if 0 <= h < height and 0 <= w < width:
                        total += float(kernel[kh, kw]) * float(channel[h, w])
            processed[oh][ow] = total
    return processed


def add(one: list[list[float]], other: list[list[float]]) -> list[list[float]]:
    """The sum of two images."""
    return [[a + b for a, b in zip(row_a, row_b)] for row_a, row_b in zip(one, other)]


def filter_image(problem: Conv, channels: Array, kernels: Array, bias: float) -> list[list[float]]:
    """One output channel from the input channels (c, h, w) and one filter: as many kernels (c, kh, kw), and one bias."""
    processed = [slide(problem, channel, kernel) for channel, kernel in zip(channels, kernels)]  # step 1
    summed = processed[0]
    for image in processed[1:]:
        summed = add(summed, image)  # step 2
    return [[value + bias for value in row] for row in summed]  # step 3


def prepare(problem: Conv, operands: Operands, threads: int) -> Prepared:
    """Nothing to prepare."""
    weight, bias = operands.weight, operands.bias
    assert weight is not None
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups

    def run(x: Array, out: Array) -> None:
        for n in range(problem.n):
            for j in range(problem.c_out):
                group = j // outs
                channels = x[n, group * ins : (group + 1) * ins]
                out[n, j] = filter_image(problem, channels, weight[j], float(bias[j]) if bias is not None else 0.0)

    return Prepared(run)


registry.add(Implementation("naive", "conv", lambda problem: None, prepare, rounding_bound))

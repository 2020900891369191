"""The definition of a convolution layer, told step by step in plain Python loops.

Step 1: each kernel of a filter slides over its own input channel and gives one processed channel. Step 2: the processed channels are
summed. Step 3: the filter's one bias is added. One filter gives one output channel, J filters give J. It is here to be read and to be
compared with; a million times slower than it needs to be, it never loses on clarity. Reference: V. Dumoulin and F. Visin, "A guide to
convolution arithmetic for deep learning", arXiv 1603.07285.
"""

from __future__ import annotations

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands

Array = np.ndarray

SPEED = 1e7  # operations a second, of which a multiply-add is two


def slide(problem: Conv, channel: Array, kernel: Array) -> list[list[float]]:
    """Step 1: one kernel slides over one input channel (h, w); taps that fall on padding add nothing."""
    (height, width), (kernel_height, kernel_width) = problem.size[-2:], problem.kernel[-2:]
    (stride_h, stride_w), (dilation_h, dilation_w) = problem.stride[-2:], problem.dilation[-2:]
    (top, _), (left, _) = problem.padding[-2:]
    out_height, out_width = problem.conv_size[-2:]
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


def filter_volume(problem: Conv, channels: Array, kernels: Array, bias: float) -> list[list[list[float]]]:
    """The same with a third axis, channels (c, d, h, w) and kernels (c, kd, kh, kw): a plane is the sum of what each kernel plane makes of
    the input plane under it."""
    planes = []
    for od in range(problem.conv_size[0]):
        summed = [[bias] * problem.conv_size[2] for _ in range(problem.conv_size[1])]
        for kd in range(problem.kernel[0]):
            d = od * problem.stride[0] - problem.padding[0][0] + kd * problem.dilation[0]
            if 0 <= d < problem.size[0]:
                summed = add(summed, filter_image(problem, channels[:, d], kernels[:, kd], 0.0))
        planes.append(summed)
    return planes


def prepare(problem: Conv, threads: int) -> Prepared:
    """Nothing to prepare."""
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    make = filter_image if len(problem.size) == 2 else filter_volume

    def pack(operands: Operands) -> Run:
        weight, bias = operands.weight, operands.bias
        assert weight is not None

        def run(x: Array, out: Array) -> None:
            for n in range(problem.n):
                for j in range(problem.c_out):
                    group = j // outs
                    channels = x[n, group * ins : (group + 1) * ins]
                    out[n, j] = make(problem, channels, weight[j], float(bias[j]) if bias is not None else 0.0)

        return run

    return Prepared(pack)


def estimate(problem: Conv) -> float:
    """Its operations."""
    return problem.flops / SPEED


for _operation in ("conv", "conv3d"):
    registry.add(
        Implementation(
            "naive", _operation, lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=1, sum_order="definition"
        )
    )

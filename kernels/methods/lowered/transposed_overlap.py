"""Transposed convolution as it is defined: products of every input with every tap, which are then added where they overlap.

The products of the kernel's columns (or of all its taps) are output channels of a stride-1 convolution without them, at the input's own
positions, so none is computed for what pads a phase's window or for outputs that few inputs reach: 7x67 taps over rows of 30 make rows of
96, of which the gathering convolution multiplies all. Few output channels fill a tile's rows so, being taps. What overlaps is added row by
row from the second-level cache (`phase_sums`). It loses where the products, taps times as many as outputs of a channel, outgrow the caches.
Source: as GEMM and col2im of every deep learning library; S. Chetlur et al., "cuDNN", arXiv 1410.0759, of the opposite direction.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.cost.roofline import seconds
from kernels.methods import registry
from kernels.methods.estimate import estimate
from kernels.methods.lowered.phase_sums import WIDEST, cycles, rows_of, sum_rows
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv, ConvTranspose
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray

BUDGET = 8 << 20  # bytes of products at a time
BETTER = 0.9  # of what phases are estimated at: what overlaps is estimated coarsely


@dataclasses.dataclass(frozen=True)
class Overlap:
    """conv: the convolution that makes the products of `images` images; summed: whether it sums over kernel rows, else every tap is a
    channel. taps: [channel of an output's][place in the window] of the layer's own, flat."""

    conv: Conv
    images: int
    summed: bool

    def taps(self, problem: ConvTranspose) -> Array:
        """[product of an output channel][position in the window] of flat kernel taps."""
        kh, kw = problem.kernel
        if not self.summed:
            return np.arange(kh * kw)[:, None]
        return np.arange(kw)[:, None] + np.arange(kh - 1, -1, -1) * kw


def _products(problem: ConvTranspose, summed: bool) -> Overlap | None:
    """None where rows that are summed stride, or the kernel reaches less far than padding crops."""
    (kh, kw), (h, w) = problem.kernel, problem.size
    reach = (kh - 1) * problem.dilation[0]
    before, after = (reach - pad for pad in problem.padding[0])
    after += problem.output_padding[0]
    if summed and (problem.stride[0] > 1 or min(before, after) < 0):
        return None
    channels = problem.c_out * (kw if summed else kh * kw)
    positions = (problem.conv_size[0] if summed else h) * w
    most = max(1, min(problem.n, BUDGET // (channels * positions * problem.itemsize)))
    images = -(-problem.n // -(-problem.n // most))  # evenly
    conv = Conv(
        op=problem.op.replace("_transpose", ""), n=images, c_in=problem.c_in, size=problem.size, kernel=(kh if summed else 1, 1),
        stride=(1, 1), padding=((before, after) if summed else (0, 0), (0, 0)), dilation=(problem.dilation[0] if summed else 1, 1),
        dtype=problem.dtype, c_out=channels, groups=problem.groups,
    )  # fmt: skip
    return Overlap(conv, images, summed)


def estimated(problem: ConvTranspose, engine: str, found: Overlap) -> float | None:
    """Seconds of one core with this engine; None where it has no estimate."""
    one = estimate(found.conv, registry.get(found.conv, engine))
    if one is None:
        return None
    products = math.prod(found.conv.conv_shape) * problem.itemsize
    return -(-problem.n // found.images) * (one + products / calibration().bandwidth / 4) + seconds(cycles(problem, summed=found.summed))


def best(problem: ConvTranspose, engine: str, instead: float) -> Overlap | None:
    """What is estimated to take clearly less than `instead` seconds, if anything."""
    if len(problem.size) != 2 or problem.stride[1] > WIDEST or problem.kernel == (1, 1):
        return None
    found = [one for one in (_products(problem, True), _products(problem, False) if problem.kernel[0] > 1 else None) if one]
    able = [one for one in found if not registry.get(one.conv, engine).refuse(one.conv)]
    costs = [(cost, one) for one in able if (cost := estimated(problem, engine, one)) is not None]
    cost, taken = min(costs, key=lambda each: each[0], default=(math.inf, None))
    return taken if cost < BETTER * instead else None


def prepare(problem: ConvTranspose, found: Overlap, products: Prepared, operands_of: Any, threads: int) -> Prepared:
    """Products into scratch, then every row of sums. operands_of(operands): those of the products."""
    some = dataclasses.replace(problem, n=found.images)
    used = threads_for(cycles(some, summed=found.summed), threads)
    rows = rows_of(some, used, weighted=False, summed=found.summed)
    scratch = Scratch(math.prod(found.conv.conv_shape) * problem.itemsize)
    launch = sum_rows.ready(0, 0, 0, 0, 0, rows.record)

    def pack(operands: Any) -> Any:
        multiply, bias = products.pack(operands_of(operands)), operands.bias

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y = buffer.view(problem.dtype).reshape(found.conv.conv_shape)
            for first in range(0, problem.n, found.images):
                begin = min(first, problem.n - found.images)
                part = out[begin : begin + found.images]  # lives as long as its handle
                multiply(x[begin : begin + found.images], y)
                launch(used, rows.tasks, handle(y), 0, handle(bias), handle(part), 0, rows.record)
            scratch.give(buffer)

        return run

    note = f"products of {'kernel columns' if found.summed else 'all taps'} of {found.images} images, added where they overlap"
    note = f"{note}: {found.conv}{f' ({products.note})' if products.note else ''}"
    return Prepared(pack, scratch.nbytes + products.workspace_bytes, note)

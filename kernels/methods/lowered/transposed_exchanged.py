"""Transposed convolution of weights that serve one call, with the roles exchanged: they are the input, the layer's input the weights.

    y [image, position][output channel, tap] = sum over channels i of x[i][image, position] * weight[i][output channel, tap]

A product of matrices that reads weights as they lie, lanes along their channels and taps, once for some images, and lays out the input
instead, which is small where maps are: gradients of inputs of deep layers waited for weights to be laid out twice. `gathered_rows` then
adds what overlaps. It loses where the products, taps times as many as positions, outgrow the caches. Source: as the GEMM and col2im of
every deep learning library.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.cost.roofline import seconds
from kernels.methods.contract import Implementation
from kernels.methods.estimate import estimate, packing_seconds
from kernels.methods.lowered.gathered_rows import cycles, gather_rows, gathered
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv, ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray

BUDGET = 8 << 20  # bytes of products at a time
TOGETHER, LINE = 32, 20.0  # channels of a task; cycles for a line besides its numbers
BETTER = 0.9  # of what the other ways are estimated at
BETTER_ONCE = 0.6  # of that where stride is 1: weights are laid out once only, which took half of its estimate


@dataclasses.dataclass(frozen=True)
class Exchanged:
    """conv: the product of `images` images, whose input are the weights; seconds: the estimate of one core for all."""

    conv: Conv
    images: int
    seconds: float


@region
def lay_beside(task, thread, x, out, images, channels, line):
    """Lines of `line` bytes of some channels from x (images, channels, line) to out (channels, images, line), both handles."""
    first = task * TOGETHER
    for channel in range(first, min(first + TOGETHER, channels)):
        for image in range(images):
            copy_bytes(pointed(out) + (channel * images + image) * line, pointed(x) + (image * channels + channel) * line, line)


def exchanged(problem: ConvTranspose, method: Implementation) -> Exchanged | None:
    """None where the method called does not multiply so, or steps follow the sum."""
    if len(problem.size) != 2 or problem.groups > 1 or problem != problem.bare() or not method.prepare_adjoint or method.trust:
        return None
    if not problem.n or 0 in (*problem.size, *problem.conv_size, problem.c_in, problem.c_out):
        return None
    if problem.taps == 1 and max(problem.stride) == 1:
        return None  # a product already, and nothing to be added
    positions, columns = math.prod(problem.size), problem.c_out * problem.taps
    most = max(1, min(problem.n, BUDGET // (positions * columns * problem.itemsize)))
    images = -(-problem.n // -(-problem.n // most))  # evenly
    conv = Conv(
        op="conv2d", n=1, c_in=problem.c_in, size=(1, columns), kernel=(1, 1), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
        dtype=problem.dtype, c_out=images * positions,
    )  # fmt: skip
    one = None if method.refuse(conv) else estimate(conv, method)
    if one is None:
        return None
    one += packing_seconds(conv, method, unpacked=False)
    one += math.prod(conv.conv_shape) * problem.itemsize / calibration().bandwidth / 4
    return Exchanged(conv, images, -(-problem.n // images) * one + seconds(cycles(problem)))


def prepare(problem: ConvTranspose, found: Exchanged, method: Implementation, threads: int) -> Prepared | None:
    """Products into scratch, then every row; None where the method does not take weights as the layer's input has them."""
    assert method.prepare_adjoint
    products = method.prepare_adjoint(found.conv, threads, True)
    if products is None:
        return None
    images, size = found.images, problem.itemsize
    some = dataclasses.replace(problem, n=images)
    used, rows = threads_for(cycles(some), threads), gathered(some, threads)
    count, line = math.prod(some.x_shape), math.prod(problem.size) * size
    scratch = Scratch((math.prod(found.conv.conv_shape) + count) * size)
    beside, laying = lay_beside.ready(0, 0, 1, 1, 0), threads_for(images * problem.c_in * LINE + count, threads)
    launch = gather_rows.ready(0, 0, 0, rows.record)

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        weight, bias = operands.weight.reshape(found.conv.x_shape), operands.bias

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            numbers = buffer.view(problem.dtype)
            y, turned = numbers[:-count].reshape(found.conv.conv_shape), numbers[-count:]
            for first in range(0, problem.n, images):
                begin = min(first, problem.n - images)
                block, part = x[begin : begin + images], out[begin : begin + images]  # live as long as their handles
                if images > 1:
                    beside(laying, -(-problem.c_in // TOGETHER), handle(block), handle(turned), images, problem.c_in, line)
                lines = turned if images > 1 else block
                products.pack(Operands(lines.reshape(problem.c_in, -1, 1, 1)))(weight, y)
                launch(used, rows.tasks, handle(y), handle(bias), handle(part), rows.record)
            scratch.give(buffer)

        return run

    note = f"products of all taps of {images} images with the weights as input, gathered: {found.conv} ({products.note})"
    return Prepared(pack, scratch.nbytes + products.workspace_bytes, note)

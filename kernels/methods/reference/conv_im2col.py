"""Unfold the input into a matrix whose columns are the windows, then one matrix product with the weights.

Every output position becomes a column of c_in * kh * kw values, so weights (c_out, c_in * kh * kw) times columns is the layer, and BLAS
does it near the machine's peak. The columns hold each input value up to kh * kw times: that copy costs bandwidth, and a lot of memory if
done at once, so windows are unfolded into blocks of at most BUDGET bytes which BLAS reads back from the last-level cache. A 1x1
layer and a window as large as the input need no copy at all. It loses where the copy outweighs the product: few output channels,
depthwise layers, large kernels over few channels.
Reference: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document processing", IWFHR 2006.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import calibration
from kernels.cost.roofline import memory_seconds, rate
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.arrays import frozen
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.blas import bounded
from kernels.runtime.jit import njit
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch

Array = np.ndarray

BUDGET = 16 << 20  # bytes of unfolded input at a time; a quarter of it took 1.5 times as long on a busy machine (more waits for BLAS)
SPIN = 0.03  # seconds for which BLAS's threads go on spinning after a product
SPINNING = 15e-3  # seconds that this costs whoever comes next. Three such layers took SampleCNN from 27 to 167 ms, two took VGGish from 22
# to 48; a layer of its own that gains half of that may still have it
ROW, PRODUCT, CALL = 4e-8, 5e-6, 5e-5  # seconds to begin a row of a tap, a product, and a call, whose blocks are Python's
POSITIONS = 64  # fewest columns worth a matrix product; below, the sum is divided before the columns are


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How much is unfolded at a time: images, groups, output positions of a plane, and summands of one output."""

    images: int
    groups: int
    positions: int
    summands: int

    @property
    def size(self) -> int:
        """Elements of the unfolded buffer."""
        return self.images * self.groups * self.positions * self.summands


def blocks(problem: Conv, budget: int) -> Blocks:
    """The largest blocks of at most `budget` bytes (never less than one element), divided in this order: images, groups, positions, sum."""
    room = max(budget // problem.itemsize, 1)
    positions = math.prod(problem.conv_size)
    column = positions * problem.summands
    if column <= room:
        groups = min(problem.groups, room // column)
        images = max(1, min(problem.n, room // (column * groups))) if groups == problem.groups else 1
        return Blocks(images, groups, positions, problem.summands)
    fewest = min(POSITIONS, positions, room)
    if fewest * problem.summands <= room:
        return Blocks(1, 1, room // problem.summands, problem.summands)
    return Blocks(1, 1, fewest, room // fewest)


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """(first, after the last) of consecutive steps."""
    return ((first, min(first + step, length)) for first in range(0, length, step))


class Corner(NamedTuple):
    """Where a block begins."""

    image: int
    group: int
    position: int  # of a plane of outputs
    summand: int


@njit
def unfold_tap(plane, target, position, kh, kw, stride, before, dilation, out_width):
    """target[p] = the input under tap (kh, kw) at output position `position` + p of plane (h, w), 0 on padding."""
    height, width = plane.shape
    positions = target.shape[0]
    shift, step = kw * dilation[1] - before[1], stride[1]
    low = (max(0, -shift) + step - 1) // step  # first ow whose tap lies on the input
    high = (width - shift + step - 1) // step if width > shift else 0  # first ow past it
    done = 0
    while done < positions:  # one row of the output, or the part of it that the block holds
        oh, ow = (position + done) // out_width, (position + done) % out_width
        count = min(out_width - ow, positions - done)
        h = oh * stride[0] - before[0] + kh * dilation[0]
        inside = min(max(low - ow, 0), count)
        beyond = max(min(high - ow, count), inside) if 0 <= h < height else inside
        # slices of their own, counted from zero: of an index that could be negative Numba checks every time, and copies one by one
        target[done : done + inside] = 0
        target[done + beyond : done + count] = 0
        on_it = target[done + inside : done + beyond]
        if beyond > inside:
            source = plane[h, (ow + inside) * step + shift :]
            if step == 1:
                for i in range(on_it.size):
                    on_it[i] = source[i]
            else:
                for i in range(on_it.size):
                    on_it[i] = source[i * step]
        done += count


@region
def unfold(row, thread, x, columns, at, c_in, kernel, stride, before, dilation, out_width):
    """Fill a row of columns (images, groups, summands, positions) from x (n, channels, h, w), starting at `at`, a Corner; groups have c_in
    channels each. What lies on padding is 0."""
    groups, summands = columns.shape[1:3]
    taps = kernel[0] * kernel[1]
    n, g, k = row // (groups * summands), row // summands % groups, at.summand + row % summands
    plane = x[at.image + n, (at.group + g) * c_in + k // taps]
    kh, kw = k % taps // kernel[1], k % kernel[1]
    target = columns[n, g, row % summands]
    unfold_tap(plane, target, at.position, kh, kw, stride=stride, before=before, dilation=dilation, out_width=out_width)


def _dense_pointwise(problem: Conv) -> bool:
    return problem.taps == 1 and max(problem.stride) == 1


def is_stored(problem: Conv) -> bool:
    """Whether the layer is a product of x just as it lies in memory: a 1x1 kernel, or one window that is the whole input."""
    return not any(map(sum, problem.padding)) and (_dense_pointwise(problem) or problem.kernel == problem.size)


def as_stored(problem: Conv, weight: Array, threads: int) -> Run:
    """The layer as that product, weight being (groups, c_out/groups, summands)."""
    groups = problem.groups
    if _dense_pointwise(problem):

        def pointwise(x: Array, out: Array) -> None:
            with bounded(threads):
                columns = x.reshape(len(x), groups, problem.summands, -1)
                np.matmul(weight, columns, out=out.reshape(len(x), groups, -1, columns.shape[3]))

        return pointwise
    transposed = np.ascontiguousarray(weight.transpose(0, 2, 1))  # one window, so dilation is 1 on any axis with more than one tap

    def one_window(x: Array, out: Array) -> None:
        with bounded(threads):
            rows = x.reshape(len(x), groups, problem.summands).transpose(1, 0, 2)
            np.matmul(rows, transposed, out=out.reshape(len(x), groups, -1).transpose(1, 0, 2))

    return one_window


def prepare(problem: Conv, threads: int) -> Prepared:
    """The size of the blocks, and scratch for one of them."""
    dtype, groups, outs = np.dtype(problem.dtype), problem.groups, problem.c_out // problem.groups
    window = problem.kernel, problem.stride, (problem.padding[0][0], problem.padding[1][0]), problem.dilation
    stored = is_stored(problem)
    largest = blocks(problem, BUDGET)
    split = largest.summands < problem.summands
    extra = largest.images * largest.groups * outs * largest.positions if split else 0  # a part of the sum, before it is added
    scratch = Scratch(0 if stored else (largest.size + extra) * dtype.itemsize)

    def block(
        x: Array, y: Array, weight: Array, memory: Array, images: tuple[int, int], members: tuple[int, int], span: tuple[int, int]
    ) -> None:
        """y (images, groups, c_out, positions): the outputs of one block."""
        shape = images[1] - images[0], members[1] - members[0]
        count = span[1] - span[0]
        for first, last in ranges(problem.summands, largest.summands):
            size = math.prod(shape) * (last - first) * count
            columns = memory[:size].reshape(*shape, last - first, count)
            corner = Corner(image=images[0], group=members[0], position=span[0], summand=first)
            unfold(threads, math.prod(columns.shape[:3]), x, columns, corner, problem.c_in // groups, *window, problem.conv_size[1])
            factors = weight[members[0] : members[1], :, first:last]
            with bounded(threads):
                if first == 0:
                    np.matmul(factors, columns, out=y)
                else:
                    part = memory[largest.size :][: y.size].reshape(y.shape)
                    y += np.matmul(factors, columns, out=part)

    if not stored:
        no_images, no_columns = frozen(np.empty((0, *problem.x_shape[1:]), dtype)), np.empty((0, 1, 1, 1), dtype)
        unfold(threads, 0, no_images, no_columns, Corner(0, 0, 0, 0), problem.c_in // groups, *window, problem.conv_size[1])  # compiles

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        weight, bias = operands.weight.reshape(groups, outs, problem.summands), operands.bias
        whole = as_stored(problem, weight, threads) if stored else None

        @np.errstate(all="ignore")  # NaN and inf are values here, as in compiled loops
        def run(x: Array, out: Array) -> None:
            y = out.reshape(problem.n, groups, outs, -1)
            if whole:
                whole(x, out)
            else:
                buffer = scratch.take()
                memory = buffer.view(dtype)
                for images in ranges(problem.n, largest.images):
                    for members in ranges(groups, largest.groups):
                        for span in ranges(y.shape[-1], largest.positions):
                            part = y[images[0] : images[1], members[0] : members[1], :, span[0] : span[1]]
                            block(frozen(x), part, weight, memory, images, members, span)
                scratch.give(buffer)
            if bias is not None:
                out += bias.reshape(-1, 1, 1)

        return run

    sizes = f"blocks of {largest.images} images, {largest.groups} groups, {largest.positions} positions, {largest.summands} summands"
    note = "x as it is stored" if stored else sizes
    return Prepared(pack, scratch.nbytes, note)


def estimate(problem: Conv) -> float:
    """Unfolding, which writes and reads taps copies of the input, a row of outputs at a time, and products, of groups one after another."""
    rows = problem.n * problem.c_in * problem.taps * problem.conv_size[0]
    unfolding = 2 * rows * problem.conv_size[1] * problem.itemsize / calibration().bandwidth + ROW * rows
    products = problem.flops / rate(problem, 0.25) + PRODUCT * problem.groups * problem.n
    return unfolding + products + memory_seconds(problem) + CALL + SPINNING


registry.add(
    Implementation("im2col", "conv", lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=3, lingers=SPIN)
)

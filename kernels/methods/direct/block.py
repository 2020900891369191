"""A blocking of a direct convolution, and what its blocks are: packed or read where they lie, kept for other output channels."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.cost.gemm import NUMBERS, Product, pooled_size
from kernels.cost.memory import L3_BYTES
from kernels.primitives.packed_layout import Layout, layout
from kernels.problem.conv import Conv
from kernels.runtime.machine import Machine, machine

LINE, WAYS = 64, 16  # bytes of a cache line; lines of a set of the second-level cache, of which half are a block's
PAGES = 96  # that are looked up at once
LATE = 2.0  # cycles for a vector of more channels of maps that lie beyond the second-level cache, measured 0.3 to 2.6; of 64 channels 0


@dataclasses.dataclass(frozen=True)
class Blocking:
    """rows, columns: outputs of a task's block. channels: input channels packed at a time. m, n: the largest tile,
    channels by vectors. oc_splits: into how many tasks the output channels are split. oc_lanes: whether lanes run along output
    channels, m counts positions and n vectors of channels. product: what tiles multiply. cycles: the estimate."""

    mec: bool
    rows: int
    columns: int
    channels: int
    m: int
    n: int
    oc_splits: int
    oc_lanes: bool = False
    product: Product = NUMBERS
    cycles: float = math.inf


def reads_in_place(problem: Conv, block: Any, lanes: int) -> Any:
    """Whether tiles read the input where it lies, of one blocking or of many of one layout: blocks of whole rows of all channels of a
    layer with windows of one column, or parts of single rows with windows of one number. No vector reaches over the end of a block's line,
    because the last one ends with it."""
    oh, ow = pooled_size(problem)
    rows = block.mec & (last_of(oh, block.rows) * ow >= lanes)
    parts = np.logical_not(block.mec) & (block.rows == 1) & (last_of(ow, block.columns) >= lanes) & (problem.kernel[0] == 1)
    all_of_them = (block.channels == problem.c_in // problem.groups) & (ow == problem.size[1])
    return (rows | parts) & all_of_them & one_column(problem, block.product)


def apart(problem: Conv, numbers: Any, spec: Machine) -> Any:
    """Cycles to read a vector where it lies, above those in a packed block, of blocks with so many numbers of every channel. Channels a
    multiple of a power of two apart meet in few sets of the second-level cache, and what finds no room comes from the third level anew
    for each tile; those of large maps come from there late, each on a page of its own."""
    pitch, sets = math.prod(problem.size) * problem.itemsize, spec.l2 // (LINE * WAYS)
    shared = math.gcd(pitch // LINE, sets) if pitch % LINE == 0 else 1
    lines = np.maximum(1, numbers * problem.itemsize // LINE)
    each = problem.c_in // problem.groups * lines / np.minimum(sets, sets // shared * lines)  # lines that meet in a set
    lost = np.maximum(0.0, 1 - WAYS / 2 / each)
    far = LATE if pitch * problem.c_in > spec.l2 and problem.c_in // problem.groups > PAGES else 0.0
    return far + lost * spec.vector_bytes / L3_BYTES[spec.mesh]


def keeps_packed(problem: Conv, block: Any, in_place: Any) -> Any:
    """Whether a thread that has packed a block does all its output channels that it can before the next, of one blocking or of many."""
    return (block.oc_splits > 1) & (block.channels == problem.c_in // problem.groups) & np.logical_not(in_place)


def oc_layout(problem: Conv, rows: int, m: int, last: bool = False) -> Layout:
    """The block that tiles of m positions with lanes along output channels read, number by number. Where they read it in place nothing is
    packed: taps and strides are those of the input. last: channels are the last axis; where windows are one number, they are transposed as
    one matrix."""
    in_place = oc_reads_in_place(problem, rows, m, last)
    packed = layout(problem, in_place or rows > 1, rows, problem.conv_size[1], machine().lanes(problem.itemsize), problem.c_in)
    plane, one_number = rows * problem.size[1], problem.taps == 1 and one_column(problem, NUMBERS)
    if last and one_number:
        return dataclasses.replace(packed, channel_stride=plane, size=problem.c_in * plane, as_matrix=True)
    if in_place:
        size = problem.c_in * plane if one_number else packed.size
        return dataclasses.replace(packed, channel_stride=math.prod(problem.size), size=size)
    return packed


def oc_reads_in_place(problem: Conv, rows: int, m: int, last: bool = False) -> bool:
    """Whether tiles of m positions with lanes along output channels read the input where it lies: where windows are one column wide. The
    last tile of a block ends with it."""
    oh, ow = problem.conv_size
    return not last and last_of(oh, rows) * ow >= m and one_column(problem, NUMBERS)


def one_column(problem: Conv, product: Product) -> bool:
    """Whether windows are one column wide and lie at every position, so that packing by MEC would copy the input as it lies."""
    return problem.kernel[1] == max(problem.stride) == product.depth == 1 and not any(map(any, problem.padding))


def last_of(total: int, each: Any) -> Any:
    """Rows or columns of the last block where others have so many."""
    return total - (-(-total // each) - 1) * each

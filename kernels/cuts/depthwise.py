"""How a depthwise convolution is cut into jobs, and what that costs: planes are packed in parts, then each output line is summed."""

from __future__ import annotations

import dataclasses
import functools
import math

from kernels.cuts.direct import JOB_COST, TILE_COST, Blocking, layout, line_cycles
from kernels.machine import machine
from kernels.problem import Conv, dilated

FLAT = 0.6  # of what `line_cycles` says: short rows whose copies overlap in time; 62x4 took 39 cycles a row, not 72
TAP, VECTOR = 0.6, 6  # cycles for a load and its multiply-add, and to finish a vector


@functools.lru_cache(maxsize=512)
def best(problem: Conv) -> Blocking:
    """Whole planes where a packed one fits half of L1, else as many rows, else one row in pieces of columns; flat where rows are so
    narrow that their last vector would be mostly idle."""
    spec = machine()
    lanes = spec.lanes(problem.itemsize)
    oh, ow = problem.conv_size
    budget = spec.l1 // 2 // problem.itemsize
    flat = ow < 2 * lanes and problem.kernel[1] <= 7
    rows, columns = oh, ow
    while layout(problem, flat, rows, columns, lanes).size > budget and rows > 1:
        rows = -(-rows // 2)
    if rows == 1 and not flat:
        spare = budget // dilated(problem.kernel[0], problem.dilation[0]) - dilated(problem.kernel[1], problem.dilation[1])
        columns = min(ow, max(spare // problem.stride[1] // lanes * lanes, 8 * lanes))
    block = Blocking(flat, rows, columns, 1, 1, 1, 1)
    return dataclasses.replace(block, cycles=_cycles(problem, block))


def _cycles(problem: Conv, block: Blocking) -> float:
    """Estimated cycles of one core. Narrow rows pay for their calls: 500x32 took 240 cycles a row, of which the sums are 18, and loses to
    `direct`, whose tiles hold several."""
    lanes = machine().lanes(problem.itemsize)
    packed = layout(problem, block.flat, block.rows, block.columns, lanes)
    row_blocks, column_blocks = -(-problem.conv_size[0] // block.rows), -(-problem.conv_size[1] // block.columns)
    rows, columns = problem.conv_size[0] / row_blocks, problem.conv_size[1] / column_blocks
    lines = packed.phases * (packed.positions - (block.rows - rows) * packed.positions_per_row)
    packing = lines * line_cycles(packed, lanes) * (FLAT if block.flat else 1.0)
    calls, vectors = (1, math.ceil(rows * columns / lanes)) if block.flat else (rows, rows * math.ceil(columns / lanes))
    sums = problem.c_out // problem.groups * (calls * TILE_COST + vectors * (problem.taps * TAP + VECTOR))
    return problem.n * problem.groups * row_blocks * column_blocks * (JOB_COST + packing + sums)

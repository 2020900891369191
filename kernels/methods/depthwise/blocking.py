"""How a depthwise convolution is cut into tasks, and what that costs.

Three layouts. Planes: see `plane_blocking`. Rows: planes are packed in parts, then each output line is summed, with lanes along it.
Channels in lanes: as many planes as there are lanes are transposed together, so that lanes are channels; short rows leave none idle, and
channels last lie so in memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from kernels.cost.gemm import TILE_COST
from kernels.cost.memory import TASK_COST
from kernels.methods.depthwise.plane_blocking import best_planes
from kernels.methods.direct.block import Blocking
from kernels.primitives.packed_layout import layout, packing_cycles, row_counts
from kernels.problem.conv import Conv
from kernels.problem.window import Size, dilated, reach
from kernels.runtime.machine import machine, remembered

FLAT = 0.6  # of what `line_cycles` says: short rows whose copies overlap in time; 62x4 took 39 cycles a row, not 72
TOGETHER, TAP, ALONE = 6, 1.35, 4.0  # vectors that are summed together; cycles for a tap of one of them, whose loads cross cache lines, and
# of one by itself, which waits
VECTOR = 6  # cycles to finish a vector
ROWS, STACKS, PLANES = "rows", "stacks", "planes"  # names of variants; stacks: channels in lanes
SIDES = 3, 5  # taps side by side that share what they load
TRANSPOSED, TRANSPOSED_LINES = 10.5, 270  # cycles to transpose `lanes` lines, for each vector of theirs, and to begin and end so many lines
# cycles to copy a vector, to add a tap to one (beside others, or alone), to begin and end it
COPIED, SUM_TAP, SUM_ALONE, SUM = 2.0, 0.6, 1.2, 8.0


@dataclasses.dataclass(frozen=True)
class ChannelBlocking:
    """rows, columns: outputs of a task's block, of as many channels as there are lanes. cycles: the estimate, of one core."""

    rows: int
    columns: int
    cycles: float


@remembered
def best(problem: Conv) -> Blocking:
    """Whole planes where a packed one fits half of L1, else as many rows, else one row in pieces of columns; MEC where rows are so
    narrow that their last vector would be mostly idle."""
    spec = machine()
    lanes = spec.lanes(problem.itemsize)
    oh, ow = problem.conv_size
    budget = spec.l1 // 2 // problem.itemsize
    mec = ow < 2 * lanes and problem.kernel[1] <= 7
    rows, columns = oh, ow
    while layout(problem, mec, rows, columns, lanes).size > budget and rows > 1:
        rows = -(-rows // 2)
    if rows == 1 and not mec:
        spare = budget // dilated(problem.kernel[0], problem.dilation[0]) - dilated(problem.kernel[1], problem.dilation[1])
        columns = min(ow, max(spare // problem.stride[1] // lanes * lanes, 8 * lanes))
    block = Blocking(mec, rows, columns, 1, 1, 1, 1)
    return dataclasses.replace(block, cycles=_cycles(problem, block))


def _cycles(problem: Conv, block: Blocking) -> float:
    """Estimated cycles of one core. Narrow rows pay for their calls: 500x32 took 240 cycles a row, of which the sums are 18, and loses to
    `direct`, whose tiles hold several."""
    lanes = machine().lanes(problem.itemsize)
    packed = layout(problem, block.mec, block.rows, block.columns, lanes)
    row_blocks, column_blocks = -(-problem.conv_size[0] // block.rows), -(-problem.conv_size[1] // block.columns)
    rows, columns = problem.conv_size[0] / row_blocks, problem.conv_size[1] / column_blocks
    packing = packing_cycles(packed, lanes, block.rows - rows) * (FLAT if block.mec and not packed.whole_lines else 1.0)
    calls, vectors = (1, math.ceil(rows * columns / lanes)) if block.mec else (rows, math.ceil(columns / lanes))
    rest = vectors % TOGETHER
    tap = (vectors - rest) * TAP + rest * ALONE
    sums = problem.c_out // problem.groups * calls * (TILE_COST + problem.taps * tap + vectors * VECTOR)
    return problem.n * problem.groups * row_blocks * column_blocks * (TASK_COST + packing + sums)


def taps_beside(problem: Conv) -> int:
    """Taps of a kernel row that are summed together: all of a dense one of some lengths, else one."""
    return problem.kernel[1] if problem.kernel[1] in SIDES and problem.dilation[1] == 1 else 1


def _transposing(rows: int, columns: int, size: Size, lanes: int) -> float:
    """Cycles to transpose as many planes of `size` as there are lanes, rows x columns of each; whole rows are one line."""
    rows, columns = min(rows, size[0]), min(columns, size[1])
    lines, line = (1, rows * columns) if columns == size[1] else (rows, columns)
    return lines * (TRANSPOSED_LINES + TRANSPOSED * lanes * -(-line // lanes))


def _channel_blockings(problem: Conv, threads: int, last: bool) -> Iterator[ChannelBlocking]:
    """Every blocking with channels in lanes that is considered."""
    spec = machine()
    lanes, (oh, ow) = spec.lanes(problem.itemsize), problem.conv_size
    groups, multiplier = problem.n * -(-problem.c_in // lanes), problem.c_out // problem.c_in
    tap = SUM_TAP if taps_beside(problem) > 1 else SUM_ALONE
    for rows in row_counts(oh, threads):
        for columns in sorted({ow, *(2**i for i in range(12) if 2**i < ow)} if rows == 1 or ow > 256 else {ow}):
            bed_h, bed_w = reach(problem, rows, columns)
            bed, number = bed_h * bed_w, rows * columns
            if (bed + (0 if last else number)) * lanes * problem.itemsize > spec.l2 // 2:
                continue
            moved = COPIED * bed  # with channels last all of it, else its border
            if not last:
                moved -= COPIED * min(bed_h, problem.size[0]) * min(bed_w, problem.size[1])
                moved += _transposing(bed_h, bed_w, problem.size, lanes) + multiplier * _transposing(
                    rows, columns, problem.conv_size, lanes
                )
            sums = multiplier * number * (problem.taps * tap + SUM)
            tasks = groups * -(-oh // rows) * -(-ow // columns)
            cycles = TASK_COST + moved + sums
            yield ChannelBlocking(rows, columns, -(-tasks // threads) * threads * cycles)


@remembered
def best_channels(problem: Conv, threads: int, last: bool = False) -> ChannelBlocking | None:
    """The blocking with channels in lanes with the lowest estimate; None where not even one window of each lane stays in the second-level
    cache."""
    return min(_channel_blockings(problem, threads, last), key=lambda block: block.cycles, default=None)


def layouts(problem: Conv, threads: int) -> dict[str, float]:
    """Estimated cycles of one core by the layouts that can do it, channels first."""
    found: dict[str, float] = {ROWS: best(problem).cycles}
    channels, planes = best_channels(problem, threads), best_planes(problem, threads)
    if channels:
        found[STACKS] = channels.cycles
    if planes:
        found[PLANES] = planes.cycles
    return found


def cycles(problem: Conv) -> float:
    """Estimated cycles of one core, of the best layout."""
    return min(layouts(problem, 1).values())

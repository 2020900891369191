"""How a block of input lies packed for the tiles, and what packing it costs, in cycles of one core."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from kernels.problem.conv import Conv
from kernels.problem.window import dilated

LINE_COST, VECTOR_COPIED, VECTOR_PICKED = 30, 6, 3  # cycles per input row packed, per vector copied, per vector picked out and its step
NUMBER_PICKED = 2  # cycles per number picked by itself
VECTOR_TRANSPOSED = 5.5  # cycles per vector transposed
PANEL_LOADED = {True: 5, False: 12}  # and to load what a vector of positions has of some columns, by whether it has 16: shuffles of those
# take longer; htsat.patch 0.94 of the time that shuffles take, 4x4 by four of three channels 0.98
SHORT, SEVERAL = 2, 4  # vectors of a line, at most, and rows, at least, that are picked apart as they are loaded
SHORT_COST, SHORT_STEP = 8, 2  # cycles for a vector of them, and for each vector that it is picked from
PLANE_COST, VECTOR_MOVED = 90, 5  # cycles per plane and per vector where lines are as long as the input's rows
PICKED = 10  # column steps up to this are picked out of whole vectors (6 took 6.7 cycles a vector, 10 took 10), others one by one
ONE_BY_ONE, TRANSPOSED = 0, -1  # ways to pick columns apart, besides by shuffles at a step


@dataclasses.dataclass(frozen=True)
class Layout:
    """The packed block, in elements: channels are channel_stride apart, `size` in all. A channel has planes for `columns` (the input
    columns where their lines start, before padding) times `phases` (input rows that take turns), column_stride and phase_stride apart; a
    plane has `positions` lines of `count`, pitch apart, stepping by row_step and column_step through the input, of which a line covers
    `span` columns. Each output row starts positions_per_row further; taps[t] is tap t's offset. whole_lines: lines are as long
    as the input's rows and step by one, so a plane is the input's moved on. as_matrix: channels, which are the last axis, are transposed
    as one matrix of positions by channels. picking: how columns are picked apart: the column step where whole vectors are, else ONE_BY_ONE,
    or TRANSPOSED."""

    columns: tuple[int, ...]
    column_stride: int
    phases: int
    phase_stride: int
    positions: int
    channel_stride: int
    pitch: int
    size: int
    count: int
    span: int
    row_step: int
    column_step: int
    positions_per_row: int
    taps: tuple[int, ...]
    whole_lines: bool = False
    as_matrix: bool = False
    picking: int = 1


@functools.lru_cache(maxsize=64)
def layout(problem: Conv, mec: bool, rows: int, columns: int, lanes: int, channels: int = 1) -> Layout:
    """The packed block of `channels` input channels for `rows` x `columns` outputs.

    `mec` is [channel][column][phase][position], because a block's outputs are one line across positions; a vector lies between planes.
    The other is [position][channel][column]: what one output line sums is then kh contiguous streams, where channels outermost would cost a
    page a channel and row.
    """
    (kh, kw), (sh, sw), (dh, dw) = problem.kernel, problem.stride, problem.dilation
    found = extents(problem, mec, rows, columns, lanes, channels)
    if mec:
        down = [y * dh % sh * found.phase_stride + y * dh // sh * columns for y in range(kh)]
        across = [x * found.phases * found.phase_stride for x in range(kw)]
    else:
        planes = {start: plane * found.column_stride for plane, start in enumerate(found.columns)}
        down = [y * dh * found.pitch for y in range(kh)]
        across = [planes[x * dw % sw] + x * dw // sw for x in range(kw)]
    return dataclasses.replace(found, taps=tuple(row + column for row in down for column in across))


def extents(problem: Conv, mec: bool, rows: Any, columns: Any, lanes: int, channels: int = 1) -> Layout:
    """The same without `taps`, which is what estimates need. rows, columns: numbers, or arrays of them for many blocks at once; what
    differs between blocks is an array then."""
    (kh, kw), (sh, sw), (dh, dw) = problem.kernel, problem.stride, problem.dilation
    span_h, span_w = dilated(kh, dh), dilated(kw, dw)
    span = (columns - 1) * sw + span_w
    if mec:
        phases = min(sh, span_h)
        positions = rows + (span_h - 1) // sh
        plane = _odd(-(-positions * columns // lanes) + 1) * lanes
        starts = tuple(x * dw for x in range(kw))
        channel = kw * phases * plane
        return Layout(
            columns=starts, column_stride=phases * plane, phases=phases, phase_stride=plane, positions=positions, channel_stride=channel,
            pitch=columns, size=channels * channel, count=columns, span=span, row_step=sh, column_step=sw, positions_per_row=1, taps=(),
            whole_lines=sh == sw == 1 and columns == problem.size[1], picking=_picking(starts, sw, lanes),
        )  # fmt: skip
    starts = tuple(sorted({x * dw % sw for x in range(kw)}))  # the column phases that some tap sees
    count = columns + (span_w - 1) // sw
    line = _odd(-(-count // lanes)) * lanes
    pitch = _odd(channels * len(starts) * line // lanes) * lanes
    positions = (rows - 1) * sh + span_h
    return Layout(
        columns=starts, column_stride=line, phases=1, phase_stride=0, positions=positions, channel_stride=len(starts) * line, pitch=pitch,
        size=positions * pitch, count=count, span=span, row_step=1, column_step=sw, positions_per_row=sh, taps=(),
        picking=_picking(starts, sw, lanes),
    )  # fmt: skip


def _odd(vectors: Any) -> Any:
    """So many vectors or one more: lines an even number of them apart share few cache sets, those a power of two apart one."""
    return vectors + (vectors % 2 == 0)


def _picking(starts: tuple[int, ...], step: int, lanes: int) -> int:
    """The cheapest way to pick out of a row the lines that start at these columns and step so, in cycles a vector picked. The row's copy
    counts only where numbers are picked one by one: before shuffles much of it is hidden, and short lines have none."""
    copied = VECTOR_COPIED * step / len(starts)
    ways: dict[int, float] = {step: VECTOR_PICKED + step} if step <= PICKED else {ONE_BY_ONE: NUMBER_PICKED * lanes + copied}
    if step > 1 and starts == tuple(range(len(starts))):
        ways[TRANSPOSED] = VECTOR_TRANSPOSED + PANEL_LOADED[lanes >= 16] * -(-len(starts) // panel_of(lanes)) / len(starts)
    return min(ways, key=ways.__getitem__)


def panel_of(lanes: int) -> int:
    """Columns that are transposed together: half a vector, of which shuffles join two."""
    return lanes // 2 if lanes >= 8 else lanes


def line_cycles(packed: Layout, lanes: int) -> Any:
    """Cycles to pack one input row of one channel: its copy with zeros, then a pass for each line picked out of it, or lines picked out as
    it is loaded; of many `extents` at once an array."""
    planes, step, vectors = len(packed.columns), packed.picking, -(-packed.count // lanes)
    if step == TRANSPOSED:
        columns = panel_of(lanes)
        of_line = -(-packed.count // columns) * columns / lanes  # half a vector of positions may be the last
        return LINE_COST + of_line * (planes * VECTOR_TRANSPOSED + -(-planes // columns) * PANEL_LOADED[lanes >= 16])
    copied = LINE_COST + VECTOR_COPIED * -(-packed.span // lanes)
    if step == ONE_BY_ONE:
        return copied + planes * (8 + NUMBER_PICKED * packed.count + vectors * VECTOR_PICKED)
    short = planes * vectors * (SHORT_COST + SHORT_STEP * step)
    picked = planes * (8 + vectors * (VECTOR_PICKED + step)) if packed.column_step * planes > 1 else 0
    return np.where((vectors <= SHORT) & (packed.positions >= SEVERAL), short, copied + picked)


def packing_cycles(packed: Layout, lanes: int, without: Any = 0) -> Any:
    """Cycles to pack one channel of a task that has all output rows of its block but `without`; of many `extents` at once an array."""
    rows = packed.positions - without * packed.positions_per_row
    if packed.whole_lines:
        return PLANE_COST + len(packed.columns) * -(-rows * packed.pitch // lanes) * VECTOR_MOVED
    return packed.phases * rows * line_cycles(packed, lanes)


def row_counts(oh: int, threads: int) -> list[int]:
    """Rows of a block that are considered: powers of two, and what shares all rows evenly."""
    counts = {oh, *(2**i for i in range(12) if 2**i < oh), *(-(-oh // (threads * i)) for i in range(1, 9))}
    return sorted(counts)

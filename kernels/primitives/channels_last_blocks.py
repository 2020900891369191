"""Channels last inside a task: what it reads and writes is transposed while it is in cache, so that nothing else moves through memory.

    x [row][column][channel] ─► staging buffer [channel][row][column] ─ pack, tiles ─► pending [channel][row][column] ─► y

The staging buffer has the part of x that a task packs, pending are finished channels that wait to be stored side by side; of both as many
channels at a time as stay in cache, so that few positions are visited twice.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.packed_layout import Layout
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import Conv
from kernels.runtime.ir import call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pages import ALIGNMENT
from kernels.runtime.scratch import whole

NOTE = "; channels last, transposed in cache where lanes do not run along them"


class ChannelsLast(Record):
    """What a driver is told that reads or writes channels last; all zero for channels first."""

    last_in = integer("whether input has channels last")
    last_out = integer("whether output has channels last")
    transpose = address("of the micro-kernel that transposes; takes a Transpose")
    staged = integer("input channels that are transposed at a time")
    staging_offset = address("of the staging buffer in a thread's scratch")
    staging_pitch = integer("numbers from channel to channel in it")
    pending = integer("finished channels that wait at most to be stored side by side")
    pending_offset = address("of where they wait in a thread's scratch")
    pending_pitch = integer("numbers from channel to channel of them")


class InputBlock(NamedTuple):
    """What a task packs: some channels of an image, lines from an input row and column on, which count from before the padding."""

    image: int
    channel: int  # the first
    channels: int
    row: int
    column: int
    positions: int  # lines


class OutputBlock(NamedTuple):
    """What a task makes of every channel: some rows and columns of an image."""

    image: int
    row: int
    column: int
    rows: int
    columns: int


@njit
def inside(first, count, size):
    """(where they begin, how many they are) of the positions from `first` on, `count` of them, that an axis of `size` has."""
    begin = min(max(first, 0), size)
    return begin, max(min(first + count, size) - begin, 0)


@njit
def plane_of(g, x, at, c, block):
    """The plane that the c-th channel of `at`, an InputBlock, is packed from: its address, the block's first row and column counted from
    its first, its height and width. Called for one c after the other."""
    size = g.itemsize
    row, column = at.row - g.pad_h, at.column - g.pad_w
    if not g.last_in:
        return x + (at.image * g.c_in + at.channel + c) * g.h * g.w * size, row, column, g.h, g.w
    (top, h), (left, w) = inside(row, (at.positions - 1) * g.row_step + g.phases, g.h), inside(column, g.span, g.w)
    staged = block + g.staging_offset
    within = c % g.staged
    if within == 0:
        count = min(g.staged, at.channels - c)
        source = x + (((at.image * g.h + top) * g.w + left) * g.c_in + at.channel + c) * size
        lines, line = (1, h * w) if w == g.w else (h, w)
        for r in range(lines):
            start = source + r * g.w * g.c_in * size
            call(
                g.transpose,
                Transpose(
                    lanes=g.lanes, itemsize=size, dst=staged + r * line * size, dst_pitch=g.staging_pitch, src=start, src_pitch=g.c_in,
                    rows=line, columns=count,
                ),
            )  # fmt: skip
    return staged + within * g.staging_pitch * size, row - top, column - left, h, w


@njit
def store_channels(g, channels, block, out, j, at, oh, ow):
    """All pending channels of `at`, an OutputBlock, to channels j and further of an output of oh x ow positions."""
    size = g.itemsize
    pending = block + g.pending_offset
    to = out + (((at.image * oh + at.row) * ow + at.column) * g.c_out + j) * size
    lines, line = (1, at.rows * at.columns) if at.columns == ow else (at.rows, at.columns)
    for r in range(lines):
        call(
            g.transpose,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=to + r * ow * g.c_out * size, dst_pitch=g.c_out, src=pending + r * line * size,
                src_pitch=g.pending_pitch, rows=channels, columns=line,
            ),
        )  # fmt: skip


def _pitch(numbers: int, lanes: int) -> int:
    """An odd number of vectors: planes a power of two apart would share cache sets."""
    return (-(-numbers // lanes) | 1) * lanes


def together(channels: int, area: int, itemsize: int) -> int:
    """How many channels of `area` numbers are transposed at a time: what two fifths of the second-level cache hold, in even parts of
    whole cache lines. All 48 of onsetsframes.conv2 cost 8 % of its time, 16 at a time 22 %."""
    line = ALIGNMENT // itemsize
    most = max(2 * machine().l2 // 5 // (area * itemsize) // line, 1) * line
    return min(-(-channels // -(-channels // most) // line) * line, channels)


def staging(problem: Conv, packed: Layout, last: bool, pending: int, area: int, start: int) -> tuple[dict[str, int], int]:
    """(fields of ChannelsLast, end of scratch) for tasks that pack `packed` and have up to `pending` channels of `area` numbers wait;
    scratch begins at `start`."""
    if not last:
        return dict.fromkeys(ChannelsLast.fields(), 0), start
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    last_in = problem.c_in > 1  # else the order is the same
    if packed.as_matrix:  # transposed where it is packed
        fields = dict.fromkeys(ChannelsLast.fields(), 0)
        return {**fields, "last_in": last_in, "last_out": 1, "transpose": transpose(lanes, size)}, start
    seen = min((packed.positions - 1) * packed.row_step + packed.phases, problem.size[0]) * min(packed.span, problem.size[1])
    staged_channels = together(problem.c_in // problem.groups, seen, size)
    staging_pitch, pending_pitch = _pitch(seen, lanes), _pitch(area, lanes)
    pending_offset = start + whole(last_in * staged_channels * staging_pitch * size)
    values = last_in, 1, transpose(lanes, size), staged_channels, start, staging_pitch, pending, pending_offset, pending_pitch
    return dict(zip(ChannelsLast.fields(), values)), pending_offset + whole(pending * pending_pitch * size)

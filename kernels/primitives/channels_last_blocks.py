"""Channels last inside a job: what it reads and writes is turned over while it is in cache, so that nothing else moves through memory.

    x [row][column][channel] ─► slab [channel][row][column] ─ pack, tiles ─► held [channel][row][column] ─► y [row][column][channel]

The slab has the part of x that a job packs, held are finished channels that wait to be written side by side; of both as many channels at a
time as stay in cache, so that few positions are visited twice.
"""

from __future__ import annotations

from kernels.primitives.packed_layout import Layout
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import Conv
from kernels.runtime.ir import call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import ALIGNMENT, whole

NOTE = "; channels last, turned over in cache where lanes do not run along them"
_FIELDS = "last_in", "last_out", "turn", "turned", "slab_offset", "slab_pitch", "held", "held_offset", "held_pitch"


@njit
def inside(first, count, size):
    """(where they begin, how many they are) of the positions from `first` on, `count` of them, that an axis of `size` has."""
    begin = min(max(first, 0), size)
    return begin, max(min(first + count, size) - begin, 0)


@njit
def plane_of(g, x, image, channel, c, channels, row, column, positions, block):
    """The plane that the c-th of `channels` from `channel` on is packed from, for a block from an input row and column on (before
    padding): its address, that row and column counted from its first, its height and width. Called for one c after the other."""
    size = g.itemsize
    row, column = row - g.pad_h, column - g.pad_w
    if not g.last_in:
        return x + (image * g.c_in + channel + c) * g.h * g.w * size, row, column, g.h, g.w
    (top, h), (left, w) = inside(row, (positions - 1) * g.row_step + g.phases, g.h), inside(column, g.span, g.w)
    slab = block + g.slab_offset
    within = c % g.turned
    if within == 0:
        count = min(g.turned, channels - c)
        source = x + (((image * g.h + top) * g.w + left) * g.c_in + channel + c) * size
        lines, line = (1, h * w) if w == g.w else (h, w)
        for r in range(lines):
            start = source + r * g.w * g.c_in * size
            call(
                g.turn,
                Transpose(
                    lanes=g.lanes, itemsize=size, dst=slab + r * line * size, dst_pitch=g.slab_pitch, src=start, src_pitch=g.c_in,
                    rows=line, columns=count,
                ),
            )  # fmt: skip
    return slab + within * g.slab_pitch * size, row - top, column - left, h, w


@njit
def put_channels(g, channels, block, out, image, j, row, column, rows, columns, oh, ow):
    """All held channels, rows x columns numbers of each, to channels j and further of an output of oh x ow positions."""
    size = g.itemsize
    held = block + g.held_offset
    to = out + (((image * oh + row) * ow + column) * g.c_out + j) * size
    lines, line = (1, rows * columns) if columns == ow else (rows, columns)
    for r in range(lines):
        call(
            g.turn,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=to + r * ow * g.c_out * size, dst_pitch=g.c_out, src=held + r * line * size,
                src_pitch=g.held_pitch, rows=channels, columns=line,
            ),
        )  # fmt: skip


def _pitch(numbers: int, lanes: int) -> int:
    """An odd number of vectors: planes a power of two apart would share cache sets."""
    return (-(-numbers // lanes) | 1) * lanes


def together(channels: int, area: int, itemsize: int) -> int:
    """How many channels of `area` numbers are turned over at a time: what two fifths of the second-level cache hold, in even parts of
    whole cache lines. All 48 of onsetsframes.conv2 cost 8 % of its time, 16 at a time 22 %."""
    line = ALIGNMENT // itemsize
    most = max(2 * machine().l2 // 5 // (area * itemsize) // line, 1) * line
    return min(-(-channels // -(-channels // most) // line) * line, channels)


def slabs(problem: Conv, packed: Layout, last: bool, held: int, area: int, start: int) -> tuple[dict[str, int], int]:
    """(fields, end of scratch) for jobs that pack `packed` and hold up to `held` channels of `area` numbers; scratch begins at `start`."""
    if not last:
        return dict.fromkeys(_FIELDS, 0), start
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    last_in = problem.c_in > 1  # else the order is the same
    if packed.one_line:  # turned over where it is packed
        return {**dict.fromkeys(_FIELDS, 0), "last_in": last_in, "last_out": 1, "turn": transpose(lanes, size)}, start
    seen = min((packed.positions - 1) * packed.row_step + packed.phases, problem.size[0]) * min(packed.span, problem.size[1])
    turned = together(problem.c_in // problem.groups, seen, size)
    slab_pitch, held_pitch = _pitch(seen, lanes), _pitch(area, lanes)
    held_offset = start + whole(last_in * turned * slab_pitch * size)
    values = last_in, 1, transpose(lanes, size), turned, start, slab_pitch, held, held_offset, held_pitch
    return dict(zip(_FIELDS, values)), held_offset + whole(held * held_pitch * size)

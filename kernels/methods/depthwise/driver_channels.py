"""Driver of depthwise layers with lanes along channels: tasks of as many planes as there are lanes, some rows and columns of each.

    x ─ fill ───► bed [row][column][lane] ─ sums ─► [position][lane] ─ transpose ─► y       channels first
    x ─ spread ─► bed [row][column][lane] ─ sums ─► y                                       channels last

The counterpart of `blocks` with `methods.depthwise.row_tile` for maps of short rows, and for channels last, where nothing is transposed.
"""

from __future__ import annotations

import itertools

import numpy as np

from kernels.methods.depthwise.blocking import ChannelBlocking, taps_beside
from kernels.methods.depthwise.channel_tile import FIELDS, RUNS, Border, Fill, Spread, Sums, border, fill, spread, sums
from kernels.methods.depthwise.records import ChannelBlocks
from kernels.primitives.channels_last_blocks import inside
from kernels.primitives.driver import Packed, common, epilogue_of, every_task, launcher, task_at
from kernels.primitives.post_ops import apply_activation
from kernels.primitives.prepared import Prepared
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.problem.window import reach
from kernels.runtime.ir import call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch, aligned, whole

Array = np.ndarray

NOTE = "; channels last, as they lie"


@njit
def load_block(g, x, image, channel, live, row, column, block):
    """Some channels of the input that a block reads from a row and column on (before padding), with their zeros, to the bed at `block`."""
    size = g.itemsize
    row, column = row - g.pad_h, column - g.pad_w
    (top, h), (left, w) = inside(row, g.bed_h, g.h), inside(column, g.bed_w, g.w)
    if not h or not w:  # a block may see nothing but padding
        h, w, top, left = 0, 0, row, column
    above, before = top - row, left - column
    if h < g.bed_h or w < g.bed_w:
        call(
            g.border,
            Border(lanes=g.lanes, itemsize=size, dst=block, bed_h=g.bed_h, bed_w=g.bed_w, above=above, h=h, before=before, w=w),
        )
    to = block + (above * g.bed_w + before) * g.lanes * size
    if g.last:
        source = x + (((image * g.h + top) * g.w + left) * g.c_in + channel) * size
        call(
            g.spread,
            Spread(
                lanes=g.lanes, itemsize=size, dst=to, bed_w=g.bed_w, src=source, row_pitch=g.w * g.c_in, pitch=g.c_in, live=live, h=h, w=w
            ),
        )
        return
    source = x + (((image * g.c_in + channel) * g.h + top) * g.w + left) * size
    lines, line = (1, h * w) if w == g.w else (h, w)
    for r in range(lines):
        call(
            g.fill,
            Fill(
                lanes=g.lanes, itemsize=size, dst=to + r * g.bed_w * g.lanes * size, offsets=g.fill_offsets, src=source + r * g.w * size,
                pitch=g.h * g.w, live=live, positions=line,
            ),
        )  # fmt: skip


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; all are addresses but the record: `block` that of its scratch, operands those of weights, biases, scales and shifts."""
    g = geometry[0]
    size = g.itemsize
    mine = task_at(task, g.tasks, 1, g.channel_vectors, g.row_blocks, g.column_blocks)  # a group is a vector of channels here
    image, vector = mine.image, mine.group
    row, column, channel = mine.row_block * g.rows, mine.column_block * g.columns, vector * g.lanes
    rows, columns, live = min(g.rows, g.oh - row), min(g.columns, g.ow - column), min(g.lanes, g.c_in - channel)
    load_block(g, x, image, channel, live, row * g.sh, column * g.sw, block)
    edge = int(columns < g.columns)
    sums, run, runs = read_index(g.runs, 3 * edge), read_index(g.runs, 3 * edge + 1), rows * read_index(g.runs, 3 * edge + 2)
    y_step, spacing = (g.c_out, g.multiplier) if g.last else (g.lanes, 1)
    number, position = rows * columns, row * g.ow + column
    for i in range(g.multiplier):
        j = (vector * g.multiplier + i) * g.lanes  # of its operands, which are filled up to whole vectors
        if g.last:
            y = out + ((image * g.oh * g.ow + position) * g.c_out + channel * g.multiplier + i) * size
        else:
            y = block + g.summed_offset
        bias, scale, shift = epilogue_of(g, operands, j)
        call(
            sums,
            Sums(
                run=run, step=g.step, columns=g.side, lanes=g.lanes, itemsize=size, k=g.k, a=operands[0] + j * g.taps * size, x=block,
                offsets=g.offsets, y=y, y_step=y_step, spacing=spacing, table=g.tables + edge * g.table_bytes, runs=runs, live=live,
                bias=bias, scale=scale, shift=shift, activation=g.activation, slope=g.slope,
            ),
        )  # fmt: skip
        if not g.last:
            if g.form:
                apply_activation(g, 1, y, 0, 0, 1, number * g.lanes)
            to = out + ((image * g.c_out + channel * g.multiplier + i) * g.oh * g.ow + position) * size
            lines, line = (1, number) if columns == g.ow else (rows, columns)
            for r in range(lines):
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=to + r * g.ow * size, dst_pitch=g.multiplier * g.oh * g.ow,
                        src=y + r * line * g.lanes * size, src_pitch=g.lanes, rows=line, columns=live,
                    ),
                )  # fmt: skip
    if g.last and g.form:
        for r in range(rows):
            y = out + ((image * g.oh * g.ow + position + r * g.ow) * g.c_out + channel * g.multiplier) * size
            apply_activation(g, 1, y, 0, g.c_out, columns, live * g.multiplier)


run_tasks = every_task(run_task)


def in_lanes(array: Array | None, multiplier: int, lanes: int, adjoint: bool = False) -> Array | None:
    """What belongs to output channels as [lanes of channels][multiplier][…][lane], zero past the last channel. adjoint: the last axis,
    which is taps of the layer that this is the adjoint of, in reverse."""
    if array is None:
        return None
    channels, each = len(array) // multiplier, array.size // len(array)
    vectors, full = -(-channels // lanes), channels // lanes
    result = aligned(vectors * multiplier * each * lanes * array.itemsize).view(array.dtype).reshape(vectors, multiplier, each, lanes)
    by_channel = array.reshape(channels, multiplier, each)[:, :, :: -1 if adjoint else 1]
    result[:full] = by_channel[: full * lanes].reshape(full, lanes, multiplier, each).transpose(0, 2, 3, 1)
    if full < vectors:
        last, live = result[-1], channels - full * lanes
        last[:, :, :live] = by_channel[full * lanes :].transpose(1, 2, 0)
        last[:, :, live:] = 0
    return result


def _run(columns: int, step: int) -> int:
    """Positions of a run in rows of so many: runs end with the row, so the last two may overlap."""
    fitting = [run for run in RUNS.get(step, (1,)) if run <= columns]
    return min(fitting, key=lambda run: -(-columns // run) * (run + 1), default=1)  # each costs about one more


def run_tables(problem: Conv, block: ChannelBlocking, bed_w: int, lanes: int, last: bool) -> tuple[Array, Array]:
    """For blocks of full and of last columns: (run, runs in a row); and for every run the place of its first window in the bed and of its
    first position in the output."""
    (sh, sw), ow = problem.stride, problem.conv_size[1]
    shapes, tables = np.zeros((2, 2), np.int64), np.zeros((2, block.rows * block.columns, FIELDS), np.int64)
    for shape, table, columns in zip(shapes, tables, (block.columns, ow % block.columns)):
        run = _run(columns, sw)
        starts = np.minimum(np.arange(0, columns, run), columns - run)
        r, c = np.repeat(np.arange(block.rows), len(starts)), np.tile(starts, block.rows)
        fill_offsets = (r * sh * bed_w + c * sw) * lanes, (r * ow + c) * problem.c_out if last else (r * columns + c) * lanes
        table[: len(r)] = np.stack(fill_offsets, 1)
        shape[:] = run, len(starts)
    return shapes, tables


def prepare_channels(problem: Conv, threads: int, block: ChannelBlocking, *, last: bool = False, adjoint: bool = False) -> Prepared:
    """Lay out weights and scratch; `last`: channels are the last axis of x and of the output; adjoint: weights are those of the layer that
    this is the adjoint of."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (kh, kw), (dh, dw), (_, sw), (oh, ow) = problem.kernel, problem.dilation, problem.stride, problem.conv_size
    bed_h, bed_w = reach(problem, block.rows, block.columns)
    multiplier, vectors = problem.c_out // problem.c_in, -(-problem.c_in // lanes)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    tasks = problem.n * vectors * row_blocks * column_blocks
    used = min(threads, tasks)
    summed_offset = whole(bed_h * bed_w * lanes * size)
    scratch_bytes = summed_offset + (0 if last else whole(block.rows * block.columns * lanes * size))
    scratch = Scratch(used * scratch_bytes)
    side = taps_beside(problem)
    offsets = np.array([(y * dh * bed_w + x * dw) * lanes for y, x in itertools.product(range(kh), range(0, kw, side))])
    shapes, tables = run_tables(problem, block, bed_w, lanes, last)
    step = sw if sw in RUNS else 1  # of runs of one position it says nothing
    runs = np.array([[sums(run, step, side, lanes, size), run, count] for run, count in shapes.tolist()])
    seen = np.arange(min(bed_w, problem.size[1]))  # of one row where a block does not see all columns, which are filled row by row
    rows = np.arange(min(bed_h, problem.size[0]) if len(seen) == problem.size[1] else 1)
    fill_offsets = np.add.outer(rows * bed_w, seen).ravel() * lanes
    geometry = ChannelBlocks.packed(
        **common(problem, oh, ow), channel_vectors=vectors, multiplier=multiplier, rows=block.rows, columns=block.columns,
        row_blocks=row_blocks, column_blocks=column_blocks,
        bed_h=bed_h, bed_w=bed_w, k=len(offsets), taps=problem.taps, last=last, step=step, side=side,
        offsets=offsets.ctypes.data, tables=tables.ctypes.data, table_bytes=tables[0].nbytes, runs=runs.ctypes.data,
        fill_offsets=fill_offsets.ctypes.data, border=border(lanes, size), fill=fill(lanes, size), spread=spread(lanes, size),
        transpose=transpose(lanes, size), summed_offset=summed_offset, tasks=tasks, scratch_bytes=scratch_bytes,
    )  # fmt: skip

    def packed_operands(operands: Operands) -> Packed:
        weight = None if operands.weight is None else operands.weight.reshape(problem.c_out, -1)  # an adjoint's lie by input channels
        return tuple(in_lanes(array, multiplier, lanes, adjoint) for array in operands._replace(weight=weight))

    note = f"{lanes} channels at a time, {block.rows} rows of {block.columns}{NOTE * last}"
    keep_alive = offsets, tables, runs, fill_offsets
    return Prepared(launcher(run_tasks, packed_operands, used, geometry, scratch, keep_alive), scratch.nbytes, note)

"""Running a packed-block convolution: jobs taken by threads, input packed into scratch, micro-kernels called by address.

One driver serves every problem, dtype and vector width: it knows only sizes, strides and addresses, and calls whatever computes a line of
outputs from packed input. `cuts` decides the sizes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from kernels.cuts.direct import Blocking, Layout, even, layout, pooled_size, tallest
from kernels.finishing import bend, finish_channels, pool_bytes, pool_record
from kernels.implementation import Operands, Prepared
from kernels.jit import njit, region
from kernels.machine import machine
from kernels.microkernels.outer import AHEAD, FIELDS, FROM_BIAS, LAST
from kernels.microkernels.packing import pack
from kernels.microkernels.smooth import codes, lines
from kernels.problem import Conv, Size
from kernels.scratch import ALIGNMENT, Scratch, raw, whole
from kernels.slabs import NOTE, plane_of, slabs
from kernels.vector import call, flush_denormals, restore_denormals, split, take_next

Array = np.ndarray
TileOf = Callable[[int, int, int, int], int]


@njit
def pack_channel(g, to, block, x, image, channel, c, channels, row, column, positions):
    """Pack the c-th of `channels` input channels from `channel` on, from an input row and column on (before padding), to `to`; the job's
    scratch is at `block`."""
    source, row, column, h, w = plane_of(g, x, image, channel, c, channels, row, column, positions, block)
    call(
        g.pack,
        (g.step, g.lanes, g.itemsize, to, block + g.line_offset, g.columns_table, g.planes, g.column_stride, g.phases, g.phase_stride,
         positions, g.pitch, g.count, g.span, source, row, g.row_step, column, g.column_step, h, w),
    )  # fmt: skip


@njit
def epilogue_of(g, j):
    """Addresses of channel j's bias, scale and shift, 0 where there is none."""
    first = j * g.itemsize
    return g.bias + first if g.bias else 0, g.scale + first if g.scale else 0, g.shift + first if g.shift else 0


@njit
def run_job(job, x, out, weights, offsets, tiles, cuts, vectors, geometry, block):
    """One job, `block` being the address of its scratch; the other arguments are those of `run_jobs`."""
    g = geometry[0]
    size = g.itemsize
    rest, chunk = split(job, g.chunks)
    rest, column_block = split(rest, g.column_blocks)
    rest, row_block = split(rest, g.row_blocks)
    image, group = split(rest, g.groups)
    row, column = row_block * g.rows, column_block * g.columns
    rows, columns = min(g.rows, g.oh - row), min(g.columns, g.ow - column)
    edges = 2 * (rows < g.rows) + (columns < g.columns)
    entries = vectors[edges].ctypes.data
    across, wide, wider = cuts[edges]
    first_tile, last_tile = split(chunk * g.down, g.chunks)[0], split((chunk + 1) * g.down, g.chunks)[0]
    positions = g.positions - (g.rows - rows) * g.positions_per_row
    y_row = g.rows * g.columns if g.pool else g.held_pitch if g.last_out else g.oh * g.ow
    for channel in range(0, g.ins, g.channels):
        channels = min(g.channels, g.ins - channel)
        for c in range(channels):
            place = x, image, group * g.ins + channel, c, channels, row * g.sh, column * g.sw, positions
            pack_channel(g, block + c * g.channel_stride * size, block, *place)
        summed, taps = channel * g.kernel_taps, channels * g.kernel_taps
        held = 0
        stage = (FROM_BIAS if summed == 0 else 0) + (LAST if summed + taps == g.k else 0)
        for t in range(first_tile, last_tile):  # outermost: weights are read once a block, and few output planes are written at a time
            j = group * g.outs + t * g.tall + min(t, g.taller)
            m = g.tall + (t < g.taller)
            if g.pool:
                y = block + g.conv_offset
            elif g.last_out:
                y = block + g.held_offset + held * y_row * size
            else:
                y = out + (((image * g.c_out + j) * g.oh + row) * g.ow + column) * size
            a = weights + (j * g.k + summed * m) * size
            bias, scale, shift = epilogue_of(g, j)
            for q in range(across):
                first = (q * wide + min(q, wider)) * FIELDS * 8
                n = wide + (q < wider)
                call(
                    tiles[m, n],
                    (m, n, g.lanes, size, taps, a, block, offsets.ctypes.data, y, y_row, entries + first, stage,
                     bias, scale, shift, g.activation, g.slope),
                )  # fmt: skip
            if stage & LAST:
                bend(g, m, y, y_row, columns if g.pool or g.last_out else g.ow, rows, columns)
            full = stage & LAST and (t == last_tile - 1 or held + m + g.tall + 1 > g.held)
            held = finish_channels(g, m, held, y, y_row, out, image, j, row, column, rows, columns, block, full)


@njit
def start_counter(scratch, first):
    """Address of the jobs' counter in the last bytes of scratch, set to the first job that no thread begins with."""
    counter = scratch[-ALIGNMENT:].view(np.int64)
    counter[0] = first
    return counter.ctypes.data


@region
def run_jobs(threads, x, out, weights, offsets, tiles, cuts, vectors, geometry, jobs, scratch, scratch_bytes):
    """Every job of one convolution; threads take them one by one from a counter at the end of scratch. x, out, weights and scratch are
    bytes; offsets (element offsets of all taps of a block), tiles (addresses by [m][n]), cuts and vectors (see `vector_tables`) are int64
    arrays, geometry a record; each thread has scratch_bytes."""
    counter = start_counter(scratch, threads)
    for thread in prange(threads):
        state = flush_denormals()
        pointers = x.ctypes.data, out.ctypes.data, weights.ctypes.data
        job = thread  # its first job is always the same, so its part of the weights is still in its cache from the call before
        while job < jobs:
            run_job(job, *pointers, offsets, tiles, cuts, vectors, geometry, scratch.ctypes.data + thread * scratch_bytes)
            job = take_next(counter)
        restore_denormals(state)


def padded(array: Array | None, length: int) -> Array | None:
    """The array with zeros after it along its first axis, or None."""
    return None if array is None else np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def pack_weights(weight: Array, groups: int, m: int, unit: int = 1) -> Array:
    """weight (c_out, ins, kh, kw) as [group][tile][ins * kh * kw][channel of the tile], tiles of even heights of at most m units of
    channels."""
    c_out, k = weight.shape[0], weight[0].size
    parts, base, extra = even(c_out // groups // unit, m)
    heights = [(base + (t < extra)) * unit for t in range(parts)] * groups
    rows = weight.reshape(c_out, k)
    edges = np.cumsum([0, *heights])
    return np.concatenate([rows[a:b].T.ravel() for a, b in itertools.pairwise(edges)])


def vector_tables(block: Blocking, packed: Layout, size: Size, pitch: int | None, segment: int) -> tuple[Array, Array]:
    """(cuts, vectors) for blocks of full and last rows by full and last columns: into how many tiles their vectors of at most `segment`
    outputs are cut, as `even` says, and what the tile is told of each vector: its place in the packed block, its place in the output,
    its outputs. `size`: (rows, columns) of outputs; pitch: from row to row of the output, None: as long as the block's."""
    tables = []
    for rows in (block.rows, size[0] % block.rows or block.rows):
        for columns in (block.columns, size[1] % block.columns):
            lines, line = (1, rows * columns) if block.flat else (rows, columns)
            tables.append([
                (r * packed.positions_per_row * packed.pitch + first, r * (pitch or columns) + first, min(segment, line - first))
                for r in range(lines) for first in range(0, line, segment)
            ])  # fmt: skip
    vectors = np.zeros((len(tables), max(map(len, tables)), FIELDS), np.int64)
    for to, table in zip(vectors, tables):
        if table:
            to[: len(table)] = table
    return np.array([even(len(table) or 1, block.n) for table in tables]), vectors  # blocks without columns do not occur


def tile_table(outs: int, m: int, cuts: Array, lanes: int, itemsize: int, tile_of: TileOf) -> Array:
    """Addresses of the tiles that `outs` channels by vectors cut as `cuts` says need, by [m][n]."""
    _, base, extra = even(outs, m)
    widths = {width + more for _, width, wider in cuts.tolist() for more in range(1 + (wider > 0))}
    table = np.zeros((m + 2, max(widths) + 1), np.int64)
    for height in {base, base + (extra > 0)}:
        for width in widths:
            table[height, width] = tile_of(height, width, lanes, itemsize)
    return table


def line_bytes(packed: Layout, lanes: int, itemsize: int) -> int:
    """Scratch bytes for one input row with its zeros, and what picking reads beyond it."""
    return whole((packed.span + (lanes + 1) * max(packed.picked_step, 1) + lanes) * itemsize)


def common(problem: Conv, packed: Layout, operands: Operands, starts: Array, line_offset: int) -> dict[str, int]:
    """What the record of any driver of packed blocks holds: sizes, the packed block, packing, epilogue. It points into `operands` and
    `starts`, the table of packed.columns; line_offset is where a job's scratch has room for `line_bytes`."""
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    form, activation, slope = codes(problem.activation)
    (h, w), (oh, ow) = problem.size, problem.conv_size
    epilogue = {"bias": operands.bias, "scale": operands.scale, "shift": operands.shift}
    return {
        "itemsize": size, "lanes": lanes, "groups": problem.groups, "c_in": problem.c_in, "ins": problem.c_in // problem.groups,
        "c_out": problem.c_out, "outs": problem.c_out // problem.groups, "h": h, "w": w, "oh": oh, "ow": ow,
        "pad_h": problem.padding[0][0], "pad_w": problem.padding[1][0], "sh": problem.stride[0], "sw": problem.stride[1],
        "planes": len(packed.columns), "columns_table": starts.ctypes.data, "column_stride": packed.column_stride,
        "phases": packed.phases, "phase_stride": packed.phase_stride, "positions": packed.positions, "pitch": packed.pitch,
        "channel_stride": packed.channel_stride, "count": packed.count, "span": packed.span, "row_step": packed.row_step,
        "column_step": packed.column_step, "positions_per_row": packed.positions_per_row,
        "step": packed.picked_step, "pack": pack(packed.picked_step, lanes, size), "line_offset": line_offset,
        "activation": activation, "slope": slope, "form": form, "bend": lines(form, lanes, size) if form else 0,
        **{key: 0 if array is None else array.ctypes.data for key, array in epilogue.items()},
    }  # fmt: skip


def record(values: dict[str, int]) -> Array:
    """One record of int64 fields, which compiled code reads by name."""
    return np.array([tuple(values.values())], [(name, np.int64) for name in values])


def _held(problem: Conv, block: Blocking) -> int:
    """Channels that wait to be written side by side, with channels last: all of a job's where sums are resumed, else as many as the
    second-level cache has room for, at least a tile's."""
    outs = problem.c_out // problem.groups
    most = -(-even(outs, block.m)[0] // block.chunks) * tallest(outs, block.m) + block.m
    room = machine().l2 // problem.itemsize // (block.rows * block.columns)
    return most if block.channels < problem.c_in // problem.groups else max(block.m, min(most, room))


def prepare_blocks(
    problem: Conv, operands: Operands, threads: int, block: Blocking, tile_of: TileOf, segment: int | None = None, *, last: bool = False
) -> Prepared:
    """Pack the weights and lay out the scratch for a blocking; `tile_of(m, n, lanes, itemsize)` gives the address of a micro-kernel
    that is called as `microkernels.outer.tile` is, with vectors of at most `segment` outputs (None: one register). `last`: channels are
    the last axis of x and of the output."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    packed = layout(problem, block.flat, block.rows, block.columns, lanes, block.channels)
    oh, ow = pooled_size(problem)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    jobs = problem.n * problem.groups * row_blocks * column_blocks * block.chunks
    line_offset = whole((packed.size + 8 * lanes) * size)  # whole vectors are read past a line's end; a row walks several at a time
    row_offset = line_offset + line_bytes(packed, lanes, size)
    conv_offset = row_offset + pool_bytes(problem, 1, block.columns)
    held_offset = conv_offset + pool_bytes(problem, block.m * block.rows, block.columns)
    fields, scratch_bytes = slabs(problem, packed, last, _held(problem, block), block.rows * block.columns, held_offset)
    used = min(threads, jobs)
    scratch = Scratch(used * scratch_bytes + ALIGNMENT)
    assert operands.weight is not None
    weights = pack_weights(operands.weight, problem.groups, block.m)
    starts = np.array(packed.columns)
    pooling, factors = pool_record(problem, block.rows, block.columns)
    down, tall, taller = even(problem.c_out // problem.groups, block.m)
    geometry = record({
        **common(problem, packed, operands, starts, line_offset), **pooling, **fields, "oh": oh, "ow": ow, "rows": block.rows,
        "columns": block.columns, "channels": block.channels, "k": problem.summands, "kernel_taps": problem.taps, "down": down,
        "tall": tall, "taller": taller, "chunks": block.chunks, "row_blocks": row_blocks, "column_blocks": column_blocks,
        "row_offset": row_offset, "conv_offset": conv_offset,
    })  # fmt: skip
    offsets = np.arange(block.channels)[:, None] * packed.channel_stride + np.array(packed.taps)
    offsets = np.append(offsets, np.zeros(AHEAD)).astype(np.int64)
    cuts, vectors = vector_tables(block, packed, (oh, ow), None if problem.pool or last else ow, segment or lanes)
    tiles = tile_table(problem.c_out // problem.groups, block.m, cuts, lanes, size, tile_of)

    fixed = raw(weights), offsets, tiles, cuts, vectors, geometry, jobs
    example = np.empty((1, 1, 1, 1), np.uint8)
    launch = run_jobs.ready(used, used, example, example, *fixed, example.ravel(), scratch_bytes)

    def run(x: Array, out: Array, held: Any = (operands, starts, factors)) -> None:  # what geometry points into
        with scratch.take() as buffer:
            launch(used, raw(x), raw(out), *fixed, buffer, scratch_bytes)

    return Prepared(run, scratch.nbytes, f"{block}{NOTE * last}")

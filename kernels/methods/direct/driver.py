"""Running a packed-block convolution: jobs taken by threads, input packed into scratch, micro-kernels called by address.

One driver serves every problem, dtype and vector width: it knows only sizes, strides and addresses, and calls whatever computes a line of
outputs from packed input. `cuts` decides the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from kernels.addresses import pointed
from kernels.cuts.direct import Blocking, Layout, even, layout, pooled_size, tallest
from kernels.finishing import bend, bends_maxima, finish_channels, pool_bytes, pool_record
from kernels.implementation import Bind, Operands, Prepared, Run
from kernels.jit import Region, njit, region
from kernels.jobs import COUNTER_BYTES, begin_jobs, next_job
from kernels.machine import machine
from kernels.microkernels.outer import AHEAD, FIELDS, FROM_BIAS, LAST
from kernels.microkernels.packing import pack
from kernels.microkernels.smooth import codes, lines
from kernels.problem import Conv, Size
from kernels.scratch import HEADER, Scratch, handle, whole
from kernels.slabs import NOTE, plane_of, slabs
from kernels.vector import call, flush_denormals, read_index, restore_denormals, split
from kernels.weights import packer

Array = np.ndarray
TileOf = Callable[[int, int, int, int], int]
Packed = tuple[Array | None, ...]  # weight, bias, scale, shift as a driver reads them


@njit
def pack_channels(g, block, x, image, channel, channels, row, column, positions):
    """Pack `channels` input channels from `channel` on, from an input row and column on (before padding), to the beginning of the job's
    scratch at `block`; in one call, unless they are turned over one by one."""
    together = 1 if g.last_in else channels
    for c in range(0, channels, together):
        source, top, left, h, w = plane_of(g, x, image, channel, c, channels, row, column, positions, block)
        to = block + c * g.channel_stride * g.itemsize
        call(
            g.pack,
            (g.step, g.lanes, g.itemsize, to, block + g.line_offset, g.columns_table, g.planes, g.column_stride, g.phases, g.phase_stride,
             positions, g.pitch, g.count, g.span, source, top, g.row_step, left, g.column_step, h, w, g.ahead, together, g.channel_stride),
        )  # fmt: skip


@njit
def pack_line(g, to, block, source, count):
    """Pack one line of `count` numbers."""
    table = (g.columns_table, 1, 0, 1, 0, 1, 0, count, count)
    call(g.pack, (g.step, g.lanes, g.itemsize, to, block + g.line_offset, *table, source, 0, 1, 0, 1, 1, count, 0, 1, 0))


@njit
def epilogue_of(g, operands, j):
    """Addresses of channel j's bias, scale and shift, 0 where there is none; operands: those of weights, biases, scales and shifts."""
    first = j * g.itemsize
    _, bias, scale, shift = operands
    return bias + first if bias else 0, scale + first if scale else 0, shift + first if shift else 0


@njit
def run_job(job, x, out, operands, geometry, block):
    """One job; all are addresses but the record: `block` that of its scratch, operands those of weights, biases, scales and shifts."""
    g = geometry[0]
    size = g.itemsize
    chunk, rest = split(job, split(g.jobs, g.chunks)[0])  # a thread's jobs share weights
    rest, column_block = split(rest, g.column_blocks)
    rest, row_block = split(rest, g.row_blocks)
    image, group = split(rest, g.groups)
    row, column = row_block * g.rows, column_block * g.columns
    rows, columns = min(g.rows, g.oh - row), min(g.columns, g.ow - column)
    edges = 2 * (rows < g.rows) + (columns < g.columns)
    entries = g.vectors + edges * g.vectors_each
    across, wide, wider = read_index(g.cuts, 3 * edges), read_index(g.cuts, 3 * edges + 1), read_index(g.cuts, 3 * edges + 2)
    first_tile, last_tile = split(chunk * g.down, g.chunks)[0], split((chunk + 1) * g.down, g.chunks)[0]
    positions = g.positions - (g.rows - rows) * g.positions_per_row
    y_row = g.rows * g.columns if g.pool else g.held_pitch if g.last_out else g.oh * g.ow
    for channel in range(0, g.ins, g.channels):
        channels = min(g.channels, g.ins - channel)
        pack_channels(g, block, x, image, group * g.ins + channel, channels, row * g.sh, column * g.sw, positions)
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
            a = operands[0] + (j * g.k + summed * (1 if g.a_row else m)) * size
            bias, scale, shift = epilogue_of(g, operands, j)
            first = entries
            for n, times in ((wide + 1, wider), (wide, across - wider)):
                if times:
                    call(
                        read_index(g.tiles, m * g.tiles_each + n),
                        (m, n, g.lanes, size, taps, a, block, g.offsets, y, y_row, first, stage, bias, scale, shift, g.activation, g.slope,
                         times, g.a_row, 0, n * FIELDS * 8),
                    )  # fmt: skip
                    first += times * n * FIELDS * 8
            if stage & LAST and g.form and not g.bends_maxima:
                bend(g, m, y, y_row, columns if g.pool or g.last_out else g.ow, rows, columns)
            full = stage & LAST and (t == last_tile - 1 or held + m + g.tall + 1 > g.held)
            held = finish_channels(g, m, held, y, y_row, out, image, j, row, column, rows, columns, block, full)


def every_job(run_job: Any) -> Region:
    """The region that does every job of one convolution by a driver's compiled `run_job`; their counters lie behind the threads'
    scratch. geometry is the record of `launcher`, the other arrays are handles."""

    def run_jobs(threads, x, out, scratch, geometry, weights, bias, scale, shift):
        scratch_bytes, jobs, block = geometry[0].scratch_bytes, geometry[0].jobs, pointed(scratch)
        counters = block + threads * scratch_bytes
        begin_jobs(counters, threads)
        for thread in prange(threads):
            state = flush_denormals()
            operands = pointed(weights), pointed(bias), pointed(scale), pointed(shift)
            job = next_job(counters, thread, threads, jobs)
            while job < jobs:
                run_job(job, pointed(x), pointed(out), operands, geometry, block + thread * scratch_bytes)
                job = next_job(counters, thread, threads, jobs)
            restore_denormals(state)

    # compiled code is kept under this name
    run_jobs.__module__, run_jobs.__qualname__ = run_job.__module__, "run_jobs"
    return region(run_jobs)


run_jobs = every_job(run_job)


def padded(array: Array | None, length: int) -> Array | None:
    """The array with zeros after it along its first axis, or None."""
    if array is None or len(array) == length:
        return array
    result = np.zeros((length, *array.shape[1:]), array.dtype)
    result[: len(array)] = array
    return result


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


def common(problem: Conv) -> dict[str, int]:
    """What the record of any driver of a convolution's jobs holds: sizes and activation."""
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    form, activation, slope = codes(problem.activation)
    (h, w), (oh, ow) = problem.size, problem.conv_size
    return {
        "itemsize": size, "lanes": lanes, "groups": problem.groups, "c_in": problem.c_in, "ins": problem.c_in // problem.groups,
        "c_out": problem.c_out, "outs": problem.c_out // problem.groups, "h": h, "w": w, "oh": oh, "ow": ow,
        "pad_h": problem.padding[0][0], "pad_w": problem.padding[1][0], "sh": problem.stride[0], "sw": problem.stride[1],
        "activation": activation, "slope": slope, "form": form, "bend": lines(form, lanes, size) if form else 0,
        "bends_maxima": bends_maxima(problem),
    }  # fmt: skip


def packing(problem: Conv, packed: Layout, starts: Array, line_offset: int) -> dict[str, int]:
    """What that of drivers of packed blocks holds besides. It points into `starts`, the table of packed.columns; line_offset is where a
    job's scratch has room for `line_bytes`."""
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    return {
        "planes": len(packed.columns), "columns_table": starts.ctypes.data, "column_stride": packed.column_stride,
        "phases": packed.phases, "phase_stride": packed.phase_stride, "positions": packed.positions, "pitch": packed.pitch,
        "channel_stride": packed.channel_stride, "count": packed.count, "span": packed.span, "row_step": packed.row_step,
        "column_step": packed.column_step, "positions_per_row": packed.positions_per_row,
        "step": packed.picked_step, "pack": pack(packed.picked_step, lanes, size), "line_offset": line_offset,
        "ahead": math.prod(problem.size),
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
    problem: Conv, threads: int, block: Blocking, tile_of: TileOf, segment: int | None = None, *, last: bool = False, as_given: bool = False
) -> Prepared:
    """Lay out weights and scratch for a blocking; `tile_of(m, n, lanes, itemsize)` gives the address of a micro-kernel
    that is called as `microkernels.outer.tile` is, with vectors of at most `segment` outputs (None: one register). `last`: channels are
    the last axis of x and of the output. as_given: weights are not packed, the micro-kernel takes rows of them."""
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
    scratch = Scratch(used * (scratch_bytes + COUNTER_BYTES))
    starts = np.array(packed.columns)
    pooling, factors = pool_record(problem, block.rows, block.columns)
    down, tall, taller = even(problem.c_out // problem.groups, block.m)
    offsets = np.arange(block.channels)[:, None] * packed.channel_stride + np.array(packed.taps)
    offsets = np.append(offsets, np.zeros(AHEAD)).astype(np.int64)
    cuts, vectors = vector_tables(block, packed, (oh, ow), None if problem.pool or last else ow, segment or lanes)
    tiles = tile_table(problem.c_out // problem.groups, block.m, cuts, lanes, size, tile_of)
    sizes = {
        **common(problem), **packing(problem, packed, starts, line_offset), **pooling, **fields, "oh": oh, "ow": ow, "rows": block.rows,
        "columns": block.columns, "channels": block.channels, "k": problem.summands, "kernel_taps": problem.taps, "down": down,
        "tall": tall, "taller": taller, "chunks": block.chunks, "row_blocks": row_blocks, "column_blocks": column_blocks,
        "row_offset": row_offset, "conv_offset": conv_offset, "offsets": offsets.ctypes.data, "cuts": cuts.ctypes.data,
        "vectors": vectors.ctypes.data, "vectors_each": vectors[0].nbytes, "tiles": tiles.ctypes.data, "tiles_each": tiles.shape[1],
        "jobs": jobs, "scratch_bytes": scratch_bytes, "a_row": problem.summands * size if as_given else 0,
    }  # fmt: skip
    turn = None if as_given else packer(problem.c_out, problem.summands, problem.groups, block.m, problem.dtype, threads)

    def pack(operands: Operands) -> Packed:
        return turn(operands.weight) if turn else operands.weight, *operands[1:]

    held = starts, factors, offsets, cuts, vectors, tiles
    return Prepared(launcher(run_jobs, pack, used, sizes, scratch, held), scratch.nbytes, f"{block}{NOTE * last}")


def launcher(
    jobs_of: Region, pack: Callable[[Operands], Packed], threads: int, sizes: dict[str, int], scratch: Scratch, held: Any
) -> Bind:
    """The `bind` of a region with the arguments of `run_jobs`; sizes: what becomes its record, among them `jobs` and each thread's
    `scratch_bytes`; held: all that they point into. Arguments take 50 ns each, so whatever no operand changes is in the record, and
    handles are taken in place."""
    geometry = record(sizes)
    launch = jobs_of.ready(threads, threads, 0, 0, 0, geometry, 0, 0, 0, 0)

    def bind(operands: Operands) -> Run:
        packed = pack(operands)
        weights, bias, scale, shift = map(handle, packed)

        def run(x: Array, out: Array, held: Any = (packed, held)) -> None:
            buffer = scratch.take()
            launch(threads, id(x) + HEADER, id(out) + HEADER, id(buffer) + HEADER, geometry, weights, bias, scale, shift)
            scratch.give(buffer)

        return run

    return bind

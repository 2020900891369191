"""Driver of depthwise layers with lanes along channels: jobs of as many planes as there are lanes, some rows and columns of each.

    x ─ transpose ─► [position][lane] ─ spread ─► with its padding ─ sums ─► [position][lane] ─ transpose ─► y       channels first
    x ──────────────────────────────── spread ─► with its padding ─ sums ─► y                                       channels last

The counterpart of `blocks` with `microkernels.row` for maps of short rows, and for channels last, where nothing is turned over.
"""

from __future__ import annotations

import itertools

import numpy as np
from numba import prange

from kernels.addresses import pointed, write_index
from kernels.blocks import Packed, launcher
from kernels.cuts.depthwise import Stack, reach
from kernels.finishing import bend
from kernels.implementation import Operands, Prepared
from kernels.jit import njit, region
from kernels.machine import machine
from kernels.microkernels.depthwise import FIELDS, spread, sums
from kernels.microkernels.smooth import codes, lines
from kernels.microkernels.transpose import transpose
from kernels.problem import Conv
from kernels.scratch import ALIGNMENT, Scratch, aligned, whole
from kernels.vector import call, flush_denormals, restore_denormals, split, take_next

Array = np.ndarray

NOTE = "; channels last, as they lie"


@njit
def bring(g, x, image, channel, live, row, column, block):
    """Some channels of the input that a block reads from a row and column on (before padding), with their zeros, to the job's bed."""
    size = g.itemsize
    row, column = row - g.pad_h, column - g.pad_w
    top, left = min(max(row, 0), g.h), min(max(column, 0), g.w)
    h, w = max(min(row + g.high, g.h) - top, 0), max(min(column + g.wide, g.w) - left, 0)
    if g.last:
        source, row_pitch, pitch = x + (((image * g.h + top) * g.w + left) * g.c_in + channel) * size, g.w * g.c_in, g.c_in
    else:
        source, row_pitch, pitch = block + g.turned_offset, w * g.lanes, g.lanes
        start = x + (((image * g.c_in + channel) * g.h + top) * g.w + left) * size
        number, line = (1, h * w) if w == g.w else (h, w)
        for r in range(number):
            to = source + r * line * g.lanes * size
            call(g.turn, (g.lanes, size, to, g.lanes, start + r * g.w * size, g.h * g.w, live, line))
    call(g.spread, (g.lanes, size, block, g.high, g.wide, top - row, h, left - column, w, source, row_pitch, pitch, live))


@njit
def run_job(job, x, out, operands, geometry, block):
    """One job; all are addresses but the record: `block` that of its scratch, operands those of weights, biases, scales and shifts."""
    g = geometry[0]
    size = g.itemsize
    rest, column_block = split(job, g.column_blocks)
    rest, row_block = split(rest, g.row_blocks)
    image, group = split(rest, g.groups)
    row, column, channel = row_block * g.rows, column_block * g.columns, group * g.lanes
    rows, columns, live = min(g.rows, g.oh - row), min(g.columns, g.ow - column), min(g.lanes, g.c_in - channel)
    bring(g, x, image, channel, live, row * g.sh, column * g.sw, block)
    table = g.tables + (columns < g.columns) * g.table_bytes
    weights, bias, scale, shift = operands
    number, position = rows * columns, row * g.ow + column
    for i in range(g.multiplier):
        at = (group * g.multiplier + i) * g.lanes * size
        finish = bias + at if bias else 0, scale + at if scale else 0, shift + at if shift else 0
        if g.last:
            y = out + ((image * g.oh * g.ow + position) * g.c_out + channel * g.multiplier + i) * size
        else:
            y = block + g.summed_offset
        place = g.offsets, y, g.multiplier if g.last else 1, table, number, live
        call(g.sums, (g.lanes, size, g.k, weights + at * g.k, block, *place, *finish, g.activation, g.slope))
        if not g.last:
            if g.form:
                bend(g, 1, y, 0, 0, 1, number * g.lanes)
            to = out + ((image * g.c_out + channel * g.multiplier + i) * g.oh * g.ow + position) * size
            count, line = (1, number) if columns == g.ow else (rows, columns)
            for r in range(count):
                source = y + r * line * g.lanes * size
                call(g.turn, (g.lanes, size, to + r * g.ow * size, g.multiplier * g.oh * g.ow, source, g.lanes, line, live))
    if g.last and g.form:
        for r in range(rows):
            y = out + ((image * g.oh * g.ow + position + r * g.ow) * g.c_out + channel * g.multiplier) * size
            bend(g, 1, y, 0, g.c_out, columns, live * g.multiplier)


@region
def run_jobs(threads, x, out, scratch, geometry, weights, bias, scale, shift):
    """Every job of one convolution; arguments as in `kernels.blocks.run_jobs`."""
    scratch_bytes, jobs, block = geometry[0].scratch_bytes, geometry[0].jobs, pointed(scratch)
    counter = block + threads * scratch_bytes
    write_index(counter, threads)  # the first job that no thread begins with
    for thread in prange(threads):
        state = flush_denormals()
        operands = pointed(weights), pointed(bias), pointed(scale), pointed(shift)
        job = np.int64(thread)
        while job < jobs:
            run_job(job, pointed(x), pointed(out), operands, geometry, block + thread * scratch_bytes)
            job = take_next(counter)
        restore_denormals(state)


def _stacked(array: Array | None, multiplier: int, lanes: int) -> Array | None:
    """What belongs to output channels as [lanes of channels][multiplier][…][lane], zero past the last channel."""
    if array is None:
        return None
    channels, each = len(array) // multiplier, array.size // len(array)
    stacks = -(-channels // lanes)
    result = aligned(stacks * multiplier * each * lanes * array.itemsize).view(array.dtype).reshape(stacks, multiplier, each, lanes)
    by_channel = array.reshape(channels, multiplier, each)
    for stack, part in enumerate(result):
        live = by_channel[stack * lanes : (stack + 1) * lanes]
        part[:, :, : len(live)] = live.transpose(1, 2, 0)
        part[:, :, len(live) :] = 0
    return result


def _tables(problem: Conv, block: Stack, wide: int, lanes: int, last: bool) -> Array:
    """For blocks of full and of last columns, by position: its window's place in the bed, its place in the output."""
    (sh, sw), ow = problem.stride, problem.conv_size[1]
    tables = np.zeros((2, block.rows * block.columns, FIELDS), np.int64)
    for table, columns in zip(tables, (block.columns, ow % block.columns)):
        r, c = (axis.ravel() for axis in np.indices((block.rows, columns)))
        places = (r * sh * wide + c * sw) * lanes, (r * ow + c) * problem.c_out if last else (r * columns + c) * lanes
        table[: len(r)] = np.stack(places, 1)
    return tables


def prepare_stacks(problem: Conv, threads: int, block: Stack, *, last: bool = False) -> Prepared:
    """Lay out weights and scratch; `last`: channels are the last axis of x and of the output."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (kh, kw), (dh, dw), (sh, sw), (oh, ow) = problem.kernel, problem.dilation, problem.stride, problem.conv_size
    high, wide = reach(problem, block.rows, block.columns)
    multiplier, groups = problem.c_out // problem.c_in, -(-problem.c_in // lanes)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    jobs = problem.n * groups * row_blocks * column_blocks
    used = min(threads, jobs)
    read = min(high, problem.size[0]) * min(wide, problem.size[1])
    turned_offset = whole(high * wide * lanes * size)
    summed_offset = turned_offset + (0 if last else whole(read * lanes * size))
    scratch_bytes = summed_offset + (0 if last else whole(block.rows * block.columns * lanes * size))
    scratch = Scratch(used * scratch_bytes + ALIGNMENT)
    offsets = np.array([(y * dh * wide + x * dw) * lanes for y, x in itertools.product(range(kh), range(kw))])
    tables = _tables(problem, block, wide, lanes, last)
    form, activation, slope = codes(problem.activation)
    sizes = {
        "itemsize": size, "lanes": lanes, "groups": groups, "c_in": problem.c_in, "c_out": problem.c_out, "multiplier": multiplier,
        "h": problem.size[0], "w": problem.size[1], "oh": oh, "ow": ow, "pad_h": problem.padding[0][0], "pad_w": problem.padding[1][0],
        "sh": sh, "sw": sw, "rows": block.rows, "columns": block.columns, "row_blocks": row_blocks, "column_blocks": column_blocks,
        "high": high, "wide": wide, "k": problem.taps, "last": last, "turned_offset": turned_offset, "summed_offset": summed_offset,
        "offsets": offsets.ctypes.data, "tables": tables.ctypes.data, "table_bytes": tables[0].nbytes, "turn": transpose(lanes, size),
        "spread": spread(lanes, size), "sums": sums(lanes, size), "activation": activation, "slope": slope, "form": form,
        "bend": lines(form, lanes, size) if form else 0, "jobs": jobs, "scratch_bytes": scratch_bytes,
    }  # fmt: skip

    def pack(operands: Operands) -> Packed:
        return tuple(_stacked(array, multiplier, lanes) for array in operands)

    note = f"{lanes} channels at a time, {block.rows} rows of {block.columns}{NOTE * last}"
    return Prepared(launcher(run_jobs, pack, used, sizes, scratch, (offsets, tables)), scratch.nbytes, note)

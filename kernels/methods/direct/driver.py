"""Running a packed-block convolution: tasks taken by threads, input packed into scratch, micro-kernels called by address.

One driver serves every problem, dtype and vector width: it knows only sizes, strides and addresses, and calls whatever computes a line of
outputs from packed input. `blocking` decides the sizes.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cost.gemm import even, pooled_size, tallest
from kernels.methods.direct.block import Blocking, keeps_packed, last_of, reads_in_place
from kernels.methods.direct.pack_input import PackInput, pack, row_numbers
from kernels.methods.direct.pack_weights import packer
from kernels.methods.direct.records import Blocks
from kernels.primitives.channels_last_blocks import NOTE, InputBlock, OutputBlock, plane_of, staging
from kernels.primitives.driver import (
    Packed,
    TileOf,
    common,
    epilogue_of,
    every_task,
    kept,
    kept_task_at,
    launcher,
    share,
    task_at,
    tile_table,
)
from kernels.primitives.gemm_tile import ADDED, AHEAD, FIELDS, FROM_BIAS, LAST, RESUMED, GemmTile
from kernels.primitives.packed_layout import Layout, layout
from kernels.primitives.post_ops import Sums, apply_activation, block_post_ops, pool_bytes, pool_record
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.problem.seen_taps import Within
from kernels.problem.window import Size
from kernels.runtime.ir import call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch, whole

Array = np.ndarray


@njit
def pack_channels(g, block, x, at):
    """Pack `at`, an InputBlock, to the beginning of the task's scratch at `block`; in one call, unless channels are transposed one by one.
    """
    together = 1 if g.last_in else at.channels
    for c in range(0, at.channels, together):
        source, top, left, h, w = plane_of(g, x, at, c, block)
        to = block + c * g.channel_stride * g.itemsize
        call(
            g.pack,
            PackInput(
                step=g.step, lanes=g.lanes, itemsize=g.itemsize, dst=to, line=block + g.line_offset, offsets=g.columns_table,
                columns=g.planes, column_stride=g.column_stride, phases=g.phases, phase_stride=g.phase_stride, positions=at.positions,
                pitch=g.pitch, numbers=g.count, span=g.span, reach=g.reach, src=source, first_row=top, row_step=g.row_step,
                first_column=left, column_step=g.column_step, height=h, width=w, ahead=g.ahead, times=together, dst_step=g.channel_stride,
            ),
        )  # fmt: skip


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; all are addresses but the record: `block` that of its scratch, operands those of weights, biases, scales and shifts."""
    g = geometry[0]
    size = g.itemsize
    if g.keeps:
        mine = kept_task_at(task, g.oc_splits, g.groups, g.row_blocks, g.column_blocks)
    else:
        mine = task_at(task, g.tasks, g.oc_splits, g.groups, g.row_blocks, g.column_blocks)
    image, group = mine.image, mine.group
    row, column = mine.row_block * g.rows, mine.column_block * g.columns
    rows, columns = min(g.rows, g.oh - row), min(g.columns, g.ow - column)
    edges = 2 * (rows < g.rows) + (columns < g.columns)
    entries = g.vectors + edges * g.vectors_each
    n_tiles, n_edge = read_index(g.n_tables, 3 * edges), read_index(g.n_tables, 3 * edges + 1)
    n_full = read_index(g.n_tables, 3 * edges + 2)
    first_tile, last_tile = share(g.m_tiles, g.oc_splits, mine.oc_split)
    made = OutputBlock(image=image, row=row, column=column, rows=rows, columns=columns)
    positions = g.positions - (g.rows - rows) * g.positions_per_row
    y_row = g.rows * g.columns if g.pool else g.pending_pitch if g.last_out else g.oh * g.ow
    for channel in range(0, g.ins, g.channels):
        channels = min(g.channels, g.ins - channel)
        read = block
        if g.in_place:
            read = x + (((image * g.groups + group) * g.ins * g.h + row) * g.w + column) * size
        elif not g.keeps or not kept(block + g.keeps, task, g.oc_splits):
            pack_channels(
                g,
                block,
                x,
                InputBlock(
                    image=image, channel=group * g.ins + channel, channels=channels, row=row * g.sh, column=column * g.sw,
                    positions=positions,
                ),
            )  # fmt: skip
        summed, taps = channel * g.kernel_taps, channels * g.kernel_taps
        pending = 0
        # beside what was there before, which may be large, sums of some channels are added whole
        stage = (FROM_BIAS + g.added if summed == 0 else 0 if g.added else RESUMED) + (LAST if summed + taps == g.k else 0)
        for t in range(first_tile, last_tile):  # outermost: weights are read once a block, and few output planes are written at a time
            j = group * g.outs + t * g.m_edge + min(t, g.m_full_tiles)
            m = g.m_edge + (t < g.m_full_tiles)
            if g.pool:
                y = block + g.conv_offset
            elif g.last_out:
                y = block + g.pending_offset + pending * y_row * size
            else:
                y = out + (((image * g.c_out + j) * g.oh + row) * g.ow + column) * size
            a = operands[0] + (j * g.k + summed * (1 if g.a_row else m)) * size
            bias, scale, shift = epilogue_of(g, operands, j)
            first = entries
            for n, times in ((n_edge + 1, n_full), (n_edge, n_tiles - n_full)):
                if times:
                    call(
                        read_index(g.tiles, m * g.tiles_each + n),
                        GemmTile(
                            m=m, n=n, lanes=g.lanes, itemsize=size, k=taps, kc=g.kc, a=a, x=read, offsets=g.offsets, y=y,
                            y_row=y_row, vectors=first, stage=stage, bias=bias, scale=scale, shift=shift, activation=g.activation,
                            slope=g.slope, times=times, a_step=0, y_step=0, vectors_step=n * FIELDS * 8, a_row=g.a_row,
                        ),
                    )  # fmt: skip
                    first += times * n * FIELDS * 8
            if stage & LAST and g.form and not g.activates_maxima:
                apply_activation(g, m, y, y_row, columns if g.pool or g.last_out else g.ow, rows, columns)
            full = stage & LAST and (t == last_tile - 1 or pending + m + g.m_edge + 1 > g.pending)
            pending = block_post_ops(g, Sums(j=j, m=m, y=y, y_row=y_row), pending, out, made, block, full)


run_tasks = every_task(run_task)


def vector_tables(
    block: Blocking, packed: Layout, size: Size, pitch: int | None, segment: int, in_place: bool = False
) -> tuple[Array, Array]:
    """(tiles, vectors) for blocks of full and last rows by full and last columns: into how many tiles their vectors of at most `segment`
    outputs are cut, as `even` says, and what the tile is told of each vector: its place in the packed block, its place in the output,
    its outputs. `size`: (rows, columns) of outputs; pitch: from row to row of the output, None: as long as the block's. in_place: the
    last vector of a block ends with it and sums some outputs of the one before once more."""
    of_rows, of_columns = (block.rows, size[0] % block.rows or block.rows), (block.columns, size[1] % block.columns)
    counts = np.zeros(4, np.int64)
    found: dict[tuple[int, int], Array] = {}
    tables = [(rows, columns) for rows in of_rows for columns in of_columns]
    for i, (rows, columns) in enumerate(tables):
        lines, line = (1, rows * columns) if block.mec else (rows, columns)
        if (rows, columns) not in found:
            first, r = np.arange(0, line, segment), np.arange(lines)[:, None]
            table = found[rows, columns] = np.empty((lines, len(first), FIELDS), np.int64)
            table[:, :, 0] = r * (packed.positions_per_row * packed.pitch) + first
            table[:, :, 1] = r * (pitch or columns) + first
            table[:, :, 2] = np.minimum(segment, line - first)
            if in_place and line % segment:
                table[0, -1] = line - segment, line - segment, segment
        counts[i] = found[rows, columns].size // FIELDS
    vectors = np.zeros((4, counts.max(), FIELDS), np.int64)
    for to, count, key in zip(vectors, counts, tables):
        to[:count] = found[key].reshape(count, FIELDS)
    return np.array([even(count or 1, block.n) for count in counts.tolist()]), vectors  # blocks without columns do not occur


def _reach(packed: Layout, lanes: int) -> int:
    return row_numbers(packed.picking, packed.column_step, packed.span, lanes)


def line_bytes(packed: Layout, lanes: int, itemsize: int) -> int:
    """Scratch bytes for one input row with its zeros, and what picking reads beyond it."""
    return whole(_reach(packed, lanes) * itemsize)


def with_mark(problem: Conv, block: Blocking, in_place: bool, scratch_bytes: int) -> tuple[int, int]:
    """(where a thread's scratch says which block it holds, 0 where it keeps none; its bytes with room for that)."""
    return (scratch_bytes, scratch_bytes + whole(8)) if keeps_packed(problem, block, in_place) else (0, scratch_bytes)


def packing(problem: Conv, packed: Layout, starts: Array, line_offset: int, in_place: bool, keeps: int) -> dict[str, int]:
    """Fields of a Packing. It points into `starts`, the table of packed.columns; line_offset is where a task's scratch has room for
    `line_bytes`. in_place: nothing is packed, nothing compiled for it. keeps: where scratch says which block it holds."""
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    return {
        "planes": len(packed.columns), "columns_table": starts.ctypes.data, "column_stride": packed.column_stride,
        "phases": packed.phases, "phase_stride": packed.phase_stride, "positions": packed.positions, "pitch": packed.pitch,
        "channel_stride": packed.channel_stride, "count": packed.count, "span": packed.span, "reach": _reach(packed, lanes),
        "row_step": packed.row_step, "column_step": packed.column_step, "positions_per_row": packed.positions_per_row,
        "step": packed.picking, "pack": 0 if in_place or packed.as_matrix else pack(packed.picking, lanes, size),
        "line_offset": line_offset, "ahead": math.prod(problem.size), "keeps": keeps,
    }  # fmt: skip


def _pending(problem: Conv, block: Blocking) -> int:
    """Channels that wait to be written side by side, with channels last: all of a task's where sums are resumed, else as many as the
    second-level cache has room for, at least a tile's."""
    outs = problem.c_out // problem.groups
    most = -(-even(outs, block.m)[0] // block.oc_splits) * tallest(outs, block.m) + block.m
    room = machine().l2 // problem.itemsize // (block.rows * block.columns)
    return most if block.channels < problem.c_in // problem.groups else max(block.m, min(most, room))


def _tap_order(problem: Conv, packed: Layout, depth: int) -> Array:
    """Taps of a channel as they are summed: as users count them, or where products of matrices sum kernel columns, as these lie packed."""
    taps = np.arange(problem.taps)
    if depth == 1:
        return taps
    columns = problem.kernel[1]
    return np.array(taps.reshape(-1, columns)[:, np.argsort(packed.taps[:columns], kind="stable")].ravel())


def prepare_blocks(
    problem: Conv, threads: int, block: Blocking, tile_of: TileOf, segment: int | None = None, *, last: bool = False,
    unpacked: bool = False, adjoint: bool = False, within: Within | None = None, added: bool = False, prepacked: bool = False,
) -> Prepared:  # fmt: skip
    """Lay out weights and scratch for a blocking; `tile_of(m, n, lanes, itemsize)` gives the address of a micro-kernel
    that is called as `primitives.gemm_tile.tile` is, with vectors of at most `segment` outputs (None: one register). `last`: channels are
    the last axis of x and of the output. unpacked: weights are not packed, the micro-kernel takes rows of them. adjoint: they
    are those of the layer that this is the adjoint of; within: which has these taps within larger kernels. added: sums are added to what
    the output holds, channels first, no pool. prepacked: weights come as `packer` makes them."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    packed = layout(problem, block.mec, block.rows, block.columns, lanes, block.channels)
    oh, ow = pooled_size(problem)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    in_place = segment is None and not last and bool(reads_in_place(problem, block, lanes))
    if added and in_place:  # an output that is summed twice must be read twice before it is written: by one tile
        heights, widths = {block.rows, last_of(oh, block.rows)}, {block.columns, last_of(ow, block.columns)}
        lines = [height * width for height in heights for width in widths]
        in_place = all(line % lanes == 0 or even(-(-line // lanes), block.n)[1] > 1 for line in lines)
    tasks = problem.n * problem.groups * row_blocks * column_blocks * block.oc_splits
    # whole vectors are read past a packed line's end; a row walks several at a time
    line_offset = 0 if in_place else whole((packed.size + 8 * lanes) * size)
    row_offset = line_offset + line_bytes(packed, lanes, size)
    conv_offset = row_offset + pool_bytes(problem, 1, block.columns)
    pending_offset = conv_offset + pool_bytes(problem, block.m * block.rows, block.columns)
    fields, scratch_bytes = staging(problem, packed, last, _pending(problem, block), block.rows * block.columns, pending_offset)
    keeps, scratch_bytes = with_mark(problem, block, in_place, scratch_bytes)
    used = min(threads, tasks)
    scratch = Scratch(used * scratch_bytes)
    starts = np.array(packed.columns)
    pooling, factors = pool_record(problem, block.rows, block.columns)
    m_tiles, m_edge, m_full_tiles = even(problem.c_out // problem.groups, block.m)
    depth = block.product.depth
    together = depth if problem.c_in > problem.groups else 1
    order = _tap_order(problem, packed, depth if together == 1 else 1)
    channel_stride = math.prod(problem.size) if in_place else packed.channel_stride
    channel_offsets = np.arange(block.channels).reshape(-1, 1, together) * channel_stride
    offsets = np.append(channel_offsets + np.array(packed.taps)[order, None], np.zeros(AHEAD, np.int64))
    n_tables, vectors = vector_tables(block, packed, (oh, ow), None if problem.pool or last else ow, segment or lanes, in_place)
    tiles = tile_table(problem.c_out // problem.groups, block.m, n_tables, lanes, size, tile_of)
    geometry = Blocks.packed(
        **common(problem, oh, ow), **packing(problem, packed, starts, line_offset, in_place, keeps), **pooling, **fields, rows=block.rows,
        columns=block.columns, row_blocks=row_blocks, column_blocks=column_blocks, channels=block.channels, k=problem.summands,
        kc=depth if depth > 1 else problem.summands, kernel_taps=problem.taps, oc_splits=block.oc_splits, m_tiles=m_tiles, m_edge=m_edge,
        m_full_tiles=m_full_tiles,
        tiles=tiles.ctypes.data, tiles_each=tiles.shape[1], n_tables=n_tables.ctypes.data, vectors=vectors.ctypes.data,
        vectors_each=vectors[0].nbytes, offsets=offsets.ctypes.data, row_offset=row_offset, conv_offset=conv_offset,
        a_row=problem.summands * size if unpacked else 0, added=ADDED * added, in_place=in_place, tasks=tasks, scratch_bytes=scratch_bytes,
    )  # fmt: skip
    packed_weights = None if unpacked or prepacked else packer(
        problem.c_out, problem.summands, problem.groups, block.m, problem.dtype, threads, adjoint=problem.taps * adjoint,
        steps=(problem.taps if together > 1 else 1, depth) if depth > 1 else None, within=within,
    )  # fmt: skip

    def packed_operands(operands: Operands) -> Packed:
        if depth > together:
            assert operands.weight is not None
            operands = operands._replace(weight=operands.weight.reshape(-1, problem.taps).take(order, axis=1))
        return packed_weights(operands.weight) if packed_weights else operands.weight, *operands[1:]

    keep_alive = starts, factors, offsets, n_tables, vectors, tiles
    note = (
        f"blocks of {block.rows} rows by {block.columns} columns, {block.channels} input channels packed at a time in "
        f"{'MEC' if block.mec else 'row'} layout, output channels in {block.oc_splits} splits, tiles {block.m}x{block.n}"
    )
    launch = launcher(run_tasks, packed_operands, used, geometry, scratch, keep_alive, keeps)
    return Prepared(launch, scratch.nbytes, note + NOTE * last)

"""Driver of the direct weights' gradient: tasks sum blocks of positions, then each row of sums is added over the splits and written.

A task packs the input of a block channels last, so that what lies under one position is contiguous, and of several images' blocks the
gradient in micro-panels of a vector's channels by positions, which of one image is read where it lies; every tile of sums then passes over
the block's positions. Partition and order of every sum depend on the plan alone, so the same arrays give the same bits whichever thread
does what.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.gradients.blocking import TURNED, UNFOLDED, Blocking, Packed, in_place, lies, packed
from kernels.methods.gradients.moves import Total
from kernels.methods.gradients.packing import pack_grad, pack_input, pack_taps
from kernels.methods.gradients.product_tile import tile
from kernels.methods.gradients.records import PositionBlocks, PositionSide
from kernels.methods.gradients.sums import add_block, block_at, moves, tile_table, widths_of
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.transpose import Transpose
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray


@njit
def run_task(task, arrays, sums, geometry, layouts, block):
    """All blocks of one split for some channels; arrays: addresses of x, gradient, weights; `block`: the task's scratch, `sums`: those of
    all tasks."""
    x, grad, out = arrays
    g = geometry[0]
    rest, split_of = split(task, g.splits)
    rest, oc_split = split(rest, g.oc_splits)
    group, ic_split = split(rest, g.ic_splits)
    k = layouts[1 if (oc_split == g.oc_splits - 1 if g.turned else ic_split == g.ic_splits - 1) else 0]
    first_out = oc_split * g.out_share
    outs = min(g.out_share, g.outs - first_out)
    part = (split_of * g.groups + group) * g.ic_splits + ic_split
    own = sums + (part * g.outs + first_out) * g.pitch * g.itemsize
    if g.turned:
        own = sums + (part * g.panel * g.pitch + first_out) * g.itemsize
    elif g.in_place:
        own = out + ((group * g.outs + first_out) * g.ins + ic_split * g.share) * g.taps * g.itemsize
    first, last = split(split_of * g.blocks, g.splits)[0], split((split_of + 1) * g.blocks, g.splits)[0]
    micro_panels = block + g.micro_panels_offset
    for b in range(first, last):
        at, resumed = block_at(g, b, g.oh, g.ow), 1 if b > first else 0
        positions = at.images * at.rows * at.columns
        if g.unfolded:
            pack_taps(g, k, x, group * g.ins + ic_split * g.share, at, block)
        else:
            pack_input(g, k, x, group * g.ins + ic_split * g.share, at, block)
        if g.lying:
            channel = at.image * g.c_out + group * g.outs + first_out
            micro_panels = grad + (channel * g.lying + at.row * g.ow + at.column) * g.itemsize
        else:
            pack_grad(g, grad, group * g.outs + first_out, outs, at, micro_panels, g.places if g.turned else positions)
        if g.turned:
            add_block(g, k, g.panel, positions, micro_panels, block, own, resumed)
        else:
            add_block(g, k, outs, positions, block, micro_panels, own, resumed)


@region
def run_tasks(task, thread, x, grad, out, scratch, geometry, layouts):
    """One task; x, grad, out and scratch are handles, geometry and layouts records."""
    block = pointed(scratch)
    sums = block + geometry[0].threads * geometry[0].scratch_bytes
    arrays = pointed(x), pointed(grad), pointed(out)
    run_task(task, arrays, sums, geometry, layouts, block + thread * geometry[0].scratch_bytes)


@njit
def write_row(task, out, sums, geometry, layouts):
    """One row of sums, of an output channel and some input channels, added over the splits and written as weights."""
    g = geometry[0]
    size = g.itemsize
    rest, j = split(task, g.outs)
    group, ic_split = split(rest, g.ic_splits)
    k = layouts[1 if ic_split == g.ic_splits - 1 else 0]
    row = sums + task * g.pitch * size
    if g.splits > 1:
        call(
            g.total,
            Total(
                lanes=g.lanes, itemsize=size, dst=row, src=row, step=g.rows_of_sums * g.pitch, parts=g.splits,
                numbers=k.vectors_each * g.lanes,
            ),
        )  # fmt: skip
    to = out + ((group * g.outs + j) * g.ins + ic_split * g.share) * g.taps * size
    for o in range(k.outer):
        source, target = row + o * k.outer_from * size, to + o * k.outer_to * size
        if k.channels == 1 or g.taps == 1 or g.unfolded:
            call(g.total, Total(lanes=g.lanes, itemsize=size, dst=target, src=source, step=0, parts=1, numbers=k.inner * k.channels))
        else:
            call(
                g.transpose,
                Transpose(
                    lanes=g.lanes, itemsize=size, dst=target, dst_pitch=g.taps, src=source, src_pitch=k.inner_from, rows=k.inner,
                    columns=k.channels,
                ),
            )  # fmt: skip


@njit
def write_turned(task, out, sums, geometry):
    """A vector of output channels of a group: their sums, a row for each tap, added over the splits and written as weights."""
    g = geometry[0]
    size = g.itemsize
    group, vector = split(task, split(g.outs + g.lanes - 1, g.lanes)[0])
    first = vector * g.lanes
    own = sums + (group * g.panel * g.pitch + first) * size
    for row in range(g.panel if g.splits > 1 else 0):
        place = own + row * g.pitch * size
        call(
            g.total,
            Total(lanes=g.lanes, itemsize=size, dst=place, src=place, step=g.rows_of_sums * g.pitch, parts=g.splits, numbers=g.lanes),
        )
    call(
        g.transpose,
        Transpose(
            lanes=g.lanes, itemsize=size, dst=out + (group * g.outs + first) * g.panel * size, dst_pitch=g.panel, src=own,
            src_pitch=g.pitch, rows=g.panel, columns=min(g.lanes, g.outs - first),
        ),
    )  # fmt: skip


@region
def write_rows(task, thread, out, scratch, geometry, layouts):
    """One row of sums, or a vector of output channels; arguments as for `run_tasks`, whose scratch this is."""
    sums = pointed(scratch) + geometry[0].threads * geometry[0].scratch_bytes
    if geometry[0].turned:
        write_turned(task, pointed(out), sums, geometry)
    else:
        write_row(task, pointed(out), sums, geometry, layouts)


Side = tuple[dict[str, int], list[Array]]  # fields of a PositionSide, and the tables that they point into


def _fields(block: Blocking, layout: Packed, vectors: Array, offsets: Array, **written: int) -> Side:
    """vectors, offsets: where in what is packed a tile's vectors and positions begin. written: how sums are written, 0 where nobody reads
    it."""
    down, across, image = layout.pitches
    n_tiles, n_edge, n_full_tiles = even(len(vectors), block.n)
    values = {
        "channels": block.channels, "down": down, "across": across, "image_pitch": image, "vectors": vectors.ctypes.data,
        "vectors_each": len(vectors), "offsets": offsets.ctypes.data, "n_tiles": n_tiles, "n_edge": n_edge, "n_full_tiles": n_full_tiles,
        **dict.fromkeys(("outer", "outer_from", "outer_to", "inner", "inner_from"), 0), **written,
    }  # fmt: skip
    return values, [vectors, offsets]


def _turned_side(problem: ConvWeight, block: Blocking, lanes: int) -> Side:
    """Of block.outs output channels in vectors."""
    places = block.images * block.rows * block.columns
    vectors = np.arange(-(-block.outs // lanes), dtype=np.int64) * lanes * places
    return _fields(block, packed(problem, block), vectors, np.arange(places, dtype=np.int64) * lanes)


def _side(problem: ConvWeight, block: Blocking, lanes: int) -> Side:
    """Of block.channels input channels in vectors."""
    layout = packed(problem, block)
    down, across, image = layout.pitches
    each = -(-layout.run // lanes)
    vectors = (np.array(layout.starts)[:, None] + np.arange(each) * lanes).astype(np.int64).ravel()
    unfolded = block.along == UNFOLDED
    steps = (down, across) if unfolded else (problem.stride[0] * down, problem.stride[1] * across)
    places = (np.arange(n) * step for n, step in zip((block.images, block.rows, block.columns), (image, *steps)))
    first, second, third = places
    offsets = (first[:, None, None] + second[:, None] + third).astype(np.int64).ravel()
    taps, width = problem.taps, problem.kernel[1]
    runs_of_taps = unfolded or layout.run == block.channels * problem.kernel[block.along]
    if not runs_of_taps:  # a run is one tap's channels
        outer, outer_from, outer_to, inner, inner_from = 1, 0, 0, taps, each * lanes
    elif layout.run % lanes == 0 or len(layout.starts) == 1:
        outer, outer_from, outer_to, inner, inner_from = 1, 0, 0, taps, block.channels
    else:
        outer, outer_from, outer_to, inner, inner_from = len(layout.starts), each * lanes, width, width, block.channels
    if block.channels == 1 and not runs_of_taps:  # single numbers a vector apart
        outer, outer_from, outer_to, inner = taps, each * lanes, 1, 1
    return _fields(
        block, layout, vectors, offsets, outer=outer, outer_from=outer_from, outer_to=outer_to, inner=inner, inner_from=inner_from
    )  # fmt: skip


def prepare_blocks(problem: ConvWeight, threads: int, block: Blocking) -> Prepared:
    """Lay out sums and scratch for a blocking, compile its tiles."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    (h, w), (oh, ow), (kh, kw), (dh, dw) = problem.size, problem.conv_size, problem.kernel, problem.dilation
    ic_splits, oc_splits = -(-ins // block.channels), -(-outs // block.outs)
    turned, last_outs = block.along == TURNED, outs - (oc_splits - 1) * block.outs
    last = dataclasses.replace(block, **({"outs": last_outs} if turned else {"channels": ins - (ic_splits - 1) * block.channels}))
    sides = [(_turned_side if turned else _side)(problem, part, lanes) for part in (block, last)]
    layouts = np.concatenate([PositionSide.packed(**values) for values, _ in sides])
    panel = ins * problem.taps if turned else lanes
    placed = in_place(problem, block)
    apart = ins * problem.taps if placed else max(values["vectors_each"] for values, _ in sides) * lanes
    pitch = -(-outs // lanes) * lanes if turned else apart
    positions = block.images * block.rows * block.columns
    packed_bytes = whole((max(values["image_pitch"] for values, _ in sides) * block.images + 2 * lanes) * size)
    lying = lies(problem, block)
    micro_panels_bytes = 0 if lying else whole((-(-block.outs // lanes) * lanes * positions + lanes) * size)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    tasks = problem.groups * ic_splits * oc_splits * block.splits
    used = min(threads, tasks)
    rows_of_sums = problem.groups * (panel if turned else ic_splits * outs)
    rows = problem.groups * -(-outs // lanes) if turned else rows_of_sums  # tasks that write
    sums_bytes = 0 if placed else whole(block.splits * rows_of_sums * pitch * size)
    scratch_bytes = packed_bytes + micro_panels_bytes
    scratch = Scratch(used * scratch_bytes + sums_bytes)
    shares = {panel} if turned else {block.outs, last_outs}
    tiles = tile_table(shares, block.m, widths_of(values for values, _ in sides), panel, lambda m, n: tile(m, n, lanes, size, lying))
    geometry = PositionBlocks.packed(
        **moves(problem), groups=problem.groups, c_in=problem.c_in, ins=ins, c_out=problem.c_out, outs=outs, h=h, w=w, oh=oh, ow=ow,
        taps=problem.taps, sh=problem.stride[0], sw=problem.stride[1], pad_h=problem.padding[0][0], pad_w=problem.padding[1][0],
        reach_h=(kh - 1) * dh + 1, reach_w=(kw - 1) * dw + 1, unfolded=block.along in (UNFOLDED, TURNED), turned=turned, places=positions,
        kw=kw, dh=dh, dw=dw, ic_splits=ic_splits, share=block.channels, oc_splits=oc_splits, out_share=block.outs, splits=block.splits,
        images=block.images, rows=block.rows, columns=block.columns, row_blocks=row_blocks, column_blocks=column_blocks,
        blocks=-(-problem.n // block.images) * row_blocks * column_blocks, m=block.m, panel=panel, lying=oh * ow if lying else 0,
        tiles=tiles.ctypes.data, tiles_each=tiles.shape[1], pitch=pitch, in_place=placed, rows_of_sums=rows_of_sums,
        micro_panels_offset=packed_bytes, scratch_bytes=scratch_bytes, threads=used,
    )  # fmt: skip
    launch = run_tasks.ready(0, 0, 0, 0, geometry, layouts)
    write = write_rows.ready(0, 0, geometry, layouts)
    keep_alive: Any = ([tables for _, tables in sides], tiles)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        grad_handle = handle(grad)

        def run(x: Array, out: Array, keep_alive: Any = (grad, keep_alive)) -> None:
            buffer = scratch.take()
            launch(used, tasks, handle(x), grad_handle, handle(out), handle(buffer), geometry, layouts)
            if not placed:
                write(used, rows, handle(out), handle(buffer), geometry, layouts)
            scratch.give(buffer)

        return run

    note = (
        f"blocks of {block.images} images, {block.rows} rows, {block.columns} columns; {block.channels} input by {block.outs} output "
        f"channels a task, positions in {block.splits} splits, {'taps in rows of ' if turned else ''}tiles {block.m}x{block.n}"
    )
    return Prepared(pack, scratch.nbytes, note)

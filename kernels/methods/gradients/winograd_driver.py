"""Driver of the Winograd weights' gradient: blocks of tiles are transformed, multiplied point by point and summed, then transformed back.

A task has some input and some output channels of a group and one split of the blocks. Where there is one split, it transforms its sums back
itself while they are in cache; else all splits are added in order first, row by row.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.gradients.moves import Total
from kernels.methods.gradients.packing import pack_input
from kernels.methods.gradients.product_tile import tile
from kernels.methods.gradients.records import PackedPlanes, Positions, TileBlocks, TileSide
from kernels.methods.gradients.sums import add_block, block_at, moves, tile_table, widths_of
from kernels.methods.gradients.winograd_blocking import TileBlocking
from kernels.methods.gradients.winograd_transforms import FromPoints, ToPoints, from_points, to_points
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
def transform_tiles(g, k, of_grad, plane, at, points, tile_step, vector_step):
    """Tiles of one image's packed plane, which `at` says as Positions of tiles, to their places among the points of the block."""
    mh, mw = g.mh, g.mw
    for r in range(at.rows):
        dst = points + r * at.columns * tile_step * g.itemsize
        src = plane + r * mh * k.down * g.itemsize
        call(
            g.grad_points if of_grad else g.input_points,
            ToPoints(
                lanes=g.lanes, itemsize=g.itemsize, mh=mh, rh=g.rh, mw=mw, rw=g.rw, of_grad=of_grad, src=src, down=k.down, across=k.across,
                step=mw * k.across, tiles=at.columns, vectors=k.lines, dst=dst, point_step=k.point_step, tile_step=tile_step,
                vector_step=vector_step,
            ),
        )  # fmt: skip


@njit
def write_back(g, k, j, sums, weights, line):
    """Weights of an output channel and the input channels of a chunk from their sums [point][j][channel]; weights: address of the chunk's
    first, line: scratch of all taps."""
    size = g.itemsize
    to = weights + j * g.ins * g.taps * size
    for v in range(k.lines):
        src = sums + (j * g.pitch + v * g.lanes) * size
        call(
            g.weights,
            FromPoints(
                lanes=g.lanes, itemsize=size, mh=g.mh, rh=g.rh, mw=g.mw, rw=g.rw, src=src, point_step=g.sums_step, dst=line,
            ),
        )  # fmt: skip
        call(
            g.transpose,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=to + v * g.lanes * g.taps * size, dst_pitch=g.taps, src=line, src_pitch=g.lanes,
                rows=g.taps, columns=min(g.lanes, k.channels - v * g.lanes),
            ),
        )  # fmt: skip


@njit
def run_task(task, arrays, shared, geometry, grads, layouts, block):
    """All blocks of one split for some input channels; arrays: addresses of x, gradient and weights; block: the task's scratch; shared:
    sums of all splits, where there are several."""
    x, grad, out = arrays
    g, gg = geometry[0], grads[0]
    size = g.itemsize
    parts, split_of = split(task, g.splits)
    rest, ic_split = split(parts, g.ic_splits)
    group, oc_split = split(rest, g.oc_splits)
    k, kg = layouts[1 if ic_split == g.ic_splits - 1 else 0], layouts[3 if oc_split == g.oc_splits - 1 else 2]
    sums = block + g.sums_offset
    if g.splits > 1:
        sums = shared + (split_of * g.groups * g.oc_splits * g.ic_splits + parts) * g.points * g.sums_step * size
    first, last = split(split_of * g.blocks, g.splits)[0], split((split_of + 1) * g.blocks, g.splits)[0]
    v, u = block + g.v_offset, block + g.u_offset
    for b in range(first, last):
        at = block_at(g, b, g.tiles_h, g.tiles_w)
        each = at.rows * at.columns
        for i in range(at.images):
            covered = Positions(
                image=at.image + i, images=1, row=at.row * g.mh, column=at.column * g.mw, rows=at.rows * g.mh, columns=at.columns * g.mw
            )
            pack_input(g, k, x, group * g.ins + ic_split * g.share, covered, block)
            transform_tiles(g, k, 0, block, at, v + i * each * k.across * size, k.across, g.lanes)
            pack_input(gg, kg, grad, group * g.outs + oc_split * g.out_share, covered, block)
            transform_tiles(g, kg, 1, block, at, u + i * each * g.lanes * size, g.lanes, at.images * each * g.lanes)
        for p in range(g.points):
            own = sums + p * g.sums_step * size
            add_block(
                g, k, kg.channels, at.images * each, v + p * k.point_step * size, u + p * kg.point_step * size, own, 1 if b > first else 0
            )  # fmt: skip
    if g.splits == 1:
        weights = out + ((group * g.outs + oc_split * g.out_share) * g.ins + ic_split * g.share) * g.taps * size
        for j in range(kg.channels):
            write_back(g, k, j, sums, weights, block)


@region
def run_tasks(task, thread, x, grad, out, scratch, geometry, grads, layouts):
    """One task; x, grad, out and scratch are handles, the rest records."""
    block = pointed(scratch)
    shared = block + geometry[0].threads * geometry[0].scratch_bytes
    arrays = pointed(x), pointed(grad), pointed(out)
    run_task(task, arrays, shared, geometry, grads, layouts, block + thread * geometry[0].scratch_bytes)


@region
def add_splits(task, thread, out, scratch, geometry, layouts):
    """The sums of an output channel and a chunk over all splits, then its weights."""
    g = geometry[0]
    block = pointed(scratch)
    shared, line = block + g.threads * g.scratch_bytes, block + thread * g.scratch_bytes
    parts, j = split(task, g.out_share)
    rest, ic_split = split(parts, g.ic_splits)
    group, oc_split = split(rest, g.oc_splits)
    k, kg = layouts[1 if ic_split == g.ic_splits - 1 else 0], layouts[3 if oc_split == g.oc_splits - 1 else 2]
    if j >= kg.channels:
        return
    sums = shared + parts * g.points * g.sums_step * g.itemsize
    apart = g.groups * g.oc_splits * g.ic_splits * g.points * g.sums_step
    for p in range(g.points):
        row = sums + (p * g.sums_step + j * g.pitch) * g.itemsize
        call(g.total, Total(lanes=g.lanes, itemsize=g.itemsize, dst=row, src=row, step=apart, parts=g.splits, numbers=k.lines * g.lanes))
    weights = pointed(out) + ((group * g.outs + oc_split * g.out_share) * g.ins + ic_split * g.share) * g.taps * g.itemsize
    write_back(g, k, j, sums, weights, line)


def _gap(numbers: int, lanes: int) -> int:
    """Numbers to leave between points of so many: an odd number of vectors from point to point, since those of all points at one place are
    written or read together, and a power of two apart they would share cache sets."""
    return lanes * (1 - -(-numbers // lanes) % 2)


def _side(channels: int, size: tuple[int, int], block: TileBlocking, lanes: int) -> tuple[dict[str, int], list[Array]]:
    """Fields of a TileSide, and the tables that they point into; size: rows and columns of an image's packed plane."""
    (rows, columns), tiles = size, block.tiles
    lines = -(-channels // lanes)
    pitch = lines * lanes
    vectors = (np.arange(lines) * lanes).astype(np.int64)
    offsets = (np.arange(tiles) * pitch).astype(np.int64)
    n_tiles, n_edge, n_full_tiles = even(lines, block.n)
    values = {
        "channels": channels, "down": columns * pitch, "across": pitch, "image_pitch": rows * columns * pitch,
        "vectors": vectors.ctypes.data, "offsets": offsets.ctypes.data, "n_tiles": n_tiles, "n_edge": n_edge,
        "n_full_tiles": n_full_tiles,
        "lines": lines, "point_step": tiles * pitch + _gap(tiles * pitch, lanes),
    }  # fmt: skip
    return values, [vectors, offsets]


def prepare_tiles(problem: ConvWeight, threads: int, block: TileBlocking) -> Prepared:
    """Lay out sums and scratch for a blocking, compile transforms and tiles."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    (h, w), (oh, ow), (kh, kw) = problem.size, problem.conv_size, problem.kernel
    ic_splits, oc_splits = -(-ins // block.channels), -(-outs // block.outs)
    tiles_h, tiles_w = -(-oh // block.mh), -(-ow // block.mw)
    block = dataclasses.replace(block, rows=min(block.rows, tiles_h), columns=min(block.columns, tiles_w))
    points = (block.mh + kh - 1) * (block.mw + kw - 1)
    high, broad = block.rows * block.mh, block.columns * block.mw
    in_plane, out_plane = (high + kh - 1, broad + kw - 1), (high, broad)
    last, last_out = ins - (ic_splits - 1) * block.channels, outs - (oc_splits - 1) * block.outs
    sides = [_side(channels, in_plane, block, lanes) for channels in (block.channels, last)]
    sides += [_side(channels, out_plane, block, lanes) for channels in (block.outs, last_out)]
    layouts = np.concatenate([TileSide.packed(**values) for values, _ in sides])
    pitch = max(values["across"] for values, _ in sides[:2])
    packed_bytes = whole((max(values["image_pitch"] for values, _ in sides) + 2 * lanes) * size)
    packed_bytes = max(packed_bytes, whole(problem.taps * lanes * size))
    v_bytes, u_bytes = (
        whole((points * max(values["point_step"] for values, _ in some) + lanes) * size) for some in (sides[:2], sides[2:])
    )  # fmt: skip
    sums_step = block.outs * pitch + _gap(block.outs * pitch, lanes)
    sums_bytes = points * sums_step * size
    own_sums = whole(sums_bytes) if block.splits == 1 else 0
    row_blocks, column_blocks = -(-tiles_h // block.rows), -(-tiles_w // block.columns)
    parts = problem.groups * oc_splits * ic_splits
    tasks, rows = parts * block.splits, parts * block.outs
    used = min(threads, tasks)
    scratch_bytes = packed_bytes + v_bytes + u_bytes + own_sums
    shared_bytes = 0 if block.splits == 1 else block.splits * parts * sums_bytes
    used = max(used, min(threads, rows)) if block.splits > 1 else used
    scratch = Scratch(used * scratch_bytes + whole(shared_bytes))
    widths = widths_of(values for values, _ in sides[:2])
    tiles = tile_table((block.outs, last_out), block.m, widths, lanes, lambda m, n: tile(m, n, lanes, size))
    shape = block.mh, kh, block.mw, kw
    geometry = TileBlocks.packed(
        **moves(problem), sh=1, sw=1, groups=problem.groups, c_in=problem.c_in, ins=ins, c_out=problem.c_out, outs=outs, h=h, w=w,
        pad_h=problem.padding[0][0], pad_w=problem.padding[1][0], reach_h=kh, reach_w=kw, taps=problem.taps, mh=block.mh, rh=kh,
        mw=block.mw, rw=kw, points=points, ic_splits=ic_splits, share=block.channels, oc_splits=oc_splits, out_share=block.outs,
        splits=block.splits, images=block.images, rows=block.rows, columns=block.columns, tiles_h=tiles_h, tiles_w=tiles_w,
        row_blocks=row_blocks, column_blocks=column_blocks, blocks=-(-problem.n // block.images) * row_blocks * column_blocks, m=block.m,
        panel=lanes, lying=0, tiles=tiles.ctypes.data, tiles_each=tiles.shape[1], pitch=pitch, v_offset=packed_bytes,
        u_offset=packed_bytes + v_bytes, sums_offset=packed_bytes + v_bytes + u_bytes, sums_step=sums_step, scratch_bytes=scratch_bytes,
        threads=used, input_points=to_points(shape, False, lanes, size), grad_points=to_points(shape, True, lanes, size),
        weights=from_points(shape, lanes, size),
    )  # fmt: skip
    grads = PackedPlanes.packed(**moves(problem), sh=1, sw=1, c_in=problem.c_out, h=oh, w=ow, pad_h=0, pad_w=0, reach_h=1, reach_w=1)
    launch = run_tasks.ready(0, 0, 0, 0, geometry, grads, layouts)
    add = add_splits.ready(0, 0, geometry, layouts) if block.splits > 1 else None
    keep_alive: Any = ([tables for _, tables in sides], tiles)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        grad_handle = handle(grad)

        def run(x: Array, out: Array, keep_alive: Any = (grad, keep_alive)) -> None:
            buffer = scratch.take()
            arrays = handle(x), grad_handle, handle(out)
            launch(used, tasks, *arrays, handle(buffer), geometry, grads, layouts)
            if add:
                add(used, rows, handle(out), handle(buffer), geometry, layouts)
            scratch.give(buffer)

        return run

    note = (
        f"F({kh}x{kw}, {block.mh}x{block.mw}), blocks of {block.images} images, {block.rows} rows, {block.columns} columns of tiles; "
        f"{block.channels} input by {block.outs} output channels a task, {block.splits} splits, tiles {block.m}x{block.n}"
    )
    return Prepared(pack, scratch.nbytes, note)

"""Driver of the direct weights' gradient: jobs sum blocks of positions, then each row of sums is added over the splits and written.

A job packs the input of a block channels last, so that what lies under one position is contiguous, and the gradient in panels of a vector's
channels by positions; every tile of sums then passes over the block's positions. The partition and the order of every sum depend on the
plan alone, so the same arrays give the same bits whichever thread does what.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.gradients.blocking import UNFOLDED, Blocking, packed
from kernels.methods.gradients.moves import clear, spread, total
from kernels.methods.gradients.product_tile import tile
from kernels.primitives.driver import record
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray


@njit
def pack_input(g, k, x, image, images, channel, row, column, rows, columns, block):
    """The inputs under rows x columns of outputs from (row, column) on, of k.channels channels from `channel` on, to `block`."""
    size = g.itemsize
    top, left = row * g.sh - g.pad_h, column * g.sw - g.pad_w
    high, broad = (rows - 1) * g.sh + g.reach_h, (columns - 1) * g.sw + g.reach_w
    first, last = max(0, -left), min(broad, g.w - left)
    above, below = max(0, -top), min(high, g.h - top)
    for i in range(images):
        to = block + i * k.image_pitch * size
        if first > 0 or last < broad or above > 0 or below < high:
            call(g.clear, (g.lanes, size, to, k.image_pitch))
        if last <= first or below <= above:
            continue
        plane = x + ((image + i) * g.c_in + channel) * g.h * g.w * size
        lines, count = below - above, last - first
        if count == g.w and k.down == g.w * k.across:  # rows lie one behind the other, there and here
            lines, count = 1, lines * count
        for r in range(above, above + lines):
            source = plane + ((top + r) * g.w + left + first) * size
            target = to + (r * k.down + first * k.across) * size
            if k.channels > 1:
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=target, dst_pitch=k.across, src=source, src_pitch=g.h * g.w, rows=k.channels,
                        columns=count,
                    ),
                )  # fmt: skip
            elif k.across == 1:
                call(g.total, (g.lanes, size, target, source, 0, 1, count))
            else:
                call(g.spread, (g.lanes, size, target, k.across, source, 1, count))


@njit
def pack_taps(g, k, x, image, images, channel, row, column, rows, columns, block):
    """What every tap sees of one channel under rows x columns of outputs from (row, column) on, [position][tap], to `block`."""
    size = g.itemsize
    for i in range(images):
        to = block + i * k.image_pitch * size
        plane = x + ((image + i) * g.c_in + channel) * g.h * g.w * size
        inside = row * g.sh >= g.pad_h and (row + rows - 1) * g.sh - g.pad_h + g.reach_h <= g.h
        if not (inside and column * g.sw >= g.pad_w and (column + columns - 1) * g.sw - g.pad_w + g.reach_w <= g.w):
            call(g.clear, (g.lanes, size, to, k.image_pitch))
        for tap in range(g.taps):
            kh, kw = split(tap, g.kw)
            left = column * g.sw - g.pad_w + kw * g.dw
            first = 0 if left >= 0 else split(g.sw - 1 - left, g.sw)[0]
            last = 0 if left >= g.w else min(columns, split(g.w - 1 - left, g.sw)[0] + 1)
            for r in range(rows if last > first else 0):
                h = (row + r) * g.sh - g.pad_h + kh * g.dh
                if 0 <= h < g.h:
                    source = plane + (h * g.w + left + first * g.sw) * size
                    target = to + (r * k.down + first * k.across + tap) * size
                    call(g.spread, (g.lanes, size, target, k.across, source, g.sw, last - first))


@njit
def pack_grad(g, grad, image, images, channel, outs, place, count, panels):
    """Gradients of `count` positions from `place` on of each plane, of `outs` channels from `channel` on, to panels of one vector of
    channels [position][channel]."""
    size, area = g.itemsize, g.oh * g.ow
    for i in range(images):
        for p in range(0, outs, g.lanes):
            source = grad + (((image + i) * g.c_out + channel + p) * area + place) * size
            target = panels + (p * images + i * g.lanes) * count * size
            if outs - p > 1:
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=target, dst_pitch=g.lanes, src=source, src_pitch=area,
                        rows=min(g.lanes, outs - p), columns=count,
                    ),
                )  # fmt: skip
            else:
                call(g.spread, (g.lanes, size, target, g.lanes, source, 1, count))


@njit
def add_block(g, k, outs, positions, block, panels, sums, resumed):
    """Every tile of sums of `outs` channels passes over the block."""
    size = g.itemsize
    for p in range(0, outs, g.lanes):
        high = min(g.lanes, outs - p)
        parts = split(high + g.m - 1, g.m)[0]
        base, extra = split(high, parts)
        i = 0
        for part in range(parts):
            m = base + (part < extra)
            a = panels + (p * positions + i) * size
            q = 0
            for n, times in ((k.wide + 1, k.wider), (k.wide, k.across_tiles - k.wider)):
                if times:
                    y = sums + ((p + i) * g.pitch + q * g.lanes) * size
                    call(
                        read_index(g.tiles, m * g.tiles_each + n),
                        (m, n, g.lanes, size, positions, a, g.lanes, block, k.offsets, k.vectors + q * 8, y, g.pitch, resumed, times),
                    )
                    q += n * times
            i += m


@njit
def run_job(job, x, grad, sums, geometry, layouts, block):
    """All blocks of one split for some channels; `block`: the job's scratch, `sums`: those of all jobs."""
    g = geometry[0]
    rest, split_of = split(job, g.splits)
    rest, out_chunk = split(rest, g.out_chunks)
    group, chunk = split(rest, g.chunks)
    k = layouts[1 if chunk == g.chunks - 1 else 0]
    first_out = out_chunk * g.out_share
    outs = min(g.out_share, g.outs - first_out)
    own = sums + (((split_of * g.groups + group) * g.chunks + chunk) * g.outs + first_out) * g.pitch * g.itemsize
    first, last = split(split_of * g.blocks, g.splits)[0], split((split_of + 1) * g.blocks, g.splits)[0]
    panels = block + g.panels_offset
    for b in range(first, last):
        rest, column_block = split(b, g.column_blocks)
        image_block, row_block = split(rest, g.row_blocks)
        image, row, column = image_block * g.images, row_block * g.rows, column_block * g.columns
        images, rows, columns = min(g.images, g.n - image), min(g.rows, g.oh - row), min(g.columns, g.ow - column)
        if g.unfolded:
            pack_taps(g, k, x, image, images, group, row, column, rows, columns, block)
        else:
            pack_input(g, k, x, image, images, group * g.ins + chunk * g.share, row, column, rows, columns, block)
        pack_grad(g, grad, image, images, group * g.outs + first_out, outs, row * g.ow + column, rows * columns, panels)
        add_block(g, k, outs, images * rows * columns, block, panels, own, 1 if b > first else 0)


@region
def run_jobs(job, thread, x, grad, scratch, geometry, layouts):
    """One job; x, grad and scratch are handles, geometry and layouts records."""
    block = pointed(scratch)
    sums = block + geometry[0].threads * geometry[0].scratch_bytes
    run_job(job, pointed(x), pointed(grad), sums, geometry, layouts, block + thread * geometry[0].scratch_bytes)


@njit
def write_row(job, out, sums, geometry, layouts):
    """One row of sums, of an output channel and some input channels, added over the splits and written as weights."""
    g = geometry[0]
    size = g.itemsize
    rest, j = split(job, g.outs)
    group, chunk = split(rest, g.chunks)
    k = layouts[1 if chunk == g.chunks - 1 else 0]
    row = sums + job * g.pitch * size
    if g.splits > 1:
        call(g.total, (g.lanes, size, row, row, g.rows_of_sums * g.pitch, g.splits, k.vectors_each * g.lanes))
    to = out + ((group * g.outs + j) * g.ins + chunk * g.share) * g.taps * size
    for o in range(k.outer):
        source, target = row + o * k.outer_from * size, to + o * k.outer_to * size
        if k.channels == 1 or g.taps == 1:
            call(g.total, (g.lanes, size, target, source, 0, 1, k.inner * k.channels))
        else:
            call(
                g.transpose,
                Transpose(
                    lanes=g.lanes, itemsize=size, dst=target, dst_pitch=g.taps, src=source, src_pitch=k.inner_from, rows=k.inner,
                    columns=k.channels,
                ),
            )  # fmt: skip


@region
def write_rows(job, thread, out, scratch, geometry, layouts):
    """One row of sums; arguments as for `run_jobs`, whose scratch this is."""
    write_row(job, pointed(out), pointed(scratch) + geometry[0].threads * geometry[0].scratch_bytes, geometry, layouts)


def _layout(problem: ConvWeight, block: Blocking, lanes: int) -> tuple[dict[str, int], list[Array]]:
    """What a job with block.channels input channels reads, and the tables that it points into."""
    layout = packed(problem, block)
    down, across, image = layout.pitches
    each = -(-layout.run // lanes)
    vectors = (np.array(layout.starts)[:, None] + np.arange(each) * lanes).astype(np.int64).ravel()
    unfolded = block.along == UNFOLDED
    steps = (down, across) if unfolded else (problem.stride[0] * down, problem.stride[1] * across)
    places = (np.arange(n) * step for n, step in zip((block.images, block.rows, block.columns), (image, *steps)))
    first, second, third = places
    offsets = (first[:, None, None] + second[:, None] + third).astype(np.int64).ravel()
    tiles_across, wide, wider = even(len(vectors), block.n)
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
    values = {
        "channels": block.channels, "down": down, "across": across, "image_pitch": image, "vectors": vectors.ctypes.data,
        "vectors_each": len(vectors), "offsets": offsets.ctypes.data, "across_tiles": tiles_across, "wide": wide, "wider": wider,
        "outer": outer, "outer_from": outer_from, "outer_to": outer_to, "inner": inner, "inner_from": inner_from,
    }  # fmt: skip
    return values, [vectors, offsets]


def prepare_blocks(problem: ConvWeight, threads: int, block: Blocking) -> Prepared:
    """Lay out sums and scratch for a blocking, compile its tiles."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    (h, w), (oh, ow), (kh, kw), (dh, dw) = problem.size, problem.conv_size, problem.kernel, problem.dilation
    chunks, out_chunks = -(-ins // block.channels), -(-outs // block.outs)
    last = dataclasses.replace(block, channels=ins - (chunks - 1) * block.channels)
    kinds = [_layout(problem, kind, lanes) for kind in (block, last)]
    layouts = np.concatenate([record(values) for values, _ in kinds])
    pitch = max(values["vectors_each"] for values, _ in kinds) * lanes
    positions = block.images * block.rows * block.columns
    packed_bytes = whole((max(values["image_pitch"] for values, _ in kinds) * block.images + 2 * lanes) * size)
    panels_bytes = whole((-(-block.outs // lanes) * lanes * positions + lanes) * size)
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    blocks = -(-problem.n // block.images) * row_blocks * column_blocks
    jobs = problem.groups * chunks * out_chunks * block.splits
    used = min(threads, jobs)
    rows_of_sums = problem.groups * chunks * outs
    sums_bytes = whole(block.splits * rows_of_sums * pitch * size)
    scratch_bytes = packed_bytes + panels_bytes
    scratch = Scratch(used * scratch_bytes + sums_bytes)
    widths = {values["wide"] + more for values, _ in kinds for more in range(1 + (values["wider"] > 0))}
    table = np.zeros((lanes + 1, max(widths) + 1), np.int64)
    for share in {block.outs, outs - (out_chunks - 1) * block.outs}:
        for high in {min(lanes, share), share % lanes or min(lanes, share)}:
            _, base, extra = even(high, block.m)
            for m in {base, base + (extra > 0)}:
                for n in widths:
                    table[m, n] = tile(m, n, lanes, size)
    geometry = record({
        "itemsize": size, "lanes": lanes, "groups": problem.groups, "n": problem.n, "c_in": problem.c_in, "ins": ins,
        "c_out": problem.c_out,
        "outs": outs, "h": h, "w": w, "oh": oh, "ow": ow, "taps": problem.taps, "sh": problem.stride[0], "sw": problem.stride[1],
        "pad_h": problem.padding[0][0], "pad_w": problem.padding[1][0], "reach_h": (kh - 1) * dh + 1, "reach_w": (kw - 1) * dw + 1,
        "unfolded": block.along == UNFOLDED, "kw": kw, "dh": dh, "dw": dw,
        "chunks": chunks, "share": block.channels, "out_chunks": out_chunks, "out_share": block.outs, "splits": block.splits,
        "images": block.images, "rows": block.rows, "columns": block.columns, "row_blocks": row_blocks, "column_blocks": column_blocks,
        "blocks": blocks, "m": block.m, "tiles": table.ctypes.data, "tiles_each": table.shape[1], "pitch": pitch, "jobs": jobs,
        "rows_of_sums": rows_of_sums, "panels_offset": packed_bytes, "scratch_bytes": scratch_bytes, "sums_bytes": sums_bytes,
        "threads": used, "transpose": transpose(lanes, size), "total": total(lanes, size), "spread": spread(lanes, size),
        "clear": clear(lanes, size),
    })  # fmt: skip
    launch = run_jobs.ready(0, 0, 0, geometry, layouts)
    write = write_rows.ready(0, 0, geometry, layouts)
    held: Any = ([tables for _, tables in kinds], table)

    def bind(operands: Operands) -> Run:
        grad = operands.weight
        grad_handle = handle(grad)

        def run(x: Array, out: Array, held: Any = (grad, held)) -> None:
            buffer = scratch.take()
            launch(used, jobs, handle(x), grad_handle, handle(buffer), geometry, layouts)
            write(used, rows_of_sums, handle(out), handle(buffer), geometry, layouts)
            scratch.give(buffer)

        return run

    note = (
        f"blocks of {block.images} images, {block.rows} rows, {block.columns} columns; {block.channels} input by {block.outs} output "
        f"channels a job, positions in {block.splits} splits, tiles {block.m}x{block.n}"
    )
    assert math.prod(layouts.shape) == 2
    return Prepared(bind, scratch.nbytes, note)

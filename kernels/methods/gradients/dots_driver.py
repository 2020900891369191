"""Driver of the weights' gradient by dot products: tasks sum blocks of rows, then sums are added over the splits.

The sums of a split lie as the weights do. Their order depends on the plan alone, whichever thread does what.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.gradients.dot_tile import DotTile, tile
from kernels.methods.gradients.dots_blocking import Blocking, axis, flat, plane
from kernels.methods.gradients.moves import Total, total
from kernels.methods.gradients.phase_rows import PhaseRows, phase_rows
from kernels.methods.gradients.records import DotBlocks
from kernels.methods.gradients.sums import block_at, tile_table
from kernels.primitives.interleave import few_of
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

CHUNK = 4096  # sums that a task adds over the splits


@njit
def pack_phases(g, x, channel, at, block):
    """What windows of `at`, Positions, see of a group's channels from `channel` on, to `block`:
    [channel][phase of rows][phase of columns][row][column]."""
    size = g.itemsize
    phase = g.plane * g.column_phases
    for c in range(g.ins):
        call(
            g.phase_rows,
            PhaseRows(
                few=g.few, lanes=g.lanes, itemsize=size, dst=block + c * g.row_phases * phase * size, pitch=g.pitch, targets=g.targets,
                rows=at.rows + g.reach_h, starts=g.starts, row_phases=g.row_phases, row_phase_step=phase,
                src=x + (at.image * g.c_in + channel + c) * g.h * g.w * size, height=g.h, width=g.w, row=at.row * g.sh - g.pad_h,
                row_step=g.sh, column=at.column * g.sw - g.pad_w, stride=g.sw,
            ),
        )  # fmt: skip


@njit
def add_dots(g, grad, outs, at, block, sums, resumed):
    """Every tile passes over a block; grad: address of the first of `outs` channels of the image."""
    size, area = g.itemsize, g.oh * g.ow
    m_tiles = split(outs + g.m - 1, g.m)[0]
    m_edge, m_full_tiles = split(outs, m_tiles)
    rows, width = (1, at.rows * at.columns) if g.flat else (at.rows, at.columns)
    a, i = grad + (at.row * g.ow + at.column) * size, 0
    for t in range(m_tiles):
        m, q = m_edge + (t < m_full_tiles), 0
        for s in range(g.n_tiles):
            n = g.n_edge + (s < g.n_full_tiles)
            call(
                read_index(g.tiles, m * g.tiles_each + n),
                DotTile(
                    m=m, n=n, lanes=g.lanes, itemsize=size, rows=rows, width=width, a=a + i * area * size, a_pitch=area, a_step=g.ow,
                    b=block, b_step=g.pitch, offsets=g.offsets + q * 8, y=sums + (i * g.lines + q) * size, y_pitch=g.lines,
                    resumed=resumed,
                ),
            )  # fmt: skip
            q += n
        i += m


@region
def run_dots(task, thread, x, grad, out, scratch, geometry):
    """All blocks of one split for some output channels of a group; x, grad, out and scratch are handles."""
    g = geometry[0]
    rest, part = split(task, g.splits)
    group, oc_split = split(rest, g.oc_splits)
    channel = group * g.outs + oc_split * g.out_share
    outs = min(g.out_share, g.outs - oc_split * g.out_share)
    block = pointed(scratch) + thread * g.scratch_bytes
    parts = pointed(out) if g.splits == 1 else pointed(scratch) + g.threads * g.scratch_bytes
    sums = parts + (part * g.c_out + channel) * g.lines * g.itemsize
    first, last = split(part * g.blocks, g.splits)[0], split((part + 1) * g.blocks, g.splits)[0]
    for b in range(first, last):
        at = block_at(g, b, g.oh, g.ow)
        pack_phases(g, pointed(x), group * g.ins, at, block)
        own = pointed(grad) + (at.image * g.c_out + channel) * g.oh * g.ow * g.itemsize
        add_dots(g, own, outs, at, block, sums, 1 if b > first else 0)


@region
def add_splits(task, thread, out, scratch, geometry):
    """A chunk of the sums."""
    g = geometry[0]
    numbers = g.c_out * g.lines
    first = task * CHUNK
    call(
        g.total,
        Total(
            lanes=g.lanes, itemsize=g.itemsize, dst=pointed(out) + first * g.itemsize,
            src=pointed(scratch) + g.threads * g.scratch_bytes + first * g.itemsize, step=numbers, parts=g.splits,
            numbers=min(CHUNK, numbers - first),
        ),
    )  # fmt: skip


def _offsets(problem: ConvWeight, block: Blocking) -> Array:
    """Of the row that each tap of each channel of a group reads."""
    down, across = axis(problem, 0), axis(problem, 1)
    high, broad = plane(problem, block)
    found = np.empty((problem.c_in // problem.groups, *problem.kernel), np.int64)
    for c, i, j in np.ndindex(found.shape):
        (row_phase, row), (phase, column) = down.taps[i], across.taps[j]
        found[c, i, j] = (((c * len(down.phases) + row_phase) * len(across.phases) + phase) * high + row) * broad + column
    return found.ravel()


def prepare_dots(problem: ConvWeight, threads: int, block: Blocking) -> Prepared:
    """Lay out sums and scratch for a blocking, compile its tiles."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    (h, w), (oh, ow), (sh, sw) = problem.size, problem.conv_size, problem.stride
    down, across, (high, broad) = axis(problem, 0), axis(problem, 1), plane(problem, block)
    lines = ins * problem.taps
    targets = np.full(sw, -1, np.int64)
    targets[list(across.phases)] = np.arange(len(across.phases)) * high * broad
    starts, offsets = np.array(down.phases, np.int64), _offsets(problem, block)
    n_tiles, n_edge, n_full = even(lines, block.n)
    oc_splits = -(-outs // block.outs)
    shares, widths = {block.outs, outs - (oc_splits - 1) * block.outs}, {n_edge, n_edge + (n_full > 0)}
    table = tile_table(shares, block.m, widths, block.outs, lambda m, n: tile(m, n, lanes, size))
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    tasks = problem.groups * oc_splits * block.splits
    used = min(threads, tasks)
    scratch_bytes = whole(ins * len(down.phases) * len(across.phases) * high * broad * size)
    numbers = math.prod(problem.out_shape)
    scratch = Scratch(used * scratch_bytes + (block.splits * numbers * size if block.splits > 1 else 0))
    geometry = DotBlocks.packed(
        itemsize=size, lanes=lanes, n=problem.n, groups=problem.groups, c_in=problem.c_in, ins=ins, c_out=problem.c_out, outs=outs, h=h,
        w=w, oh=oh, ow=ow, sh=sh, sw=sw, pad_h=problem.padding[0][0], pad_w=problem.padding[1][0], reach_h=down.reach,
        row_phases=len(down.phases), column_phases=len(across.phases), starts=starts.ctypes.data, targets=targets.ctypes.data,
        few=few_of(sw), phase_rows=phase_rows(sw, lanes, size), total=total(lanes, size), plane=high * broad, pitch=broad, lines=lines,
        flat=flat(problem, block), offsets=offsets.ctypes.data, images=1, rows=block.rows, columns=block.columns, row_blocks=row_blocks,
        column_blocks=column_blocks, blocks=problem.n * row_blocks * column_blocks, oc_splits=oc_splits, out_share=block.outs,
        splits=block.splits, m=block.m, n_tiles=n_tiles, n_edge=n_edge, n_full_tiles=n_full, tiles=table.ctypes.data,
        tiles_each=table.shape[1], threads=used, scratch_bytes=scratch_bytes,
    )  # fmt: skip
    launch = run_dots.ready(0, 0, 0, 0, geometry)
    add_up = add_splits.ready(0, 0, geometry)
    keep_alive: Any = (starts, targets, offsets, table)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        grad_handle = handle(grad)

        def run(x: Array, out: Array, keep_alive: Any = (grad, keep_alive)) -> None:
            if not problem.n:
                out[...] = 0
                return
            buffer = scratch.take()
            launch(used, tasks, handle(x), grad_handle, handle(out), handle(buffer), geometry)
            if block.splits > 1:
                add_up(used, -(-numbers // CHUNK), handle(out), handle(buffer), geometry)
            scratch.give(buffer)

        return run

    note = (
        f"blocks of {block.rows} rows, {block.columns} columns in {block.splits} splits, {block.outs} output channels a task, tiles of "
        f"{block.m} channels by {block.n} taps"
    )
    return Prepared(pack, scratch.nbytes, note)

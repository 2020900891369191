"""Driver of depthwise layers whose planes are read where they lie: tasks of some channels, or of some rows of one. Nothing is packed."""

from __future__ import annotations

import numpy as np

from kernels.methods.depthwise.plane_blocking import PlaneBlocking, inner_vectors
from kernels.methods.depthwise.plane_tile import PlaneRows, plane_rows
from kernels.methods.depthwise.records import PlaneBlocks
from kernels.primitives.driver import Packed, common, epilogue_of, every_task, launcher, task_at
from kernels.primitives.post_ops import apply_activation
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch, aligned

Array = np.ndarray


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; arguments as in `kernels.methods.depthwise.driver_channels.run_task`. The last tile of a block ends with it, so that it may
    compute rows of the one before once more."""
    g = geometry[0]
    size = g.itemsize
    mine = task_at(task, g.tasks, 1, g.channel_blocks, g.row_blocks, 1)
    first, row = mine.group * g.channels, mine.row_block * g.rows
    rows = min(g.rows, g.oh - row)
    for j in range(first * g.multiplier, min(first + g.channels, g.c_in) * g.multiplier):
        plane = x + (mine.image * g.c_in + split(j, g.multiplier)[0]) * g.h * g.w * size
        y = out + ((mine.image * g.c_out + j) * g.oh + row) * g.ow * size
        bias, scale, shift = epilogue_of(g, operands, j)
        for start in range(0, rows, g.tile_rows):
            at = min(start, rows - g.tile_rows)
            call(
                g.tile,
                PlaneRows(
                    kh=0, kw=0, sh=0, step=0, rows=0, lanes=g.lanes, itemsize=size, a=operands[0] + j * g.taps * size, x=plane,
                    zeros=g.zeros, first_row=(row + at) * g.sh - g.pad_h, h=g.h, w=g.w, pad=g.pad_w, y=y + at * g.ow * size,
                    columns=g.ow, vectors=g.vectors, first=g.first_inner, inner=g.inner, bias=bias, scale=scale, shift=shift,
                    activation=g.activation, slope=g.slope,
                ),
            )  # fmt: skip
        if g.form:
            apply_activation(g, 1, y, 0, g.ow, rows, g.ow)


run_tasks = every_task(run_task)


def prepare_planes(problem: Conv, threads: int, block: PlaneBlocking) -> Prepared:
    """Compile the tile for a blocking."""
    lanes, size, (oh, ow) = machine().lanes(problem.itemsize), problem.itemsize, problem.conv_size
    channel_blocks, row_blocks = -(-problem.c_in // block.channels), -(-oh // block.rows)
    tasks = problem.n * channel_blocks * row_blocks
    used = min(threads, tasks)
    zeros = aligned(problem.size[1] * size)
    zeros.fill(0)
    first, inner = inner_vectors(problem, lanes)
    (kh, kw), (sh, sw) = problem.kernel, problem.stride
    geometry = PlaneBlocks.packed(
        **common(problem, oh, ow), multiplier=problem.c_out // problem.c_in, channels=block.channels, channel_blocks=channel_blocks,
        rows=block.rows, row_blocks=row_blocks, tile_rows=block.tile_rows, tile=plane_rows(kh, kw, sh, sw, block.tile_rows, lanes, size),
        taps=problem.taps, zeros=zeros.ctypes.data, vectors=-(-ow // lanes), first_inner=first, inner=inner, tasks=tasks, scratch_bytes=0,
    )  # fmt: skip

    def packed_operands(operands: Operands) -> Packed:
        assert operands.weight is not None
        return operands.weight.copy(), *operands[1:]

    note = f"planes where they lie, {block.tile_rows} rows at a time, tasks of {block.channels} channels by {block.rows} rows"
    return Prepared(launcher(run_tasks, packed_operands, used, geometry, Scratch(0), zeros), 0, note)

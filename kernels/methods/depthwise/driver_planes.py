"""Driver of depthwise layers whose planes are read where they lie: tasks of some channels, or of some rows of one. Nothing is packed."""

from __future__ import annotations

from typing import NamedTuple

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


class Plane(NamedTuple):
    """Some output rows of one channel."""

    x: int  # address of the plane,
    h: int  # its rows
    first_row: int  # the input row of the first output row's first tap, may be outside
    rows: int  # output rows
    a: int  # address of the weights
    y: int  # address of the output
    bias: int  # address of a number, or 0; so are scale and shift
    scale: int
    shift: int


@njit
def sum_plane(g, p):
    """All windows of a Plane, and what tiles know of what follows; g: a record of Planes."""
    call(
        g.tile,
        PlaneRows(
            kh=0, kw=0, sh=0, step=0, rows=0, lanes=g.lanes, itemsize=g.itemsize, a=p.a, x=p.x, zeros=g.zeros, first_row=p.first_row, h=p.h,
            w=g.w, pad=g.pad_w, y=p.y, outputs=p.rows, columns=g.ow, vectors=g.vectors_of_row, first=g.first_inner, inner=g.inner,
            bias=p.bias, scale=p.scale, shift=p.shift, activation=g.activation, slope=g.slope,
        ),
    )  # fmt: skip


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; arguments as in `kernels.methods.depthwise.driver_channels.run_task`."""
    g = geometry[0]
    size = g.itemsize
    mine = task_at(task, g.tasks, 1, g.channel_blocks, g.row_blocks, 1)
    first, row = mine.group * g.channels, mine.row_block * g.rows
    rows, plane = min(g.rows, g.oh - row), g.oh * g.ow
    first, last = first * g.multiplier, min(first + g.channels, g.c_in) * g.multiplier
    y = out + ((mine.image * g.c_out + first) * g.oh + row) * g.ow * size
    for j in range(first, last):
        bias, scale, shift = epilogue_of(g, operands, j)
        sum_plane(
            g,
            Plane(
                x=x + (mine.image * g.c_in + split(j, g.multiplier)[0]) * g.h * g.w * size, h=g.h, first_row=row * g.sh - g.pad_h,
                rows=rows, a=operands[0] + j * g.taps * size, y=y + (j - first) * plane * size, bias=bias, scale=scale, shift=shift,
            ),
        )  # fmt: skip
    if g.form:
        apply_activation(g, last - first, y, plane, g.ow, rows, g.ow)


run_tasks = every_task(run_task)


def planes(problem: Conv, tile_rows: int, oh: int, ow: int) -> tuple[dict[str, int], Array]:
    """Fields of a Planes that no blocking decides, the tile compiled, and what they point into."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    zeros = aligned(problem.size[1] * size)
    zeros.fill(0)
    first, inner = inner_vectors(problem, lanes)
    (kh, kw), (sh, sw) = problem.kernel, problem.stride
    tile = plane_rows(kh, kw, sh, sw, tile_rows, lanes, size)
    return {
        **common(problem, oh, ow), "tile": tile, "taps": problem.taps, "zeros": zeros.ctypes.data,
        "vectors_of_row": -(-ow // lanes), "first_inner": first, "inner": inner,
    }, zeros  # fmt: skip


def prepare_planes(problem: Conv, threads: int, block: PlaneBlocking, adjoint: bool = False) -> Prepared:
    """Compile the tile for a blocking. adjoint: weights are those of the layer that this is the adjoint of, whose taps count in reverse."""
    oh, ow = problem.conv_size
    channel_blocks, row_blocks = -(-problem.c_in // block.channels), -(-oh // block.rows)
    tasks = problem.n * channel_blocks * row_blocks
    used = min(threads, tasks)
    fields, keep_alive = planes(problem, block.tile_rows, oh, ow)
    geometry = PlaneBlocks.packed(
        **fields, multiplier=problem.c_out // problem.c_in, channels=block.channels, channel_blocks=channel_blocks, rows=block.rows,
        row_blocks=row_blocks, tasks=tasks, scratch_bytes=0,
    )

    def packed_operands(operands: Operands) -> Packed:
        assert operands.weight is not None
        weight = operands.weight.reshape(-1, problem.taps)
        return weight[:, :: -1 if adjoint else 1].copy(), *operands[1:]

    note = f"planes where they lie, {block.tile_rows} rows at a time, tasks of {block.channels} channels by {block.rows} rows"
    return Prepared(launcher(run_tasks, packed_operands, used, geometry, Scratch(0), keep_alive), 0, note)

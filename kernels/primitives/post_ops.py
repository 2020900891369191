"""What becomes of a task's finished sums while they are in cache: an activation that tiles do not know, a pool, channels last."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.primitives.activations import ActivationPass
from kernels.primitives.channels_last_blocks import OutputBlock, store_channels
from kernels.primitives.pool_window import TILED_STRIDES, PoolLines, PoolPlane, code, line, plane, window
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import Conv
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import whole

Array = np.ndarray


RISING = "elu", "tanh", "sigmoid"  # of the activations that tiles do not know, those that never fall


def activates_maxima(problem: Conv) -> bool:
    """Whether the activation is applied to the maxima of a pool, which are those of what it would have made, and fewer: of 3x5 windows a
    fifteenth, and an elu takes as long as the sums of a first layer."""
    if not problem.pool or not problem.activation:
        return False
    name, slope = problem.activation
    return problem.pool[0] == "max" and name in RISING and slope >= 0


class PoolAfter(Record):
    """What a driver is told of the pool that follows inside a task; all zero without one."""

    pool = address("of the micro-kernel: takes a PoolPlane, or PoolLines")
    pool_kind = integer("MAXIMUM or SUM")
    pool_step = integer("`stride` of a PoolPlane")
    pool_window_rows = integer("`window_rows` of a PoolPlane")
    pool_lines = integer("whether windows are whole lines of a block")
    pool_down = address("of factors of the divisor, one for each row")
    pool_across = address("of factors of the divisor, one for each column")
    pool_kh = integer("rows of a window")
    pool_kw = integer("columns of a window")
    pool_sh = integer("rows that it moves by")
    pool_sw = integer("columns that it moves by")
    pool_oh = integer("rows of the pooled output")
    pool_ow = integer("columns of the pooled output")


@njit
def apply_activation(g, m, y, y_row, pitch, rows, columns):
    """Apply an activation that the tiles do not know to m channels of finished sums, y_row elements apart at y: rows of `columns`, pitch
    elements from row to row, while they are in cache. What lies without gaps is one line, as small maps are."""
    number, line = (1, rows * columns) if pitch == columns else (rows, columns)
    if number == 1 and y_row == line:
        m, line = 1, m * line
    for i in range(m):
        call(
            g.activation_pass,
            ActivationPass(
                form=g.form, lanes=g.lanes, itemsize=g.itemsize, y=y + i * y_row * g.itemsize, pitch=pitch, lines=number, numbers=line,
                scale=0, shift=0, activation=0, slope=g.slope,
            ),
        )  # fmt: skip


@njit
def pool_plane(g, to, source, rows, columns, down, across, scratch):
    """Pool rows x columns numbers at source into down x across at `to`."""
    if g.pool_lines:
        call(
            g.pool,
            PoolLines(
                kind=g.pool_kind, lanes=g.lanes, itemsize=g.itemsize, dst=to, src=source, row_counts=g.pool_down, counts=g.pool_across,
                lines=down, length=columns,
            ),
        )  # fmt: skip
    else:
        call(
            g.pool,
            PoolPlane(
                kind=g.pool_kind, stride=g.pool_step, window_rows=g.pool_window_rows, lanes=g.lanes, itemsize=g.itemsize, dst=to,
                src=source, row=scratch,
                row_counts=g.pool_down, counts=g.pool_across, oh=down, ow=across, h=rows, w=columns, kh=g.pool_kh, kw=g.pool_kw,
                sh=g.pool_sh, sw=g.pool_sw, top=0, left=0, dh=1, dw=1,
            ),
        )  # fmt: skip


class Sums(NamedTuple):
    """Finished sums of some output channels, a block that holds whole windows of a pool that follows."""

    j: int  # the first channel
    m: int  # channels
    y: int  # address
    y_row: int  # elements from channel to channel


@njit
def block_post_ops(g, sums, pending, out, at, block, full):
    """`sums`, Sums of `at`, an OutputBlock: pooled if a pool follows, and with channels last put into the output once `full`, together with
    the `pending` channels before them. Channels now pending."""
    size = g.itemsize
    oh, ow = g.oh, g.ow
    if g.pool:
        oh, ow = g.pool_oh, g.pool_ow
        down, across = split(at.rows - g.pool_kh, g.pool_sh)[0] + 1, split(at.columns - g.pool_kw, g.pool_sw)[0] + 1
        row, column = split(at.row, g.pool_sh)[0], split(at.column, g.pool_sw)[0]
        if g.last_out:
            to, to_row = block + g.pending_offset + pending * g.pending_pitch * size, g.pending_pitch
        else:
            to, to_row = out + (((at.image * g.c_out + sums.j) * oh + row) * ow + column) * size, oh * ow
        for i in range(sums.m):
            source = sums.y + i * sums.y_row * size
            pool_plane(g, to + i * to_row * size, source, at.rows, at.columns, down, across, block + g.row_offset)
        if g.activates_maxima:
            apply_activation(g, sums.m, to, to_row, across, down, across)
        at = OutputBlock(image=at.image, row=row, column=column, rows=down, columns=across)
    pending += sums.m
    if g.last_out and full:
        store_channels(g, pending, block, out, sums.j + sums.m - pending, at, oh, ow)
        return 0
    return pending


def pool_record(problem: Conv, rows: int, columns: int) -> tuple[dict[str, int], list[Array]]:
    """(fields, arrays that they point into) for `pool_plane` on blocks of up to rows x columns; all zero without a pool."""
    if not problem.pool:
        return dict.fromkeys(PoolAfter.fields(), 0), []
    kind, kernel, stride = problem.pool
    lanes, size, combined = machine().lanes(problem.itemsize), problem.itemsize, code(kind)
    lines = kernel[0] == 1 and stride[0] == 1 and kernel[1] == columns
    shape = window(kernel, stride, (1, 1), (True, True))
    pool = line(combined, lanes, size) if lines else plane(combined, shape, lanes, size)
    down = np.full(rows, kernel[0], problem.dtype)
    across = np.full(columns + lanes, kernel[1], problem.dtype)
    fields = (pool, combined, shape.stride, shape.window_rows, lines, down.ctypes.data, across.ctypes.data)
    values = (*kernel, *stride, *problem.out_shape[2:])
    return dict(zip(PoolAfter.fields(), (*fields, *values))), [down, across]


def pool_bytes(problem: Conv, rows: int, columns: int) -> int:
    """Scratch bytes for rows x columns outputs that wait for their pool; windows read whole vectors past them."""
    lanes = machine().lanes(problem.itemsize)
    return whole((rows * columns + 2 * TILED_STRIDES * lanes) * problem.itemsize) if problem.pool else 0

"""Driver of the tile with lanes along output channels: tasks taken by threads, input packed flat.

The counterpart of `blocks` for maps of few positions and for channels last: a task packs all channels of some rows, then every tile of
output channels passes over all positions while its weights are at hand.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.direct.block import Blocking, oc_layout, oc_reads_in_place
from kernels.methods.direct.driver import line_bytes, pack_channels, packing, with_mark
from kernels.methods.direct.pack_weights import packer
from kernels.methods.direct.records import OcBlocks
from kernels.primitives.channels_last_blocks import NOTE, InputBlock, staging
from kernels.primitives.driver import Packed, TileOf, common, epilogue_of, every_task, kept, kept_task_at, launcher, padded, share, task_at
from kernels.primitives.gemm_tile import AHEAD
from kernels.primitives.gemm_tile_oc import GemmTileOc, tile
from kernels.primitives.post_ops import apply_activation
from kernels.primitives.prepared import Prepared
from kernels.primitives.transpose import Transpose
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.problem.seen_taps import Within
from kernels.runtime.ir import call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch, whole

Array = np.ndarray

FEW = 4  # passes over the weights: more of them pay for packing those that lie apart


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; arguments as in `kernels.methods.direct.driver.run_task`."""
    g = geometry[0]
    size = g.itemsize
    mine = kept_task_at(task, g.oc_splits, 1, g.row_blocks, 1) if g.keeps else task_at(task, g.tasks, g.oc_splits, 1, g.row_blocks, 1)
    image, row = mine.image, mine.row_block * g.rows
    rows = min(g.rows, g.oh - row)
    positions = g.positions - (g.rows - rows) * g.positions_per_row
    number = rows * g.ow
    read, latest = block, number
    if g.in_place:  # the last tile ends with the block: nothing behind it is read
        read, latest = x + (image * g.ins * g.h + row) * g.w * size, number - g.m
    elif g.keeps and kept(block + g.keeps, task, g.oc_splits):
        pass
    elif g.as_matrix:
        call(
            g.transpose,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=block, dst_pitch=g.channel_stride, src=x + (image * g.h + row) * g.w * g.ins * size,
                src_pitch=g.ins, rows=number, columns=g.ins,
            ),
        )  # fmt: skip
    else:
        pack_channels(
            g, block, x, InputBlock(image=image, channel=0, channels=g.ins, row=row * g.sh, column=0, positions=positions)
        )  # fmt: skip
    first_tile, last_tile = share(g.n_tiles, g.oc_splits, mine.oc_split)
    for t in range(first_tile, last_tile):
        j = (t * g.n_edge + min(t, g.n_full_tiles)) * g.lanes
        n = g.n_edge + (t < g.n_full_tiles)
        channels = min(n * g.lanes, g.outs - j)
        if g.side_by_side:
            y, y_row, step = out + ((image * g.oh + row) * g.ow * g.c_out + j) * size, g.c_out, g.c_out
        else:
            y, y_row, step = out + ((image * g.c_out + j) * g.oh + row) * g.ow * size, g.oh * g.ow, 1
        a = operands[0] + j * g.a_channel * size
        bias, scale, shift = epilogue_of(g, operands, j)
        for start in range(0, number, g.m):
            first = min(start, latest)
            call(
                read_index(g.tiles, n),
                GemmTileOc(
                    m=g.m, n=n, lanes=g.lanes, itemsize=size, packed=0, blocked=0, k=g.k, kc=g.k, a=a, a_tap=g.a_tap,
                    a_vector=g.a_channel * g.lanes, x=read + first * size, offsets=g.offsets, y=y + first * step * size, y_row=y_row,
                    positions=min(g.m, number - first), channels=channels, last=g.side_by_side, bias=bias,
                    scale=scale, shift=shift, activation=g.activation, slope=g.slope,
                ),
            )  # fmt: skip
        if g.form:
            if g.side_by_side:
                apply_activation(g, 1, y, 0, y_row, number, channels)
            else:
                apply_activation(g, channels, y, y_row, number, 1, number)


run_tasks = every_task(run_task)


def prepare_oc_blocks(
    problem: Conv, threads: int, block: Blocking, tile_of: TileOf = tile, *, last: bool = False, adjoint: bool = False,
    within: Within | None = None,
) -> Prepared:  # fmt: skip
    """Lay out weights and scratch for a blocking with lanes along output channels; `tile_of(m, n, lanes, itemsize)` gives the address of a
    micro-kernel that is called as `primitives.gemm_tile_oc.tile` is; `last`: channels are the last axis of x and of the output, which is
    then written as it is summed; adjoint: weights are those of the layer that this is the adjoint of; within: which has these taps within
    larger kernels."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    oh = problem.conv_size[0]
    in_place = oc_reads_in_place(problem, block.rows, block.m, last)
    packed = oc_layout(problem, block.rows, block.m, last)
    row_blocks = -(-oh // block.rows)
    tasks = problem.n * row_blocks * block.oc_splits
    line_offset = 0 if in_place else whole((packed.size + lanes + block.m) * size)  # the last tile reads past the last position
    fields, scratch_bytes = staging(problem, packed, last, 0, 0, line_offset + line_bytes(packed, lanes, size))
    keeps, scratch_bytes = with_mark(problem, block, in_place, scratch_bytes)
    used = min(threads, tasks)
    scratch = Scratch(used * scratch_bytes)
    vectors = -(-problem.c_out // lanes)
    # of one tap, the adjoint's channels lie side by side as tiles read them, in whole vectors, but those of two summands far apart
    passes = problem.n * row_blocks * -(-min(block.rows, oh) * problem.conv_size[1] // block.m)
    as_given = adjoint and not within and problem.taps == 1 and problem.c_out % lanes == 0 and passes <= FEW
    n_tiles, n_edge, n_full_tiles = even(vectors, block.n)
    starts = np.array(packed.columns)
    offsets = (np.arange(problem.c_in)[:, None] * packed.channel_stride + np.array(packed.taps)).ravel()
    offsets = np.append(offsets, np.zeros(AHEAD)).astype(np.int64)
    tiles = np.zeros(block.n + 1, np.int64)  # by vectors of channels
    for n in {n_edge, n_edge + (n_full_tiles > 0)}:
        tiles[n] = tile(block.m, n, lanes, size, packed=False) if as_given else tile_of(block.m, n, lanes, size)
    geometry = OcBlocks.packed(
        **common(problem, *problem.conv_size), **packing(problem, packed, starts, line_offset, in_place, keeps), **fields, rows=block.rows,
        row_blocks=row_blocks, k=problem.summands, m=block.m, n_tiles=n_tiles, n_edge=n_edge, n_full_tiles=n_full_tiles,
        oc_splits=block.oc_splits, in_place=in_place, as_matrix=packed.as_matrix, side_by_side=last or math.prod(problem.conv_size) == 1,
        tiles=tiles.ctypes.data, offsets=offsets.ctypes.data, tasks=tasks, scratch_bytes=scratch_bytes,
        a_tap=problem.c_out if as_given else lanes, a_channel=1 if as_given else problem.summands,
    )  # fmt: skip
    packed_weights = None if as_given else packer(
        problem.c_out, problem.summands, 1, 1, problem.dtype, threads, lanes, adjoint=problem.taps * adjoint, within=within
    )

    def packed_operands(operands: Operands) -> Packed:
        weights = packed_weights(operands.weight) if packed_weights else operands.weight
        return weights, *(padded(array, vectors * lanes) for array in operands[1:])

    pack = launcher(run_tasks, packed_operands, used, geometry, scratch, (starts, offsets, tiles), keeps)
    note = f"output channels in lanes and in {block.oc_splits} splits, blocks of {block.rows} rows, tiles {block.m}x{block.n}"
    return Prepared(pack, scratch.nbytes, note + NOTE * last)

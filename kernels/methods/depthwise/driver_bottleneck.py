"""Driver of bottlenecks: a thread makes some wide planes, sums their windows, and adds these to the narrow ones while all are in its cache.

    x ─ expand ─► m wide planes ─ depthwise ─► as many, of some tiles together ─ project ─► narrow sums        (of the wide channels' parts
        tile       in scratch       tile          in scratch                      tile        y, or a part's     are added in the end)

A network's widest maps lie between these layers. One layer after the other, they are written to the last-level cache or to another
thread's second-level cache and come back from there, which takes as long as the arithmetic; here they stay with the thread that makes them.
Without the last layer windows are summed straight to y, without the first they see x where it lies. The layers are those of M. Sandler et
al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, arXiv 1801.04381.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.depthwise.bottleneck_blocking import Blocking, Bottleneck
from kernels.methods.depthwise.bottleneck_layers import (
    PreparedBottleneck,
    activate_wide,
    add_to,
    average,
    layer_operands,
    operand_handles,
    shared_fields,
)
from kernels.methods.depthwise.driver_planes import Plane, planes, sum_plane
from kernels.methods.depthwise.records import BottleneckBlocks
from kernels.methods.direct.pack_weights import packer
from kernels.primitives.activations import codes
from kernels.primitives.driver import share, task_at, tile_table
from kernels.primitives.gemm_tile import ADDED, AHEAD, FIELDS, FROM_BIAS, LAST, GemmTile, tile
from kernels.primitives.post_ops import apply_activation
from kernels.problem.operands import Array, Operands
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.ir import call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import HEADER, Scratch, handle, whole


class Product(NamedTuple):
    """One tile of channels of a pointwise layer, at all positions of a block."""

    tiles: int  # address of the compiled tiles of as many channels, by vectors
    counts: int  # address of (tiles, vectors of an edge tile, full tiles)
    vectors: int  # address of the vectors
    m: int
    k: int
    a: int
    x: int
    offsets: int
    y: int
    y_row: int
    stage: int
    bias: int
    activation: int
    slope: int


@njit
def multiply(g, p):
    """A Product."""
    vectors = p.vectors
    n_tiles, n_edge, n_full = read_index(p.counts, 0), read_index(p.counts, 1), read_index(p.counts, 2)
    for n, times in ((n_edge + 1, n_full), (n_edge, n_tiles - n_full)):
        if times:
            call(
                read_index(p.tiles, n),
                GemmTile(
                    m=p.m, n=n, lanes=g.lanes, itemsize=g.itemsize, k=p.k, kc=p.k, a=p.a, x=p.x, offsets=p.offsets, y=p.y, y_row=p.y_row,
                    vectors=vectors, stage=p.stage, bias=p.bias, scale=0, shift=0, activation=p.activation, slope=p.slope, times=times,
                    a_step=0, y_step=0, vectors_step=n * FIELDS * 8, a_row=0,
                ),
            )  # fmt: skip
            vectors += times * n * FIELDS * 8


@region
def _tasks(task, thread, x, y, more, scratch, geometry, operands):
    """One task: an image, a part of the wide channels, some rows. x, y, more (what is added; without the last layer where means of planes
    go; or 0) and scratch are handles, operands that of the handles of weights and biases of the three layers."""
    g = geometry[0]
    size = g.itemsize
    o = layer_operands(operands)
    mine = task_at(task, g.tasks, 1, g.parts, g.row_blocks, 1)
    part, row = mine.group, mine.row_block * g.rows
    rows, first_row = min(g.rows, g.oh - row), row * g.sh - g.pad_h
    top, end = max(first_row, 0), min(first_row + (rows - 1) * g.sh + g.kh, g.h)
    wide = pointed(scratch) + thread * g.scratch_bytes
    summed = wide + g.summed_offset
    source = pointed(x) + (mine.image * g.k * g.h + top) * g.w * size
    to = pointed(y)
    if part and o.project:
        to = pointed(scratch) + g.parts_offset + (part - 1) * g.part_bytes
    plane, place = g.oh * g.ow, (mine.image * g.out_channels * g.oh + row) * g.ow * size
    to += place
    first_tile, last_tile = share(g.m_tiles, g.parts, part)
    stage = FROM_BIAS
    if more and o.project and not part:
        stage |= ADDED
        for j in range(g.out_channels):
            at = j * plane * size
            copy_bytes(to + at, pointed(more) + place + at, rows * g.ow * size)
    for first in range(first_tile, last_tile, g.together):
        channel = first * g.m_edge + min(first, g.m_full_tiles)
        done = 0
        for t in range(first, min(first + g.together, last_tile)):
            j, m = channel + done, g.m_edge + (t < g.m_full_tiles)
            seen, seen_plane, above, below = wide, g.plane, top, end
            if o.expand:
                bias = o.expand_bias + j * size if o.expand_bias else 0
                multiply(
                    g,
                    Product(
                        tiles=g.tiles + m * g.tiles_each * 8, counts=g.counts + 24 * mine.row_block,
                        vectors=g.vectors + mine.row_block * g.vectors_each, m=m, k=g.k, a=o.expand + j * g.k * size, x=source,
                        offsets=g.offsets, y=wide, y_row=g.plane, stage=FROM_BIAS | LAST, bias=bias, activation=g.expand_activation,
                        slope=g.expand_slope,
                    ),
                )  # fmt: skip
                activate_wide(g, m, wide, g.plane, end - top, g.w)
            else:
                seen_plane, above, below = g.h * g.w, 0, g.h
                seen = pointed(x) + (mine.image * g.c_in + j) * seen_plane * size
            made, pitch = (summed + done * g.summed_plane * size, g.summed_plane) if o.project else (to + j * plane * size, plane)
            for i in range(m):
                bias = o.window_bias + (j + i) * size if o.window_bias else 0
                sum_plane(
                    g,
                    Plane(
                        x=seen + i * seen_plane * size, h=below - above, first_row=first_row - above, rows=rows,
                        a=o.windows + (j + i) * g.taps * size, y=made + i * pitch * size, bias=bias, scale=0, shift=0,
                    ),
                )  # fmt: skip
            if g.form:
                apply_activation(g, m, made, pitch, g.ow, rows, g.ow)
            if more and not o.project:
                average(g, pointed(more) + (mine.image * g.c_in + j) * size, made, m, pitch)
            done += m
        finished = LAST if first + g.together >= last_tile else 0
        for t in range(g.narrow_tiles):
            j, m = t * g.narrow_edge + min(t, g.narrow_full_tiles), g.narrow_edge + (t < g.narrow_full_tiles)
            bias = o.project_bias + j * size if o.project_bias and not part else 0
            multiply(
                g,
                Product(
                    tiles=g.narrow + m * g.narrow_each * 8, counts=g.narrow_counts + 24 * mine.row_block,
                    vectors=g.narrow_vectors + mine.row_block * g.narrow_vectors_each, m=m, k=done,
                    a=o.project + (j * g.c_in + channel * m) * size, x=summed, offsets=g.narrow_offsets, y=to + j * plane * size,
                    y_row=plane, stage=(stage if first == first_tile else 0) | finished, bias=bias, activation=g.narrow_activation,
                    slope=g.narrow_slope,
                ),
            )  # fmt: skip


@region
def _add_parts(task, thread, y, scratch, geometry):
    """Some numbers of y, to which those of all parts but the first are added."""
    g = geometry[0]
    first, last = share(g.part_bytes // 64, g.add_tasks, task)
    at = pointed(y) + first * 64
    numbers = min(last * 64, g.part_numbers * g.itemsize) // g.itemsize - first * 64 // g.itemsize
    for part in range(1, g.parts):
        other = pointed(scratch) + g.parts_offset + (part - 1) * g.part_bytes + first * 64
        add_to(g, at, other, numbers)


def _vectors(lengths: list[int], n: int, lanes: int, whole_lines: bool) -> tuple[Array, Array]:
    """For lines of these lengths (tiles, vectors of an edge tile, full tiles), and what a tile is told of each vector. whole_lines: the
    last vector ends with the line, so that nothing is read behind it; else it is incomplete."""
    found = []
    for length in lengths:
        first = np.arange(0, length, lanes)
        if whole_lines:
            first = np.minimum(first, length - lanes)
        found.append(np.stack([first, first, np.minimum(length - first, lanes)], 1))
    vectors = np.zeros((len(found), max(map(len, found)), FIELDS), np.int64)
    for to, each in zip(vectors, found):
        to[: len(each)] = each
    return np.array([even(len(each), n) for each in found]), vectors


def prepare_bottleneck(layers: Bottleneck, block: Blocking, operands: tuple[Operands, ...]) -> PreparedBottleneck:
    """Compile the tiles for a blocking and pack the operands of its layers."""
    expand, depthwise, project = layers
    lanes, size, (oh, ow), (h, w) = machine().lanes(depthwise.itemsize), depthwise.itemsize, depthwise.conv_size, depthwise.size
    row_blocks = len(block.lines)
    narrow_counts, narrow_vectors = _vectors(
        [min(block.rows, oh - row) * ow for row in range(0, oh, block.rows)], block.project[1], lanes, False
    )  # fmt: skip
    counts, vectors = _vectors(list(block.lines), block.expand[1], lanes, True) if expand else (narrow_counts, narrow_vectors)
    m_tiles, m_edge, m_full_tiles = even(depthwise.c_in, block.expand[0])
    narrow_tiles, narrow_edge, narrow_full_tiles = even(project.c_out, block.project[0]) if project else (0, 0, 0)
    none = np.zeros((0, 0), np.int64)
    expand_tiles = tile_table(expand.c_out, block.expand[0], counts, lanes, size, tile) if expand else none
    project_tiles = tile_table(project.c_out, block.project[0], narrow_counts, lanes, size, tile) if project else none
    plane, summed_plane = ((-(-numbers // lanes) | 1) * lanes for numbers in (max(block.lines), block.rows * ow))  # odd numbers of vectors
    summed_offset = whole(block.expand[0] * plane * size) if expand else 0
    chunk = block.together * block.expand[0]
    scratch_bytes = summed_offset + (whole((chunk * summed_plane + block.project[1] * lanes) * size) if project else 0)
    tasks = depthwise.n * block.parts * row_blocks
    used = min(block.threads, tasks)
    numbers = depthwise.n * project.c_out * oh * ow if project else 0
    parts_offset, part_bytes = used * scratch_bytes, whole(numbers * size)
    scratch = Scratch(parts_offset + (block.parts - 1) * part_bytes)
    offsets = np.append(np.arange(expand.c_in if expand else 0) * (h * w), np.zeros(AHEAD)).astype(np.int64)
    narrow_offsets = np.append(np.arange(chunk) * summed_plane, np.zeros(AHEAD)).astype(np.int64)
    fields, keep_alive = planes(depthwise, block.tile_rows, oh, ow)
    _, activation, slope = codes(project.activation if project else None)
    geometry = BottleneckBlocks.packed(
        **fields, **shared_fields(layers, block.parts), rows=block.rows, row_blocks=row_blocks, kh=depthwise.kernel[0],
        together=block.together, m_tiles=m_tiles, m_edge=m_edge, m_full_tiles=m_full_tiles, tiles=expand_tiles.ctypes.data,
        tiles_each=expand_tiles.shape[1],
        counts=counts.ctypes.data, vectors=vectors.ctypes.data, vectors_each=vectors[0].nbytes, offsets=offsets.ctypes.data, plane=plane,
        narrow_activation=activation, narrow_slope=slope,
        narrow_tiles=narrow_tiles, narrow_edge=narrow_edge, narrow_full_tiles=narrow_full_tiles, narrow=project_tiles.ctypes.data,
        narrow_each=project_tiles.shape[1], narrow_counts=narrow_counts.ctypes.data, narrow_vectors=narrow_vectors.ctypes.data,
        narrow_vectors_each=narrow_vectors[0].nbytes, narrow_offsets=narrow_offsets.ctypes.data, summed_offset=summed_offset,
        summed_plane=summed_plane, parts_offset=parts_offset, part_bytes=part_bytes, part_numbers=numbers, add_tasks=block.threads,
        tasks=tasks, scratch_bytes=scratch_bytes,
    )  # fmt: skip
    packed: list[Array | None] = []
    present = iter(operands)
    for layer, height in zip(layers, (block.expand[0], 1, block.project[0])):
        given = next(present) if layer else Operands(None)
        if layer and layer is not depthwise:
            pack = packer(layer.c_out, layer.c_in, 1, height, layer.dtype, block.threads)
            packed += [pack(given.weight), given.bias]
        else:
            packed += [None if given.weight is None else given.weight.copy(), given.bias]
    handles = operand_handles(packed)
    addresses = handle(handles)
    launch, add_up = _tasks.ready(0, 0, 0, 0, geometry, 0), _add_parts.ready(0, 0, geometry)
    several, threads = block.parts > 1 and project is not None, block.threads
    kept = (
        counts, vectors, narrow_counts, narrow_vectors, expand_tiles, project_tiles, offsets, narrow_offsets, packed, handles, keep_alive
    )  # fmt: skip

    def run(x: Array, y: Array, more: Array | None = None, keep_alive: object = kept) -> None:
        buffer = scratch.take()
        launch(used, tasks, id(x) + HEADER, id(y) + HEADER, handle(more), id(buffer) + HEADER, geometry, addresses)
        if several:
            add_up(threads, threads, id(y) + HEADER, id(buffer) + HEADER, geometry)
        scratch.give(buffer)

    note = f"bottleneck, tasks of {block.rows} rows" + f", {block.parts} parts of the channels" * (block.parts > 1)
    return PreparedBottleneck(run, scratch.nbytes, note, averages=row_blocks == 1 and project is None)

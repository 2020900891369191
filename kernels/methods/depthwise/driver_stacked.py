"""Driver of bottlenecks over small maps: a thread makes some wide channels, sums their windows and projects them, channels in lanes.

    x ─ expand ─► stage [position][n vectors] ─ spread ─► bed ─ sums ─► [position][lane] ─ transpose ─► planes ─ project ─► narrow sums
        tile                                    with zeros                                              of its channels      y, or a part's

What a thread makes of the wide channels no other reads, so layers need not wait for each other. Each part has narrow sums of its own; the
task that ends last adds them, and what the block adds to its input. The counterpart of `driver_bottleneck`, whose planes would fill their
vectors badly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.methods.depthwise.blocking import ChannelBlocking, taps_beside
from kernels.methods.depthwise.bottleneck_blocking import Bottleneck
from kernels.methods.depthwise.bottleneck_layers import (
    PreparedBottleneck,
    activate_wide,
    add_to,
    average,
    layer_operands,
    operand_handles,
    shared_fields,
)
from kernels.methods.depthwise.channel_tile import RUNS, Border, Spread, Sums, border, spread, sums
from kernels.methods.depthwise.driver_channels import in_lanes, run_tables
from kernels.methods.depthwise.records import StackedBlocks
from kernels.methods.depthwise.stacked_blocking import Stacked
from kernels.methods.direct.pack_weights import packer
from kernels.primitives.driver import common, padded, share
from kernels.primitives.gemm_tile import AHEAD
from kernels.primitives.gemm_tile_oc import GemmTileOc, tile
from kernels.primitives.post_ops import apply_activation
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.operands import Array, Operands
from kernels.problem.window import reach
from kernels.runtime.atomics import add
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import HEADER, Scratch, handle, whole


class Layer(NamedTuple):
    """A pointwise layer at all positions, or some of its channels."""

    tiles: int  # address of the compiled tiles by vectors of channels
    m: int  # positions of a tile
    k: int
    a: int  # address of the weights [vector][a_vector / lanes][lane], from the first of its k on
    a_vector: int
    x: int
    offsets: int
    latest: int  # position that a tile may begin at
    positions: int
    y: int
    y_row: int  # numbers from position to position (last) or from channel to channel
    step: int  # numbers from position to position
    channels: int
    last: int
    bias: int
    activation: int
    slope: int


@njit
def _multiply(g, p, n):
    """Some vectors of a Layer's channels."""
    for start in range(0, p.positions, p.m):
        first = min(start, p.latest)
        call(
            read_index(p.tiles, n),
            GemmTileOc(
                m=p.m, n=n, lanes=g.lanes, itemsize=g.itemsize, packed=0, blocked=0, k=p.k, kc=p.k, a=p.a, a_tap=g.lanes,
                a_vector=p.a_vector, x=p.x + first * g.itemsize, offsets=p.offsets, y=p.y + first * p.step * g.itemsize, y_row=p.y_row,
                positions=min(p.m, p.positions - first), channels=p.channels, last=p.last, bias=p.bias, scale=0, shift=0,
                activation=p.activation, slope=p.slope,
            ),
        )  # fmt: skip


@region
def _tasks(task, thread, x, y, more, scratch, geometry, operands):
    """One task: a part of the wide channels of an image. x, y, more (what is added; without the last layer where means of planes go; or 0)
    and scratch are handles, operands that of the handles of weights and biases of the three layers."""
    g = geometry[0]
    size, lanes = g.itemsize, g.lanes
    o = layer_operands(operands)
    part, image = split(task, g.images)
    first, last = share(g.channel_vectors, g.parts, part)
    seen, made = g.h * g.w, g.oh * g.ow
    all_scratch = pointed(scratch)
    bed = all_scratch + g.counts_bytes + thread * g.scratch_bytes
    stage, rows, planes = bed + g.stage_offset, bed + g.rows_offset, bed + g.planes_offset
    source, to = pointed(x) + image * g.k * seen * size, pointed(y) + image * g.out_channels * made * size
    call(
        g.border,
        Border(lanes=lanes, itemsize=size, dst=bed, bed_h=g.bed_h, bed_w=g.bed_w, above=g.pad_h, h=g.seen_h, before=g.pad_w, w=g.seen_w),
    )
    inner = bed + (g.pad_h * g.bed_w + g.pad_w) * lanes * size
    for v in range(first, last, g.n):
        n = min(g.n, last - v)
        row = n * lanes
        bias = o.expand_bias + v * lanes * size if o.expand_bias else 0
        _multiply(
            g,
            Layer(
                tiles=g.tiles, m=g.m, k=g.k, a=o.expand + v * g.k * lanes * size, a_vector=g.k * lanes, x=source, offsets=g.offsets,
                latest=seen - g.m, positions=seen, y=stage, y_row=row, step=row, channels=row, last=1, bias=bias,
                activation=g.expand_activation, slope=g.expand_slope,
            ),
            n,
        )  # fmt: skip
        activate_wide(g, 1, stage, 0, 1, seen * row)
        for q in range(n):
            j = (v + q) * lanes
            live = min(lanes, g.c_in - j)
            call(
                g.spread,
                Spread(
                    lanes=lanes, itemsize=size, dst=inner, bed_w=g.bed_w, src=stage + q * lanes * size, row_pitch=g.w * row, pitch=row,
                    live=lanes, h=g.seen_h, w=g.seen_w,
                ),
            )  # fmt: skip
            bias = o.window_bias + j * size if o.window_bias else 0
            call(
                g.sums,
                Sums(
                    run=0, step=g.step, columns=g.side, lanes=lanes, itemsize=size, k=g.window_rows, a=o.windows + j * g.taps * size, x=bed,
                    offsets=g.window_offsets, y=rows, y_step=lanes, spacing=1, table=g.table, runs=g.runs, live=lanes, bias=bias, scale=0,
                    shift=0, activation=g.activation, slope=g.slope,
                ),
            )  # fmt: skip
            if g.form:
                apply_activation(g, 1, rows, 0, 0, 1, made * lanes)
            dst = planes + (j - first * lanes) * made * size if o.project else to + j * made * size
            call(
                g.transpose,
                Transpose(lanes=lanes, itemsize=size, dst=dst, dst_pitch=made, src=rows, src_pitch=lanes, rows=made, columns=live),
            )
            if more and not o.project:
                average(g, pointed(more) + (image * g.c_in + j) * size, dst, live, made)
    if o.project:
        numbers = g.out_channels * made
        k = min(last * lanes, g.c_in) - first * lanes
        sums_of = all_scratch + g.parts_offset + (image * (g.parts - 1) + part - 1) * g.part_bytes if part else to
        for v in range(0, g.narrow_vectors, g.narrow_n):
            n, j = min(g.narrow_n, g.narrow_vectors - v), v * lanes
            bias = o.project_bias + j * size if o.project_bias and not part else 0
            _multiply(
                g,
                Layer(
                    tiles=g.narrow, m=g.narrow_m, k=k, a=o.project + (v * g.c_in + first * lanes) * lanes * size, a_vector=g.c_in * lanes,
                    x=planes, offsets=g.narrow_offsets, latest=made, positions=made, y=sums_of + j * made * size, y_row=made, step=1,
                    channels=min(n * lanes, g.out_channels - j), last=0, bias=bias, activation=0, slope=0,
                ),
                n,
            )  # fmt: skip
        if g.parts == 1 or add(all_scratch + image * 8, 1) == g.parts - 1:
            for other in range(g.parts - 1):
                add_to(g, to, all_scratch + g.parts_offset + (image * (g.parts - 1) + other) * g.part_bytes, numbers)
            if more:
                add_to(g, to, pointed(more) + image * numbers * size, numbers)


def _tile_addresses(vectors: int, m: int, n: int, parts: int, lanes: int, size: int) -> Array:
    """Of the tiles that parts of so many vectors need, by vectors."""
    found = np.zeros(n + 1, np.int64)
    for length in {vectors // parts, -(-vectors // parts)} - {0}:
        for width in {min(n, length), length % n} - {0}:
            found[width] = tile(m, width, lanes, size)
    return found


def prepare_stacked(layers: Bottleneck, block: Stacked, operands: tuple[Operands, ...]) -> PreparedBottleneck:
    """Compile the tiles for a blocking and pack the operands of its layers."""
    expand, depthwise, project = layers
    assert expand is not None
    size, (oh, ow) = depthwise.itemsize, depthwise.conv_size
    lanes, made, seen, wide = machine().lanes(size), oh * ow, depthwise.size[0] * depthwise.size[1], depthwise.c_in
    vectors, narrow_vectors = -(-wide // lanes), -(-project.c_out // lanes) if project else 0
    (m, n), (narrow_m, narrow_n) = block.expand, block.project
    bed_h, bed_w = reach(depthwise, oh, ow)
    (pad_h, _), (pad_w, _) = depthwise.padding
    own = -(-vectors // block.parts) * lanes
    stage_offset = whole(bed_h * bed_w * lanes * size)
    rows_offset = stage_offset + whole(n * seen * lanes * size)
    planes_offset = rows_offset + whole(made * lanes * size)
    scratch_bytes = planes_offset + whole((own * made + narrow_m) * size if project else 0)
    tasks = depthwise.n * block.parts
    used = min(block.threads, tasks)
    counts_bytes = whole(8 * depthwise.n)
    numbers = project.c_out * made if project else 0
    parts_offset, part_bytes = counts_bytes + used * scratch_bytes, whole(numbers * size)
    scratch = Scratch(parts_offset + depthwise.n * (block.parts - 1) * part_bytes)
    offsets = np.append(np.arange(expand.c_in) * seen, np.zeros(AHEAD)).astype(np.int64)
    narrow_offsets = np.append(np.arange(own) * made, np.zeros(AHEAD)).astype(np.int64)
    tiles = _tile_addresses(vectors, m, n, block.parts, lanes, size)
    narrow = _tile_addresses(narrow_vectors, narrow_m, narrow_n, 1, lanes, size) if project else tiles
    side, (dh, dw), step = taps_beside(depthwise), depthwise.dilation, depthwise.stride[1]
    kernel_rows = np.arange(depthwise.kernel[0]) * dh * bed_w
    window_offsets = np.add.outer(kernel_rows, np.arange(0, depthwise.kernel[1], side) * dw).ravel() * lanes
    shapes, tables = run_tables(depthwise, ChannelBlocking(oh, ow, 0.0), bed_w, lanes, False)
    run, runs = shapes[0].tolist()
    step = step if step in RUNS else 1
    geometry = StackedBlocks.packed(
        **common(depthwise, oh, ow), **shared_fields(layers, block.parts), images=depthwise.n, channel_vectors=vectors, m=m, n=n,
        tiles=tiles.ctypes.data, offsets=offsets.ctypes.data, bed_h=bed_h, bed_w=bed_w, seen_h=min(depthwise.size[0], bed_h - pad_h),
        seen_w=min(depthwise.size[1], bed_w - pad_w), border=border(lanes, size), spread=spread(lanes, size),
        sums=sums(run, step, side, lanes, size), transpose=transpose(lanes, size), step=step, side=side, window_rows=len(window_offsets),
        taps=depthwise.taps, window_offsets=window_offsets.ctypes.data, table=tables.ctypes.data, runs=oh * runs,
        narrow_vectors=narrow_vectors, narrow_m=narrow_m, narrow_n=narrow_n, narrow=narrow.ctypes.data,
        narrow_offsets=narrow_offsets.ctypes.data, stage_offset=stage_offset, rows_offset=rows_offset, planes_offset=planes_offset,
        counts_bytes=counts_bytes, parts_offset=parts_offset, part_bytes=part_bytes, tasks=tasks, scratch_bytes=scratch_bytes,
    )  # fmt: skip
    packed: list[Array | None] = []
    for layer, given in zip(layers, operands):
        assert layer is not None and given.weight is not None
        if layer is depthwise:
            packed += [in_lanes(given.weight, 1, lanes), in_lanes(given.bias, 1, lanes)]
        else:
            pack = packer(layer.c_out, layer.c_in, 1, 1, layer.dtype, block.threads, lanes)
            packed += [pack(given.weight), padded(given.bias, -(-layer.c_out // lanes) * lanes)]
    handles = operand_handles(packed)
    addresses, launch = handle(handles), _tasks.ready(0, 0, 0, 0, geometry, 0)
    counted = counts_bytes if block.parts > 1 and project else 0
    kept = offsets, narrow_offsets, tiles, narrow, window_offsets, tables, packed, handles

    def run_all(x: Array, y: Array, more: Array | None = None, keep_alive: object = kept) -> None:
        buffer = scratch.take()
        if counted:
            buffer[:counted] = 0  # parts of each image that are done
        launch(used, tasks, id(x) + HEADER, id(y) + HEADER, handle(more), id(buffer) + HEADER, geometry, addresses)
        scratch.give(buffer)

    note = f"bottleneck, {lanes} channels at a time" + f", {block.parts} parts of the channels" * (block.parts > 1)
    return PreparedBottleneck(run_all, scratch.nbytes, note, averages=project is None)

"""The driver of Winograd convolution: what a task does, and all that is chosen, compiled and laid out before one runs."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from kernels.cost.gemm import even, pooled_size
from kernels.methods.winograd import blocking, tile_load, tile_store
from kernels.methods.winograd.dilated import SHORTEST, DilatedTiles, turns, write_entries
from kernels.methods.winograd.dilated import entry_words as dilated_words
from kernels.methods.winograd.pack_weights import point_step, transformer
from kernels.methods.winograd.records import WinogradTiles
from kernels.methods.winograd.strided import prepare_polyphase
from kernels.methods.winograd.tile_load import PatchTiles
from kernels.methods.winograd.tile_store import OutputTiles
from kernels.methods.winograd.transforms import InputTransform, OutputTransform, input_transform, output_transform
from kernels.primitives import gemm_tile_oc
from kernels.primitives.channels_last_blocks import NOTE, InputBlock, OutputBlock, plane_of, staging, together
from kernels.primitives.driver import Packed, common, epilogue_of, every_task, launcher, share, task_at, tile_table
from kernels.primitives.gemm_tile import AHEAD, FIELDS, FROM_BIAS, LAST, GemmTile, tile
from kernels.primitives.gemm_tile_oc import GemmTileOc
from kernels.primitives.packed_layout import layout
from kernels.primitives.post_ops import Sums, apply_activation, block_post_ops, pool_bytes, pool_record
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch, whole

Array = np.ndarray


@njit
def run_task(task, x, out, operands, geometry, block):
    """One task; arguments as in `methods.direct.driver.run_task`. Its scratch: where its tiles lie, transformed input V, products M."""
    g = geometry[0]
    size = g.itemsize
    mine = task_at(task, g.tasks, g.oc_splits, g.groups, g.row_blocks, g.column_blocks)
    image, group = mine.image, mine.group
    row, column = mine.row_block * g.rows, mine.column_block * g.columns
    rows, columns = min(g.rows, g.tiles_h - row), min(g.columns, g.tiles_w - column)
    first_image, number = image * g.images, rows * columns
    vectors = (g.images * number + g.lanes - 1) // g.lanes
    pitch_vectors = g.pitch_vectors if g.images > 1 else vectors
    padded = pitch_vectors * g.lanes
    v, products = block + g.v_offset, block + g.m_offset
    point_stride = g.ins * padded + g.lanes  # the last line of the last channel ends in a whole vector
    th, tw = g.mh + g.rh - 1, g.mw + g.rw - 1
    high, broad = min(rows * g.mh, g.oh - row * g.mh), min(columns * g.mw, g.ow - column * g.mw)
    dilated = g.patch_entries != 0
    for at in range(g.images * g.ins):
        # a staging buffer belongs to one image; else one channel's tiles are written together. Images ascend: vectors reach into the tiles
        # of the next one
        i, c = split(at, g.ins) if g.last_in else split(at, g.images)[::-1]
        packed = InputBlock(
            image=first_image + i, channel=group * g.ins, channels=g.ins, row=row * g.mh, column=column * g.mw,
            positions=(rows - 1) * g.mh + th,
        )  # fmt: skip
        plane, top, left, h, w = plane_of(g, x, packed, c, block)
        if at == 0 and dilated:
            call(
                g.patch_entries,
                DilatedTiles(
                    outputs=0, lanes=g.lanes, itemsize=size, to=block, words=g.entry_words, rows=rows, columns=columns, row=row,
                    column=column, top=-g.pad_h, left=-g.pad_w, height=h, width=w, down=g.down, across=g.across, mh=g.mh, mw=g.mw, th=th,
                    tw=tw,
                ),
            )  # fmt: skip
            count = vectors
        elif at == 0:
            patches = PatchTiles(
                rows=rows, columns=columns, row=top - (row * g.mh if g.down > 1 else 0), column=left, height=h, width=w, mh=g.mh,
                mw=g.mw, first=row if g.down > 1 else 0, turn=g.down, th=th, tw=tw,
            )  # fmt: skip
            count = tile_load.write_entries(block, g.entry_words, patches, g.lanes, g.block)
        call(
            g.input,
            InputTransform(
                mh=g.mh, rh=g.rh, mw=g.mw, rw=g.rw, lanes=g.lanes, itemsize=size, dst=v + (c * padded + i * number) * size,
                dilated=0, point_stride=point_stride, src=plane, pitch=w * g.down, across=g.across, ahead=g.ahead, entries=block,
                vectors=count,
            ),
        )  # fmt: skip
    first_tile, last_tile = share(g.m_tiles, g.oc_splits, mine.oc_split)
    oc_tiles = max(1, split(g.channels, g.m_most)[0])
    n_tiles = split(vectors + g.tile_n - 1, g.tile_n)[0]
    n_edge, n_full = split(vectors, n_tiles)
    table = g.offsets + (pitch_vectors - 1) * g.ins * 8
    outputs, pending = block + g.outputs_offset, 0
    pitch = broad if g.pool or g.last_out else g.ow
    left, written = 0 if dilated else column * g.mw, vectors
    if dilated:
        call(
            g.output_entries,
            DilatedTiles(
                outputs=1, lanes=g.lanes, itemsize=size, to=outputs, words=g.output_words, rows=rows, columns=columns, row=row,
                column=column, top=0, left=0, height=g.oh, width=g.ow, down=g.down, across=g.across, mh=g.mh, mw=g.mw, th=g.mh, tw=g.mw,
            ),
        )  # fmt: skip
    else:
        written = tile_store.write_entries(
            outputs,
            g.output_words,
            OutputTiles(
                rows=rows, columns=columns, row=row, pitch=pitch, height=g.oh, width=g.ow - left, mh=g.mh, mw=g.mw, turn=g.down,
            ),
            g.lanes,
        )  # fmt: skip
    for oc_first in range(first_tile, last_tile, oc_tiles):
        oc_last = min(oc_first + oc_tiles, last_tile)
        base = oc_first * g.m_edge + min(oc_first, g.m_full_tiles)
        channels = oc_last * g.m_edge + min(oc_last, g.m_full_tiles) - base
        for p in range(g.points):
            source = v + p * point_stride * size
            if g.oc_m:
                for t in range(oc_first, oc_last):
                    j = t * g.m_edge
                    a = operands[0] + (p * g.weights_point + (group * g.outs + j) * g.ins) * size
                    y = products + (p * channels + j - base) * padded * size
                    for first in range(0, g.images * number, g.oc_m):
                        call(
                            g.gemm_tile_oc,
                            GemmTileOc(  # nothing follows
                                m=g.oc_m, n=g.tile_n, lanes=g.lanes, itemsize=size, packed=1, blocked=0, k=g.ins, kc=g.kc, a=a,
                                a_tap=0, a_vector=g.ins * g.lanes, x=source + first * size, offsets=table, y=y + first * size, y_row=padded,
                                positions=min(g.oc_m, g.images * number - first), channels=g.m_edge, last=0, bias=0, scale=0, shift=0,
                                activation=0, slope=0,
                            ),
                        )  # fmt: skip
                continue
            for q in range(n_tiles):
                n = n_edge + (q < n_full)
                entries = g.entries + (q * n_edge + min(q, n_full)) * FIELDS * 8
                t = oc_first
                while t < oc_last:  # the full tiles, then the edge tiles
                    m = g.m_edge + (t < g.m_full_tiles)
                    times = (min(g.m_full_tiles, oc_last) if t < g.m_full_tiles else oc_last) - t
                    j = t * g.m_edge + min(t, g.m_full_tiles)
                    a = operands[0] + (p * g.weights_point + (group * g.outs + j) * g.ins) * size
                    y = products + (p * channels + j - base) * padded * size
                    call(
                        read_index(g.tiles, m * g.tiles_each + n),
                        GemmTile(  # sums start at zero and nothing follows
                            m=m, n=n, lanes=g.lanes, itemsize=size, k=g.ins, kc=g.kc, a=a, x=source, offsets=table, y=y,
                            y_row=padded, vectors=entries, stage=FROM_BIAS + LAST, bias=0, scale=0, shift=0, activation=0, slope=0,
                            times=times, a_step=m * g.ins * size, y_step=m * padded * size, vectors_step=0, a_row=0,
                        ),
                    )  # fmt: skip
                    t += times
        for at in range(g.images * channels):
            i, channel = split(at, channels)
            image, j = first_image + i, group * g.outs + base + channel
            if g.pool or g.last_out:  # as if the plane began so far before the scratch that this task's rows fall on it
                start = g.conv_offset if g.pool else g.pending_offset + pending * g.pending_pitch * size
                plane = block + start - row * g.mh * pitch * size
            else:
                plane = out + ((image * g.c_out + j) * g.oh * g.ow + left) * size
            bias, scale, shift = epilogue_of(g, operands, j)
            source = products + (channel * padded + i * number) * size
            call(
                g.output,
                OutputTransform(
                    mh=g.mh, rh=g.rh, mw=g.mw, rw=g.rw, lanes=g.lanes, itemsize=size, dilated=0, dst=plane,
                    pitch=pitch * g.down, ahead=g.ahead_out, entries=outputs, vectors=written, src=source, point_stride=channels * padded,
                    bias=bias, scale=scale, shift=shift, activation=g.activation, slope=g.slope,
                ),
            )  # fmt: skip
            sums = plane + row * g.mh * pitch * size
            if g.form and not g.activates_maxima:
                apply_activation(g, 1, sums, 0, pitch, high, broad)
            full = pending + 1 == g.pending or (channel == channels - 1 and (oc_last == last_tile or g.images > 1))
            made = OutputBlock(image=image, row=row * g.mh, column=column * g.mw, rows=high, columns=broad)
            pending = block_post_ops(g, Sums(j=j, m=1, y=sums, y_row=0), pending, out, made, block, full)


run_tasks = every_task(run_task)


def ends(total: int, step: int) -> set[int]:
    """Lengths of the blocks of `total` that begin every `step`: the full one and the last."""
    return {step, total % step or step}


def prepare(
    problem: Conv, threads: int, variant: str = "", *, last: bool = False, adjoint: bool = False, once: bool = False
) -> Prepared:  # fmt: skip
    """Choose a blocking (of one variant only; once: for weights that serve one call), compile transforms and tiles."""
    if max(problem.stride) > 1:
        return prepare_polyphase(problem, threads, functools.partial(prepare, variant=variant, once=once))
    threads = blocking.threads_of(problem, threads)
    block = blocking.best(problem, threads, variant, once)
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    oh, ow = pooled_size(problem)
    down, across = turns(problem)
    dilated = across > 1
    tiles_h, tiles_w = blocking.grid(problem, (oh, ow), block.mh, block.mw)
    block = dataclasses.replace(block, rows=min(block.rows, tiles_h), columns=min(block.columns, tiles_w))  # a pool may leave out the last
    seen = layout(blocking.tiling(problem, block), False, block.rows, block.columns, lanes)
    th, tw = block.patch(problem)
    points, kc = th * tw, blocking.summed(ins)
    words = dilated_words(tw, lanes) if dilated else tile_load.entry_words(th, tw, lanes)
    output_words = tile_store.entry_words(block.mw, lanes, SHORTEST if dilated else block.mw)
    row_blocks, column_blocks = -(-tiles_h // block.rows), -(-tiles_w // block.columns)
    most = block.pitch(lanes)
    tasks = problem.n // block.images * problem.groups * row_blocks * column_blocks * block.oc_splits

    of_image = -(-block.rows * block.columns // lanes)
    outputs_offset = whole(words * 8 * max(of_image, block.rows * -(-block.columns // lanes)))
    v_offset = outputs_offset + whole(output_words * 8 * of_image)
    m_offset = v_offset + whole(points * (ins * most + 1) * lanes * size)
    row_offset = m_offset + whole(points * (block.channels + block.height(lanes)) * most * lanes * size)
    high, broad = block.rows * block.mh, min(block.columns * block.mw, ow)
    conv_offset = row_offset + pool_bytes(problem, 1, broad)
    pending_offset = conv_offset + pool_bytes(problem, high, broad)
    fields, scratch_bytes = staging(problem, seen, last, together(outs, high * broad, size), high * broad, pending_offset)
    used = min(threads, tasks)
    scratch = Scratch(used * scratch_bytes)
    shape = block.mh, problem.kernel[0], block.mw, problem.kernel[1]
    m_tiles, m_edge, m_full_tiles = even(outs, block.height(lanes))
    pooling, factors = pool_record(problem, high, broad)
    # where a point's channels lie, for each number of vectors
    offsets = np.append(np.arange(ins) * lanes * np.arange(1, most + 1)[:, None], np.zeros(AHEAD, np.int64))
    entries = np.arange(most)[:, None] * (lanes, lanes, 0) + (0, 0, lanes)  # vectors lie side by side and are whole
    counts = {-(-block.images * rows * columns // lanes) for rows in ends(tiles_h, block.rows) for columns in ends(tiles_w, block.columns)}
    tiles = np.zeros((1, 1), np.int64)
    if not block.oc_lanes:
        tiles = tile_table(outs, block.m, np.array([even(count, block.n) for count in counts]), lanes, size, tile)
    beyond = math.prod(problem.size) * (problem.c_in if block.images > 1 else 1)  # from what is brought to what is next
    geometry = WinogradTiles.packed(
        **common(problem, oh, ow), **pooling, **fields, mh=block.mh, mw=block.mw, down=down, across=across, rh=problem.kernel[0],
        rw=problem.kernel[1], points=points,
        tiles_h=tiles_h, tiles_w=tiles_w, rows=block.rows, columns=block.columns, row_blocks=row_blocks, column_blocks=column_blocks,
        images=block.images, row_step=1, phases=1, span=seen.span, kc=kc, tile_n=block.n, m_tiles=m_tiles, m_edge=m_edge,
        m_full_tiles=m_full_tiles, m_most=block.height(lanes), channels=block.channels, oc_splits=block.oc_splits, pitch_vectors=most,
        oc_m=block.m if block.oc_lanes else 0, weights_point=point_step(problem.c_out * ins, size),
        gemm_tile_oc=gemm_tile_oc.tile(block.m, block.n, lanes, size, blocked=ins > kc) if block.oc_lanes else 0, tiles=tiles.ctypes.data,
        tiles_each=tiles.shape[1], input=input_transform(shape, lanes, size, dilated), output=output_transform(shape, lanes, size, dilated),
        patch_entries=write_entries(False, lanes, size) if dilated else 0,
        output_entries=write_entries(True, lanes, size) if dilated else 0,
        entry_words=words, output_words=output_words, block=tile_load.BLOCK // size, ahead=0 if fields["last_in"] else beyond,
        ahead_out=0 if problem.pool or last else oh * ow, outputs_offset=outputs_offset, v_offset=v_offset, m_offset=m_offset,
        row_offset=row_offset, conv_offset=conv_offset, offsets=offsets.ctypes.data, entries=entries.ctypes.data, tasks=tasks,
        scratch_bytes=scratch_bytes,
    )  # fmt: skip
    tallest = lanes if block.oc_lanes else block.m  # tiles with output channels in lanes read every vector's summands together
    transform = transformer(
        problem.c_out, ins, problem.groups, tallest, (block.mh, block.mw), problem.kernel, problem.dtype, threads, adjoint=adjoint
    )

    def packed_operands(operands: Operands) -> Packed:
        return transform(operands.weight), *operands[1:]

    pack = launcher(run_tasks, packed_operands, used, geometry, scratch, (factors, offsets, entries, tiles))
    note = (
        f"F({block.mh}x{block.mw}, {problem.kernel[0]}x{problem.kernel[1]}), blocks of {block.images} images, {block.rows} rows, "
        f"{block.columns} columns of tiles, {block.channels} output channels at a time in {block.oc_splits} splits, products "
        f"{block.m}x{block.n} with {'output channels' if block.oc_lanes else 'tiles'} in lanes"
    )
    return Prepared(pack, scratch.nbytes, note + NOTE * last)



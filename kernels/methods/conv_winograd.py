"""Winograd convolution: small kernels by interpolation, with a half to a fifth of the definition's multiplications.

F(m x m, r x r) computes a tile of m x m outputs from a patch of t x t inputs, t = m + r - 1: patch and kernel are transformed to t*t
points, the channels are summed at each point by t*t matrix products (t*t multiplications per channel instead of m*m*r*r), and the
result is transformed back. Patches of neighbouring tiles, of several images where maps are small, sit in the lanes of vectors; products
may have lanes along output channels instead. Blocks of tiles go through all three steps while they are in the second-level cache, and
bias, scale, shift and the ReLU family are applied on the way out. It loses where transforms are not shared by many channels, where maps
are so small that tiles overhang them or that transformed weights, t*t / (r*r) times as many, take longer to read than the products to
compute. A NaN or inf spreads over the outputs of the tiles whose patches hold it. Sources: A. Lavin and S. Gray, arXiv 1509.09308;
blocks after Z. Jia et al., "Towards optimal Winograd convolution on manycores", arXiv 1912.02165.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kernels import registry
from kernels.blocks import (
    Packed,
    common,
    epilogue_of,
    every_job,
    launcher,
    line_bytes,
    pack_channel,
    tile_table,
)
from kernels.calibration import worth
from kernels.cuts import winograd as cutting
from kernels.cuts.direct import even, layout, pooled_size
from kernels.finishing import bend, finish_channels, pool_bytes, pool_record
from kernels.implementation import Implementation, Operands, Prepared
from kernels.jit import njit
from kernels.machine import cores, machine
from kernels.microkernels import across as across_tiles
from kernels.microkernels.outer import AHEAD, FIELDS, FROM_BIAS, LAST, tile
from kernels.microkernels.winograd import input_transform, output_transform
from kernels.problem import Conv, Problem
from kernels.scratch import ALIGNMENT, Scratch, whole
from kernels.slabs import NOTE, slabs, together
from kernels.vector import call, read_index, split
from kernels.weights import transformer

Array = np.ndarray

LEAST_CHANNELS = 8  # below this on either side the transforms cost more than they save


def refuse(problem: Problem) -> str | None:
    """Strides, dilations, kernels without a tile, few channels."""
    assert isinstance(problem, Conv)
    if max(problem.stride) > 1:
        return f"its tiles slide by one, this has stride {problem.stride}; direct does it"
    if any(d > 1 and k > 1 for d, k in zip(problem.dilation, problem.kernel)):
        return f"its patches are dense, this has dilation {problem.dilation}; direct does it"
    if any(k not in cutting.TILES for k in problem.kernel) or problem.taps == 1:
        return f"it has tiles for kernels of 2, 3 and 5 (1 along one axis), this is {problem.kernel}; direct or fft does it"
    channels = min(problem.c_in, problem.c_out) // problem.groups
    if channels < LEAST_CHANNELS:
        return f"its transforms pay from {LEAST_CHANNELS} channels a group on either side, this has {channels}; direct does it"
    return None


def error_bound(problem: Conv, only: str = "") -> float:
    """The tile may differ with the threads; the largest of theirs. See `cuts.winograd.error`; B. Barabasz et al.,
    arXiv 1803.10986."""
    return max(cutting.error(problem, cutting.best(problem, threads, only)) for threads in range(1, cores() + 1))


@njit
def run_job(job, x, out, operands, geometry, block):
    """One job; arguments as in `kernels.blocks.run_job`. Its scratch: packed channel, transformed input V, products M, one line of
    outputs."""
    g = geometry[0]
    size = g.itemsize
    rest, chunk = split(job, g.chunks)
    rest, column_block = split(rest, g.column_blocks)
    rest, row_block = split(rest, g.row_blocks)
    image, group = split(rest, g.groups)
    row, column = row_block * g.rows, column_block * g.columns
    rows, columns = min(g.rows, g.down - row), min(g.columns, g.across - column)
    first_image, number = image * g.images, rows * columns
    vectors = (g.images * number + g.lanes - 1) // g.lanes
    pitch_vectors = g.pitch_vectors if g.images > 1 else vectors
    padded = pitch_vectors * g.lanes
    positions = g.positions - (g.rows - rows) * g.positions_per_row
    v, products = block + g.v_offset, block + g.m_offset
    shape = g.mh, g.rh, g.mw, g.rw, g.lanes, size
    point_stride = g.ins * padded + g.lanes  # the last line of the last channel ends in a whole vector
    lines, line = (1, number) if g.flat else (rows, columns)
    high, broad = min(rows * g.mh, g.oh - row * g.mh), min(columns * g.mw, g.ow - column * g.mw)
    for at in range(g.images * g.ins):
        # a slab belongs to one image; else one channel's tiles are written together. Images ascend: vectors reach into the next one's tiles
        i, c = split(at, g.ins) if g.last_in else split(at, g.images)[::-1]
        pack_channel(g, block, block, x, first_image + i, group * g.ins, c, g.ins, row * g.mh, column * g.mw, positions)
        for r in range(lines):
            start = block + r * g.positions_per_row * g.pitch * size
            call(g.input, (*shape, v + (c * padded + i * number + r * columns) * size, point_stride, start, g.offsets, line))
    first_tile, last_tile = split(chunk * g.parts, g.chunks)[0], split((chunk + 1) * g.parts, g.chunks)[0]
    per_round = max(1, split(g.channels, g.tallest)[0])
    across = split(vectors + g.tile_n - 1, g.tile_n)[0]
    wide, wider = split(vectors, across)
    table = g.offsets + (g.points + (pitch_vectors - 1) * g.ins) * 8
    held = 0
    for round_start in range(first_tile, last_tile, per_round):
        round_end = min(round_start + per_round, last_tile)
        base = round_start * g.tall + min(round_start, g.taller)
        channels = round_end * g.tall + min(round_end, g.taller) - base
        for p in range(g.points):
            source = v + p * point_stride * size
            if g.across_m:
                for t in range(round_start, round_end):
                    j = t * g.tall
                    a = operands[0] + (((p * g.groups + group) * g.outs + j) * g.ins) * size
                    y = products + (p * channels + j - base) * padded * size
                    for first in range(0, g.images * number, g.across_m):
                        count, done = min(g.across_m, g.images * number - first), (0, 0, 0, 0, 0, 0)  # nothing follows
                        place = source + first * size, table, y + first * size, padded, count, g.tall
                        call(g.across_tile, (g.across_m, g.tile_n, g.lanes, size, g.ins, a, *place, *done))
                continue
            for q in range(across):
                first = q * wide + min(q, wider)
                n = wide + (q < wider)
                for t in range(round_start, round_end):
                    j = t * g.tall + min(t, g.taller)
                    m = g.tall + (t < g.taller)
                    a = operands[0] + (((p * g.groups + group) * g.outs + j) * g.ins) * size
                    y = products + (p * channels + j - base) * padded * size
                    done = FROM_BIAS + LAST, 0, 0, 0, 0, 0  # sums start at zero and nothing follows
                    entries = g.entries + first * FIELDS * 8
                    tile = read_index(g.tiles, m * g.tiles_each + n)
                    call(tile, (m, n, g.lanes, size, g.ins, a, source, table, y, padded, entries, *done))
        for at in range(g.images * channels):
            i, channel = split(at, channels)
            image, j = first_image + i, group * g.outs + base + channel
            pitch = g.ow
            if g.pool or g.last_out:  # as if the plane began so far before the scratch that this job's rows fall on it
                pitch = broad
                start = g.conv_offset if g.pool else g.held_offset + held * g.held_pitch * size
                plane = block + start - row * g.mh * pitch * size
            else:
                plane = out + ((image * g.c_out + j) * g.oh * g.ow + column * g.mw) * size
            bias, scale, shift = epilogue_of(g, operands, j)
            place = plane, g.oh, pitch, g.ow - column * g.mw, row, columns, number
            call(g.output, (*shape, *place, products + (channel * padded + i * number) * size, channels * padded, block + g.turns_offset,
                            bias, scale, shift, g.activation, g.slope))  # fmt: skip
            sums = plane + row * g.mh * pitch * size
            if g.form and not g.bends_maxima:
                bend(g, 1, sums, 0, pitch, high, broad)
            full = held + 1 == g.held or (channel == channels - 1 and (round_end == last_tile or g.images > 1))
            held = finish_channels(g, 1, held, sums, 0, out, image, j, row * g.mh, column * g.mw, high, broad, block, full)


run_jobs = every_job(run_job)


def ends(total: int, step: int) -> set[int]:
    """Lengths of the parts of `total` cut every `step`: the full one and the last."""
    return {step, total % step or step}


def prepare(problem: Conv, threads: int, only: str = "", *, last: bool = False) -> Prepared:
    """Choose a cut (of one kind only), compile transforms and tiles."""
    threads = worth(threads, cutting.best(problem, 1).cycles)
    cut = cutting.best(problem, threads, only)
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    oh, ow = pooled_size(problem)
    down, across = -(-oh // cut.mh), -(-ow // cut.mw)
    cut = dataclasses.replace(cut, rows=min(cut.rows, down), columns=min(cut.columns, across))  # a pool may leave out the last
    patches = cutting.tiling(problem, cut)
    packed = layout(patches, cut.flat, cut.rows, cut.columns, lanes)
    points = patches.taps
    row_blocks, column_blocks = -(-down // cut.rows), -(-across // cut.columns)
    most = cut.pitch(lanes)
    jobs = problem.n // cut.images * problem.groups * row_blocks * column_blocks * cut.chunks

    v_offset = whole((packed.size + 2 * lanes) * size)
    m_offset = v_offset + whole(points * (ins * most + 1) * lanes * size)
    turns_offset = m_offset + whole(points * (cut.channels + cut.height(lanes)) * most * lanes * size)
    line_offset = turns_offset + whole(cut.mh * cut.mw * lanes * size)
    row_offset = line_offset + line_bytes(packed, lanes, size)
    high, broad = cut.rows * cut.mh, min(cut.columns * cut.mw, ow)
    conv_offset = row_offset + pool_bytes(problem, 1, broad)
    held_offset = conv_offset + pool_bytes(problem, high, broad)
    fields, scratch_bytes = slabs(problem, packed, last, together(outs, high * broad, size), high * broad, held_offset)
    used = min(threads, jobs)
    scratch = Scratch(used * scratch_bytes + ALIGNMENT)
    shape = cut.mh, problem.kernel[0], cut.mw, problem.kernel[1]
    starts = np.array(packed.columns)
    parts, tall, taller = even(outs, cut.height(lanes))
    pooling, factors = pool_record(problem, high, broad)
    # offsets of the patch's points, then the tables of c_in * vectors * lanes for each number of vectors
    tables = np.arange(ins) * lanes * np.arange(1, most + 1)[:, None]
    offsets = np.concatenate([np.array(packed.taps), tables.ravel(), np.zeros(AHEAD)]).astype(np.int64)
    entries = np.arange(most)[:, None] * (lanes, lanes, 0) + (0, 0, lanes)  # vectors lie side by side and are whole
    counts = {-(-cut.images * rows * columns // lanes) for rows in ends(down, cut.rows) for columns in ends(across, cut.columns)}
    tiles = np.zeros((1, 1), np.int64)
    if not cut.across:
        tiles = tile_table(outs, cut.m, np.array([even(count, cut.n) for count in counts]), lanes, size, tile)
    sizes = {
        **common(problem, packed, starts, line_offset), **pooling, **fields, "oh": oh, "ow": ow, "down": down, "across": across,
        "rows": cut.rows, "columns": cut.columns, "row_blocks": row_blocks, "column_blocks": column_blocks, "points": points,
        "mh": cut.mh, "mw": cut.mw, "rh": problem.kernel[0], "rw": problem.kernel[1], "flat": cut.flat, "tile_n": cut.n, "parts": parts,
        "tall": tall, "taller": taller, "tallest": cut.height(lanes), "channels": cut.channels, "chunks": cut.chunks, "images": cut.images,
        "pitch_vectors": most, "across_m": cut.m if cut.across else 0,
        "across_tile": across_tiles.tile(cut.m, cut.n, lanes, size) if cut.across else 0,
        "input": input_transform(shape, lanes, size), "output": output_transform(shape, lanes, size), "v_offset": v_offset,
        "m_offset": m_offset, "turns_offset": turns_offset, "row_offset": row_offset, "conv_offset": conv_offset,
        "offsets": offsets.ctypes.data, "entries": entries.ctypes.data, "tiles": tiles.ctypes.data, "tiles_each": tiles.shape[1],
        "jobs": jobs, "scratch_bytes": scratch_bytes,
    }  # fmt: skip
    transform = transformer(problem.c_out, ins, problem.groups, cut.height(lanes), (cut.mh, cut.mw), problem.kernel, problem.dtype, threads)

    def pack(operands: Operands) -> Packed:
        return transform(operands.weight), *operands[1:]

    bind = launcher(run_jobs, pack, used, sizes, scratch, (starts, factors, offsets, entries, tiles))
    return Prepared(bind, scratch.nbytes, f"F({cut.mh}x{cut.mw}, {problem.kernel[0]}x{problem.kernel[1]}), {cut}{NOTE * last}")


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last, turned over in each job."""
    return prepare(problem, threads, last=True)


def fuses(problem: Conv, only: str = "") -> bool:
    """Scale, shift and activation are applied on the way out; pools where a job's tiles hold whole windows."""
    cuts = (cutting.best(problem, threads, only) for threads in range(1, cores() + 1))
    return problem.pool is None or all(cutting.holds_windows(problem, cut) for cut in cuts)


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other tiles."""
    names = cutting.kinds(problem, worth(threads, cutting.best(problem, 1).cycles))
    return {name: WINOGRAD.only(name, "prepare", "error_bound", "fuses") for name in names}


WINOGRAD = Implementation("winograd", "conv", refuse, prepare, error_bound, fuses, variants=variants, prepare_last=prepare_last)
registry.add(WINOGRAD)

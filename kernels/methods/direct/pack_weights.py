"""Weights as tiles read them, [group][tile][summand][channel of the tile]: what a plan does once and a function call each time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.gemm import even
from kernels.methods.direct.copy_tiles import CopyTiles, copy_tiles
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.seen_taps import Within
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.constants import made
from kernels.runtime.ir import call, split
from kernels.runtime.leases import packed_weights
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

CYCLES = 1  # to move one number
LINE = 32  # input channels of an adjoint's task of one tap: tile after tile reads on in each one's line of weights
SOME, TASKS = 8, 4  # input channels of one of several; tasks a thread, at least, if there are as many


class WeightTiles(Record):
    """A task: the weights of one tile."""

    transpose = address("of the micro-kernel; takes a Transpose")
    copy = address("of the micro-kernel; takes a CopyTiles")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    c_out = integer("output channels")
    k = integer("taps of all channels of a group")
    m_tiles = integer("tiles of a group's output channels")
    m_edge = integer("units of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")
    unit = integer("output channels that stay together")
    ins = integer("input channels of a group")
    outs = integer("output channels of a group")
    taps = integer("of a kernel")
    kernel = integer("numbers from a kernel of an adjoint to the next")
    begin = integer("numbers from its start to the first tap that is taken")
    rows = integer("of taps that are taken")
    row = integer("numbers from row to row of it")
    line = integer("taps of a row that are taken")
    parts = integer("of an adjoint's tiles, for tasks of their own")
    depth = integer("input channels of a product of matrices, where there are some")


@region
def _pack_tile(t, thread, weights, packed, geometry):
    """A tile of packed from weights (c_out, k), both handles, as a matrix transposed; packed is zero where there are no rows. geometry:
    WeightTiles."""
    g = geometry[0]
    size, k = g.itemsize, g.k
    group, tile = t // g.m_tiles, t % g.m_tiles
    j = (group * (g.m_tiles * g.m_edge + g.m_full_tiles) + tile * g.m_edge + min(tile, g.m_full_tiles)) * g.unit
    m = (g.m_edge + (tile < g.m_full_tiles)) * g.unit
    to, source = pointed(packed) + j * k * size, pointed(weights) + j * k * size
    call(
        g.transpose,
        Transpose(
            lanes=g.lanes, itemsize=size, dst=to, dst_pitch=m, src=source, src_pitch=k, rows=min(m, g.c_out - j), columns=k,
        ),
    )  # fmt: skip


@region
def _pack_adjoint_tile(t, thread, weights, packed, geometry):
    """Some input channels of some tiles, from weights (c_in, outs, kernel) of the adjoint, whose taps count in reverse: each input
    channel's are a matrix transposed line by line from the last. Tile after tile, as weights lie in memory."""
    g = geometry[0]
    size, taps = g.itemsize, g.taps
    t, part = split(t, g.parts)
    group, first = split(t, (g.ins + SOME - 1) // SOME)
    units = g.m_tiles * g.m_edge + g.m_full_tiles
    first_tile, last_tile = split(part * g.m_tiles, g.parts)[0], split((part + 1) * g.m_tiles, g.parts)[0]
    for i in range(first * SOME, min(first * SOME + SOME, g.ins)):
        for tile in range(first_tile, last_tile):
            j = (tile * g.m_edge + min(tile, g.m_full_tiles)) * g.unit  # of the group
            m = (g.m_edge + (tile < g.m_full_tiles)) * g.unit
            to = pointed(packed) + ((group * units * g.unit + j) * g.k + (i + 1) * taps * m) * size
            source = pointed(weights) + (((group * g.ins + i) * g.outs + j) * g.kernel + g.begin) * size
            for row in range(g.rows):
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=to - (row * g.line + 1) * m * size, dst_pitch=-m, src=source + row * g.row * size,
                        src_pitch=g.kernel, rows=min(m, g.outs - j), columns=g.line,
                    ),
                )  # fmt: skip


@region
def _copy_adjoint_lines(t, thread, weights, packed, geometry):
    """The same for kernels of one tap, whose channels lie side by side here and there: some input channels, all tiles of each, so that
    weights are read as they lie."""
    g = geometry[0]
    size = g.itemsize
    pieces = (g.ins + LINE - 1) // LINE
    group, first = split(t, pieces)
    units = g.m_tiles * g.m_edge + g.m_full_tiles
    to = pointed(packed) + group * units * g.unit * g.k * size
    call(
        g.copy,
        CopyTiles(
            lanes=g.lanes, itemsize=size, dst=to, k=g.k, first=first * LINE, src=pointed(weights) + group * g.ins * g.outs * size,
            src_pitch=g.outs, stop=min(first * LINE + LINE, g.ins), channels=g.outs, tiles=g.m_tiles, edge=g.m_edge, full=g.m_full_tiles,
            unit=g.unit,
        ),
    )  # fmt: skip


@region
def _pack_matrices(t, thread, weights, packed, geometry):
    """The same for products of matrices: [channels, `depth` of them][tap][channel of the tile][channel of these], from weights (c_out, ins,
    taps)."""
    g = geometry[0]
    size, taps, depth = g.itemsize, g.taps, g.depth
    group, tile = t // g.m_tiles, t % g.m_tiles
    j = group * g.outs + tile * g.m_edge + min(tile, g.m_full_tiles)
    m = g.m_edge + (tile < g.m_full_tiles)
    for i in range(m):
        for some in range(g.k // (taps * depth)):
            to = pointed(packed) + (j * g.k + (some * taps * m + i) * depth) * size
            source = pointed(weights) + ((j + i) * g.k + some * depth * taps) * size
            if taps == 1:
                copy_bytes(to, source, depth * size)
                continue
            call(
                g.transpose,
                Transpose(
                    lanes=g.lanes, itemsize=size, dst=to, dst_pitch=m * depth, src=source, src_pitch=taps, rows=depth, columns=taps,
                ),
            )  # fmt: skip


def packer(
    c_out: int, k: int, groups: int, m: int, dtype: str, threads: int, unit: int = 1, *, adjoint: int = 0,
    steps: tuple[int, int] | None = None, within: Within | None = None,
) -> Callable[[Any], Array]:  # fmt: skip
    """What packs contiguous weights of shape (c_out, k), or any other of as many elements, into tiles of even heights of at most m units
    of channels, the last filled up with zeros. adjoint: taps of a kernel, where the weights are (c_in, c_out/groups, taps) of the adjoint,
    taps in reverse; 0: they are not; within: the larger kernels that these taps are part of. steps: (taps of a kernel, input channels of a
    product of matrices), where tiles are made of those."""
    units = -(-(c_out // groups) // unit)
    m_tiles, m_edge, m_full_tiles = even(units, m)
    threads = threads_for(CYCLES * c_out * k, threads)
    number_type, numbers = np.dtype(dtype), groups * units * unit * k
    size = number_type.itemsize
    lanes = machine().lanes(size)
    if adjoint == 1 and not within:
        of_tile, tasks, parts = _copy_adjoint_lines, groups * -(-k // LINE), 1
    elif adjoint:
        blocks = groups * -(-(k // adjoint) // SOME)
        parts = min(m_tiles, -(-TASKS * threads // blocks))
        of_tile, tasks = _pack_adjoint_tile, blocks * parts
    else:
        of_tile, tasks, parts = _pack_matrices if steps else _pack_tile, groups * m_tiles, 1
    geometry = WeightTiles.packed(
        transpose=transpose(lanes, size), copy=copy_tiles(lanes, size) if of_tile is _copy_adjoint_lines else 0, lanes=lanes, itemsize=size,
        c_out=c_out, k=k, m_tiles=m_tiles, m_edge=m_edge, m_full_tiles=m_full_tiles, unit=unit, ins=k // max(adjoint, 1),
        outs=c_out // groups, taps=steps[0] if steps else adjoint,
        depth=steps[1] if steps else 1, parts=parts, **(within or Within.whole(adjoint))._asdict(),
    )  # fmt: skip
    launch, how = of_tile.ready(0, 0, geometry), (of_tile, geometry.tobytes())

    def packed_anew(weight: Array) -> Array:
        packed = packed_weights.take((numbers,), number_type)  # whole vectors of them are read by `across`
        if numbers > c_out * k:
            packed.fill(0)
        launch(threads, tasks, handle(weight), handle(packed), geometry)
        return packed

    return functools.partial(made, how, packed_anew)

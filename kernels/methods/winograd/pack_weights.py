"""Winograd's weights, transformed and packed: [point][group][tile][summand][channel of the tile]."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.cost.gemm import even
from kernels.methods.winograd.matrices import matrices
from kernels.methods.winograd.transforms import both_axes
from kernels.primitives.records import Record, integer
from kernels.primitives.records import address as of_address
from kernels.primitives.transpose import transposed
from kernels.problem.operands import Array
from kernels.runtime.constants import made
from kernels.runtime.ir import VectorBuilder, call, i64
from kernels.runtime.jit import njit
from kernels.runtime.leases import packed_weights
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

APART = 4  # cache lines, even: so that their sum with an odd number stays odd
LINE = 32  # summands transformed at a time
POINT = 3.0  # to transform and move one point: 1.1 to 1.9 cycles in the caches, 4.3 of 512 channels either way


def point_step(numbers: int, itemsize: int) -> int:
    """Numbers from point to point of transformed weights, of which each point has so many: some cache lines more, an odd number. Points
    are written side by side, and a power of two apart would share cache sets: 10.9 and 8.7 ms a call of 512 to 512 channels."""
    line = 64 // itemsize
    return (-(-numbers // line) | 1) * line + APART * line


class Weights(NamedTuple):
    """Some summands of one tile's channels, to points."""

    lanes: Fixed  # of a vector: channels
    itemsize: Fixed
    mh: Fixed  # outputs of a tile
    rh: Fixed  # kernel
    mw: Fixed
    rw: Fixed
    reverse: Fixed  # whether taps count from the last, as the adjoint's do
    src: int  # address of the first channel's first summand, taps side by side
    pitch: int  # elements from channel to channel
    step: int  # elements from summand to summand
    summands: int
    channels: int
    dst: int  # address of point 0, [summand][channel]
    point_step: int  # elements from point to point


class Piece(NamedTuple):
    """One summand of a vector of channels."""

    src: int
    rows: int
    dst: int


@emitter
def _points(w: VectorBuilder, p: Weights, piece: Piece) -> None:
    b, taps = w.b, p.rh * p.rw
    columns: list[ir.Value] = []
    for first in range(0, taps, w.lanes):
        count = min(w.lanes, taps - first)
        columns += transposed(w, False, b.add(piece.src, i64(first * w.itemsize)), p.pitch, piece.rows, i64(count))[:count]
    double = VectorBuilder(b, w.lanes, 8)  # G g G' in float64, rounded once
    if w.itemsize < 8:
        columns = [b.fpext(column, double.vector) for column in columns]
    if p.reverse:
        columns.reverse()
    kernel = [columns[i * p.rw : (i + 1) * p.rw] for i in range(p.rh)]
    down, across = matrices(p.mh, p.rh)[1], matrices(p.mw, p.rw)[1]
    mask, target = w.first(piece.rows), w.pointer(piece.dst)
    for i, line in enumerate(both_axes(double, down, across, kernel)):
        for j, value in enumerate(line):
            rounded = value if w.itemsize == 8 else b.fptrunc(value, w.vector)
            w.store_first(rounded, w.at(target, b.mul(i64(i * len(across) + j), p.point_step)), mask)


@njit
def _summands(p):
    for i in range(p.summands):
        for c in range(0, p.channels, p.lanes):
            src = p.src + (c * p.pitch + i * p.step) * p.itemsize
            _points(p, Piece(src, min(p.lanes, p.channels - c), p.dst + (i * p.channels + c) * p.itemsize))


class WeightTiles(Record):
    """A task: some summands of one tile."""

    transform = of_address("of the micro-kernel; takes a Weights")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    mh = integer("output rows of a tile")
    mw = integer("output columns of a tile")
    rh = integer("kernel rows")
    rw = integer("kernel columns")
    c_out = integer("output channels")
    outs = integer("output channels of a group")
    k = integer("summands: input channels of a group")
    point_step = integer("numbers from point to point")
    m_tiles = integer("GEMM tiles of a group's output channels")
    m_edge = integer("channels of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")
    reverse = integer("whether weights are the adjoint's, (c_in, outs, taps in reverse)")


@region
def _transform_tile(task, thread, weights, packed, geometry):
    """Some summands of one tile; weights (c_out, k, taps) and packed are handles; geometry: WeightTiles."""
    g = geometry[0]
    size, k, taps = g.itemsize, g.k, g.rh * g.rw
    if g.reverse:  # what lies side by side are the channels of a summand
        tiles = g.c_out // g.outs * g.m_tiles
        t, first = task % tiles, task // tiles * LINE
    else:
        pieces = (k + LINE - 1) // LINE
        t, first = task // pieces, task % pieces * LINE
    group, tile = t // g.m_tiles, t % g.m_tiles
    own, m = tile * g.m_edge + min(tile, g.m_full_tiles), g.m_edge + (tile < g.m_full_tiles)
    j = group * g.outs + own
    pitch, step = (taps, g.outs * taps) if g.reverse else (k * taps, taps)
    source = pointed(weights) + (group * g.outs * k * taps + own * pitch + first * step) * size
    call(
        g.transform,
        Weights(
            lanes=g.lanes, itemsize=size, mh=g.mh, rh=g.rh, mw=g.mw, rw=g.rw, reverse=g.reverse, src=source, pitch=pitch, step=step,
            summands=min(LINE, k - first), channels=m, dst=pointed(packed) + (j * k + first * m) * size, point_step=g.point_step,
        ),
    )  # fmt: skip


def transformer(c_out: int, k: int, groups: int, m: int, tile: tuple[int, int], kernel: tuple[int, ...], dtype: str,
                threads: int, *, adjoint: bool = False) -> Callable[[Any], Array]:  # fmt: skip
    """What transforms contiguous weights (c_out, k, *kernel) for outputs of `tile`, G g G' in float64 and rounded once, and packs every
    point as `packer` does; adjoint: weights (c_in, c_out/groups, *kernel), taps in reverse."""
    size = np.dtype(dtype).itemsize
    (mh, mw), (rh, rw), lanes = tile, kernel, machine().lanes(size)
    points = math.prod(n + r - 1 for n, r in zip(tile, kernel))
    m_tiles, m_edge, m_full_tiles = even(c_out // groups, m)
    threads, step = threads_for(POINT * points * c_out * k, threads), point_step(c_out * k, size)
    code = address(_summands, Weights, lanes=lanes, itemsize=size, mh=mh, rh=rh, mw=mw, rw=rw, reverse=int(adjoint))
    geometry = WeightTiles.packed(
        transform=code, lanes=lanes, itemsize=size, mh=mh, mw=mw, rh=rh, rw=rw, c_out=c_out, outs=c_out // groups, k=k,
        point_step=step, m_tiles=m_tiles,
        m_edge=m_edge, m_full_tiles=m_full_tiles, reverse=int(adjoint),
    )  # fmt: skip
    tasks = groups * m_tiles * -(-k // LINE)
    launch, how = _transform_tile.ready(0, 0, geometry), (_transform_tile, geometry.tobytes())

    def packed_anew(weight: Array) -> Array:
        packed = packed_weights.take((points * step,), weight.dtype)
        launch(threads, tasks, handle(weight), handle(packed), geometry)
        return packed

    return functools.partial(made, how, packed_anew)

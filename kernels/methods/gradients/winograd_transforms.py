"""The transforms of a Winograd weights' gradient F(r, m): the kernel's r numbers from m gradients and t = m + r - 1 inputs along an axis.

    input:   v = B'h x Bw      x is a patch of th x tw inputs          gradient:   u = Gh g Gw'     g is a tile of mh x mw gradients
    weights: w = A'h s Aw      s is the sum of u times v over all tiles of all images, th x tw points; w is rh x rw

Lanes hold channels, so that patches are loaded and points are stored in whole vectors. The weights are transformed back once, after all
tiles: what a forward convolution pays per tile here costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.methods.winograd.matrices import matrices
from kernels.methods.winograd.transforms import both_axes
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class ToPoints(NamedTuple):
    """Tiles side by side of some vectors of channels, to points."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    mh: Fixed  # gradients of a tile
    rh: Fixed  # kernel
    mw: Fixed
    rw: Fixed
    of_grad: Fixed  # whether gradients are transformed, or inputs
    src: int  # address of the first tile's first number
    down: int  # elements from row to row
    across: int  # from column to column
    step: int  # from tile to tile
    tiles: int
    vectors: int  # of channels, side by side in src
    dst: int  # address of point 0
    point_step: int  # elements from point to point
    tile_step: int
    vector_step: int


class Piece(NamedTuple):
    """One tile of one vector of channels."""

    src: int
    dst: int


@emitter
def _to_points(w: VectorBuilder, p: ToPoints, piece: Piece) -> None:
    side = 1 if p.of_grad else 2
    rows, columns = matrices(p.rh, p.mh)[side], matrices(p.rw, p.mw)[side]
    source, target = w.pointer(piece.src), w.pointer(piece.dst)
    lines: list[list[ir.Value]] = []
    for i in range(len(rows[0])):
        line = w.at(source, w.b.mul(i64(i), p.down))
        lines.append([w.load(w.at(line, w.b.mul(i64(j), p.across))) for j in range(len(columns[0]))])
    for i, points in enumerate(both_axes(w, rows, columns, lines)):
        for j, value in enumerate(points):
            w.store(value, w.at(target, w.b.mul(i64(i * len(columns) + j), p.point_step)))


@njit
def _tiles_to_points(p):
    for tile in range(p.tiles):
        for v in range(p.vectors):
            src = p.src + (tile * p.step + v * p.lanes) * p.itemsize
            _to_points(p, Piece(src, p.dst + (tile * p.tile_step + v * p.vector_step) * p.itemsize))


def to_points(shape: tuple[int, int, int, int], of_grad: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled `ToPoints`, `shape` being (mh, rh, mw, rw)."""
    mh, rh, mw, rw = shape
    return address(_tiles_to_points, ToPoints, lanes=lanes, itemsize=itemsize, mh=mh, rh=rh, mw=mw, rw=rw, of_grad=int(of_grad))


class FromPoints(NamedTuple):
    """Sums of one vector of input channels, to weights [tap][channel]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    mh: Fixed  # gradients of a tile
    rh: Fixed  # kernel
    mw: Fixed
    rw: Fixed
    src: int  # address of the sums of point 0
    point_step: int  # elements from point to point
    dst: int  # address of the first tap's vector; the others follow


@emitter
def _from_points(w: VectorBuilder, p: FromPoints) -> None:
    rows, columns = matrices(p.rh, p.mh)[0], matrices(p.rw, p.mw)[0]
    source, target, width = w.pointer(p.src), w.pointer(p.dst), len(columns[0])
    points = [
        [w.load(w.at(source, w.b.mul(i64(i * width + j), p.point_step))) for j in range(width)] for i in range(len(rows[0]))
    ]  # fmt: skip
    taps = [value for line in both_axes(w, rows, columns, points) for value in line]
    for tap, value in enumerate(taps):
        w.store(value, w.at(target, tap * p.lanes))


@njit
def _points_to_taps(p):
    _from_points(p, ())


def from_points(shape: tuple[int, int, int, int], lanes: int, itemsize: int) -> int:
    """Address of the compiled `FromPoints`, `shape` being (mh, rh, mw, rw)."""
    mh, rh, mw, rw = shape
    return address(_points_to_taps, FromPoints, lanes=lanes, itemsize=itemsize, mh=mh, rh=rh, mw=mw, rw=rw)

"""Maximum pooling of one plane that keeps positions: a vector of maxima and a vector of where they were found.

    out[y, x]   = max over kh, kw of plane[y*sh + kh*dh - top, x*sw + kw*dw - left]
    where[y, x] = row * w + column of the first of equals

Lanes run over outputs whose windows lie inside the plane; windows that reach past its sides are done one at a time, by the same code with
one lane. NaN wins, the first of them too. A window wholly in the padding gives -inf and position 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kernels.primitives.pool_window import rows_inside
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class ArgmaxPlane(NamedTuple):
    """What maximum pooling of one plane with positions takes."""

    stride: Fixed  # the horizontal step if it fills the lanes, 0 if each output is done by itself
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of (oh, ow) maxima
    where: int  # address of (oh, ow) int64 positions
    src: int  # address of the (h, w) plane of fewer than 2^31 numbers
    oh: int
    ow: int
    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    top: int  # padding; so is left
    left: int
    dh: int
    dw: int


class _Windows(NamedTuple):
    """One output, or as many side by side as there are lanes."""

    dst: int
    where: int
    first: int  # the first tap's position in the plane
    rows: int
    row_step: int
    taps: int  # of a row


def _best(w: VectorBuilder, p: ArgmaxPlane, own: _Windows, stride: int) -> None:
    """dst[l], where[l] for every lane l: maximum over r < rows, t < taps of the number at first + l*stride + r*row_step + t*dw, and that
    position."""
    b = w.b
    source = w.pointer(p.src, own.first)
    best, found = w.variable(w.constant(-math.inf)), w.variable(w.positions(i64(0), 0))
    empty = w.variable(w.splat_bit(b.icmp_signed("==", i64(0), i64(0))))
    with w.loop(own.rows) as r, w.loop(own.taps) as t:
        offset = b.add(b.mul(r, own.row_step), b.mul(t, p.dw))
        value, largest = w.load_strided(w.at(source, offset), stride), w.get(best)
        larger = b.fcmp_ordered(">", value, largest)
        broken = b.and_(b.fcmp_unordered("uno", value, value), b.fcmp_ordered("ord", largest, largest))
        take = b.or_(w.get(empty), b.or_(larger, broken))
        w.set(best, b.select(take, value, largest))
        w.set(found, b.select(take, w.positions(b.add(own.first, offset), stride), w.get(found)))
        w.set(empty, w.splat_bit(b.icmp_signed("!=", i64(0), i64(0))))
    w.store(w.get(best), w.pointer(own.dst))
    w.store_positions(w.get(found), own.where)


@emitter
def _lanes_of_outputs(w: VectorBuilder, p: ArgmaxPlane, own: _Windows) -> None:
    """Outputs side by side."""
    _best(w, p, own, max(p.stride, 1))  # 0 is compiled too, and never called


@emitter
def _one_output(w: VectorBuilder, p: ArgmaxPlane, own: _Windows) -> None:
    """The same code with one lane."""
    _best(VectorBuilder(w.b, 1, w.itemsize), p, own, 1)


@njit
def _plane(p):
    for y in range(p.oh):
        row, rows = rows_inside(y, p.h, p.kh, p.sh, p.top, p.dh)
        x = 0
        while x < p.ow:
            column = x * p.sw - p.left
            to, position = p.dst + (y * p.ow + x) * p.itemsize, p.where + (y * p.ow + x) * 8
            # the last tap reads lanes * stride numbers, which must end inside the plane
            if p.stride and x + p.lanes <= p.ow and column >= 0 and column + (p.kw - 1) * p.dw + p.lanes * p.stride <= p.w:
                _lanes_of_outputs(p, _Windows(to, position, row * p.w + column, rows, p.dh * p.w, p.kw))
                x += p.lanes
                continue
            skipped = (-column + p.dw - 1) // p.dw if column < 0 else 0
            last = min(p.kw, (p.w - column + p.dw - 1) // p.dw)
            first = row * p.w + column + skipped * p.dw
            _one_output(p, _Windows(to, position, first, rows, p.dh * p.w, max(last - skipped, 0)))
            x += 1


def plane_positions(stride: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of one plane, which takes an ArgmaxPlane."""
    return address(_plane, ArgmaxPlane, stride=stride, lanes=lanes, itemsize=itemsize)

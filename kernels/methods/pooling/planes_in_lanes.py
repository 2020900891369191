"""Pooling of as many small planes as there are lanes, one in each: for maps too narrow to fill a vector with neighbours.

    dst[(y*ow + x) ^ 1] = maximum or average over kh, kw of src[(y*sh + kh*dh - top)*w + x*sw + kw*dw - left]

Elements are whole vectors, which `lines` fills from the planes and takes back; it expects neighbours exchanged.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.pool_window import MAXIMUM, Combine, rows_inside
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class PoolPlanes(NamedTuple):
    """What pooling of `lanes` planes at once takes."""

    kind: Fixed  # MAXIMUM or SUM
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of oh*ow vectors, and one more
    src: int  # address of h*w vectors
    down: int  # address of oh factors of the divisor
    across: int  # address of ow more
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


class _Window(NamedTuple):
    """One vector of outputs."""

    dst: int
    src: int  # of its first tap
    rows: int
    row_step: int  # vectors from row to row
    taps: int  # of a row
    tap_step: int
    down: int  # address of a factor of the divisor
    across: int  # and of another


@emitter
def _window(w: VectorBuilder, p: PoolPlanes, own: _Window) -> None:
    """The vector at dst from `rows` by `taps` vectors at src, divided by the numbers at down and across if it is a sum."""
    b = w.b
    combine, source = Combine(w, p.kind), w.pointer(own.src)
    total = w.variable(combine.start)
    with w.loop(own.rows) as r, w.loop(own.taps) as t:
        at = b.add(b.mul(r, own.row_step), b.mul(t, own.tap_step))
        value = w.load(w.at(source, b.mul(at, i64(p.lanes))))
        w.set(total, combine.two(value, w.get(total)))
    if p.kind != MAXIMUM:
        divisor = b.fmul(w.load_scalar(w.pointer(own.down)), w.load_scalar(w.pointer(own.across)))
        w.set(total, b.fdiv(w.get(total), w.splat(divisor)))
    w.store(w.get(total), w.pointer(own.dst))


@njit
def _pool_planes(p):
    vector = p.lanes * p.itemsize
    for y in range(p.oh):
        row, rows = rows_inside(y, p.h, p.kh, p.sh, p.top, p.dh)
        for x in range(p.ow):
            column, taps = rows_inside(x, p.w, p.kw, p.sw, p.left, p.dw)
            own = _Window(
                dst=p.dst + ((y * p.ow + x) ^ 1) * vector, src=p.src + (row * p.w + column) * vector, rows=rows, row_step=p.dh * p.w,
                taps=taps, tap_step=p.dw, down=p.down + y * p.itemsize, across=p.across + x * p.itemsize,
            )  # fmt: skip
            _window(p, own)


def pool_planes(kind: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of `lanes` planes at once, which takes a PoolPlanes."""
    return address(_pool_planes, PoolPlanes, kind=kind, lanes=lanes, itemsize=itemsize)

"""Pooling of as many small planes as there are lanes, one in each: for maps too narrow to fill a vector with neighbours.

    dst[(y*ow + x) ^ 1] = maximum or average over kh, kw of src[(y*sh + kh*dh - top)*w + x*sw + kw*dw - left]

Elements are whole vectors, which `lines.bring` fills from the planes and `lines.put` takes back; `put` expects neighbours exchanged.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.pool_window import MAXIMUM, Combine, rows_inside
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


@intrinsic(prefer_literal=True)
def _window(typing_context: Any, kind_: Any, lanes_: Any, itemsize_: Any, dst: Any, src: Any, rows: Any, row_step: Any, taps: Any,
            tap_step: Any, down: Any, across: Any) -> Any:  # fmt: skip
    """The vector at dst from `rows` by `taps` vectors at src, row_step and tap_step vectors apart, divided by the numbers at down and
    across if it is a sum."""
    literals = kind_, lanes_, itemsize_
    kind, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, src, rows, row_step, taps, tap_step, down, across = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        combine, source = Combine(w, kind), w.pointer(src)
        total = w.variable(combine.start)
        with w.loop(rows) as r, w.loop(taps) as t:
            at = builder.add(builder.mul(r, row_step), builder.mul(t, tap_step))
            value = w.load(w.at(source, builder.mul(at, i64(lanes))))
            w.set(total, combine.two(value, w.get(total)))
        if kind != MAXIMUM:
            divisor = builder.fmul(w.load_scalar(w.pointer(down)), w.load_scalar(w.pointer(across)))
            w.set(total, builder.fdiv(w.get(total), w.splat(divisor)))
        w.store(w.get(total), w.pointer(dst))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 8), codegen


@njit
def _stacked(kind, lanes, itemsize, dst, src, down, across, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw):
    vector = lanes * itemsize
    for y in range(oh):
        row, rows = rows_inside(y, h, kh, sh, top, dh)
        for x in range(ow):
            column, taps = rows_inside(x, w, kw, sw, left, dw)
            to, source = dst + ((y * ow + x) ^ 1) * vector, src + (row * w + column) * vector
            _window(kind, lanes, itemsize, to, source, rows, dh * w, taps, dw, down + y * itemsize, across + x * itemsize)


def stacked(kind: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of `lanes` planes at once.

    It takes, all int64: the three literals again; dst, address of oh*ow vectors and one more; src, address of h*w vectors; down (oh) and
    across (ow), addresses of the factors of the divisor; then oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw.
    """
    return address(_stacked, (kind, lanes, itemsize), (types.int64,) * 16)

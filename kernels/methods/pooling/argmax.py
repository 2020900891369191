"""Maximum pooling of one plane that keeps positions: a vector of maxima and a vector of where they were found.

    out[y, x]   = max over kh, kw of plane[y*sh + kh*dh - top, x*sw + kw*dw - left]
    where[y, x] = row * w + column of the first of equals

Lanes run over outputs whose windows lie inside the plane; windows that reach past its sides are done one at a time, by the same code with
one lane. NaN wins, the first of them too. A window wholly in the padding gives -inf and position 0.
"""

from __future__ import annotations

import math
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.pool_window import rows_inside
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


@intrinsic(prefer_literal=True)
def _best(typing_context: Any, stride_: Any, lanes_: Any, itemsize_: Any, dst: Any, where: Any, src: Any, first: Any,
          rows: Any, row_step: Any, taps: Any, dilation: Any) -> Any:  # fmt: skip
    """dst[l], where[l] for every lane l: maximum over r < rows, t < taps of src[l*stride + r*row_step + t*dilation], and that offset plus
    `first`; addresses."""
    literals = stride_, lanes_, itemsize_
    stride, lanes, itemsize = (literal.literal_value for literal in literals)
    stride = max(stride, 1)  # 0 is compiled too, and never called

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dst, where, src, first, rows, row_step, taps, dilation = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        source = w.pointer(src)
        best, found = w.variable(w.constant(-math.inf)), w.variable(w.positions(i64(0), 0))
        empty = w.variable(w.splat_bit(builder.icmp_signed("==", i64(0), i64(0))))
        with w.loop(rows) as r, w.loop(taps) as t:
            offset = builder.add(builder.mul(r, row_step), builder.mul(t, dilation))
            value, largest = w.load_strided(w.at(source, offset), stride), w.get(best)
            larger = builder.fcmp_ordered(">", value, largest)
            broken = builder.and_(builder.fcmp_unordered("uno", value, value), builder.fcmp_ordered("ord", largest, largest))
            take = builder.or_(w.get(empty), builder.or_(larger, broken))
            w.set(best, builder.select(take, value, largest))
            w.set(found, builder.select(take, w.positions(builder.add(first, offset), stride), w.get(found)))
            w.set(empty, w.splat_bit(builder.icmp_signed("!=", i64(0), i64(0))))
        w.store(w.get(best), w.pointer(dst))
        w.store_positions(w.get(found), where)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 8), codegen


@njit
def _plane(stride, lanes, itemsize, dst, where, src, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw):
    for y in range(oh):
        row, rows = rows_inside(y, h, kh, sh, top, dh)
        x = 0
        while x < ow:
            column = x * sw - left
            to, position = dst + (y * ow + x) * itemsize, where + (y * ow + x) * 8
            # the last tap reads lanes * stride numbers, which must end inside the plane
            if stride and x + lanes <= ow and column >= 0 and column + (kw - 1) * dw + lanes * stride <= w:
                first = row * w + column
                _best(stride, lanes, itemsize, to, position, src + first * itemsize, first, rows, dh * w, kw, dw)
                x += lanes
                continue
            skipped = (-column + dw - 1) // dw if column < 0 else 0
            last = min(kw, (w - column + dw - 1) // dw)
            first = row * w + column + skipped * dw
            _best(1, 1, itemsize, to, position, src + first * itemsize, first, rows, dh * w, max(last - skipped, 0), dw)
            x += 1


def plane_positions(stride: int, lanes: int, itemsize: int) -> int:
    """Address of compiled pooling of one plane; `stride` is the horizontal step if it fills the lanes, 0 if each output is done by itself.

    It takes, all int64: the three literals again; dst, address of (oh, ow) maxima; where, address of (oh, ow) int64 positions; src, address
    of the (h, w) plane of fewer than 2^31 numbers; then oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw.
    """
    return address(_plane, (stride, lanes, itemsize), (types.int64,) * 15)

"""Input and gradient of a block of positions, packed into a task's scratch for the tiles of sums."""

from __future__ import annotations

from kernels.methods.gradients.moves import Clear, Spread, Total
from kernels.primitives.transpose import Transpose
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit


@njit
def pack_input(g, k, x, channel, at, block):
    """The inputs under the outputs of `at`, Positions, of k.channels channels from `channel` on, to `block`."""
    size = g.itemsize
    top, left = at.row * g.sh - g.pad_h, at.column * g.sw - g.pad_w
    high, broad = (at.rows - 1) * g.sh + g.reach_h, (at.columns - 1) * g.sw + g.reach_w
    first, last = max(0, -left), min(broad, g.w - left)
    above, below = max(0, -top), min(high, g.h - top)
    for i in range(at.images):
        to = block + i * k.image_pitch * size
        if first > 0 or last < broad or above > 0 or below < high:
            call(g.clear, Clear(lanes=g.lanes, itemsize=size, dst=to, numbers=k.image_pitch))
        if last <= first or below <= above:
            continue
        plane = x + ((at.image + i) * g.c_in + channel) * g.h * g.w * size
        lines, count = below - above, last - first
        if count == g.w and k.down == g.w * k.across:  # rows lie one behind the other, there and here
            lines, count = 1, lines * count
        for r in range(above, above + lines):
            source = plane + ((top + r) * g.w + left + first) * size
            target = to + (r * k.down + first * k.across) * size
            if k.channels > 1:
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=target, dst_pitch=k.across, src=source, src_pitch=g.h * g.w, rows=k.channels,
                        columns=count,
                    ),
                )  # fmt: skip
            elif k.across == 1:
                call(g.total, Total(lanes=g.lanes, itemsize=size, dst=target, src=source, step=0, parts=1, numbers=count))
            else:
                call(g.spread, Spread(lanes=g.lanes, itemsize=size, dst=target, dst_step=k.across, src=source, src_step=1, numbers=count))


@njit
def pack_taps(g, k, x, channel, at, block):
    """What every tap sees of one channel under the outputs of `at`, [position][tap], to `block`."""
    size = g.itemsize
    row, column, rows, columns = at.row, at.column, at.rows, at.columns
    for i in range(at.images):
        to = block + i * k.image_pitch * size
        plane = x + ((at.image + i) * g.c_in + channel) * g.h * g.w * size
        inside = row * g.sh >= g.pad_h and (row + rows - 1) * g.sh - g.pad_h + g.reach_h <= g.h
        if not (inside and column * g.sw >= g.pad_w and (column + columns - 1) * g.sw - g.pad_w + g.reach_w <= g.w):
            call(g.clear, Clear(lanes=g.lanes, itemsize=size, dst=to, numbers=k.image_pitch))
        for tap in range(g.taps):
            kh, kw = split(tap, g.kw)
            left = column * g.sw - g.pad_w + kw * g.dw
            first = 0 if left >= 0 else split(g.sw - 1 - left, g.sw)[0]
            last = 0 if left >= g.w else min(columns, split(g.w - 1 - left, g.sw)[0] + 1)
            for r in range(rows if last > first else 0):
                h = (row + r) * g.sh - g.pad_h + kh * g.dh
                if 0 <= h < g.h:
                    source = plane + (h * g.w + left + first * g.sw) * size
                    target = to + (r * k.down + first * k.across + tap) * size
                    call(
                        g.spread,
                        Spread(
                            lanes=g.lanes, itemsize=size, dst=target, dst_step=k.across, src=source, src_step=g.sw, numbers=last - first,
                        ),
                    )  # fmt: skip


@njit
def pack_grad(g, grad, channel, outs, at, micro_panels):
    """The gradient at the positions of `at`, of `outs` channels from `channel` on, to micro-panels of one vector of channels
    [position][channel]."""
    size, area = g.itemsize, g.oh * g.ow
    place, count = at.row * g.ow + at.column, at.rows * at.columns
    for i in range(at.images):
        for p in range(0, outs, g.lanes):
            source = grad + (((at.image + i) * g.c_out + channel + p) * area + place) * size
            target = micro_panels + (p * at.images + i * g.lanes) * count * size
            if outs - p > 1:
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=target, dst_pitch=g.lanes, src=source, src_pitch=area,
                        rows=min(g.lanes, outs - p), columns=count,
                    ),
                )  # fmt: skip
            else:
                call(g.spread, Spread(lanes=g.lanes, itemsize=size, dst=target, dst_step=g.lanes, src=source, src_step=1, numbers=count))

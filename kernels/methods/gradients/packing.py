"""Input and gradient of a block of positions, packed into a task's scratch for the tiles of sums."""

from __future__ import annotations

from kernels.methods.gradients.moves import Clear, Spread, Total, Unfold
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
        if g.row_period == 1 and count == g.w and k.down == g.w * k.across:  # rows lie one behind the other, there and here
            lines, count = 1, lines * count
        for r in range(above, above + lines):
            if g.row_period > 1 and not (g.seen_rows >> split(r, g.row_period)[1]) & 1:
                continue
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
    """What every tap sees of k.channels channels from `channel` on under the outputs of `at`, [position][channel][tap], to `block`."""
    size = g.itemsize
    row, column, rows, columns = at.row, at.column, at.rows, at.columns
    for i in range(at.images):
        to = block + i * k.image_pitch * size
        if row * g.sh < g.pad_h or (row + rows - 1) * g.sh - g.pad_h + g.reach_h > g.h:
            call(g.clear, Clear(lanes=g.lanes, itemsize=size, dst=to, numbers=k.image_pitch))
        run, runs = (g.kw, 1) if g.dw == 1 else (1, g.kw)  # taps side by side are moved together
        for c in range(k.channels):
            plane = x + ((at.image + i) * g.c_in + channel + c) * g.h * g.w * size
            for first in range(split(g.taps, run)[0]):
                kh, kw = split(first, runs)
                for r in range(rows):
                    h = (row + r) * g.sh - g.pad_h + kh * g.dh
                    if 0 <= h < g.h:
                        call(
                            g.unfold,
                            Unfold(
                                lanes=g.lanes, itemsize=size, dst=to + (r * k.down + c * g.taps + first * run) * size, dst_step=k.across,
                                line=plane + h * g.w * size, width=g.w, at=column * g.sw - g.pad_w + kw * g.dw, step=g.sw, run=run,
                                numbers=columns,
                            ),
                        )  # fmt: skip


@njit
def pack_grad(g, grad, channel, outs, at, micro_panels, places):
    """The gradient at the positions of `at`, of `outs` channels from `channel` on, to micro-panels of one vector of channels
    [position][channel], each with room for `places` positions."""
    size, area = g.itemsize, g.oh * g.ow
    place, count = at.row * g.ow + at.column, at.rows * at.columns
    for i in range(at.images):
        for p in range(0, outs, g.lanes):
            source = grad + (((at.image + i) * g.c_out + channel + p) * area + place) * size
            target = micro_panels + (p * places + i * g.lanes * count) * size
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

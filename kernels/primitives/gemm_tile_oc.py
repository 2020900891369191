"""The tile for narrow maps: m positions by n vectors of output channels in registers, which every tap multiplies with n vectors of weights.

    c[i][q] += x[offsets[t] + i] * a[q][t]        for t < k, i < m positions, q < n vectors of channels

The GEMM tile with its sides exchanged: lanes run along output channels, so maps of 6 or 12 positions leave none idle. Weights are packed
in whole vectors and asked for ahead, because they are most of what is read. Each vector of channels has its taps together, so the tile
reads n streams at once: where memory is what is waited for, two to eight bring 5 to 25 % more than one (Granite Rapids). The sums lie
with channels innermost, as channels last wants them; for channels first they are turned in registers on their way out (through memory,
number by number, it took 2200 cycles for 6x4, as long as 170 taps).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.gemm_tile import AHEAD, in_turns, taps_ahead
from kernels.primitives.register_post_ops import finish
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


def _of_vector(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
    """Vector q of the array at an address."""
    return w.load(w.pointer(array, q * w.lanes))


@intrinsic(prefer_literal=True)
def gemm_tile_oc(typing_context: Any, m_: Any, n_: Any, lanes_: Any, itemsize_: Any,
                k: Any, a: Any, x: Any, offsets: Any, y: Any, y_row: Any, positions: Any, channels: Any, last: Any, bias: Any,
                scale: Any, shift: Any, activation: Any, slope: Any) -> Any:  # fmt: skip
    """See `tile` for the arguments."""
    literals = m_, n_, lanes_, itemsize_
    m, n, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        k, a, x, offsets, y, y_row, positions, channels, last, bias, scale, shift, activation, slope = values[4:]
        w = VectorBuilder(builder, lanes, itemsize)
        inputs, weights = w.pointer(x), w.pointer(a)
        c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]
        with w.when(builder.icmp_signed("!=", bias, i64(0))):
            for i in range(m):
                for q in range(n):
                    w.set(c[i][q], _of_vector(w, bias, i, q))

        panels = [w.at(weights, builder.mul(k, i64(q * lanes))) for q in range(n)]
        far = taps_ahead(m, n, n * lanes * itemsize)

        # sum: c[i][q] += x[offsets[t] + i] * a[q][t]
        def add_tap(t: ir.Value) -> None:
            places = [w.at(panel, builder.mul(t, i64(lanes))) for panel in panels]
            for place in places:
                w.prefetch(w.at(place, far * lanes))
            vectors = [w.load(place) for place in places]
            w.prefetch(w.at(inputs, w.load_index(offsets, builder.add(t, i64(AHEAD)))))
            tap = w.at(inputs, w.load_index(offsets, t))
            for i in range(m):
                value = w.splat(w.load_scalar(w.at(tap, i)))
                for q in range(n):
                    w.set(c[i][q], w.fma(value, vectors[q], w.get(c[i][q])))

        in_turns(w, k, add_tap)
        finish(w, c, scale, shift, activation, slope, _of_vector)

        out = w.pointer(y)
        with builder.if_else(builder.icmp_signed("!=", last, i64(0))) as (channels_last, channels_first):
            with channels_last:
                masks = [w.first(channels, q * lanes) for q in range(n)]
                for i in range(m):
                    with w.when(builder.icmp_signed(">", positions, i64(i))):
                        to = w.at(out, builder.mul(y_row, i64(i)))
                        for q in range(n):
                            w.store_first(w.get(c[i][q]), w.at(to, q * lanes), masks[q])
            with channels_first:
                for start in range(0, m, lanes):
                    mask = w.first(positions, start)
                    for q in range(n):
                        sums = [w.get(row[q]) for row in c[start : start + lanes]]
                        for lane, line in enumerate(w.interleaved(sums + [w.zero()] * (lanes - len(sums)))):
                            channel = q * lanes + lane
                            with w.when(builder.icmp_signed(">", channels, i64(channel))):
                                w.store_first(line, w.at(out, builder.add(builder.mul(y_row, i64(channel)), i64(start))), mask)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 14), codegen


@njit
def _tile(m, n, lanes, itemsize, k, a, x, offsets, y, y_row, positions, channels, last, bias, scale, shift, activation, slope):
    gemm_tile_oc(m, n, lanes, itemsize, k, a, x, offsets, y, y_row, positions, channels, last, bias, scale, shift, activation, slope)


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m positions by n vectors of channels.

    It takes, all int64: the four sizes again; k taps; a, address of the weights [n][k][lanes]; x, address of the input; offsets, address of
    k int64 element offsets into x and AHEAD more (any values); y, address of the output, whose channels are y_row elements apart; positions
    and channels, how many of the m and of the n*lanes are written; last, whether channels lie side by side and positions y_row elements
    apart instead; bias, scale, shift, addresses of n*lanes numbers or 0; activation and slope as for the GEMM tile. Reads m numbers at
    each offset whatever `positions` says.
    """
    return address(_tile, (m, n, lanes, itemsize), (types.int64,) * 14)

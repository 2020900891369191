"""The tile for narrow maps: m positions by n vectors of output channels in registers, which every tap multiplies with n vectors of weights.

    c[i][q] += x[offsets[t] + i] * a[q][t]        for t < k, i < m positions, q < n vectors of channels

The GEMM tile with its sides exchanged: lanes run along output channels, so maps of 6 or 12 positions leave none idle. Weights are packed
in whole vectors and prefetched, because they are most of what is read. Each vector of channels has its taps together, so the tile
reads n streams at once: where memory is what is waited for, two to eight bring 5 to 25 % more than one (Granite Rapids). The sums lie
with channels innermost, as channels last wants them; for channels first they are transposed in registers on their way out (through memory,
number by number, it took 2200 cycles for 6x4, as long as 170 taps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.gemm_tile import AHEAD, taps_ahead, unrolled
from kernels.primitives.register_post_ops import post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


def _of_vector(w: VectorBuilder, array: ir.Value, i: int, q: int) -> ir.Value:
    """Vector q of the array at an address."""
    return w.load(w.pointer(array, q * w.lanes))


class GemmTileOc(NamedTuple):
    """What the tile takes."""

    m: Fixed  # positions
    n: Fixed  # vectors of output channels
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    packed: Fixed  # whether weights lie tap by tap: what is known here need not be multiplied at every tap (yamnet.pw8 51 to 29 us)
    blocked: Fixed  # whether the sums of blocks of kc taps are added apart (blocked summation)
    k: int  # taps
    kc: int  # taps of a block
    a: int  # address of the weights [n][k][lanes]
    a_tap: int  # elements from tap to tap of those that are not packed
    a_vector: int  # elements from vector to vector
    x: int  # address of the input, of which m numbers are read at every offset
    offsets: int  # address of k element offsets into x, and AHEAD more of any values
    y: int  # address of the output
    y_row: int  # elements from channel to channel of it, or from position to position where channels lie side by side
    positions: int  # how many of the m are written
    channels: int  # how many of the n*lanes are written
    last: int  # whether channels lie side by side
    bias: int  # address of n*lanes numbers, or 0; so are scale and shift
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


def emit(w: VectorBuilder, p: GemmTileOc, multiply_add: Callable[..., ir.Value]) -> None:
    """The tile; multiply_add(a, b, c): a * b + c, or what else is summed of a number of input, a vector of weights and the sum so far."""
    b = w.b
    inputs, weights = w.pointer(p.x), w.pointer(p.a)
    c = [[w.variable(w.zero()) for _ in range(p.n)] for _ in range(p.m)]
    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        for i in range(p.m):
            for q in range(p.n):
                w.set(c[i][q], _of_vector(w, p.bias, i, q))

    micro_panels = [w.at(weights, b.mul(p.a_vector, i64(q))) for q in range(p.n)]
    far, a_tap = taps_ahead(p.m, p.n, p.n * p.lanes * p.itemsize), i64(p.lanes) if p.packed else p.a_tap

    # sum: c[i][q] += x[offsets[t] + i] * a[q][t]
    def add_tap(t: ir.Value) -> None:
        rows = [w.at(micro_panel, b.mul(t, a_tap)) for micro_panel in micro_panels]
        for row in rows:
            w.prefetch(w.at(row, far * p.lanes if p.packed else b.mul(a_tap, i64(far))))
        vectors = [w.load(row) for row in rows]
        w.prefetch(w.at(inputs, w.load_index(p.offsets, b.add(t, i64(AHEAD)))))
        tap = w.at(inputs, w.load_index(p.offsets, t))
        for i, value in enumerate(w.splats(tap, p.m)):
            for q in range(p.n):
                w.set(c[i][q], multiply_add(value, vectors[q], w.get(c[i][q])))

    if p.blocked:
        totals = [[w.variable(w.get(sums)) for sums in row] for row in c]
        with w.loop(b.sdiv(b.add(p.k, b.sub(p.kc, i64(1))), p.kc)) as block:
            first = b.mul(block, p.kc)
            rest = b.sub(p.k, first)
            for row in c:
                for sums in row:
                    w.set(sums, w.zero())
            unrolled(w, b.select(b.icmp_signed("<", rest, p.kc), rest, p.kc), lambda t: add_tap(b.add(first, t)))
            for row, row_totals in zip(c, totals):
                for sums, total in zip(row, row_totals):
                    w.set(total, w.add(w.get(total), w.get(sums)))
        c = totals
    else:
        unrolled(w, p.k, add_tap)
    post_ops(w, c, p.scale, p.shift, p.activation, p.slope, _of_vector)

    out = w.pointer(p.y)
    with b.if_else(b.icmp_signed("!=", p.last, i64(0))) as (channels_last, channels_first):
        with channels_last:
            masks = [w.first(p.channels, q * p.lanes) for q in range(p.n)]
            for i in range(p.m):
                with w.when(b.icmp_signed(">", p.positions, i64(i))):
                    to = w.at(out, b.mul(p.y_row, i64(i)))
                    for q in range(p.n):
                        w.store_first(w.get(c[i][q]), w.at(to, q * p.lanes), masks[q])
        with channels_first:
            for start in range(0, p.m, p.lanes):
                mask = w.first(p.positions, start)
                for q in range(p.n):
                    sums = [w.get(row[q]) for row in c[start : start + p.lanes]]
                    for lane, line in enumerate(w.interleaved(sums + [w.zero()] * (p.lanes - len(sums)))):
                        channel = q * p.lanes + lane
                        with w.when(b.icmp_signed(">", p.channels, i64(channel))):
                            w.store_first(line, w.at(out, b.add(b.mul(p.y_row, i64(channel)), i64(start))), mask)


@emitter
def _emit(w: VectorBuilder, p: GemmTileOc) -> None:
    """The tile of numbers."""
    emit(w, p, w.fma)


@njit
def _tile(p):
    _emit(p, ())


def tile(m: int, n: int, lanes: int, itemsize: int, *, packed: bool = True, blocked: bool = False) -> int:
    """Address of the compiled tile of m positions by n vectors of channels, which takes a GemmTileOc."""
    return address(_tile, GemmTileOc, m=m, n=n, lanes=lanes, itemsize=itemsize, packed=int(packed), blocked=int(blocked))

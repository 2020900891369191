"""The depthwise tile that reads planes where they lie: output rows of one channel, some at a time, vector by vector, without packing.

    y[r][q] = activation((bias + sum over t < kh, j < kw of a[t][j] * x[first_row + r*sh + t][q*step - pad + j]) * scale + shift)

Rows of a tile share the input rows that their windows have in common: of 3x3, four rows load six lines, not twelve. Lines outside the
plane are a line of zeros; vectors that reach over a line's ends are loaded under masks, all others plainly, two at a time where columns
are strided, of which shuffles make the even and the odd ones. Lanes run along rows, so short ones leave some idle. One call does all rows
of a task, since to call a tile takes as long as four rows of a vector; the last rows end with them, some maybe computed once more.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.register_post_ops import post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

HELD = 9  # weights that stay in registers; more are read where they are used,
WIDE = 64  # for two vectors at a time where these have so many bytes: there are 32 registers then, of which 4 rows of 7 taps take 23


class PlaneRows(NamedTuple):
    """What the tile takes."""

    kh: Fixed  # kernel rows
    kw: Fixed  # kernel columns
    sh: Fixed  # input rows from output row to output row
    step: Fixed  # input columns from output to output, 1 or 2
    rows: Fixed  # output rows at a time
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    a: int  # address of kh*kw weights
    x: int  # address of the plane
    zeros: int  # address of w zeros
    first_row: int  # input row of the first output row's first tap, may be outside
    h: int  # input rows
    w: int  # input columns
    pad: int  # columns of zeros before the first
    y: int  # address of the first output row
    outputs: int  # output rows, at least `rows`
    columns: int  # outputs of a row, whose rows lie one behind the other
    vectors: int  # of a row
    first: int  # vector that reaches over no end,
    inner: int  # and how many there are from it on
    bias: int  # address of a number, or 0; so are scale and shift
    scale: int
    shift: int
    activation: int  # a code of ACTIVATIONS
    slope: int  # the bits of a float64


def loads(kw: int, step: int, lanes: int) -> list[int]:
    """Where a window's vectors are loaded, from its first column on."""
    if step == 1:
        return list(range(kw))
    return [2 * pair + half * lanes for pair in range((kw + 1) // 2) for half in (0, 1)]


@emitter
def _emit(w: VectorBuilder, p: PlaneRows, first_row: ir.Value, y: ir.Value) -> None:
    """Some rows, from an input row on, written from y on."""
    b, places = w.b, loads(p.kw, p.step, p.lanes)
    weights, lines = w.pointer(p.a), []
    for i in range((p.rows - 1) * p.sh + p.kh):
        row = b.add(first_row, i64(i))
        inside = b.icmp_unsigned("<", row, p.h)  # below zero it is a large number
        line = b.add(p.x, b.mul(b.mul(row, p.w), i64(p.itemsize)))
        lines.append(w.pointer(b.select(inside, line, p.zeros)))

    def weight(t: int, j: int) -> ir.Value:
        return w.splat(w.load_scalar(w.at(weights, t * p.kw + j)))

    held = {(t, j): weight(t, j) for t in range(p.kh) for j in range(p.kw)} if p.kh * p.kw <= HELD else {}
    start = w.variable(w.zero())
    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        w.set(start, w.splat(w.load_scalar(w.pointer(p.bias))))

    def vectors(number: ir.Value, edge: bool, count: int = 1) -> None:
        """So many vectors of each output row, from `number` on; edge: they may reach over the ends."""
        q = b.mul(number, i64(p.lanes))
        column = b.sub(b.mul(q, i64(p.step)), p.pad)
        masks = [w.between(b.add(column, i64(at)), i64(0), p.w) if edge else None for at in places]
        c = [[w.get(start)] * count for _ in range(p.rows)]
        for i, line in enumerate(lines):
            windows = []
            for each in range(count):
                source = w.at(w.at(line, column), each * p.lanes * p.step)
                loaded = [w.load_first(w.at(source, at), mask) if edge else w.load(w.at(source, at)) for at, mask in zip(places, masks)]
                if p.step == 2:
                    loaded = [w.every(loaded[j // 2 * 2 : j // 2 * 2 + 2], j % 2) for j in range(p.kw)]
                windows.append(loaded)
            for r in range(p.rows):
                t = i - r * p.sh
                for j in range(p.kw if 0 <= t < p.kh else 0):
                    factor = held.get((t, j)) or weight(t, j)
                    c[r] = [w.fma(factor, window[j], sums) for window, sums in zip(windows, c[r])]
        slots = [[w.variable(sums) for sums in row] for row in c]
        post_ops(w, [[slot for row in slots for slot in row]], p.scale, p.shift, p.activation, p.slope)  # of one channel
        for r, row in enumerate(slots):
            to = w.pointer(y, b.add(b.mul(p.columns, i64(r)), q))
            for each, slot in enumerate(row):
                if edge:
                    w.store_first(w.get(slot), to, w.first(b.sub(p.columns, q)))
                else:
                    w.store(w.get(slot), w.at(to, each * p.lanes))

    with w.loop(b.sub(p.vectors, p.inner)) as k:
        vectors(b.select(b.icmp_signed("<", k, p.first), k, b.add(k, p.inner)), True)
    pairs = i64(0)
    if not held and p.lanes * p.itemsize == WIDE:
        pairs = b.sdiv(p.inner, i64(2))
        with w.loop(pairs) as k:
            vectors(b.add(p.first, b.mul(k, i64(2))), False, 2)
    done = b.mul(pairs, i64(2))
    with w.loop(b.sub(p.inner, done)) as k:
        vectors(b.add(b.add(p.first, done), k), False)


@njit
def _rows(p):
    for start in range(0, p.outputs, p.rows):
        row = min(start, p.outputs - p.rows)
        _emit(p, (p.first_row + row * p.sh, p.y + row * p.columns * p.itemsize))


def plane_rows(kh: int, kw: int, sh: int, step: int, rows: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile, which takes a PlaneRows."""
    return address(_rows, PlaneRows, kh=kh, kw=kw, sh=sh, step=step, rows=rows, lanes=lanes, itemsize=itemsize)

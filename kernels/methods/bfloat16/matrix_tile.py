"""The tile of direct convolution on matrices of pairs: up to 32 output channels by two vectors of outputs, `depth` pairs deep.

    step       k = one tap of `depth` channels
    c[i][q] += a[step][i] · x[vectors[q] + offsets[step]]        i < 2 halves of the channels, q < n vectors

    a[step][i]   weights: rows of output channels, columns of input channels        A     16 x 16 pairs at most
    x[…]         packed input as it lies: rows of input channels, columns of outputs   B     channel_stride apart
    c[i][q]      rows of output channels, columns of outputs: as they are written       C     16 x 16 float32

The packed block of direct convolution has pairs of channels in lines, which is how the hardware reads its second factor, and a line begins
wherever a tap does: nothing is packed differently but the weights. Sums go to memory on the stack and from there, a row of channels at a
time, through the post-ops. Two by two products share four loads, which is what the eight registers hold.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from kernels.primitives.gemm_tile import ADDED, FIELDS, FROM_BIAS, LAST, GemmTile, Moved
from kernels.primitives.register_post_ops import broadcast_row, post_ops
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.ir_matrices import ROW_BYTES, ROWS, Amx, Shape, StandIn
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import address, emitter


class _Registers(NamedTuple):
    """Which registers hold what."""

    parts: list[int]  # channels of each half of the tile
    c: dict[tuple[int, int], int]  # by half and vector
    a: list[int]
    x: list[int]
    shapes: list[Shape]


def _registers(w: VectorBuilder, p: GemmTile) -> _Registers:
    m = int(p.m)
    parts = [m] if m <= ROWS else [-(-m // 2), m // 2]
    places = list(product(range(len(parts)), range(p.n)))
    row_bytes, depth_bytes = i64(w.lanes * w.itemsize), w.b.mul(p.kc, i64(w.itemsize))
    shapes = [Shape(i64(parts[i]), row_bytes) for i, _ in places]
    shapes += [Shape(i64(part), depth_bytes) for part in parts] + [Shape(p.kc, row_bytes)] * p.n
    a = [len(places) + i for i in range(len(parts))]
    return _Registers(parts, {place: i for i, place in enumerate(places)}, a, [a[-1] + 1 + q for q in range(p.n)], shapes)


def _emit(w: VectorBuilder, p: GemmTile, at: Moved, kind: type[Amx] | type[StandIn]) -> None:
    """One tile."""
    b, n, depth = w.b, p.n, p.kc
    parts, c, a, x, shapes = _registers(w, p)
    unit = kind(w, shapes)
    row_bytes, depth_bytes = shapes[0].row_bytes, shapes[a[0]].row_bytes
    in_x, in_y, counts = ([w.load_index(at.vectors, i64(FIELDS * q + field)) for q in range(n)] for field in range(FIELDS))
    inputs = [w.pointer(p.x, start) for start in in_x]
    x_step = b.mul(b.sub(w.load_index(at.offsets, i64(1)), w.load_index(at.offsets, i64(0))), i64(w.itemsize))

    for register in c.values():
        unit.zero(register)
    with w.loop(b.sdiv(p.k, depth)) as step:
        first = b.mul(step, depth)
        offset, weights = w.load_index(at.offsets, first), w.pointer(at.a, b.mul(first, i64(p.m)))
        for q, start in enumerate(inputs):
            unit.load(x[q], w.at(start, offset), x_step)
        for i in range(len(parts)):
            unit.load(a[i], w.at(weights, b.mul(depth, i64(sum(parts[:i])))), depth_bytes)
            for q in range(n):
                unit.multiply(c[i, q], a[i], x[q])

    sums = cgutils.alloca_once(b, w.vector, p.m * n)
    sums.align = ROW_BYTES
    for (i, q), register in c.items():
        unit.store(register, b.gep(sums, [i64(sum(parts[:i]) * n + q)]), b.mul(row_bytes, i64(n)))
    _finish(w, p, at, [b.gep(sums, [i64(q)]) for q in range(n)], in_y, counts)


def _finish(w: VectorBuilder, p: GemmTile, at: Moved, sums: list[ir.Value], in_y: list[ir.Value], counts: list[ir.Value]) -> None:
    """Sums, n vectors for each row, become outputs."""
    b, n = w.b, p.n
    masks = [w.first(count) for count in counts]
    fresh, added, last = (b.icmp_signed("!=", b.and_(at.stage, i64(bit)), i64(0)) for bit in (FROM_BIAS, ADDED, LAST))
    has_bias = b.and_(fresh, b.icmp_signed("!=", p.bias, i64(0)))
    has_scale = b.icmp_signed("!=", p.scale, i64(0))
    with w.loop(i64(p.m)) as row:
        places = [w.pointer(at.y, b.add(b.mul(row, p.y_row), start)) for start in in_y]
        values = [w.variable(b.load(b.gep(start, [b.mul(row, i64(n))]))) for start in sums]
        skipped = b.mul(row, i64(w.itemsize))
        bias, scale, shift = (b.add(array, skipped) for array in (p.bias, p.scale, p.shift))
        with w.when(has_bias):
            number = broadcast_row(w, bias, 0)
            for value in values:
                w.set(value, w.add(w.get(value), number))
        with w.when(b.or_(b.not_(fresh), added)):
            for value, place, mask in zip(values, places, masks):
                w.set(value, w.add(w.get(value), w.load_first(place, mask)))
        with w.when(last):
            post_ops(w, [values], b.select(has_scale, scale, i64(0)), shift, p.activation, p.slope)
        for value, place, mask in zip(values, places, masks):
            w.store_first(w.get(value), place, mask)


@emitter
def _emit_amx(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """One tile by AMX."""
    _emit(w, p, at, Amx)


@emitter
def _emit_apart(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """The same on any CPU."""
    _emit(w, p, at, StandIn)


@emitter
def _configure(w: VectorBuilder, p: GemmTile) -> None:
    """Make ready for tiles."""
    Amx(w, _registers(w, p).shapes).configure()


@emitter
def _release(w: VectorBuilder, p: GemmTile) -> None:
    """After them."""
    Amx(w, []).release()


@njit
def _tile(p):
    _configure(p, ())
    for i in range(p.times):
        _emit_amx(p, Moved(p.a, 0, p.y + i * p.y_step, p.vectors + i * p.vectors_step, p.offsets, p.k, p.stage))
    _release(p, ())


@njit
def _tile_apart(p):
    for i in range(p.times):
        _emit_apart(p, Moved(p.a, 0, p.y + i * p.y_step, p.vectors + i * p.vectors_step, p.offsets, p.k, p.stage))


def matrix_tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m <= 32 channels by n <= 2 vectors, which takes a GemmTile of weights [step][m][depth]; k
    counts pairs, kc is the depth, and offsets are `depth` for each step, evenly apart."""
    of = _tile if machine().matrices == "amx" and lanes == ROWS else _tile_apart
    return address(of, GemmTile, m=m, n=n, lanes=lanes, itemsize=itemsize)

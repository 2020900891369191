"""A tile of a matrix product: m rows as they lie times a packed panel of n vectors of columns, sums in registers.

    y[i] = bias + sum over t of a[i][t] * b[t] + r[i]        t < k, i < m; b[t] is n vectors side by side

The GEMM tile (`gemm_tile`) does this too, by tables of where each tap and each vector lies. Here both follow from the panel: what takes
turns with the multiply-adds is a quarter less instructions, which counts where two threads of a core share its front end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.gemm_tile import AHEAD
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

UNROLL = 4  # terms per step of the loop; three were 2 to 6 % slower


class PanelTile(NamedTuple):
    """What a tile takes."""

    m: Fixed  # rows
    n: Fixed  # vectors of columns
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    k: int  # terms
    a: int  # address of the first row
    a_row: int  # bytes from row to row
    b: int  # address of the panel, [k][n * lanes]
    y: int  # address of the output
    y_row: int  # bytes from row to row
    columns: int  # how many are written, and read of r
    bias: int  # address of n * lanes numbers that sums begin with, or 0
    r: int  # address of what is added, which may be y, or 0
    r_row: int  # bytes from row to row
    times: int  # how many such tiles, one below the other
    a_step: int  # bytes from tile to tile; of r and y too
    r_step: int
    y_step: int


class Moved(NamedTuple):
    """Where one of several tiles is."""

    a: int
    r: int
    y: int


@emitter
def _emit(w: VectorBuilder, p: PanelTile, at: Moved) -> None:
    """One tile."""
    b, m, n, lanes = w.b, p.m, p.n, p.lanes
    starts = [i64(q * lanes) for q in range(n)]

    def rows(first: ir.Value, row: ir.Value) -> list[ir.Value]:
        return [w.pointer(b.add(first, b.mul(row, i64(i)))) for i in range(m)]

    a, y, panel = rows(at.a, p.a_row), rows(at.y, p.y_row), w.pointer(p.b)
    c = [[w.variable(w.zero()) for _ in range(n)] for _ in range(m)]
    whole = b.icmp_signed(">=", p.columns, i64(n * lanes))

    def each(places: list[ir.Value], action: Callable[..., None], masked: bool) -> None:
        masks = [w.first(p.columns, q * lanes) if masked else None for q in range(n)]
        for place, sums in zip(places, c):
            for start, mask, of_vector in zip(starts, masks, sums):
                action(of_vector, w.at(place, start), mask)

    def both(places: list[ir.Value], plain: Callable[..., None], part: Callable[..., None]) -> None:
        """One of two for every vector: whether all its lanes count."""
        with b.if_else(whole) as (full, edge):
            with full:
                each(places, plain, False)
            with edge:
                each(places, part, True)

    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        for q, start in enumerate(starts):
            begun = w.load(w.at(w.pointer(p.bias), start))
            for sums in c:
                w.set(sums[q], begun)

    # what will be written is prefetched now, so that stores need not wait for it
    each(y, lambda sums, place, mask: w.prefetch(w.at(place, lanes - 1), write=True), False)

    # vectors of 16 bytes lie four to a cache line, of which one is prefetched
    line, in_line = (4, 0) if lanes * p.itemsize <= 16 else (1, lanes - 1)

    def add_term(t: ir.Value) -> None:
        row = w.at(panel, b.mul(t, i64(n * lanes)))
        for start in starts[::line]:
            w.prefetch(w.at(w.at(row, AHEAD * n * lanes + in_line), start))
        values = [w.load(w.at(row, start)) for start in starts]
        for place, sums in zip(a, c):
            factor = w.splat(w.load_scalar(w.at(place, t)))
            for q in range(n):
                w.set(sums[q], w.fma(factor, values[q], w.get(sums[q])))
        w.barrier()

    steps = b.sdiv(p.k, i64(UNROLL))
    with w.loop(steps) as step:
        for u in range(UNROLL):
            add_term(b.add(b.mul(step, i64(UNROLL)), i64(u)))
    summed = b.mul(steps, i64(UNROLL))
    with w.loop(b.sub(p.k, summed)) as left:
        add_term(b.add(summed, left))

    with w.when(b.icmp_signed("!=", p.r, i64(0))):
        both(
            rows(at.r, p.r_row),
            lambda sums, place, mask: w.set(sums, w.add(w.get(sums), w.load(place))),
            lambda sums, place, mask: w.set(sums, w.add(w.get(sums), w.load_first(place, mask))),
        )
    both(
        y,
        lambda sums, place, mask: w.store(w.get(sums), place),
        lambda sums, place, mask: w.store_first(w.get(sums), place, mask),
    )  # fmt: skip


@njit
def _tile(p):
    for i in range(p.times):
        _emit(p, Moved(p.a + i * p.a_step, p.r + i * p.r_step, p.y + i * p.y_step))


def panel_tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m rows by n vectors, which takes a PanelTile."""
    return address(_tile, PanelTile, m=m, n=n, lanes=lanes, itemsize=itemsize)

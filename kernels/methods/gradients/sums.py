"""What both drivers of weights' gradients do with a block of positions: find it, and let every tile of sums pass over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kernels.cost.gemm import even
from kernels.methods.gradients.blocking import seen_phases
from kernels.methods.gradients.moves import clear, spread, total, unfold
from kernels.methods.gradients.product_tile import ProductTile
from kernels.methods.gradients.records import Positions
from kernels.primitives.transpose import transpose
from kernels.problem.conv import ConvWeight
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine

Array = np.ndarray

PERIOD = 62  # rows of a period at most: bits of an integer


@njit
def block_at(g, b, all_rows, all_columns):
    """Block b as Positions, of outputs that have so many rows and columns."""
    rest, column_block = split(b, g.column_blocks)
    image_block, row_block = split(rest, g.row_blocks)
    image, row, column = image_block * g.images, row_block * g.rows, column_block * g.columns
    return Positions(
        image=image, images=min(g.images, g.n - image), row=row, column=column, rows=min(g.rows, all_rows - row),
        columns=min(g.columns, all_columns - column),
    )  # fmt: skip


@njit
def add_block(g, k, rows, positions, block, micro_panels, sums, resumed):
    """Every tile of so many rows of sums passes over the block; micro_panels: the factors, [panel][position][g.panel], or row by row."""
    size, a_row = g.itemsize, max(1, g.lying)
    for p in range(0, rows, g.panel):
        high = min(g.panel, rows - p)
        m_tiles = split(high + g.m - 1, g.m)[0]
        m_edge, m_full_tiles = split(high, m_tiles)
        i = 0
        for t in range(m_tiles):
            m = m_edge + (t < m_full_tiles)
            place = (p + i) * g.lying if g.lying else p * positions + i
            a = micro_panels + place * size
            q = 0
            for n, times in ((k.n_edge + 1, k.n_full_tiles), (k.n_edge, k.n_tiles - k.n_full_tiles)):
                if times:
                    call(
                        read_index(g.tiles, m * g.tiles_each + n),
                        ProductTile(
                            m=m, n=n, lanes=g.lanes, itemsize=size, apart=g.lying, k=positions, a=a, a_pitch=g.panel,
                            a_row=a_row, b=block, offsets=k.offsets, vectors=k.vectors + q * 8,
                            y=sums + ((p + i) * g.pitch + q * g.lanes) * size, y_pitch=g.pitch, resumed=resumed, times=times,
                        ),
                    )  # fmt: skip
                    q += n * times
            i += m


def tile_table(shares: Iterable[int], m: int, widths: set[int], panel: int, tile_of: Callable[[int, int], int]) -> Array:
    """Addresses of the tiles, by [m][n], that tasks of so many rows of sums need whose tiles are so wide; panel: rows that are divided into
    tiles together; tile_of(m, n): such a tile's address."""
    table = np.zeros((m + 1, max(widths) + 1), np.int64)
    for share in shares:
        for high in {min(panel, share), share % panel or min(panel, share)}:
            _, m_edge, m_full_tiles = even(high, m)
            for height in {m_edge, m_edge + (m_full_tiles > 0)}:
                for width in widths:
                    table[height, width] = tile_of(height, width)
    return table


def widths_of(sides: Iterable[dict[str, int]]) -> set[int]:
    """Vectors of the tiles of these sides."""
    return {side["n_edge"] + more for side in sides for more in range(1 + (side["n_full_tiles"] > 0))}


def moves(problem: ConvWeight) -> dict[str, Any]:
    """Fields of PackedPlanes that every packing of the problem has alike."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    rows, period = seen_phases(problem, 0), problem.stride[0]
    if len(rows) == period or period > PERIOD:
        rows, period = {0}, 1
    return {
        "row_period": period, "seen_rows": sum(1 << row for row in rows),
        "itemsize": size, "lanes": lanes, "n": problem.n, "transpose": transpose(lanes, size), "total": total(lanes, size),
        "spread": spread(lanes, size), "clear": clear(lanes, size),
        "unfold": unfold(lanes, size),
    }  # fmt: skip

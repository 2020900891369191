"""Some rows times a packed matrix that the caches hold: y = source + x matrix, sums in registers from the first term to the last.

Columns lie in groups (the gates of a recurrent layer), each padded to whole blocks of vectors, so that no vector has two groups in it and
passes over a group of all rows are one line. The matrix is packed in the order in which it is read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.scratch import aligned

Array = np.ndarray


class RowProducts(NamedTuple):
    """y[group, row] = source[row, group] + sum over k of x[row, k] * matrix[group, block, k]."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    vectors: Fixed  # of a block
    rows: Fixed
    ahead: Fixed  # bytes that the matrix is prefetched ahead, 0: it lies in the caches
    y: int  # address
    y_row: int  # numbers from row to row
    y_group: int  # numbers from group to group
    x: int  # address
    x_row: int
    matrix: int  # address
    k: int  # numbers of a row of x
    groups: int
    blocks: int  # of a group
    source: int  # address of what sums begin with
    source_row: int
    source_group: int
    columns: int  # of a group that source has; the sums of those past them begin with zero
    present: int  # rows that source has; those past them begin as the last
    from_end: int  # whether the matrix is read from its end: groups and blocks from the last to the first


@emitter
def _emit(w: VectorBuilder, p: RowProducts) -> None:
    b, width = w.b, p.vectors * p.lanes
    lines = [w.at(w.pointer(p.x), b.mul(i64(r), p.x_row)) for r in range(p.rows)]
    last = b.sub(p.present, i64(1))
    held = [b.select(b.icmp_signed("<", i64(r), p.present), i64(r), last) for r in range(p.rows)]
    final = [b.sub(count, i64(1)) for count in (p.groups, p.blocks)]
    from_end = b.icmp_signed("!=", p.from_end, i64(0))
    with w.loop(p.groups) as group_turn, w.loop(p.blocks) as block_turn:
        group, block = (b.select(from_end, b.sub(end, turn), turn) for turn, end in zip((group_turn, block_turn), final))
        column = b.mul(block, i64(width))
        begin = w.at(w.pointer(p.source), b.add(b.mul(group, p.source_group), column))
        sums = []
        for r in range(p.rows):
            place = w.at(begin, b.mul(held[r], p.source_row))
            masks = [w.first(b.sub(p.columns, b.add(column, i64(v * p.lanes)))) for v in range(p.vectors)]
            sums.append([w.variable(w.load_first(w.at(place, i64(v * p.lanes)), mask)) for v, mask in enumerate(masks)])
        matrix = w.at(w.pointer(p.matrix), b.mul(b.add(b.mul(group, p.blocks), block), b.mul(p.k, i64(width))))
        with w.loop(p.k) as k:
            row = b.mul(k, i64(width))
            places = [w.at(matrix, b.add(row, i64(v * p.lanes))) for v in range(p.vectors)]
            for place in places if p.ahead else ():
                w.prefetch(w.at(place, p.ahead // p.itemsize))
            loaded = [w.load(place) for place in places]
            for line, totals in zip(lines, sums):
                number = w.splat(w.load_scalar(w.at(line, k)))
                for total, vector in zip(totals, loaded):
                    w.set(total, w.fma(number, vector, w.get(total)))
        to = w.at(w.pointer(p.y), b.add(b.mul(group, p.y_group), column))
        for r, totals in enumerate(sums):
            for v, total in enumerate(totals):
                w.store(w.get(total), w.at(to, b.add(b.mul(i64(r), p.y_row), i64(v * p.lanes))))


@njit
def _row_products(p):
    _emit(p, ())


def row_products(vectors: int, rows: int, lanes: int, itemsize: int, ahead: int = 0) -> int:
    """Address of the compiled micro-kernel, which takes a RowProducts."""
    return address(_row_products, RowProducts, lanes=lanes, itemsize=itemsize, vectors=vectors, rows=rows, ahead=ahead)


def packed(matrix: Array, groups: int, chunks: int, blocks: int, vectors: int) -> Array:
    """(groups * columns, k) matrix as (chunks, groups, blocks, k, vectors * lanes): the columns of each group one after the other, zeros
    past the last."""
    rows, k = matrix.shape
    columns, width = rows // groups, vectors * machine().lanes(matrix.itemsize)
    whole = matrix.reshape(groups, columns, k)
    if chunks * blocks * width > columns:
        whole = np.zeros((groups, chunks * blocks * width, k), matrix.dtype)
        whole[:, :columns] = matrix.reshape(groups, columns, k)
    found = aligned(groups * chunks * blocks * k * width * matrix.itemsize).view(matrix.dtype).reshape(chunks, groups, blocks, k, width)
    found[...] = whole.reshape(groups, chunks, blocks, width, k).transpose(1, 0, 2, 4, 3)
    return found

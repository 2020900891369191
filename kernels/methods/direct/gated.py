"""Pointwise layers of one image whose input channels are multiplied by numbers of each call, as squeeze-excite has them.

    y[j] = sum over i of (a[j][i] * gate[i]) * x[i]

Where a map has more positions than the layer has outputs its weights are fewer numbers than the map, which is not written again. Packed
weights of a tile are [input channel][channel of the tile], so that a gate is one factor a row. J. Hu et al., "Squeeze-and-excitation
networks", CVPR 2018, arXiv 1709.01507.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from kernels.cost.calibration import threads_for
from kernels.cost.gemm import even
from kernels.methods.direct.blocking import best
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.method import threads_of
from kernels.methods.direct.pack_weights import packer
from kernels.primitives.gemm_tile import tile
from kernels.primitives.records import Record, address, integer
from kernels.primitives.row_scale import RowScale, row_scale
from kernels.problem.conv import Conv
from kernels.problem.operands import Array, Operands
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

FEWER = 2  # times as many positions as outputs: with fewer a pass over the map takes no longer
CYCLES = 3.0  # of a row of a tile's weights


class WeightRows(Record):
    """A task: the weights of one tile."""

    scale = address("of the micro-kernel; takes a RowScale")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    k = integer("input channels")
    m_edge = integer("channels of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")


@region
def _scale_tile(tile, thread, packed, gate, own, geometry):
    """Weights of a tile times the gate; packed, gate and own (the result) are handles, geometry: WeightRows."""
    g = geometry[0]
    first = (tile * g.m_edge + min(tile, g.m_full_tiles)) * g.k * g.itemsize
    call(
        g.scale,
        RowScale(
            lanes=g.lanes, itemsize=g.itemsize, y=pointed(own) + first, x=pointed(packed) + first, factors=pointed(gate), rows=g.k,
            numbers=g.m_edge + (tile < g.m_full_tiles),
        ),
    )  # fmt: skip


class PreparedGated(NamedTuple):
    """`bind(operands, own)` gives `run(x, gate, y)`, which uses `own`, an array of so many numbers, in each call."""

    bind: Callable[[Operands, Array], Callable[[Array, Array, Array], None]]
    numbers: int
    workspace_bytes: int
    cycles: float


def gates(problem: Conv, threads: int) -> bool:
    """Whether a gate is taken into the weights."""
    pointwise = problem.taps == problem.groups == max(problem.stride) == problem.n == 1 and not any(map(any, problem.padding))
    if not pointwise or problem.pool or problem.scale or FEWER * problem.c_out > math.prod(problem.size):
        return False
    block = best(problem, threads_of(problem, threads))
    return not block.oc_lanes and block.product.depth == 1


def prepare_gated(problem: Conv, threads: int, *, added: bool) -> PreparedGated:
    """Of a problem that `gates`; added: to what the output holds."""
    threads = threads_of(problem, threads)
    block, lanes, size = best(problem, threads), machine().lanes(problem.itemsize), problem.itemsize
    prepared = prepare_blocks(problem, threads, block, tile, added=added, prepacked=True)
    pack = packer(problem.c_out, problem.c_in, 1, block.m, problem.dtype, threads)
    m_tiles, m_edge, m_full_tiles = even(problem.c_out, block.m)
    geometry = WeightRows.packed(
        scale=row_scale(lanes, size), lanes=lanes, itemsize=size, k=problem.c_in, m_edge=m_edge, m_full_tiles=m_full_tiles
    )
    used, launch = threads_for(CYCLES * m_tiles * problem.c_in, threads), _scale_tile.ready(0, 0, 0, geometry)

    def bind(operands: Operands, own: Array) -> Callable[[Array, Array, Array], None]:
        packed = pack(operands.weight)
        multiply = prepared.pack(operands._replace(weight=own))
        weights, scaled = handle(packed), handle(own)

        def run(x: Array, gate: Array, y: Array, keep_alive: object = (packed, own, geometry)) -> None:
            launch(used, m_tiles, weights, handle(gate), scaled, geometry)
            multiply(x, y)

        return run

    return PreparedGated(bind, problem.c_out * problem.c_in, prepared.workspace_bytes, block.cycles)

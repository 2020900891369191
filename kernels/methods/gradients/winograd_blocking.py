"""How a Winograd weights' gradient is divided: which tile, how many tiles a block, which channels a task has.

One point of a block's transformed input and gradients lies in the second-level cache, where the tiles of sums pass over it. Sums have a
number for every point, t*t / (r*r) times the weights, so they are what is written and read most where maps are small: there a task takes so
few channels that its sums stay in the second-level cache too, and the same planes are transformed in several tasks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from kernels.cost.gemm import tallest
from kernels.cost.memory import L3_BYTES, MEMORY_BYTES, TASK_COST, far_cycles
from kernels.methods.gradients.blocking import CALL, PACKED, brought_cycles, position_cycles, tiles, written_cycles
from kernels.problem.conv import ConvWeight
from kernels.runtime.machine import machine, remembered

# gradients per tile and axis that are considered, by kernel length; transforms of 8x8 points outgrow the registers, so longer ones along
# axis only: cnn14.b2c2 took 12.4 ms with 6x4, 11.5 with 4x4, 16.0 with 6x6 (one thread of Zen 5)
TILES = {1: (1,), 2: (3, 2), 3: (4, 2), 4: (3,), 5: (2,)}
ALONE = {1: (1,), 2: (3, 2), 3: (6, 4, 2), 4: (5, 3), 5: (4, 2)}
# Growth of the rounding error per axis over that of direct summation, of normal and rectified input and gradients, the largest of all
# weights, with room of a factor of 2 at least (tests hold methods to the bound)
GROWTH = {(1, 1): 1.0, (2, 2): 1.5, (2, 3): 2.0, (3, 2): 1.2, (3, 4): 2.0, (3, 6): 2.5, (4, 3): 2.0, (4, 5): 2.5, (5, 2): 2.0, (5, 4): 2.5}
BLOCK_TILES = (24, 32, 48, 64, 96, 128, 192)
SUMS = 0.5  # of the second-level cache, for the sums of a task
WRITTEN = 2.0  # cycles to transpose a number of the weights and write it
BACK_CYCLES = 6.0  # cycles a point to transform a vector of weights back and write it
POINT_CYCLES, LINE_CYCLES = 2.5, 8.0  # cycles to load and store a point of a vector's tile, and to transform a line of them


@dataclasses.dataclass(frozen=True)
class TileBlocking:
    """mh, mw: gradients of a tile. images, rows, columns: tiles of a block. channels, outs: of a group, of a task. splits: parts of the
    blocks, whose sums are added in order. m, n: the tile of sums. cycles: the estimate."""

    mh: int
    mw: int
    images: int
    rows: int
    columns: int
    channels: int
    outs: int
    splits: int
    m: int
    n: int
    cycles: float = math.inf

    @property
    def tiles(self) -> int:
        """Tiles of a block."""
        return self.images * self.rows * self.columns


def error(problem: ConvWeight, block: TileBlocking) -> float:
    """Largest error to expect, as a share of the largest weight's gradient: that of summing a block's tiles, and blocks, times the growth
    of the tile. See `contract.rounding_bound` for the square roots."""
    eps = float(np.finfo(problem.dtype).eps)
    growth = math.prod(GROWTH[r, m] for r, m in zip(problem.kernel, (block.mh, block.mw)))
    each = block.images * block.rows * block.columns
    tiles_in_all = problem.n * math.prod(-(-length // m) for length, m in zip(problem.conv_size, (block.mh, block.mw)))
    return 4 * eps * growth * ((each + 1) ** 0.5 + (tiles_in_all / each + 1) ** 0.5)


@remembered
def best(problem: ConvWeight, threads: int, variant: str = "") -> TileBlocking:
    """The blocking with the lowest estimate; variant: of this tile, if there is one."""
    found = list(_blockings(problem, threads))
    found = [block for block in found if f"{block.mh}x{block.mw}" == variant] or found
    return min(found, key=lambda block: block.cycles)


def tile_sizes(problem: ConvWeight) -> list[tuple[int, int]]:
    """(mh, mw) of the tiles that are considered."""
    table = ALONE if min(problem.kernel) == 1 else TILES
    return [(mh, mw) for mh in table[problem.kernel[0]] for mw in table[problem.kernel[1]]]


def _blockings(problem: ConvWeight, threads: int) -> Iterator[TileBlocking]:
    lanes = machine().lanes(problem.itemsize)
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    oh, ow = problem.conv_size
    for mh, mw in tile_sizes(problem):
        down, across = -(-oh // mh), -(-ow // mw)
        for images, rows, columns in _shapes(max(1, problem.n), down, across):
            blocks = -(-max(1, problem.n) // images) * -(-down // rows) * -(-across // columns)
            for channels, share in _shares(ins, outs, math.prod(_points(problem, mh, mw)), lanes, problem.itemsize):
                tasks = problem.groups * -(-ins // channels) * -(-outs // share)
                for splits in sorted({1, min(blocks, -(-threads // tasks))}):
                    for m, n in tiles(lanes):
                        if m == tallest(min(share, lanes), m):
                            block = TileBlocking(
                                mh=mh, mw=mw, images=images, rows=rows, columns=columns, channels=channels, outs=share, splits=splits, m=m,
                                n=n,
                            )  # fmt: skip
                            yield dataclasses.replace(block, cycles=_cycles(problem, block, blocks, threads))


def _points(problem: ConvWeight, mh: int, mw: int) -> tuple[int, int]:
    """Of a tile, down and across."""
    return mh + problem.kernel[0] - 1, mw + problem.kernel[1] - 1


def _shares(ins: int, outs: int, points: int, lanes: int, itemsize: int) -> Iterator[tuple[int, int]]:
    """(input channels, output channels) of a task that are considered: all output channels, or even parts of them whose sums stay in the
    second-level cache."""
    for channels in sorted({ins, *(c for c in (lanes, 2 * lanes, 4 * lanes, 8 * lanes, 16 * lanes) if c < ins)}):
        row = points * -(-channels // lanes) * lanes * itemsize
        most = max(lanes, int(SUMS * machine().l2 / row))
        yield from ((channels, share) for share in sorted({outs, min(outs, -(-tallest(outs, most) // lanes) * lanes)}))


def _shapes(n: int, down: int, across: int) -> set[tuple[int, int, int]]:
    """(images, rows, columns) of tiles of a block that are considered."""
    found = set()
    for count in BLOCK_TILES:
        if down * across <= count:
            found.add((min(n, count // (down * across)), down, across))
        elif across <= count:
            found.add((1, -(-down // -(-down // (count // across))), across))
        else:
            found.add((1, 1, -(-across // -(-across // count))))
    return found


def _cycles(problem: ConvWeight, block: TileBlocking, blocks: int, threads: int) -> float:
    """Estimated cycles of the slowest thread."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    (kh, kw), count = problem.kernel, block.tiles
    th, tw = _points(problem, block.mh, block.mw)
    points = th * tw
    in_vectors, out_vectors = -(-block.channels // lanes), -(-block.outs // lanes)
    patches = block.images * (block.rows * block.mh + kh - 1) * (block.columns * block.mw + kw - 1)
    packing = PACKED * (patches * block.channels + count * block.mh * block.mw * block.outs)
    lined = points * POINT_CYCLES + (th * (kw > 1) + tw * (kh > 1)) * LINE_CYCLES
    transforming = count * (in_vectors + out_vectors) * lined
    m = block.outs / -(-block.outs // block.m)
    across = -(-in_vectors // block.n)
    n = in_vectors / across
    sums = points * block.outs * in_vectors * lanes * size
    moved = lanes * size * far_cycles(sums * threads, MEMORY_BYTES, spec) if sums > spec.l2 else 1.0  # cycles to load or store a vector
    resumed = 2 * m * n * moved
    fresh = block.splits >= blocks
    each = count * position_cycles(m, n, True) + resumed * (0.5 if fresh else 1.0) + CALL
    computing = points * -(-block.outs // block.m) * across * each
    stored = points * count * (in_vectors + out_vectors) * lanes * size
    streamed = stored * 2 / L3_BYTES[spec.mesh] if stored > spec.l2 / 2 else 0.0
    bringing = (patches * block.channels + count * block.mh * block.mw * block.outs) * size * brought_cycles(problem)
    parts = problem.groups * -(-ins // block.channels) * -(-outs // block.outs)
    tasks = parts * block.splits
    writers = min(threads, parts if block.splits == 1 else parts * block.outs)
    placed = max(WRITTEN, written_cycles(problem)) * math.prod(problem.out_shape)
    # of BACK_CYCLES one loads a vector of sums, as it takes where they lie near
    writing = (parts * block.outs * in_vectors * points * (BACK_CYCLES - 1 + moved) + placed) / writers
    adding = block.splits * parts * sums / size / lanes * 2 / threads if block.splits > 1 else 0.0
    share = -(-blocks // block.splits)  # of the longest split
    return -(-tasks // threads) * (share * (packing + transforming + computing + streamed + bringing) + TASK_COST) + writing + adding

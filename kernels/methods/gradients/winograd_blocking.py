"""How a Winograd weights' gradient is divided: which tile, how many tiles a block, which channels a task has.

A block's transformed input and gradients lie in the last-level cache, one point of both in the second-level cache, where the tiles of sums
pass over it. Sums have a number for every point, t*t / (r*r) times the weights, so they are what is written and read most where maps are
small.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from kernels.cost.gemm import tallest
from kernels.cost.memory import MEMORY_BYTES, TASK_COST, far_cycles
from kernels.methods.gradients.blocking import CALL, PACKED, position_cycles, tiles
from kernels.problem.conv import ConvWeight
from kernels.runtime.machine import machine, remembered

# gradients per tile and axis that are considered, by kernel length; transforms of 8x8 points outgrow the registers, so longer ones along
# axis only: cnn14.b2c2 took 12.4 ms with 6x4, 11.5 with 4x4, 16.0 with 6x6 (one thread of Zen 5)
TILES = {1: (1,), 2: (3, 2), 3: (4, 2), 5: (2,)}
ALONE = {1: (1,), 2: (3, 2), 3: (6, 4, 2), 5: (4, 2)}
# Growth of the rounding error per axis over that of direct summation, of normal and rectified input and gradients, the largest of all
# weights, with room of a factor of 2 at least (tests hold methods to the bound)
GROWTH = {(1, 1): 1.0, (2, 2): 1.5, (2, 3): 2.0, (3, 2): 1.2, (3, 4): 2.0, (3, 6): 2.5, (5, 2): 2.0, (5, 4): 2.5}
BLOCK_TILES = (24, 32, 48, 64, 96, 128, 192)
BACK = 220.0  # cycles to transform a vector of weights back and write it


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
            for channels in sorted({ins, *(c for c in (lanes, 2 * lanes, 4 * lanes, 8 * lanes, 16 * lanes) if c < ins)}):
                tasks = problem.groups * -(-ins // channels)
                for splits in sorted({1, min(blocks, -(-threads // tasks))}):
                    for m, n in tiles(lanes):
                        if m == tallest(min(outs, lanes), m):
                            block = TileBlocking(
                                mh=mh, mw=mw, images=images, rows=rows, columns=columns, channels=channels, outs=outs, splits=splits, m=m,
                                n=n,
                            )  # fmt: skip
                            yield dataclasses.replace(block, cycles=_cycles(problem, block, blocks, threads))


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
    ins = problem.c_in // problem.groups
    (kh, kw), count = problem.kernel, block.tiles
    th, tw = block.mh + kh - 1, block.mw + kw - 1
    points = th * tw
    in_vectors, out_vectors = -(-block.channels // lanes), -(-block.outs // lanes)
    patches = block.images * (block.rows * block.mh + kh - 1) * (block.columns * block.mw + kw - 1)
    packing = PACKED * (patches * block.channels + count * block.mh * block.mw * block.outs)
    lined = points * 2.5 + (th + tw) * 8.0
    transforming = count * (in_vectors + out_vectors) * lined
    m = block.outs / -(-block.outs // block.m)
    across = -(-in_vectors // block.n)
    n = in_vectors / across
    sums = points * block.outs * in_vectors * lanes * size
    resumed = 2 * m * n * (1.0 if sums < spec.l2 / 2 else 3.0 if sums * threads < spec.l3 / 2 else 8.0)
    fresh = block.splits >= blocks
    each = count * position_cycles(m, n, True) + resumed * (0.5 if fresh else 1.0) + CALL
    computing = points * -(-block.outs // block.m) * across * each
    stored = points * count * (in_vectors + out_vectors) * lanes * size
    streamed = stored * 2 / 12.0 if stored > spec.l2 / 2 else 0.0
    far = problem.n * (math.prod(problem.x_shape[1:]) + math.prod(problem.conv_shape[1:])) * size
    bringing = (patches * block.channels + count * block.mh * block.mw * block.outs) * size * (
        far_cycles(far, MEMORY_BYTES, spec) if far > spec.l2 else 0.0
    )
    ic_splits = problem.groups * -(-ins // block.channels)
    tasks = ic_splits * block.splits
    writing = ic_splits * block.outs * in_vectors * BACK * (1.0 if sums < spec.l2 else 1.5) / min(threads, max(ic_splits, 2 * block.splits))
    adding = block.splits * ic_splits * sums / size / lanes * 2 / threads if block.splits > 1 else 0.0
    share = blocks / block.splits
    return -(-tasks // threads) * (share * (packing + transforming + computing + streamed + bringing) + TASK_COST) + writing + adding

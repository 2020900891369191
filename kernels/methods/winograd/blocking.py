"""How a Winograd convolution is cut up: which tile, how many rows of tiles to a job, how many output channels to a round of products.

All of a job's transformed input and one round's products share the second-level cache. The estimate counts cycles of one core: transforms
per point and vector, products by the GEMM tile, transformed weights by bandwidth where they outgrow the caches.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from kernels.cost.classes import Anew, by_class, parts
from kernels.cost.gemm import TILE_COST, across_cycles, pool_apart, tallest, tap_cycles
from kernels.cost.memory import L3_BYTES, MEMORY_BYTES, job_cycles, job_shapes, slowest, stream_cycles
from kernels.cost.variants import rivals
from kernels.problem.conv import Conv
from kernels.runtime.machine import machine

TILES = {1: (1,), 2: (5, 3), 3: (6, 4, 2), 5: (4, 2)}  # outputs per tile and axis that are considered, by kernel length
# Growth of the rounding error per axis over that of direct summation. Measured on 32 to 512 channels of normal, heavy-tailed (fifth power)
# and rectified input in two dimensions, the largest of all outputs: 0.1 and 2.6 for F(3,2) and F(5,2), 0.3, 2.3, 4.0 for F(2,3), F(4,3)
# and F(6,3), 0.9 and 2.6 for F(2,5) and F(4,5); the squares below are 2 to 5 times that, or more
GROWTH = {(1, 1): 1.0, (3, 2): 1.2, (5, 2): 3.0, (2, 3): 1.2, (4, 3): 2.5, (6, 3): 3.0, (2, 5): 2.0, (4, 5): 3.0}
TOGETHER, FEW = 16, 3  # vectors of tiles up to which images share a job, and up to which products may have lanes along output channels
BROUGHT, MORE_BROUGHT = 7.5, 0.06  # cycles per point and vector to bring and transform patches: 8.1 of 16 points, 9.2 of 36, 11.4 of 64
CALLED = 75  # cycles to call, begin and end a transform: one vector of 16 points took 230 in all on the way in, 137 on the way out
TOLERABLE = 1e-4  # a share of the largest output; tiles whose error stays below are preferred


@dataclasses.dataclass(frozen=True)
class Blocking:
    """mh, mw: outputs per tile. rows, columns: tiles per job, of each of `images` whole images or of a part of one. channels: output
    channels per round of products. m, n: the GEMM tile. chunks: parts of the output channels, each a
    job of its own. across: lanes run along output channels in products, m counts tiles and n vectors of channels. cycles: the estimate."""

    mh: int
    mw: int
    rows: int
    columns: int
    channels: int
    m: int
    n: int
    chunks: int
    images: int = 1
    across: bool = False
    cycles: float = math.inf

    @property
    def tiles(self) -> int:
        """Tiles of a job."""
        return self.images * self.rows * self.columns

    def patch(self, problem: Conv) -> tuple[int, int]:
        """Rows and columns of a tile's patch."""
        kh, kw = problem.kernel
        return self.mh + kh - 1, self.mw + kw - 1

    def height(self, lanes: int) -> int:
        """Output channels of the largest tile of products."""
        return self.n * lanes if self.across else self.m

    def pitch(self, lanes: int) -> int:
        """Vectors that hold the tiles of a job, image after image without gaps; lines of tiles are written in whole vectors, and those of
        the last image must not reach into the next channel, whose first image may be there already."""
        number = self.rows * self.columns
        if self.images == 1:
            return -(-number // lanes)
        line = number if self.mw > 1 else self.columns  # see methods.winograd.tile_load
        return -(-(self.images * number - line + -(-line // lanes) * lanes) // lanes)


def tiling(problem: Conv, cut: Blocking) -> Conv:
    """Tiles as a convolution: its kernel is the patch, its stride the tile, so packing and offsets are those of any strided layer."""
    kernel = cut.patch(problem)
    sizes, pads = [], []
    for n, (before, after), out, m, t in zip(problem.size, problem.padding, problem.conv_size, (cut.mh, cut.mw), kernel):
        sizes.append(n)
        pads.append((before, max(after, (-(-out // m) - 1) * m + t - n - before)))
    return dataclasses.replace(problem.bare(), kernel=kernel, stride=(cut.mh, cut.mw), padding=tuple(pads))


def kind(cut: Blocking) -> str:
    """What tells cuts apart for measuring: the tile's outputs."""
    return f"{cut.mh}x{cut.mw}"


def kinds(problem: Conv, threads: int) -> list[str]:
    """Tiles that are estimated not much higher than the best."""
    return rivals(((kind(cut), cut.cycles) for cut in _cuts(problem, threads)), kind(best(problem, threads)))


def _resized(old: Conv, cut: Blocking, problem: Conv, threads: int, only: str = "") -> Blocking:
    """The cut of another problem of the class for this one: the same tile, as many blocks of its rows and columns."""
    lanes, outs = machine().lanes(problem.itemsize), problem.c_out // problem.groups
    (down, across), (down_old, across_old) = (
        tuple(-(-out // m) for out, m in zip(each.conv_size, (cut.mh, cut.mw))) for each in (problem, old)
    )
    if cut.images > 1 and cut.images * down * across > TOGETHER * lanes:
        raise Anew
    rows = down if cut.images > 1 else parts(down, down_old, cut.rows)
    columns = across if cut.columns == across_old else min(cut.columns, across)
    new = dataclasses.replace(cut, rows=rows, columns=columns)
    if (new.across and new.tiles > FEW * lanes) or holds_windows(old, cut) != holds_windows(problem, new):
        raise Anew
    if new.across:
        new = dataclasses.replace(new, m=tallest(new.tiles, min((machine().registers - 1 - new.n) // new.n, 16)))
    if cut.channels < outs:
        new = dataclasses.replace(new, channels=_fitting(problem, new, outs))
    return dataclasses.replace(new, cycles=_cycles(problem, new, threads))


@by_class(_resized)
def best(problem: Conv, threads: int, only: str = "") -> Blocking:
    """The cut with the lowest estimate, of those with a tolerable error if there are any; where jobs do not hold whole windows of a pool
    that follows, its cost counts. only: of this kind, if there is one."""
    cuts = _cuts(problem, threads)
    cuts = [cut for cut in cuts if kind(cut) == only] or cuts
    cuts = [cut for cut in cuts if error(problem, cut) <= TOLERABLE] or cuts
    apart = pool_apart(problem, threads)
    return min(cuts, key=lambda cut: cut.cycles + (0.0 if holds_windows(problem, cut) else apart))


def holds_windows(problem: Conv, cut: Blocking) -> bool:
    """Whether every job has whole windows of the pool, if there is one, in lines one behind the other."""
    if not problem.pool:
        return True
    _, kernel, stride = problem.pool
    oh, ow = problem.conv_size
    all_rows, all_columns = cut.rows * cut.mh >= oh, cut.columns * cut.mw >= ow
    fit = all(s >= k for k, s in zip(kernel, stride))
    rows, columns = all_rows or cut.rows * cut.mh % stride[0] == 0, all_columns or cut.columns * cut.mw % stride[1] == 0
    return fit and rows and columns and (all_columns or oh == 1)


def error(problem: Conv, cut: Blocking) -> float:
    """Largest error to expect, as a share of the largest output: that of summing c_in products, times the growth of the tile."""
    eps = float(np.finfo(problem.dtype).eps)
    growth = math.prod(GROWTH[m, r] for m, r in zip((cut.mh, cut.mw), problem.kernel))
    return 4 * eps * growth * (problem.c_in // problem.groups + 1) ** 0.5


def _cuts(problem: Conv, threads: int) -> list[Blocking]:
    lanes, outs, (oh, ow) = machine().lanes(problem.itemsize), problem.c_out // problem.groups, problem.conv_size
    found = []
    for mh in TILES[problem.kernel[0]]:
        for mw in TILES[problem.kernel[1]]:
            down, across = -(-oh // mh), -(-ow // mw)
            for rows, columns, images in _blocks(problem.n, down, across, lanes, threads):
                whole = Blocking(mh, mw, rows, columns, 0, 0, 0, 0, images)
                for tiled in _tiled(whole, outs, lanes, threads):
                    for channels in {_fitting(problem, tiled, outs), outs}:  # or all at once, products then lying in the third-level cache
                        cut = dataclasses.replace(tiled, channels=channels)
                        found.append(dataclasses.replace(cut, cycles=_cycles(problem, cut, threads)))
    return found


def _fitting(problem: Conv, cut: Blocking, outs: int) -> int:
    """Output channels per round: what the second-level cache has left for products."""
    spec = machine()
    lanes, size, tall = spec.lanes(problem.itemsize), problem.itemsize, cut.height(spec.lanes(problem.itemsize))
    each = math.prod(cut.patch(problem)) * cut.pitch(lanes) * lanes * size
    left = spec.l2 * 0.8 - each * (problem.c_in // problem.groups)
    return max(tall, min(outs, int(left // each) // tall * tall))


def _tiled(cut: Blocking, outs: int, lanes: int, threads: int) -> Iterator[Blocking]:
    """The cut with every tile of products that is considered, and with output channels in one part or one for each thread. Lanes along
    output channels where those fill vectors and tiles hardly do."""
    registers = machine().registers
    for n in (1, 2, 3, 4):
        largest = min((registers - 1 - n) // n, 16)
        for chunks in sorted({1, min(threads, outs)}):
            yield dataclasses.replace(cut, m=tallest(max(1, outs // chunks), min(largest, outs)), n=n, chunks=chunks)
            if cut.tiles <= FEW * lanes and outs % (n * lanes) == 0 and outs >= chunks * n * lanes:
                yield dataclasses.replace(cut, m=tallest(cut.tiles, largest), n=n, chunks=chunks, across=True)


def _blocks(n: int, down: int, across: int, lanes: int, threads: int) -> list[tuple[int, int, int]]:
    """Tiles of a job, rows by columns, and images, that are considered: whole rows, or parts of one row where one holds many vectors; or
    several whole images whose tiles are few, so that they share vectors and each weight that is read."""
    rows = {min(down, count) for count in (down, *(-(-down // (threads * i)) for i in (1, 2, 3, 4, 6, 8, 12, 16, 32)), 1, 2, 3, 4)}
    parts = {lanes * vectors for vectors in (2, 3, 4, 6, 8, 12) if lanes * vectors < across}
    together = _some_divisors(n, TOGETHER * lanes // (down * across))
    of_one = {(count, across, 1) for count in rows} | {(1, part, 1) for part in parts}
    return sorted(of_one | {(down, across, count) for count in together})


def _some_divisors(n: int, limit: int) -> list[int]:
    """Divisors of n from 2 to `limit`, at most one between each power of two and the next: the largest."""
    largest = {count.bit_length(): count for count in range(2, min(n, limit) + 1) if n % count == 0}
    return sorted(largest.values())


def _cycles(problem: Conv, cut: Blocking, threads: int) -> float:
    """Estimated cycles of the slowest thread."""
    oh, ow = problem.conv_size
    shapes = list(job_shapes((-(-oh // cut.mh), -(-ow // cut.mw)), (cut.rows, cut.columns)))
    planes = problem.n // cut.images * problem.groups
    return slowest([(_job(problem, cut, rows, columns, threads), count) for rows, columns, count in shapes], planes, cut.chunks, threads)


def _job(problem: Conv, cut: Blocking, rows: int, columns: int, threads: int) -> float:
    """Estimated cycles of a job of rows x columns tiles: transforms per point and vector, products by the tile, what leaves the caches by
    bandwidth."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    th, tw = cut.patch(problem)
    points, share = th * tw, outs / cut.chunks
    vectors = math.ceil(cut.images * rows * columns / lanes)
    each = math.ceil(rows * columns / lanes)  # of an image
    brought = cut.images * (each if cut.mw > 1 else rows * math.ceil(columns / lanes))
    before = ins * (brought * points * (BROUGHT + MORE_BROUGHT * points) + cut.images * CALLED)
    point_cost = 3.0 + 0.25 * (th + tw)  # loads, stores and two passes of additions per point and vector
    after = cut.images * share * (each * (points * point_cost + cut.mh * cut.mw * 3) + CALLED)
    if cut.across:
        tap, calling = across_cycles(cut.m, cut.n, False, lanes)
        passes = -(-cut.images * rows * columns // cut.m)
        tiles = -(-share // cut.height(lanes)) * passes
    else:
        n = vectors / -(-vectors // cut.n)
        tap, calling, passes = tap_cycles(cut.m, n), TILE_COST + cut.m * n / 2, 1
        tiles = -(-share // cut.m) * (vectors / n)
    products = points * tiles * (ins * tap + calling)
    # what leaves the second-level cache: transformed input is written, and read by each round; so is what a round makes
    stream = stream_cycles(points * ins * problem.c_out * size, points * ins * share * size, spec, cut.across)
    v_bytes, m_bytes = (points * count * vectors * lanes * size for count in (ins, share))
    if v_bytes + m_bytes * min(1, cut.channels / share) > 0.8 * spec.l2:
        traffic = v_bytes * (1 + math.ceil(share / cut.channels)) + 2 * m_bytes
        if threads * (v_bytes + m_bytes) < 0.45 * spec.l3:
            stream += traffic / L3_BYTES[spec.mesh]
        else:  # cnn14.b4c2 took 13 ms with 10 MB in 33 MB of cache, 25 ms with 19 MB; on another machine 14 MB did no harm
            after += traffic / MEMORY_BYTES / 2
    return job_cycles(products, stream, before + after, passes)

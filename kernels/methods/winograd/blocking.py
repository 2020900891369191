"""How a Winograd convolution is divided: which tile, how many rows of tiles to a task, how many output channels to a block of products.

All of a task's transformed input and one output-channel block's products share the second-level cache. The estimate counts cycles of one
core: transforms per point and vector, products by the GEMM tile, transformed weights by bandwidth where they outgrow the caches.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.cost.classes import Anew, by_class, step_like
from kernels.cost.gemm import TILE_COST, most_rows, oc_tile_cycles, pool_apart, tallest, tap_cycles
from kernels.cost.memory import L3_BYTES, MEMORY_BYTES, far_cycles, stream_cycles, task_cycles
from kernels.cost.roofline import threads_that_pay
from kernels.cost.tables import picked, row
from kernels.cost.variants import rivals
from kernels.methods.winograd.dilated import turns
from kernels.problem.conv import Conv
from kernels.runtime.machine import machine

TILES = {1: (1,), 2: (5, 3), 3: (6, 4, 2), 5: (4, 2)}  # outputs per tile and axis that are considered, by kernel length
SAVED = 6.25  # multiply-adds of the definition for one of the tile that saves most, 4x4 outputs by 5x5 taps
# Growth of the rounding error per axis over that of direct summation. Measured on 32 to 512 channels of normal, heavy-tailed (fifth power)
# and rectified input in two dimensions, the largest of all outputs: 0.1 and 2.6 for F(3,2) and F(5,2), 0.3, 2.3, 4.0 for F(2,3), F(4,3)
# and F(6,3), 0.9 and 2.6 for F(2,5) and F(4,5); the squares below are 2 to 5 times that, or more
GROWTH = {(1, 1): 1.0, (3, 2): 1.2, (5, 2): 3.0, (2, 3): 1.2, (4, 3): 2.5, (6, 3): 3.0, (2, 5): 2.0, (4, 5): 3.0}
SUMMED = 48  # input channels whose products are summed in registers, before all such sums are added; see README
TOGETHER, FEW = 16, 3  # vectors of tiles up to which images share a task, and up to which products may have lanes along output channels
LOADED, MORE_LOADED = 7.5, 0.06  # cycles per point and vector to load and transform patches: 8.1 of 16 points, 9.2 of 36, 11.4 of 64
STORED = 3.0  # cycles per vector of outputs to store it
# the same where tiles are dilated: per vector, and for each run of it
RUNS_LOADED, RUN_LOADED, RUNS_STORED, RUN_STORED = 6.5, 1.5, 2.0, 4.0
# what transforms of tiles that do not take turns along rows take of that, by whether a mesh is between caches: of tiles one column wide,
# loaded by whole vectors, and of wider ones, whose columns are shuffled; fitted on Granite Rapids, see README
WHOLE, SHUFFLED = {False: 1.0, True: 1.2}, {False: 1.0, True: 1.5}
CALLED = 75  # cycles to call, begin and end a transform: one vector of 16 points took 230 in all on the way in, 137 on the way out
TRANSFORMED = 1.0  # cycles to transform a weight to a point, beside moving it there: 0.8 to 1.1 in the second-level cache
TOLERABLE = 1e-4  # a share of the largest output; tiles whose error stays below are preferred
LARGEST_TURNS = 8  # second-level caches full of transformed input that a task may hold where tiles take turns


@dataclasses.dataclass(frozen=True)
class Blocking:
    """mh, mw: outputs per tile. rows, columns: tiles per task, of each of `images` whole images or of some of one. channels: output
    channels per output-channel block. m, n: the GEMM tile. oc_splits: into how many tasks the output channels are split.
    oc_lanes: whether lanes run along output channels in products, m counts tiles and n vectors of channels. cycles: the estimate.
    """

    mh: int
    mw: int
    rows: int
    columns: int
    channels: int
    m: int
    n: int
    oc_splits: int
    images: int = 1
    oc_lanes: bool = False
    cycles: float = math.inf

    @property
    def tiles(self) -> int:
        """Tiles of a task."""
        return self.images * self.rows * self.columns

    def patch(self, problem: Conv) -> tuple[int, int]:
        """Rows and columns of a tile's patch."""
        kh, kw = problem.kernel
        return self.mh + kh - 1, self.mw + kw - 1

    def height(self, lanes: int) -> Any:
        """Output channels of the largest tile of products."""
        return int_or_array(np.where(self.oc_lanes, self.n * lanes, self.m))

    def pitch(self, lanes: int) -> Any:
        """Vectors that hold the tiles of a task, image after image without gaps; lines of tiles are written in whole vectors, and those of
        the last image must not reach into the next channel, whose first image may be there already."""
        number = self.rows * self.columns  # of one image, the line is all of it: whole vectors
        line = number if self.mw > 1 else np.where(self.images == 1, number, self.columns)  # see methods.winograd.tile_load
        return int_or_array(-(-(self.images * number - line + -(-line // lanes) * lanes) // lanes))


def tiling(problem: Conv, block: Blocking) -> Conv:
    """Tiles as a convolution: its kernel is the patch, its stride the tile, so packing and offsets are those of any strided layer."""
    kernel = block.patch(problem)
    sizes, pads = [], []
    for n, (before, after), out, m, t in zip(problem.size, problem.padding, problem.conv_size, (block.mh, block.mw), kernel):
        sizes.append(n)
        pads.append((before, max(after, (-(-out // m) - 1) * m + t - n - before)))
    return dataclasses.replace(problem.bare(), kernel=kernel, stride=(block.mh, block.mw), dilation=(1, 1), padding=tuple(pads))


def grid(problem: Conv, size: tuple[int, ...], mh: int, mw: int) -> tuple[int, int]:
    """Tiles of mh x mw outputs down and across an output of this size: whole turns of those that take turns."""
    down, across = (turn * -(-out // (turn * m)) for out, m, turn in zip(size, (mh, mw), turns(problem)))
    return down, across


def variant_of(block: Blocking) -> str:
    """What tells blockings apart for measuring: the tile's outputs."""
    return f"{block.mh}x{block.mw}"


def variant_names(problem: Conv, threads: int) -> list[str]:
    """Tiles that are estimated not much higher than the best."""
    return rivals(((variant_of(block), block.cycles) for block in _blockings(problem, threads)), variant_of(best(problem, threads)))


def _resized(old: Conv, block: Blocking, problem: Conv, threads: int, variant: str = "", once: bool = False) -> Blocking:
    """The blocking of another problem of the class for this one: the same tile, as many blocks of its rows and columns."""
    lanes, outs = machine().lanes(problem.itemsize), problem.c_out // problem.groups
    (down, across), (down_old, across_old) = (grid(each, each.conv_size, block.mh, block.mw) for each in (problem, old))
    if problem.n % block.images or (block.images > 1 and block.images * down * across > TOGETHER * lanes):
        return _cheapest(problem, [_of_tile(problem, threads, block.mh, block.mw)], threads)
    rows = down if block.images > 1 else step_like(down, down_old, block.rows)
    columns = across if block.columns == across_old else min(block.columns, across)
    new = dataclasses.replace(block, rows=rows, columns=columns)
    if (new.oc_lanes and new.tiles > FEW * lanes) or holds_windows(old, block) != holds_windows(problem, new):
        raise Anew
    if turns(problem)[1] > 1 and input_bytes(problem, math.prod(new.patch(problem)), new.tiles) > turns_limit():
        raise Anew
    if new.oc_lanes:
        new = dataclasses.replace(new, m=tallest(new.tiles, min(most_rows(new.n, machine()), 16)))
    if block.channels < outs:
        new = dataclasses.replace(new, channels=_fitting(problem, new, outs))
    grown = problem.n / max(old.n, 1) * down * across / (down_old * across_old)
    return dataclasses.replace(new, cycles=block.cycles * grown)


@by_class(_resized)
def best(problem: Conv, threads: int, variant: str = "", once: bool = False) -> Blocking:
    """The blocking with the lowest estimate, of those with a tolerable error if there are any; where tasks do not hold whole windows of a
    pool that follows, its cost counts. variant: of this one, if there is one. once: for weights that serve one call, which are transformed
    in it: smaller tiles have fewer points."""
    tables = _table(problem, threads)
    tables = [blockings for blockings in tables if variant_of(blockings) == variant] or tables
    tables = [blockings for blockings in tables if error(problem, blockings) <= TOLERABLE] or tables
    return _cheapest(problem, tables, threads, once)


def threads_of(problem: Conv, threads: int) -> int:
    """How many of so many threads to take."""
    return threads_that_pay(problem, threads, lambda: best(problem, 1).cycles, SAVED)


def weight_cycles(problem: Conv, block: Blocking) -> float:
    """Cycles of one core to transform the weights; what outgrows the second-level cache is brought and written."""
    spec, count = machine(), math.prod(block.patch(problem)) * math.prod(problem.weight_shape) / problem.taps
    total = count * problem.itemsize
    moved = 2 * problem.itemsize * far_cycles(total, MEMORY_BYTES, spec) if total > spec.l2 else 0.0
    return count * (TRANSFORMED + moved)


def _cheapest(problem: Conv, tables: list[Blocking], threads: int, once: bool = False) -> Blocking:
    """The blocking with the lowest estimate of these, where a pool that tasks do not do costs as much as it takes by itself, and weights
    that serve once what transforming them takes."""
    apart = pool_apart(problem, threads)
    found = []
    for blockings in tables:
        costs = blockings.cycles + np.where(holds_windows(problem, blockings), 0.0, apart)
        if once:
            costs = costs + weight_cycles(problem, blockings) / threads
        least = int(costs.argmin())
        found.append((costs[least], row(blockings, least)))
    return min(found, key=lambda pair: pair[0])[1]


def holds_windows(problem: Conv, block: Blocking) -> Any:
    """Whether every task has whole windows of the pool, if there is one, in lines one behind the other; for a record of many an array."""
    if not problem.pool:
        return True
    _, kernel, stride = problem.pool
    oh, ow = problem.conv_size
    all_rows, all_columns = block.rows * block.mh >= oh, block.columns * block.mw >= ow
    fit = all(s >= k for k, s in zip(kernel, stride))
    rows, columns = all_rows | (block.rows * block.mh % stride[0] == 0), all_columns | (block.columns * block.mw % stride[1] == 0)
    return fit & rows & columns & (all_columns | (oh == 1))


def error(problem: Conv, block: Blocking) -> float:
    """Largest error to expect, as a share of the largest output: that of summing c_in products in blocks, times the growth of the tile."""
    eps, ins = float(np.finfo(problem.dtype).eps), problem.c_in // problem.groups
    growth = math.prod(GROWTH[m, r] for m, r in zip((block.mh, block.mw), problem.kernel))
    return 4 * eps * growth * (summed(ins) + -(-ins // SUMMED)) ** 0.5


def summed(channels: int) -> int:
    """Input channels of a block of sums: nearly equal ones of at most SUMMED."""
    return -(-channels // -(-channels // SUMMED))


def _table(problem: Conv, threads: int) -> list[Blocking]:
    """Every blocking that is considered, with its estimate: a record for each tile, whose other fields are arrays."""
    return [_of_tile(problem, threads, mh, mw) for mh in TILES[problem.kernel[0]] for mw in TILES[problem.kernel[1]]]


def _of_tile(problem: Conv, threads: int, mh: int, mw: int) -> Blocking:
    """Those of one tile."""
    lanes, outs = machine().lanes(problem.itemsize), problem.c_out // problem.groups
    blocks = _blocks(problem, grid(problem, problem.conv_size, mh, mw), lanes, threads)
    rows = [(*shape, *tiled) for shape in blocks for tiled in _tiled(math.prod(shape), outs, lanes, threads)]
    height, width, images, m, n, oc_splits, transposing = np.array(rows, np.int64).T
    block = Blocking(
        mh=mh, mw=mw, rows=height, columns=width, channels=outs, m=m, n=n, oc_splits=oc_splits,  # type: ignore[arg-type]
        images=images, oc_lanes=transposing != 0,  # type: ignore[arg-type]
    )  # fmt: skip
    fitting = _fitting(problem, block, outs)
    # all output channels in one block, products then lying in the third-level cache where they must; or those that fit the second
    both, first = np.repeat(np.arange(len(rows)), 2), np.arange(2 * len(rows)) % 2 == 0
    channels = np.where(first, outs, fitting[both])
    keep = first | (channels != outs)
    block = dataclasses.replace(picked(block, both[keep]), channels=channels[keep])  # type: ignore[arg-type]
    return dataclasses.replace(block, cycles=_cycles(problem, block, threads))


def _blockings(problem: Conv, threads: int) -> list[Blocking]:
    """All one by one."""
    return [row(block, i) for block in _table(problem, threads) for i in range(len(block.m))]  # type: ignore[arg-type]


def _fitting(problem: Conv, block: Blocking, outs: int) -> Any:
    """Output channels per block: what the second-level cache has left for products."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    tile_rows = block.height(lanes)
    each = math.prod(block.patch(problem)) * block.pitch(lanes) * lanes * size
    left = spec.l2 * 0.8 - each * (problem.c_in // problem.groups)
    return int_or_array(np.maximum(tile_rows, np.minimum(outs, np.asarray(left // each).astype(np.int64) // tile_rows * tile_rows)))


def int_or_array(found: Any) -> Any:
    """A whole number of NumPy's as Python's own."""
    return found if np.ndim(found) else int(found)


def _tiled(tiles: int, outs: int, lanes: int, threads: int) -> Iterator[tuple[int, int, int, bool]]:
    """(m, n, oc_splits, oc_lanes) of every GEMM tile of products that is considered for a task of so many tiles, with output channels in
    one split or one for each thread. Lanes along output channels where those fill vectors and tiles hardly do."""
    spec = machine()
    for n in (1, 2, 3, 4):
        largest = min(most_rows(n, spec), 16)
        for oc_splits in sorted({1, min(threads, outs)}):
            yield tallest(max(1, outs // oc_splits), min(largest, outs)), n, oc_splits, False
            if tiles <= FEW * lanes and outs % (n * lanes) == 0 and outs >= oc_splits * n * lanes:
                yield tallest(tiles, largest), n, oc_splits, True


def _blocks(problem: Conv, tiles: tuple[int, int], lanes: int, threads: int) -> list[tuple[int, int, int]]:
    """Tiles of a task, rows by columns, and images, that are considered: whole rows, or pieces of one row where one holds many vectors; or
    several whole images whose tiles are few, so that they share vectors and each weight that is read. Where tiles take turns, whole turns,
    of which one image has many."""
    (down, across), turn = tiles, turns(problem)
    rows = {min(down, count) for count in (down, *(-(-down // (threads * i)) for i in (1, 2, 3, 4, 6, 8, 12, 16, 32)), 1, 2, 3, 4)}
    pieces = {-(-lanes * vectors // turn[1]) * turn[1] for vectors in (2, 3, 4, 6, 8, 12)}
    together = _some_divisors(problem.n, TOGETHER * lanes // (down * across)) if turn == (1, 1) else []
    of_one = {(count, across, 1) for count in rows} | {(1, piece, 1) for piece in pieces if piece < across}
    return sorted(of_one | {(down, across, count) for count in together})


def turns_limit() -> int:
    """Bytes of transformed input that a task may hold where tiles take turns: whole turns of long dilations would fill the memory."""
    return LARGEST_TURNS * machine().l2


def turn_bytes(problem: Conv) -> int:
    """Bytes of the transformed input of one turn of the smallest tiles, the least that a task holds."""
    return input_bytes(problem, math.prod(min(TILES[k]) + k - 1 for k in problem.kernel), turns(problem)[1])


def input_bytes(problem: Conv, points: int, tiles: int) -> int:
    """Bytes of the transformed input of so many tiles of a group."""
    return points * (problem.c_in // problem.groups) * tiles * problem.itemsize


def _some_divisors(n: int, limit: int) -> list[int]:
    """Divisors of n from 2 to `limit`, at most one between each power of two and the next: the largest."""
    largest = {count.bit_length(): count for count in range(2, min(n, limit) + 1) if n % count == 0}
    return sorted(largest.values())


def _cycles(problem: Conv, block: Blocking, threads: int) -> Any:
    """Estimated cycles of the slowest thread; an array for a record of many blockings."""
    size = grid(problem, problem.conv_size, block.mh, block.mw)
    planes = problem.n // block.images * problem.groups
    # blocks of a plane: whole ones and those at its ends, which have what is left of rows, of columns, of both
    down, across, rest_down, rest_across = size[0] // block.rows, size[1] // block.columns, size[0] % block.rows, size[1] % block.columns
    below, beside = rest_down > 0, rest_across > 0
    shapes = (
        (block.rows, block.columns, down * across), (block.rows, rest_across, down * beside),
        (rest_down, block.columns, below * across), (rest_down, rest_across, below * beside),
    )  # fmt: skip
    if isinstance(block.rows, int):  # one blocking: all its tasks at once, by Python's own numbers
        rows, columns, counts = zip(*(shape for shape in shapes if shape[2]))
        costs = _task(problem, block, np.array(rows), np.array(columns), threads).tolist()
        number = sum(counts)
        average, longest = sum(cycles * count for cycles, count in zip(costs, counts)) / number, max(costs)
        each = math.ceil(number * planes * block.oc_splits / threads)
        return each * (longest if planes == 1 and block.oc_splits % threads != 0 else average)
    tasks = [(_task(problem, block, rows, columns, threads), count) for rows, columns, count in shapes if np.any(count)]
    number = sum(count for _, count in tasks)
    tasks_each = np.ceil(number * planes * block.oc_splits / threads)
    average = sum(np.where(count > 0, cycles, 0.0) * count for cycles, count in tasks) / number
    longest = functools.reduce(np.maximum, (np.where(count > 0, cycles, 0.0) for cycles, count in tasks))
    # threads have equal numbers of tasks, the first the whole ones
    return tasks_each * np.where((planes == 1) & (block.oc_splits % threads != 0), longest, average)


def _task(problem: Conv, block: Blocking, rows: Any, columns: Any, threads: int) -> Any:
    """Estimated cycles of a task of rows x columns tiles: transforms per point and vector, products by the tile, what leaves the caches by
    bandwidth."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    th, tw = block.patch(problem)
    points, share = th * tw, outs / block.oc_splits
    rows, columns = np.maximum(rows, 1), np.maximum(columns, 1)  # a task without tiles is counted by nobody
    vectors = np.ceil(block.images * rows * columns / lanes)
    each = np.ceil(rows * columns / lanes)  # of an image
    across = turns(problem)[1]
    brought = block.images * (each if block.mw > 1 or across > 1 else rows * np.ceil(columns / lanes))
    runs = max(1.0, lanes / across)
    loaded, stored = (LOADED, STORED) if across == 1 else (RUNS_LOADED + RUN_LOADED * runs, RUNS_STORED + RUN_STORED * runs)
    longer = 1.0 if across > 1 else (SHUFFLED if block.mw > 1 else WHOLE)[spec.mesh]
    before = ins * (longer * brought * points * (loaded + MORE_LOADED * points) + block.images * CALLED)
    point_cost = 3.0 + 0.25 * (th + tw)  # loads, stores and two passes of additions per point and vector
    after = block.images * share * (longer * each * (points * point_cost + block.mh * block.mw * stored) + CALLED)
    n = vectors / -(-vectors // block.n)
    oc_tap, oc_calling = oc_tile_cycles(block.m, block.n, False, lanes)
    oc_passes = -(-block.images * rows * columns // block.m)
    oc_tiles = -(-share // block.height(lanes)) * oc_passes
    tap = np.where(block.oc_lanes, oc_tap, tap_cycles(block.m, n))
    calling = np.where(block.oc_lanes, oc_calling, TILE_COST + block.m * n / 2)
    passes = np.where(block.oc_lanes, oc_passes, 1)
    tiles = np.where(block.oc_lanes, oc_tiles, -(-share // block.m) * (vectors / n))
    products = points * tiles * (ins * tap + calling)
    # what leaves the second-level cache: transformed input is written, and read by each output-channel block; so is what one makes
    total, own = points * ins * problem.c_out * size, points * ins * share * size
    stream = np.where(block.oc_lanes, stream_cycles(total, own, spec, True), stream_cycles(total, own, spec, False))
    v_bytes, m_bytes = (points * count * vectors * lanes * size for count in (ins, share))
    leaves = v_bytes + m_bytes * np.minimum(1, block.channels / share) > 0.8 * spec.l2
    traffic = np.where(leaves, v_bytes * (1 + np.ceil(share / block.channels)) + 2 * m_bytes, 0.0)
    if across > 1:
        traffic = np.where(v_bytes > turns_limit(), math.inf, traffic)
    near = threads * (v_bytes + m_bytes) < 0.45 * spec.l3
    stream = stream + np.where(near, traffic / L3_BYTES[spec.mesh], 0.0)
    # cnn14.b4c2 took 13 ms with 10 MB in 33 MB of cache, 25 ms with 19 MB; on another machine 14 MB did no harm
    after = after + np.where(near, 0.0, traffic / MEMORY_BYTES / 2)
    return task_cycles(products, stream, before + after, passes)

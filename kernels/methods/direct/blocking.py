"""How a direct convolution is cut into tasks, blocks and tiles: what is enumerated, and the estimate that picks one.

A task packs a block of input (some channels, some output rows or columns with their halo) into scratch and runs tiles over it. Two
layouts of the block. Rows: rows with halo, split by column phase where strided, one tile line per output row; lanes run along the
width. MEC: one copy of the rows per kernel column (and per row phase where strided), so that the block's outputs form one line
without gaps and maps narrower than a vector fill it; it packs kw times as much (M. Cho and D. Brand, "MEC: memory-efficient
convolution for deep neural network", arXiv 1706.06873). The estimate counts cycles of one core.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.cost.classes import Anew, by_class, step_like
from kernels.cost.gemm import (
    CALL_COST,
    MATRIX,
    NUMBERS,
    TILE_COST,
    TRANSPOSED,
    Product,
    even,
    most_rows,
    oc_tile_cycles,
    pool_apart,
    pooled_size,
    tallest,
    tap_cycles,
    tile_cycles,
)
from kernels.cost.memory import L2_BYTES, L3_BYTES, shared_plane_cycles, stream_cycles, task_cycles
from kernels.cost.roofline import BIND
from kernels.cost.rounds import rounds
from kernels.cost.tables import joined, picked, row
from kernels.cost.variants import rivals
from kernels.methods.direct.block import Blocking, apart, keeps_packed, last_of, oc_layout, oc_reads_in_place, one_column, reads_in_place
from kernels.primitives.packed_layout import Layout, extents, packing_cycles, row_counts
from kernels.problem.conv import Conv
from kernels.runtime.machine import Machine, machine

Array = np.ndarray

SHARED = 30  # cycles where a row's outputs are written by two threads: neighbouring cache lines go to and fro between their caches
RESUMED = 6  # cycles to read and write a vector of sums in the second-level cache
NARROW = 8  # vectors; maps of more positions keep their lanes busy anyway
SEVERAL, MANY = 8, 0.5  # from so many channels on a task packs them in this share of the cycles of one, as copies overlap: 0.37 where
# packing dominates, median of 600 narrow or strided layers on Zen 5; older CPUs overlap less
PACKED = 4.0  # cycles to pack a weight, measured 2.7 to 5.6
TALLEST = 16  # channels of a tile
MATRICES = " matrices"  # ends the names of variants
UNPACKED = 8  # of one that reads each one's weights where they lie: 8x3 keeps the addresses in registers, 9x3 and 14x2 spill sums


def _of_variant(blockings: Blocking, name: str) -> Blocking:
    """The rows of a table that are this variant."""
    tiles = {(m, n) for m, n in zip(blockings.m.tolist(), blockings.n.tolist())}  # type: ignore[attr-defined]
    found = np.zeros(np.size(blockings.m), bool)
    for mec, (m, n) in itertools.product((False, True), tiles):
        if _name(mec, m, n, product=blockings.product) == name:
            found |= (blockings.mec == mec) & (blockings.m == m) & (blockings.n == n)
    return picked(blockings, found)


def tiles(outs: int, spec: Machine, most: int, product: Product) -> Iterator[tuple[int, int]]:
    """Tiles of m channels, at most so many, by n vectors that fit the registers."""
    if product.depth > 1:
        yield from ((tallest(outs, min(outs, 2 * MATRIX)), n) for n in (1, 2))
        return
    for n in range(1, 9):
        largest = min(most_rows(n, spec), outs, most)
        if largest >= 1:
            yield tallest(outs, largest), n


def _splits(parts: int, threads: int) -> list[int]:
    """Into how many tasks so many parts of the output channels may be split."""
    return sorted({1, *(min(times * threads, parts) for times in (1, 2, 4))}) if threads > 1 else [1]


def _column_counts(ow: int, lanes: int, n: int, threads: int) -> list[int]:
    step = lanes * n
    shared = {step * -(-ow // (step * threads * i)) for i in (1, 2, 3)}
    return sorted({min(count, ow) for count in (*(step * 2**i for i in range(7)), *shared, ow)})


def _cycles(problem: Conv, block: Any, packed: Layout, threads: int, spec: Machine, mec: bool) -> Any:
    """Estimated cycles of the slowest thread, of one blocking or of many of one layout."""
    lanes = spec.lanes(problem.itemsize)
    outs = problem.c_out // problem.groups
    ins = problem.c_in // problem.groups
    oh, ow = problem.conv_size
    row_blocks, column_blocks = -(-oh // block.rows), -(-ow // block.columns)
    tasks = problem.n * problem.groups * row_blocks * column_blocks * block.oc_splits
    # whole blocks, of which the last of a line of blocks is a part: two of 28 rows and one of 4 take as long as two and a seventh
    rows, columns = block.rows, block.columns
    if mec:
        vectors, last = np.ceil(rows * ow / lanes), np.ceil(last_of(oh, rows) * ow / lanes)
        part = 1 - (1 - last / vectors) / row_blocks
    else:
        across, last = np.ceil(columns / lanes), np.ceil(last_of(ow, columns) / lanes)
        vectors, part = rows * across, oh / row_blocks / rows * (1 - (1 - last / across) / column_blocks)
    tasks_each = tasks * part if threads == 1 else rounds(np.ceil(tasks * part - 1e-6), threads)
    few = tasks_each < row_blocks * column_blocks  # some thread has whole blocks only
    n_tiles = np.ceil(vectors / block.n)
    m_tiles = even(-(-outs // block.oc_splits), block.m)[0]
    summed = ins * problem.taps
    calls = -(-ins // block.channels)
    # a tile that resumes sums reads and writes them past the first-level cache, or past the second where a task's outputs and block fill it
    in_use = problem.itemsize * (rows * columns * outs / block.oc_splits + packed.size)
    resumed = np.where(in_use < 0.8 * spec.l2, RESUMED, 2 * spec.vector_bytes / L3_BYTES[spec.mesh])
    calling = tile_cycles(block.m, block.n, block.product) + (calls - 1) * (TILE_COST + resumed * block.m * block.n)
    per_tile = summed * tap_cycles(outs / block.oc_splits / m_tiles, vectors / n_tiles, block.product) + calling
    called = calls * np.where(vectors % n_tiles, 2, 1)  # for tiles of two widths
    compute = m_tiles * (n_tiles * per_tile + called * CALL_COST)
    cut = (column_blocks > 1) & (problem.n * problem.groups * row_blocks < threads)  # rows, by where one thread ends and another begins
    compute = compute + np.where(cut, SHARED * rows * outs / block.oc_splits, 0.0)
    pack = _together(ins) * ins * packing_cycles(packed, lanes)
    in_place = reads_in_place(problem, block, lanes)
    pack = np.where(in_place, 0.0, pack)
    numbers = rows * ow if mec else columns
    compute = compute + np.where(in_place, m_tiles * vectors * summed * apart(problem, numbers, spec), 0.0)
    packed_each = _packed_each(problem.n * problem.groups * row_blocks * column_blocks, threads)
    kept = np.where(keeps_packed(problem, block, in_place), packed_each, 0.0)
    channels = outs * np.minimum(1.0, tasks_each / block.oc_splits)  # of one thread
    shared = np.where(few, channels * shared_plane_cycles(problem.n * problem.groups, oh * ow, threads, spec), 0.0)
    task = task_cycles(compute, _stream(problem, spec, block.oc_splits), np.where(kept > 0, 0.0, pack))
    return tasks_each * task + kept * pack + shared


def _packed_each(blocks: Any, threads: int) -> Any:
    """How many of so many blocks a thread packs: its own, and every second time one whose channels it helps with."""
    return np.minimum(blocks, -(-blocks // threads) + 0.5)


def _together(channels: int) -> float:
    """Cycles to pack a channel beside so many others, as a share of what it takes by itself."""
    return MANY if channels >= SEVERAL else 1.0


def _layouts(problem: Conv, product: Product) -> tuple[bool, ...]:
    """Whether rows are packed by MEC: what is considered. Where a product of matrices sums kernel columns, of a single channel, those must
    lie evenly apart, which in rows those of a phase do."""
    phases = problem.stride[1] // math.gcd(problem.stride[1], problem.dilation[1])
    if product.depth == 1 or problem.c_in > problem.groups or problem.kernel[1] % (phases * product.depth) == 0:
        return False, True
    return (True,)


def table(problem: Conv, threads: int, most: int = TALLEST, product: Product = NUMBERS) -> Blocking:
    """Every blocking with tiles of at most `most` channels that is considered, with its estimate: one record of arrays. product: its
    depth divides the input channels, of a single one the kernel columns."""
    spec = machine()
    lanes, item = spec.lanes(problem.itemsize), problem.itemsize
    outs, ins = problem.c_out // problem.groups, problem.c_in // problem.groups
    together = product.depth if ins > 1 else 1  # channels that are packed together
    ins //= together
    oh, ow = problem.conv_size
    shapes_of_tiles, heights = list(tiles(outs, spec, most, product)), row_counts(oh, threads)
    oc_splits, more_calls = np.array(_splits(outs, threads)), np.array((1, 2, 4))
    budget = spec.l2 // 2 // item
    found, ranks = [], []
    layouts = _layouts(problem, product)
    for mec in layouts:
        shapes = [(i, m, n, rows, columns) for i, (m, n) in enumerate(shapes_of_tiles) for rows in heights
                  for columns in ([ow] if mec else _column_counts(ow, lanes, n, threads))]  # fmt: skip
        rank, m, n, rows, columns = np.array(shapes, np.int64).T
        size: Any = extents(problem, mec, rows, columns, lanes).size * together
        fits = (size <= budget) | ((rows == 1) & ((columns == np.minimum(ow, lanes * n)) | (len(layouts) == 1)))
        rank, m, n, rows, columns, size = (each[fits] for each in (rank, m, n, rows, columns, size))
        calls: Any = even(ins, np.maximum(1, np.minimum(ins, budget // size)))[0]  # to pack all channels, some at a time
        which, i, j = np.nonzero((calls[:, None, None] * more_calls[:, None] <= ins) & np.ones(len(oc_splits), bool))
        rows, columns, m, n, rank = (each[which] for each in (rows, columns, m, n, rank))
        channels, flags = together * -(-ins // (calls[which] * more_calls[i])), np.full(len(which), mec)
        m = tallest(-(-outs // oc_splits[j]), m)  # each thread's channels in tiles of its own: 19 tiles of 256 would be shared 9 to 10
        block: Any = Blocking(flags, rows, columns, channels, m, n, oc_splits[j], product=product)  # type: ignore[arg-type]
        packed = extents(problem, mec, rows, ow if mec else columns, lanes)
        found.append(dataclasses.replace(block, cycles=_cycles(problem, block, packed, threads, spec, mec)))
        ranks.append(2 * rank + mec)
    return picked(joined(found), np.argsort(np.concatenate(ranks), kind="stable"))  # by tile: of equal estimates the first is taken


def candidates(problem: Conv, threads: int, most: int = TALLEST, product: Product = NUMBERS) -> Iterator[Blocking]:
    """The same one by one."""
    found = table(problem, threads, most, product)
    return (row(found, i) for i in range(np.size(found.m)))


def _stream(problem: Conv, spec: Machine, oc_splits: Any, oc_lanes: bool = False) -> Any:
    """Cycles to read the weights of one split of the output channels once."""
    total = problem.summands * problem.c_out * problem.itemsize
    return stream_cycles(total, total / problem.groups / oc_splits, spec, oc_lanes)


def oc_candidates(problem: Conv, threads: int, last: bool = False, product: Product = NUMBERS) -> Iterator[Blocking]:
    """Blockings with lanes along output channels, with their estimates: for maps of few positions, and for any with channels last, which
    need not be transposed."""
    spec = machine()
    lanes, (oh, ow) = spec.lanes(problem.itemsize), problem.conv_size
    if problem.groups > 1 or product.depth > 1 or (oh * ow > NARROW * lanes and not last):
        return
    vectors = -(-problem.c_out // lanes)
    for rows in row_counts(oh, threads) if last else sorted({oh, -(-oh // threads)}):
        for n in range(1, min(4, vectors) + 1):
            m = tallest(rows * ow, min(most_rows(n, spec), 16))
            packed, in_place, row_blocks = oc_layout(problem, rows, m, last), oc_reads_in_place(problem, rows, m, last), -(-oh // rows)
            if packed.size * problem.itemsize > spec.l2 // 2:
                continue
            if packed.as_matrix:
                pack = TRANSPOSED * packed.size
            else:
                pack = 0.0 if in_place else _together(problem.c_in) * packing_cycles(packed, lanes) * problem.c_in
            for oc_splits in _splits(-(-vectors // n), threads):
                micro_panels = -(-vectors // oc_splits / n)
                tap, calling = oc_tile_cycles(m, n, last, lanes, product)
                passes = math.ceil(rows * ow / m)
                compute = passes * math.ceil(micro_panels) * (problem.summands * tap + calling)
                # a micro-panel that leaves the second-level cache comes back for every tile of positions: 8 rows of 12288, 18 against 10 ms
                leaves = problem.summands * n * lanes * problem.itemsize > spec.l2 / 2
                again = (passes - 1) * problem.summands * problem.c_out * problem.itemsize / oc_splits
                again /= L3_BYTES[spec.mesh] if leaves else 4 * L2_BYTES
                kept = 0.0 if oc_splits == 1 or in_place else _packed_each(problem.n * row_blocks, threads)
                task = task_cycles(compute, _stream(problem, spec, oc_splits, oc_lanes=True) + again, 0.0 if kept else pack)
                tasks_each = rounds(problem.n * row_blocks * oc_splits, threads)
                cycles = tasks_each * task + kept * pack
                if tasks_each < row_blocks and not last:
                    cycles += problem.c_out / oc_splits * shared_plane_cycles(problem.n, oh * ow, threads, spec)
                yield Blocking(
                    mec=True, rows=rows, columns=ow, channels=problem.c_in, m=m, n=n, oc_splits=oc_splits, oc_lanes=True,
                    product=product, cycles=cycles,
                )  # fmt: skip


def variant_of(block: Blocking) -> str:
    """What tells blockings apart for measuring: the layout, and the tile's channels by vectors."""
    return _name(block.mec, block.m, block.n, block.oc_lanes, block.product)


def _name(mec: bool, m: int, n: int, oc_lanes: bool = False, product: Product = NUMBERS) -> str:
    # tuning files hold these names
    return f"{'across' if oc_lanes else 'flat' if mec else 'lines'} {m}x{n}{MATRICES if product.depth > 1 else ''}"


def variant_names(problem: Conv, threads: int, product: Product = NUMBERS) -> list[str]:
    """Variants that are estimated not much higher than the best."""
    found = itertools.chain(candidates(problem, threads, product=product), oc_candidates(problem, threads, product=product))
    return rivals(((variant_of(block), block.cycles) for block in found), variant_of(best(problem, threads, product=product)))


def _resized(
    old: Conv, block: Blocking | None, problem: Conv, threads: int, variant: str = "", last: bool = False, product: Product = NUMBERS
) -> Blocking | None:
    """The blocking of another problem of the class for this one: as many parts of rows and columns, where they fit the caches too."""
    if block is None:
        return None
    spec, (down, across), (down_old, across_old) = machine(), pooled_size(problem), pooled_size(old)
    lanes, (oh, ow) = spec.lanes(problem.itemsize), problem.conv_size
    if block.oc_lanes and oh * ow > NARROW * lanes and not last:
        raise Anew
    step, line = problem.pool[2] if problem.pool else (1, 1)

    for more in (1, 2, 3):  # as many parts of rows and of columns as there were, or so many more of either
        unit = lanes * block.n
        some = {across} if block.columns >= across_old or block.mec or block.oc_lanes else {
            step_like(across, across_old, block.columns, unit, extra) // line * line for extra in (0, more)
        }  # fmt: skip
        heights = {step_like(down, down_old, block.rows, step, extra) for extra in (0, more)}
        sizes = [(rows, columns) for rows in heights for columns in some - {0}]
        if block.oc_lanes:
            cycles = block.cycles * math.prod(problem.conv_shape) / math.prod(old.conv_shape)
            fitting = (rows for rows, _ in sizes if oc_layout(problem, rows, block.m, last).size * problem.itemsize <= spec.l2 // 2)
            rows = next(fitting, 0)
            if rows:
                return dataclasses.replace(block, rows=rows, columns=across, cycles=cycles)
        elif sizes and (found := _fitted(problem, block, threads, sizes)):
            return found
    raise Anew


def _fitted(problem: Conv, block: Blocking, threads: int, sizes: list[tuple[int, int]]) -> Blocking | None:
    """The blocking with blocks of those of these rows and columns instead that fit the caches at the lowest estimate."""
    spec = machine()
    lanes = spec.lanes(problem.itemsize)
    rows, columns = np.array(sizes, np.int64).T
    row_of = sizes[0][1]  # of all, where a block's rows follow one another
    packed = extents(problem, block.mec, rows, row_of if block.mec else columns, lanes)
    many = dataclasses.replace(block, rows=rows, columns=columns)  # type: ignore[arg-type]
    fits: Any = packed.size * problem.itemsize <= spec.l2 // 2
    cycles = np.where(fits, _cycles(problem, many, packed, threads, spec, block.mec), np.inf)
    least = int(cycles.argmin())
    return dataclasses.replace(block, rows=sizes[least][0], columns=sizes[least][1], cycles=float(cycles[least])) if fits[least] else None


@by_class(_resized)
def best_unpacked(problem: Conv, threads: int) -> Blocking | None:
    """The blocking with the lowest estimate for weights that serve one call and are not packed; None where packing them costs less."""
    if problem.pool:
        return None
    found = table(problem, threads, UNPACKED)
    unpacked = row(found, int(np.argmin(found.cycles)))
    packing = PACKED * math.prod(problem.weight_shape) / threads
    return unpacked if unpacked.cycles < best(problem, threads).cycles + packing else None


@by_class(_resized)
def best(problem: Conv, threads: int, variant: str = "", last: bool = False, product: Product = NUMBERS) -> Blocking:
    """The blocking with the lowest estimate; lanes along output channels only where they gain a twentieth, the estimate's error, or where
    most lanes would be idle otherwise (4096 to 4096 at one position: 12 against 20 GB/s of weights). variant: of this one, if there is
    one. last: channels are the last axis. product: as for `table`."""
    rows, others = table(problem, threads, product=product), list(oc_candidates(problem, threads, last, product))
    if variant:
        rows_of_variant, others_of_variant = _of_variant(rows, variant), [block for block in others if variant_of(block) == variant]
        if np.size(rows_of_variant.m) or others_of_variant:
            rows, others = rows_of_variant, others_of_variant
    doubt = 1.05 if 2 * math.prod(problem.conv_size) > machine().lanes(problem.itemsize) else 1.0
    turned = math.prod(problem.conv_shape) + one_column(problem, product) * math.prod(problem.x_shape)  # else counted as packing
    transposing = TRANSPOSED * turned / threads if last else 0.0
    lowest = [row(rows, int(np.argmin(rows.cycles + transposing)))] if np.size(rows.m) else []
    return min([*lowest, *others], key=lambda block: block.cycles * doubt if block.oc_lanes else block.cycles + transposing)


def weight_cycles(problem: Conv) -> float:
    """Cycles of one core to pack the weights."""
    return BIND + PACKED * math.prod(problem.weight_shape)


@by_class(_resized)
def best_pooled(problem: Conv, threads: int, variant: str = "", *, product: Product = NUMBERS) -> Blocking | None:
    """The blocking with the lowest estimate of those whose blocks hold whole windows and finish their sums at once; None: there is none,
    or the best of all with a pool of its own costs less. variant: of this one, if there is one.

    Windows may not overlap, because the rows they share would be computed twice.
    """
    assert problem.pool is not None
    _, kernel, stride = problem.pool
    (oh, ow), (down, across) = problem.conv_size, pooled_size(problem)
    if stride[0] < kernel[0] or stride[1] < kernel[1]:
        return None
    found: Any = table(problem, threads, product=product)
    whole = (found.columns == ow) | ((oh == 1) & ~found.mec)
    once = found.channels == problem.c_in // problem.groups
    found = picked(found, once & (found.rows >= stride[0]) & (found.columns >= stride[1]) & whole)
    if not len(found.m):
        return None
    of_variant: Any = _of_variant(found, variant) if variant else found
    found = of_variant if len(of_variant.m) else found
    spec, total = machine(), math.prod(problem.conv_shape) * problem.itemsize / threads
    waiting = found.m * found.rows * found.columns * problem.itemsize  # what leaves a cache is written to the next and read again
    leaving = total / L2_BYTES * (waiting > spec.l1 / 2) + 2 * total / L3_BYTES[spec.mesh] * (waiting > spec.l2 / 3)
    cycles = found.cycles + leaving
    least = int(cycles.argmin())
    block = row(found, least)
    # cnn14's last layer, 31x2 from 2048 channels: 228 ms in blocks that hold them all, 22 ms and a pool in others
    if not variant and cycles[least] > best(problem, threads, product=product).cycles + pool_apart(problem, threads):
        return None
    columns = across if block.columns == ow else block.columns // stride[1] * stride[1]
    return dataclasses.replace(block, rows=min(block.rows // stride[0] * stride[0], down), columns=columns)

"""How the direct weights' gradient is divided: which positions are summed in a block, which channels a task has, what tile it takes.

A task sums all blocks of its share of the positions (a split) for some input and some output channels of a group. Packed input and packed
gradient of one block lie in the second-level cache; the sums of a tile are resumed block after block.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from kernels.cost.gemm import tallest
from kernels.cost.memory import MEMORY_BYTES, TASK_COST, far_cycles
from kernels.problem.conv import ConvWeight
from kernels.problem.window import reach
from kernels.runtime.machine import machine, remembered

PACKED = 0.5  # cycles to bring a number and lay it out anew, by whole vectors
FEW_PACKED = 3.0  # the same where a vector holds few channels
CALL = 60.0  # cycles to call a tile and begin it
POSITIONS = (128, 192, 256, 384, 512, 768)  # of a block
UNFOLDED = 2  # every tap side by side, channel after channel: of a single channel runs along one axis hardly fill a vector; of many
# channels rows of sums then lie as the weights do, which counts where there are few positions
SPARSE = 128  # positions of all images up to which that is considered of many channels
TURNED = 3  # the same of few channels as rows of sums, whose vectors are output channels: what fills no vector fills rows
FEW = 8  # channels of a group up to which that is considered
TALLEST = 14  # rows of a tile whose factors lie side by side however many they are
MOVED, MOVES = 4.0, 40.0  # cycles to move a vector of taps that lie side by side, or a single one; to begin to do so for a row of positions
PLACED = 0.6  # cycles to write a number of the weights
EXPOSED = 0.4  # of bringing planes near, what arithmetic does not hide, or the other way round
L2_READ = 48.0  # bytes a cycle that tiles are brought from the second-level cache
SHARE = 0.6  # of the second-level cache for what is packed


@dataclasses.dataclass(frozen=True)
class Blocking:
    """images, rows, columns: output positions of a block, whole images if several, whole rows if several. channels, outs: of a group, of a
    task. splits: parts of the blocks, whose sums are added in order. along: the axis whose taps lie side by side with the channels, or
    UNFOLDED, or TURNED. m, n: the tile. cycles: the estimate."""

    images: int
    rows: int
    columns: int
    channels: int
    outs: int
    splits: int
    along: int
    m: int
    n: int
    cycles: float = math.inf


@dataclasses.dataclass(frozen=True)
class Packed:
    """How the input of a block is packed, in elements. size: (rows, columns); pitches: from row to row, from column to column, from image
    to image; runs: numbers that lie side by side under a position, outer: how many such runs; starts: where each begins."""

    size: tuple[int, int]
    pitches: tuple[int, int, int]
    run: int
    starts: tuple[int, ...]

    def vectors(self, lanes: int) -> int:
        """Vectors of a row of sums."""
        return len(self.starts) * -(-self.run // lanes)


def packed(problem: ConvWeight, block: Blocking) -> Packed:
    """The layout of one block's input."""
    if block.along in (UNFOLDED, TURNED):
        taps, size = block.channels * problem.taps, (block.rows, block.columns)
        return Packed(size, (block.columns * taps, taps, block.rows * block.columns * taps), taps, (0,))
    (kh, kw), (dh, dw), c = problem.kernel, problem.dilation, block.channels
    rows, columns = reach(problem, block.rows, block.columns)
    down, across = (columns * c, c) if block.along else (c, rows * c)
    offsets = [[i * down * dh for i in range(kh)], [i * across * dw for i in range(kw)]]
    side_by_side = problem.dilation[block.along] == 1 or problem.kernel[block.along] == 1
    run = c * problem.kernel[block.along] if side_by_side else c
    if side_by_side:
        offsets[block.along] = [0]
    starts = tuple(first + second for first in offsets[0] for second in offsets[1])
    return Packed((rows, columns), (down, across, rows * columns * c), run, starts)


def tiles(lanes: int, along: int = 1) -> Iterator[tuple[int, int]]:
    """(m, n) that registers hold beside n vectors and a factor."""
    registers = machine().registers
    if along == TURNED:
        yield from ((min(TALLEST, (registers - 2) // n - 1), n) for n in (1, 2, 3, 4, 6) if (registers - 2) // n > 1)
        return
    for m in (1, 2, 3, 4, 6, 8):
        if m <= lanes:
            yield m, min(12, (registers - 2) // (m + 1))


def brought_cycles(problem: ConvWeight) -> float:
    """Cycles a byte of input and gradient, to bring them into the second-level cache."""
    far = problem.n * (math.prod(problem.x_shape[1:]) + math.prod(problem.conv_shape[1:])) * problem.itemsize
    return float(far_cycles(far, MEMORY_BYTES, machine())) if far > machine().l2 else 0.0


def hidden(arithmetic: float, reading: float, exposed: float = EXPOSED) -> float:
    """Cycles of both, where one does not hide behind the other what is exposed of the shorter."""
    return max(arithmetic, reading) + exposed * min(arithmetic, reading)


def seen_phases(problem: ConvWeight, axis: int) -> set[int]:
    """Which of every `stride` positions along an axis some tap sees."""
    return {tap * problem.dilation[axis] % problem.stride[axis] for tap in range(problem.kernel[axis])}


def in_place(problem: ConvWeight, block: Blocking) -> bool:
    """Whether sums are made where the weights lie: rows of them are whole vectors, of one tap or of every tap side by side."""
    lanes, ins = machine().lanes(problem.itemsize), problem.c_in // problem.groups
    lie = (problem.taps == 1 and block.along != TURNED) or block.along == UNFOLDED
    return lie and block.splits == 1 and ins * problem.taps % lanes == 0 and block.channels * problem.taps % lanes == 0


def lies(problem: ConvWeight, block: Blocking) -> bool:
    """Whether tiles read the gradient's channels where they lie, as they do where a block's positions follow one another."""
    return block.along != TURNED and block.images == 1 and (block.columns == problem.conv_size[1] or block.rows == 1)


def written_cycles(problem: ConvWeight) -> float:
    """Cycles a number of the weights, where they leave the second-level cache, to fetch its place from further away and write it back."""
    nbytes = math.prod(problem.out_shape) * problem.itemsize
    return 2 * problem.itemsize * float(far_cycles(nbytes, MEMORY_BYTES, machine())) if nbytes > machine().l2 else 0.0


def position_cycles(m: float, n: float, aligned: bool, far: bool = False) -> float:
    """Cycles to add one position: two multiply-adds a cycle, two loads, of which those across cache lines count twice; a sum waits four
    cycles for itself. far: vectors come from the second-level cache."""
    times = 1 if aligned else 2
    brought = n * times * machine().vector_bytes / L2_READ if far else 0.0
    return max(m * n / 2, (m + n * times + 1) / 2, brought, 4.0) + 0.4


@remembered
def best(problem: ConvWeight, threads: int) -> Blocking:
    """The blocking with the lowest estimate."""
    return min(blockings(problem, threads), key=lambda block: block.cycles)


def blockings(problem: ConvWeight, threads: int) -> Iterator[Blocking]:
    """All that are considered."""
    lanes = machine().lanes(problem.itemsize)
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    alongs: tuple[int, ...] = (1, 0) if problem.kernel[1] == 1 and problem.dilation[0] == 1 and problem.kernel[0] > 1 else (1,)
    if min(problem.kernel) > 1 if ins == 1 else problem.taps > 1 and problem.n * math.prod(problem.conv_size) <= SPARSE:
        alongs += (UNFOLDED,)
    if ins <= min(FEW, lanes) and problem.taps > 1:
        alongs += (TURNED,)
    for along in alongs:
        for channels in _shares(ins, threads, lanes) if along != TURNED else [ins]:
            for share in _shares(outs, threads, lanes):
                tasks = problem.groups * -(-ins // channels) * -(-outs // share)
                for images, rows, columns in _positions(problem, channels * (problem.taps if along == TURNED else 1), share):
                    blocks = -(-max(problem.n, 1) // images) * -(-problem.conv_size[0] // rows) * -(-problem.conv_size[1] // columns)
                    for splits in sorted({1, min(blocks, -(-threads // tasks)), min(blocks, -(-2 * threads // tasks))}):
                        for m, n in tiles(lanes, along):
                            if m > tallest(share, m) and along != TURNED:
                                continue
                            block = Blocking(
                                images=images, rows=rows, columns=columns, channels=channels, outs=share, splits=splits, along=along, m=m,
                                n=n,
                            )  # fmt: skip
                            yield dataclasses.replace(block, cycles=_cycles(problem, block, blocks, threads))


def _shares(total: int, threads: int, lanes: int) -> list[int]:
    """Channels of a task that are considered: all, or whole vectors of about an even part."""
    found = {total}
    for splits in (2, 3, 4, 6, 8, threads, 2 * threads):
        share = -(-total // (splits * lanes)) * lanes
        if share < total:
            found.add(share)
    return sorted(found)


def _positions(problem: ConvWeight, channels: int, outs: int) -> set[tuple[int, int, int]]:
    """(images, rows, columns) of blocks that are considered."""
    (oh, ow), size = problem.conv_size, problem.itemsize
    found: set[tuple[int, int, int]] = set()
    for positions in POSITIONS:
        if oh * ow <= positions:
            found.add((min(max(problem.n, 1), max(1, positions // (oh * ow))), oh, ow))
        elif ow <= positions:
            rows = -(-oh // -(-oh // max(1, positions // ow)))
            found.add((1, rows, ow))
        else:
            found.add((1, 1, -(-ow // -(-ow // positions))))
    room = SHARE * machine().l2

    def takes(block: tuple[int, int, int]) -> int:
        images, rows, columns = block
        seen = math.prod(reach(problem, rows, columns))
        return images * (seen * channels + rows * columns * outs) * size

    fitting = {block for block in found if takes(block) <= room}
    return fitting or {min(found, key=takes)}


def _cycles(problem: ConvWeight, block: Blocking, blocks: int, threads: int) -> float:
    """Estimated cycles of the slowest thread."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    ins, outs = problem.c_in // problem.groups, problem.c_out // problem.groups
    layout = packed(problem, block)
    positions = block.images * block.rows * block.columns
    vectors = layout.vectors(lanes)
    share = len(seen_phases(problem, 0)) / problem.stride[0] if block.rows > 1 else 1.0  # of rows
    seen = math.prod(layout.size) * block.images * block.channels * share
    by_input = PACKED if block.channels >= lanes else FEW_PACKED if block.channels > 1 else PACKED
    by_grad = 0.0 if lies(problem, block) else PACKED if block.outs >= lanes else FEW_PACKED
    if block.along in (UNFOLDED, TURNED):
        runs = problem.kernel[0] * -(-problem.kernel[1] // lanes) if problem.dilation[1] == 1 else problem.taps
        seen, by_input = positions * layout.run, (MOVED + MOVES / block.columns) * runs / problem.taps
    packing = seen * by_input + positions * block.outs * by_grad + 60 * layout.size[0] * block.images
    high, aligned, passed = block.outs, block.channels * size % spec.vector_bytes == 0, seen
    if block.along == TURNED:
        high, vectors, aligned, passed = layout.run, -(-block.outs // lanes), True, positions * block.outs
    down, across = -(-high // block.m), -(-vectors // block.n)
    m, n = high / down, vectors / across
    sums = high * vectors * lanes * size
    resumed = 2 * m * n * (1.0 if sums < spec.l2 / 3 else 3.0)
    each = positions * position_cycles(m, n, aligned, passed * size > spec.l1 / 2) + resumed + CALL
    computing = down * across * each
    bringing = (seen + positions * block.outs) * size * brought_cycles(problem)
    arithmetic = packing + computing
    block_cycles = hidden(arithmetic, bringing)
    tasks = problem.groups * -(-ins // block.channels) * -(-outs // block.outs) * block.splits
    tasks_each = -(-tasks // threads)
    share = -(-blocks // block.splits)  # of the longest split
    placed, written = in_place(problem, block), written_cycles(problem)
    moved = 0.0 if placed else 0.6 if block.channels >= lanes else 1.5
    storing = sums / size * (block.splits * moved + PLACED + written * (1.0 if placed else 2.5))  # sums are written, read and written again
    return tasks_each * (share * block_cycles + TASK_COST) + storing * tasks / block.splits / min(threads, tasks)

"""How the weights' gradient by dot products is divided: which rows and columns of the gradient a task reads at a time, and its tiles.

A task has all input and some output channels of a group, and its share of the blocks (a split). The input of a block is packed, the
gradient read as it lies; tiles of some output channels by some taps pass over the block.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from kernels.cost.gemm import even
from kernels.cost.memory import TASK_COST
from kernels.methods.gradients.blocking import CALL, L2_READ, SHARE, brought_cycles, hidden, seen_phases
from kernels.problem.conv import ConvWeight
from kernels.runtime.machine import machine, remembered

POSITIONS = (512, 1024, 2048, 4096)  # of a block
ROW, TAIL, PACKED_ROW = 8.0, 6.0, 12.0  # cycles to begin a row, more where its last vector is not whole; to begin a row of the input
EXPOSED = 0.6  # of reading from further away, what arithmetic does not hide, or the other way round
ADDED = 3.0  # cycles to add up a sum's lanes
MOVED, PICKED = 2.0, 1.5  # cycles to move a vector of the input, more for each vector that a stride spreads one over
TALLEST, WIDEST, SINGLE = 12, 8, 10  # channels and taps of a tile, taps of a single channel; where more begin is kept in no register


@dataclasses.dataclass(frozen=True)
class Blocking:
    """rows, columns: of a block's gradient, whole rows if several. outs: output channels of a task. splits: parts of the blocks, whose sums
    are added in order. m, n: the tile. cycles: the estimate."""

    rows: int
    columns: int
    outs: int
    splits: int
    m: int
    n: int
    cycles: float = math.inf


@dataclasses.dataclass(frozen=True)
class Axis:
    """What taps see along an axis of a block, a stride's phases apart. phases: those that a tap sees. taps: for each its phase, as an
    index into those, and how far from the first. reach: the furthest."""

    phases: tuple[int, ...]
    taps: tuple[tuple[int, int], ...]
    reach: int


def axis(problem: ConvWeight, which: int) -> Axis:
    """Rows or columns."""
    stride, dilation = problem.stride[which], problem.dilation[which]
    found = [divmod(tap * dilation, stride) for tap in range(problem.kernel[which])]
    phases = tuple(sorted(seen_phases(problem, which)))
    return Axis(phases, tuple((phases.index(phase), place) for place, phase in found), max(place for place, _ in found))


def plane(problem: ConvWeight, block: Blocking) -> tuple[int, int]:
    """(rows, columns) of one phase of a block's packed input."""
    return block.rows + axis(problem, 0).reach, block.columns + axis(problem, 1).reach


def packed_numbers(problem: ConvWeight, block: Blocking) -> int:
    """Of a block's packed input, of one channel."""
    return math.prod(plane(problem, block)) * len(axis(problem, 0).phases) * len(axis(problem, 1).phases)


def tiles() -> Iterator[tuple[int, int]]:
    """(m, n) that registers hold beside m factors and one more."""
    for m in range(1, TALLEST + 1):
        if n := min(WIDEST if m > 1 else SINGLE, (machine().registers - 1 - m) // m):
            yield m, n


@remembered
def best(problem: ConvWeight, threads: int) -> Blocking:
    """The blocking with the lowest estimate."""
    return min(blockings(problem, threads), key=lambda block: block.cycles)


def blockings(problem: ConvWeight, threads: int) -> Iterator[Blocking]:
    """All that are considered."""
    outs, lines = problem.c_out // problem.groups, problem.c_in // problem.groups * problem.taps
    for rows, columns in _positions(problem):
        blocks = problem.n * -(-problem.conv_size[0] // rows) * -(-problem.conv_size[1] // columns)
        for splits in sorted({max(1, min(blocks, -(-times * threads // problem.groups))) for times in (0, 1, 2, 4)}):
            for share in sorted({-(-outs // min(outs, -(-times * threads // (problem.groups * splits)))) for times in (1, 2)} | {outs}):
                for m, n in {(even(share, m)[0], even(lines, n)[0]): (m, n) for m, n in tiles()}.values():
                    block = Blocking(rows, columns, share, splits, m, n)
                    yield dataclasses.replace(block, cycles=_cycles(problem, block, blocks, threads))


def _positions(problem: ConvWeight) -> list[tuple[int, int]]:
    """(rows, columns) of blocks that are considered."""
    (oh, ow), ins = problem.conv_size, problem.c_in // problem.groups
    lanes = machine().lanes(problem.itemsize)
    found = set()
    for positions in POSITIONS:
        if ow <= positions:
            found.add((-(-oh // -(-oh // max(1, positions // ow))), ow))
        else:
            share = -(-ow // -(-ow // positions))  # of about an even part, whole vectors
            found.add((1, min(ow, -(-share // lanes) * lanes)))
    room = SHARE * machine().l2 / problem.itemsize

    def takes(block: tuple[int, int]) -> int:
        return ins * packed_numbers(problem, Blocking(*block, 1, 1, 1, 1))

    return [block for block in sorted(found) if takes(block) <= room] or [min(found, key=takes)]


def flat(problem: ConvWeight, block: Blocking) -> bool:
    """Whether a block's rows, of gradient and of packed input, lie one behind the other."""
    return axis(problem, 1).reach == 0 and block.columns == problem.conv_size[1]


def tile_cycles(m: float, n: float, aligned: bool) -> float:
    """To add one vector: two multiply-adds a cycle, two loads, of which those across cache lines count twice; a sum waits four cycles for
    itself."""
    return max(m * n / 2, (m * (1 if aligned else 2) + 2 * n) / 2, 4.0) + 2.0


def _cycles(problem: ConvWeight, block: Blocking, blocks: int, threads: int) -> float:
    """Estimated cycles of the slowest thread."""
    spec, size = machine(), problem.itemsize
    lanes, ins, outs = spec.lanes(size), problem.c_in // problem.groups, problem.c_out // problem.groups
    lines, step = ins * problem.taps, problem.stride[1]
    down, across = even(block.outs, block.m)[0], even(lines, block.n)[0]
    m, n = block.outs / down, lines / across
    rows, width = (1, block.rows * block.columns) if flat(problem, block) else (block.rows, block.columns)
    high, broad = plane(problem, block)
    a_vector = len(axis(problem, 1).phases) * MOVED + (step * PICKED if step > 1 else 0.0)
    packing = ins * len(axis(problem, 0).phases) * high * (math.ceil(broad / lanes) * a_vector + PACKED_ROW)
    aligned = problem.conv_size[1] % lanes == 0
    vectors = rows * math.ceil(width / lanes)
    each = tile_cycles(m, n, aligned)
    inputs = ins * packed_numbers(problem, block) * size
    grads = block.rows * block.columns * m * size  # of a tile, which passes over all taps
    brought = (1 + n / problem.kernel[1] if inputs > spec.l1 / 2 else 0.0) + (m if grads > spec.l1 / 2 else 0.0)
    brought *= spec.vector_bytes / L2_READ
    each = hidden(each, brought, EXPOSED)
    begin = rows * (ROW + (TAIL if width % lanes else 0.0))
    computing = down * across * (vectors * each + begin + m * n * ADDED + CALL)
    per_byte = brought_cycles(problem)
    packing = hidden(packing, inputs * per_byte, EXPOSED)
    computing = hidden(computing, block.rows * block.columns * block.outs * size * per_byte, EXPOSED)
    tasks = problem.groups * -(-outs // block.outs) * block.splits
    share = -(-blocks // block.splits)  # of the longest split
    storing = block.splits * outs * lines * problem.groups / lanes * 2 if block.splits > 1 else 0.0
    return -(-tasks // threads) * (share * (packing + computing) + TASK_COST) + storing / min(threads, tasks)

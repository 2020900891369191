"""How a depthwise convolution whose planes are read where they lie is cut into tasks, and what that costs: see `plane_tile`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from kernels.cost.memory import TASK_COST
from kernels.methods.depthwise.plane_tile import HELD, loads
from kernels.problem.conv import Conv
from kernels.runtime.machine import machine, remembered

LONGEST, STEPS = 7, (1, 2)  # taps along an axis, and input columns from output to output, that tiles are unrolled for
TALL = 4  # output rows of a tile
CALLED, NEXT = 90, 40  # cycles to call a tile, and to find the lines of some rows and splat the weights
LOADED, SHUFFLED = 1.5, 2.0  # cycles to load a vector, which crosses a cache line mostly, and to set even and odd numbers of two apart
FINISHED = 8  # cycles to finish and store a vector
# times as long takes a vector whose loads and stores have masks, by whether a mesh is between caches: those of Granite Rapids cost little
EDGE = {False: 2.0, True: 1.15}
TASKS = 4  # tasks a thread, so that one that is held up does fewer


@dataclasses.dataclass(frozen=True)
class PlaneBlocking:
    """rows: outputs of a task, of each of so many input channels. tile_rows: of a tile. cycles: the estimate, of one core."""

    rows: int
    channels: int
    tile_rows: int
    cycles: float


def inner_vectors(problem: Conv, lanes: int) -> tuple[int, int]:
    """(first, how many) of the vectors of an output row that reach over no end of an input row, whole themselves."""
    (_, kw), (_, step), (_, w), ow, pad = problem.kernel, problem.stride, problem.size, problem.conv_size[1], problem.padding[1][0]
    reach = max(loads(kw, step, lanes)) + lanes
    inside = [q for q in range(ow // lanes) if q * lanes * step >= pad and q * lanes * step - pad + reach <= w]
    return (inside[0], len(inside)) if inside else (0, 0)


def refused(problem: Conv) -> bool:
    """Whether tiles are not unrolled for it, or its results will not fit the last-level cache, which packed rows bypass."""
    dilated = any(d > 1 and k > 1 for d, k in zip(problem.dilation, problem.kernel))
    large = math.prod(problem.conv_shape) * problem.itemsize > machine().l3
    return dilated or large or max(problem.kernel) > LONGEST or problem.stride[1] not in STEPS or problem.stride[0] > LONGEST


def tile_cycles(problem: Conv, rows: int, lanes: int) -> float:
    """Cycles for one vector of so many output rows, to the scale of the other layouts' estimates: on Zen 5 all three take 0.55 of them,
    medians of 21 layers."""
    (kh, kw), (sh, step) = problem.kernel, problem.stride
    lines, products = (rows - 1) * sh + kh, rows * problem.taps
    read = LOADED * lines * len(loads(kw, step, lanes)) + (products / 2 if problem.taps > HELD else 0)
    shuffled = SHUFFLED * lines * kw if step > 1 else 0
    return max(products, read, shuffled) + FINISHED * rows


def plane_cycles(problem: Conv, rows: float, tile_rows: int) -> float:
    """Cycles for so many output rows of a channel."""
    lanes, edge = machine().lanes(problem.itemsize), EDGE[machine().mesh]
    vectors, inner = -(-problem.conv_size[1] // lanes), inner_vectors(problem, lanes)[1]
    return CALLED + math.ceil(rows / tile_rows) * (NEXT + tile_cycles(problem, tile_rows, lanes) * (inner + edge * (vectors - inner)))


def _blockings(problem: Conv, threads: int) -> Iterator[PlaneBlocking]:
    oh = problem.conv_size[0]
    multiplier, planes = problem.c_out // problem.c_in, problem.n * problem.c_in
    for tile_rows in (TALL, 2, 1):
        if tile_rows > oh:
            continue
        for blocks in (1, 2, 3, 4, 8):
            rows = -(-oh // blocks)
            if (oh % rows or rows) < tile_rows:
                continue
            plane = multiplier * plane_cycles(problem, rows, tile_rows)
            most = max(1, -(-planes * -(-oh // rows) // (TASKS * threads)))
            channels = min(problem.c_in, most, max(1, int(10 * TASK_COST / plane))) if rows == oh else 1
            tasks = problem.n * -(-problem.c_in // channels) * -(-oh // rows)
            cycles = -(-tasks // threads) * threads * (TASK_COST + channels * plane)
            yield PlaneBlocking(rows, channels, tile_rows, cycles)


@remembered
def best_planes(problem: Conv, threads: int) -> PlaneBlocking | None:
    """The blocking with the lowest estimate, None where there is no tile."""
    if refused(problem):
        return None
    return min(_blockings(problem, threads), key=lambda block: block.cycles, default=None)

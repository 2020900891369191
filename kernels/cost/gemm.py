"""What tiles of the matrix product cost, in cycles of one core, and how channels are cut into tiles of even heights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kernels.cost.memory import L2_BYTES, stream_cycles
from kernels.problem.conv import Conv
from kernels.runtime.machine import Machine, machine

TILE_COST, CALL_COST = 40, 100  # cycles to start a tile's loop, one of several in a call, and to call one and do so
PAIRED = {False: 1.0, True: 4.0}  # cycles of a multiply-add of pairs of bfloat16 in those of one of numbers: on Zen 5 as many, on Granite
# Rapids (a mesh) 2.2 where that takes 0.55
MATRIX = 16  # rows of a matrix in registers, columns too
MATRIX_TILE_COST, MATRIX_STORED = 300, 3.0  # cycles to configure, start and release a tile of such, and for each vector that it stores
TRANSPOSED = 0.9  # cycles to transpose a number on its way through the second-level cache: 14 a vector


@dataclasses.dataclass(frozen=True)
class Product:
    """What tiles multiply. depth: 1 of vectors; of matrices, how many input channels, or kernel columns of a single one, each sums. cost:
    cycles of a multiply-add of vectors in those of one of numbers."""

    depth: int = 1
    cost: float = 1.0


NUMBERS = Product()


def even(total: Any, largest: Any) -> tuple[Any, Any, Any]:
    """(parts, base, extra): `total` cut into the fewest parts of at most `largest`; the first `extra` are base + 1, the others base."""
    pieces = -(-total // largest)
    return pieces, total // pieces, total % pieces


def tallest(total: Any, largest: Any) -> Any:
    """The largest of the parts that `even` makes."""
    _, base, extra = even(total, largest)
    return base + (extra > 0)


def most_rows(n: int, spec: Machine) -> int:
    """Rows of the tallest tile of n vectors that registers hold: its sums, n inputs and one weight; on ARM whole registers of weights,
    which some schedulers load all at once, and two for what is on its way: 14x2, 9x3 and 4x6 keep numbers on the stack on Neoverse N1."""
    if not spec.by_element:
        return (spec.registers - 1 - n) // n
    return max((m for m in range(1, spec.registers) if m * n + n + -(-m // 4) <= spec.registers - 2), default=0)


def neon_instructions(m: Any, n: Any) -> Any:
    """Instructions per tap of an m x n tile on ARM, as tests/primitives/test_aarch64_code counts them for Apple M1, Neoverse N1 and V1:
    multiply-adds, a load for each vector and for every four weights, a prefetch for every four vectors, two offsets with their shifts,
    the weights' prefetch and a third of the loop."""
    return m * n + n + -(-m // 4) + -(-n // 4) + 6


def tap_cycles(m: Any, n: Any, product: Product = NUMBERS) -> Any:
    """Cycles per tap of an m x n tile, of many where these are arrays: two FMAs a cycle and a little for every load; or two loads a cycle:
    a weight each row, for each vector two cache lines and a prefetch, and now and then another. Fitted to tiles run from the second-level
    cache: on Zen 4 6x4 took 13.3 cycles, 9x3 15.0, 12x2 13.9, 5x5 14.7, 4x6 15.0, on Zen 5 12.9, 14.5, 12.8, 13.6, 13.3, and 14x1 9.0, 12x1
    8.0, 3x4 7.4; on Granite Rapids, where vectors cost more, 12x2 13.6, 14x2 15.8, 8x3 14.7, 9x3 16.8, 6x4 15.4 of what a cycle of FMAs
    takes there."""
    if product.depth > 1:
        return _matrix_cycles(m, n, product.depth) / product.depth
    if machine().by_element:  # not measured but counted: four instructions in the time of two multiply-adds, sums that wait four cycles for
        # themselves where four are done a cycle (Apple M, Neoverse V1; N1 does two, and two instructions for each, as they)
        return np.maximum(np.maximum(m * n / 2, neon_instructions(m, n) / 4), 8.0)
    loading = 0.9 * n if machine().mesh else 0.05 * m + 0.2 * n
    longer = np.maximum if isinstance(loading, np.ndarray) else max
    return longer(product.cost * m * n / 2 + loading, 0.5 * (m + 3.5 * n + 1))


def tile_cycles(m: Any, n: Any, product: Product) -> Any:
    """Cycles to begin and to end a tile, besides its taps."""
    return TILE_COST + m * n / 2 if product.depth == 1 else MATRIX_TILE_COST + MATRIX_STORED * m * n


def _matrix_cycles(m: Any, n: Any, depth: int) -> Any:
    """Cycles of a step of m channels by n vectors in products of matrices `depth` deep: a row of the first factor a cycle, at least eight;
    or the rows loaded, of which those of input, which start anywhere, take two lines each."""
    parts = np.ceil(m / MATRIX)
    return np.maximum(parts * n * np.maximum(m / parts, 8.0), 0.6 * m + 1.9 * n * depth)


def oc_tile_cycles(m: Any, n: Any, last: bool, lanes: int, product: Product = NUMBERS) -> tuple[Any, Any]:
    """Cycles per tap of a tile of m positions by n vectors of channels, and to call it; its sums are stored, or transposed and stored."""
    storing = 2.0 * m * n if last else 4.0 * n * lanes * -(-m // lanes)
    longer = np.maximum if isinstance(m, np.ndarray) else max
    return longer(product.cost * m * n / 2 + 0.08 * m + 0.4, 0.5 * (m + 2 * n + 1)), CALL_COST + storing


def pooled_size(problem: Conv) -> tuple[int, int]:
    """Rows and columns of the convolution's output that a pool reads; all of them without one."""
    oh, ow = problem.conv_size
    if not problem.pool:
        return oh, ow
    _, kernel, stride = problem.pool
    down, across = problem.out_shape[2:]
    return (down - 1) * stride[0] + kernel[0], (across - 1) * stride[1] + kernel[1]


def pool_apart(problem: Conv, threads: int) -> float:
    """Cycles of a thread to write what a pool reads and to read it again, where both are done apart."""
    total = math.prod(problem.conv_shape) * problem.itemsize
    return 2 * total / threads / L2_BYTES + stream_cycles(total, 2 * total / threads, machine())

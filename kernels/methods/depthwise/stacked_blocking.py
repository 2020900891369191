"""How a bottleneck over a small map is cut: with channels in lanes, whole planes a task, the wide channels divided.

The counterpart of `bottleneck_blocking` for maps of few positions, whose planes would leave lanes idle and whose layers one by one take
longer to begin, and to get their input from the other cores, than to compute: see `driver_stacked`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from kernels.cost.gemm import most_rows, oc_tile_cycles, tallest
from kernels.cost.memory import L2_BYTES, L3_BYTES, TASK_COST
from kernels.cost.rounds import rounds
from kernels.methods.depthwise.blocking import COPIED, SUM, SUM_ALONE, SUM_TAP, TRANSPOSED, TRANSPOSED_LINES, taps_beside
from kernels.problem.window import reach
from kernels.runtime.machine import machine

FEW = 4  # vectors that a map may fill: 12x8 positions of YAMNet took 49 us so and 41 with lanes along positions
TALLEST = 16  # positions of a tile


@dataclasses.dataclass(frozen=True)
class Stacked:
    """expand, project: the largest tiles, positions by vectors of channels. parts: tasks that divide the wide channels. cycles: the
    estimate, of one thread of `threads`."""

    expand: tuple[int, int]
    project: tuple[int, int]
    parts: int
    threads: int
    cycles: float


def _tile(positions: int, vectors: int, k: int, lanes: int, *, last: bool) -> tuple[tuple[int, int], float]:
    """The tile for so many positions by vectors of channels that takes the fewest cycles, and these."""
    found = []
    for n in range(1, min(4, vectors) + 1):
        m = tallest(positions, min(most_rows(n, machine()), TALLEST))
        passes, (tap, calling) = -(-positions // m), oc_tile_cycles(m, n, last, lanes)
        again = (passes - 1) * k * vectors * machine().vector_bytes / (4 * L2_BYTES)  # weights come back for every tile of positions
        found.append((passes * -(-vectors // n) * (k * tap + calling) + again, (m, n)))
    cycles, tile = min(found)
    return tile, cycles


def fitting(depthwise: Any) -> bool:
    """Whether its maps are small."""
    few = FEW * machine().lanes(depthwise.itemsize)
    return math.prod(depthwise.size) <= few and math.prod(depthwise.conv_size) <= few


def stacked_blockings(layers: Any, threads: int, share: float) -> Iterator[Stacked]:
    """Every one that is considered, of a Bottleneck that `fits`; share: cycles of those that estimates of depthwise layers count."""
    expand, depthwise, project = layers
    if expand is None or not fitting(depthwise):
        return
    spec, size, (oh, ow) = machine(), depthwise.itemsize, depthwise.conv_size
    lanes, wide, narrow = spec.lanes(size), expand.c_out, project.c_out if project else 0
    vectors, seen, made = -(-wide // lanes), math.prod(depthwise.size), oh * ow
    bed = math.prod(reach(depthwise, oh, ow))
    weights = wide * (expand.c_in + depthwise.taps + narrow) * size
    tap = SUM_TAP if taps_beside(depthwise) > 1 else SUM_ALONE
    each = COPIED * seen + made * (depthwise.taps * tap + SUM) + TRANSPOSED_LINES + TRANSPOSED * lanes * -(-made // lanes)
    for parts in sorted({1, *(min(times * threads, vectors) for times in (1, 2, 4))} if threads > 1 else {1}):
        own = -(-vectors // parts)
        expanding, cycles = _tile(seen, own, expand.c_in, lanes, last=True)
        if (bed + expanding[1] * seen + (own + 1) * made) * lanes * size > spec.l2 // 2:
            continue
        task = TASK_COST + COPIED * bed + cycles + own * share * each + weights / parts / L3_BYTES[spec.mesh]
        projecting = 1, 1
        if project:
            projecting, cycles = _tile(made, -(-narrow // lanes), own * lanes, lanes, last=False)
            task += cycles
        spent = rounds(depthwise.n * parts, threads) * task + 3 * (parts - 1) * narrow * made * size / L2_BYTES
        yield Stacked(expanding, projecting, parts, threads, spent)

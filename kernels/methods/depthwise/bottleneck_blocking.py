"""How a bottleneck is cut into tasks: a pointwise layer, the depthwise one behind it, and the pointwise one that follows; of the pointwise
ones either may be missing.

A task makes some of the wide planes, sums their windows and adds them to the narrow ones, some channels at a time, so that wide planes stay
in the second-level cache: see `driver_bottleneck`. Tasks divide images and rows; where rows are few, of which neighbours make the halo
twice, they divide the wide channels, each with narrow sums of its own. Without the first layer windows see the input where it lies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

from kernels.cost.calibration import threads_for
from kernels.cost.classes import Anew, by_class
from kernels.cost.gemm import NUMBERS, even, tap_cycles, tile_cycles
from kernels.cost.memory import L2_BYTES, L3_BYTES, TASK_COST
from kernels.methods.depthwise.blocking import cycles, layouts
from kernels.methods.depthwise.plane_blocking import TALL, plane_cycles, refused
from kernels.methods.depthwise.stacked_blocking import Stacked, fitting, stacked_blockings
from kernels.methods.direct.blocking import RESUMED, TALLEST, best, tiles
from kernels.primitives.activations import codes
from kernels.primitives.packed_layout import row_counts
from kernels.problem.conv import Conv
from kernels.runtime.machine import machine

SHARE, BARE_SHARE = 2, 4  # a task's planes may take this part of the second-level cache; without a first layer more and shorter tasks are
# faster: 16 of 64x500 in tasks of 4, 8, 16 rows took 167, 179, 185 us, 64 of 32x250 in tasks of 4 and 8 529 and 603
DEPTHWISE = 0.55  # cycles of those that estimates of depthwise layers count, see `plane_blocking.tile_cycles`
LAUNCH = 5000.0  # cycles to begin and end a region, and what its threads wait for each other
AWAKE = 2000.0  # the same of the region that follows at once
TOGETHER = 64  # wide channels that are added to the narrow planes at a time, which are read and written as often
GROUP = 16  # of them that a task takes at a time where no tile makes them


class Bottleneck(NamedTuple):
    """The problems of its layers, of which the first or the last may be missing."""

    expand: Conv | None
    depthwise: Conv
    project: Conv | None


@dataclasses.dataclass(frozen=True)
class Blocking:
    """rows: of depthwise outputs of a task; lines: numbers of a wide plane that each block of so many rows sees. tile_rows: of a depthwise
    tile. expand, project: the largest tiles, channels by vectors. parts: tasks that divide the wide channels. together: tiles of wide
    channels that are added to the narrow ones at a time. cycles: the estimate, of one thread of `threads`."""

    rows: int
    lines: tuple[int, ...]
    tile_rows: int
    expand: tuple[int, int]
    project: tuple[int, int]
    parts: int
    together: int
    threads: int
    cycles: float


def fits(layers: Bottleneck) -> bool:
    """Whether the layers are one: plain pointwise ones around a depthwise one that planes can do, or channels in lanes, without anything
    that sums of parts of the wide channels could not be added through."""
    expand, depthwise, project = layers
    pointwise = [each for each in (expand, project) if each is not None]
    plain = all(each.taps == each.groups == max(each.stride) == 1 and not any(map(any, each.padding)) for each in pointwise)
    followed = any(each.pool or each.scale for each in (*pointwise, depthwise))
    one_each = depthwise.groups == depthwise.c_in == depthwise.c_out and (expand is None or expand.c_out == depthwise.c_in)
    linear = project is None or (project.activation is None and project.c_in == depthwise.c_out)
    if expand is None:  # tasks that have all wide channels may apply what tiles know
        linear = project is not None and project.c_in == depthwise.c_out and not codes(project.activation)[0]
    return plain and one_each and linear and not followed and (not refused(depthwise) or (fitting(depthwise) and expand is not None))


def _tile(outs: int, k: int, vectors: int, added: float) -> tuple[tuple[int, int], float]:
    """The tile for so many channels by vectors that takes the fewest cycles, and these; added: cycles for each vector of sums."""
    found = []
    for m, n in tiles(outs, machine(), TALLEST, NUMBERS):
        down, across = even(outs, m)[0], even(vectors, n)[0]
        high, wide = outs / down, vectors / across
        cycles = down * across * (k * tap_cycles(high, wide) + tile_cycles(high, wide, NUMBERS) + added * high * wide)
        found.append((cycles, (m, n)))
    cycles, tile = min(found)
    return tile, cycles


def seen_rows(depthwise: Conv, first: int, rows: int) -> tuple[int, int]:
    """(first, after the last) input row that so many output rows from `first` on see."""
    top = first * depthwise.stride[0] - depthwise.padding[0][0]
    return max(top, 0), min(top + (rows - 1) * depthwise.stride[0] + depthwise.kernel[0], depthwise.size[0])


def _blocking(layers: Bottleneck, threads: int, parts: int, rows: int) -> Blocking | None:
    """The one of so many parts of the channels and rows of a task; None where lines, tiles or the cache do not allow it."""
    expand, depthwise, project = layers
    spec, (oh, ow), wide = machine(), depthwise.conv_size, depthwise.c_in
    lanes, size = spec.lanes(depthwise.itemsize), depthwise.itemsize
    narrow = project.c_out if project else 0
    channels, blocks = -(-wide // parts), -(-oh // rows)
    spans = [seen_rows(depthwise, first, min(rows, oh - first)) for first in range(0, oh, rows)]
    lines = tuple((end - top) * depthwise.size[1] for top, end in spans)
    if expand is not None and min(lines) < lanes:
        return None
    ins = expand.c_in if expand else 0
    expanding, expand_cycles = _tile(channels, ins, -(-max(lines) // lanes), 0.0) if expand else ((min(GROUP, channels), 1), 0.0)
    if even(wide, expanding[0])[0] < parts:  # parts share out tiles, and each must have one
        return None
    together = max(1, TOGETHER // expanding[0]) if project else 1
    chunk = min(channels, together * expanding[0])
    held, most = (chunk + narrow) * rows * ow * size, spec.l2 // BARE_SHARE
    if expand:
        held, most = held + expanding[0] * max(lines) * size, spec.l2 // SHARE
    if held > most and rows > 1:
        return None
    tile_rows = next(count for count in (TALL, 2, 1) if count <= (oh % rows or rows))
    weights = wide * (ins + depthwise.taps + narrow) * size
    task = expand_cycles * sum(lines) / blocks / max(lines) + TASK_COST + weights / parts / L3_BYTES[spec.mesh]
    task += channels * DEPTHWISE * plane_cycles(depthwise, oh / blocks, tile_rows)
    projecting = 1, 1
    if project:
        projecting, project_cycles = _tile(narrow, chunk, -(-rows * ow // lanes), RESUMED)
        task += project_cycles * -(-channels // chunk) * oh / blocks / rows
    spent = -(-depthwise.n * parts * blocks // threads) * task + LAUNCH
    if parts > 1 and project:
        spent += AWAKE + 3 * parts * math.prod(project.conv_shape) * size / threads / L2_BYTES
    return Blocking(
        rows=rows, lines=lines, tile_rows=tile_rows, expand=expanding, project=projecting, parts=parts, together=together,
        threads=threads, cycles=spent,
    )  # fmt: skip


def _blockings(layers: Bottleneck, threads: int) -> Iterator[Blocking]:
    if refused(layers.depthwise):
        return
    divides = layers.project is None or layers.project.activation is None
    for parts in sorted({1, min(threads, layers.depthwise.c_in) if divides else 1}):
        for rows in row_counts(layers.depthwise.conv_size[0], threads):
            found = _blocking(layers, threads, parts, rows)
            if found:
                yield found


def _resized(old: Bottleneck, block: Blocking | Stacked | None, layers: Bottleneck, threads: int) -> Blocking | Stacked | None:
    """The blocking of other layers of the class for these: as many parts of channels, and of rows those with the lowest estimate."""
    if block is None:
        return None
    larger = math.prod(layers.depthwise.conv_shape) / math.prod(old.depthwise.conv_shape)
    if isinstance(block, Stacked) or threads_for(_cycles_apart(old) * larger, threads) != block.threads:
        raise Anew
    oh, other = layers.depthwise.conv_size[0], old.depthwise.conv_size[0]
    before = -(-other // block.rows)
    after = max(1, round(before * oh / other))
    counts = {before, after, after + 1, after + block.threads}
    found = [_blocking(layers, block.threads, block.parts, rows) for rows in {-(-oh // count) for count in counts}]
    least = min((each for each in found if each), key=lambda each: each.cycles, default=None)
    if least is None:
        raise Anew
    return least


def _cycles_apart(layers: Bottleneck) -> float:
    """Of one core, for layers one by one."""
    pointwise = [each for each in (layers.expand, layers.project) if each is not None]
    return sum(best(each, 1).cycles for each in pointwise) + cycles(layers.depthwise)


@by_class(_resized)
def best_bottleneck(layers: Bottleneck, threads: int) -> Blocking | Stacked | None:
    """The blocking with the lowest estimate, with lanes along positions or along channels; None where the layers do not fit each other, or
    where they are estimated faster one by one."""
    if not fits(layers):
        return None
    pointwise = [each for each in (layers.expand, layers.project) if each is not None]
    threads = threads_for(_cycles_apart(layers), threads)
    apart = sum(best(each, threads).cycles + LAUNCH for each in pointwise)
    apart += DEPTHWISE * min(layouts(layers.depthwise, threads).values()) / threads
    between = math.prod(layers.depthwise.x_shape) if layers.expand else 0
    between += math.prod(layers.depthwise.conv_shape) if layers.project else 0
    moved = 2 * between + sum(math.prod(each.weight_shape) for each in layers if each is not None)  # written by one, read by another
    apart += moved * layers.depthwise.itemsize / threads / L3_BYTES[machine().mesh]
    stacked = (dataclasses.replace(block, cycles=block.cycles + LAUNCH) for block in stacked_blockings(layers, threads, DEPTHWISE))
    blocks: list[Blocking | Stacked] = [*_blockings(layers, threads), *stacked]
    found = min(blocks, key=lambda block: block.cycles, default=None)
    return found if found and found.cycles < apart + LAUNCH else None

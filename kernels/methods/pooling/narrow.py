"""Pooling of planes narrower than half a vector: strips where windows lie side by side, else as many planes at a time as there are lanes.

A strip is what one row of outputs reads; `strips` takes several at once from where they lie. Overlapping or padded windows go
through `planes_in_lanes`: planes are transposed so that each sits in a lane, pooled, and transposed back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.methods.pooling.planes_in_lanes import PoolPlanes, pool_planes
from kernels.methods.pooling.records import LanePlanes, Strips, windows_of
from kernels.methods.pooling.strips import PoolStrips, pool_strips
from kernels.primitives.lines import ALONG, LoadLines, StoreLines, load_lines, store_lines
from kernels.primitives.pool_window import MAXIMUM, code
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.pool import Pool
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import Region, region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

TASK_BYTES = 1 << 18  # input bytes of one task: enough to hide taking it, few enough that threads end together
STRIP = 16  # vectors of input under a vector of outputs: as many shuffles, all of them unrolled


@region
def strips(task, thread, x, out, geometry):
    """Planes of windows side by side (see `strips`); a task's planes are one run of strips where no row is left over. x and out are
    handles; geometry: Strips."""
    g = geometry[0]
    first, last = task * g.per_task, min((task + 1) * g.per_task, g.planes)
    run = last - first if g.oh * g.kh == g.h else 1
    for p in range(first, last, run):
        to, source = pointed(out) + p * g.oh * g.ow * g.itemsize, pointed(x) + p * g.h * g.w * g.itemsize
        call(
            g.kernel,
            PoolStrips(
                kind=g.kind, kh=g.kh, kw=g.kw, width=g.w, ow=g.ow, lanes=g.lanes, itemsize=g.itemsize, dst=to, src=source,
                outputs=run * g.oh * g.ow, there=(g.planes - p) * g.h * g.w, divisor=g.divisor,
            ),
        )  # fmt: skip


@region
def planes_in_lanes(task, thread, x, out, scratch, geometry):
    """As many planes as there are lanes. x, out and scratch are handles; geometry: LanePlanes."""
    g = geometry[0]
    size = g.itemsize
    block = pointed(scratch) + thread * g.scratch_bytes
    pooled = block + g.scratch_bytes // 2
    first = task * g.lanes
    table = g.lane_offsets + int(first + g.lanes > g.planes) * 5 * g.lanes * 8
    call(
        g.load,
        LoadLines(
            way=ALONG, lanes=g.lanes, itemsize=size, rows=block, numbers=g.h * g.w, x=pointed(x) + first * g.h * g.w * size, offsets=table,
            step=1, start=0, stride=1, limit=g.h * g.w,
        ),
    )  # fmt: skip
    call(
        g.kernel,
        PoolPlanes(
            kind=g.kind, lanes=g.lanes, itemsize=size, dst=pooled, src=block, down=g.row_counts, across=g.counts,
            oh=g.oh, ow=g.ow, h=g.h, w=g.w, kh=g.kh, kw=g.kw, sh=g.sh, sw=g.sw, top=g.top, left=g.left, dh=g.dh, dw=g.dw,
        ),
    )  # fmt: skip
    call(
        g.store,
        StoreLines(
            way=ALONG, oc_lanes=0, lanes=g.lanes, itemsize=size, rows=pooled, numbers=g.oh * g.ow,
            out=pointed(out) + first * g.oh * g.ow * size, offsets=table + 3 * g.lanes * 8, step=1, bias=g.nothing, scale=0, shift=0,
            activation=0, slope=0,
        ),
    )  # fmt: skip


def for_kind(some: Region, kind: int) -> Region:
    """The region for a kind of pool: a maximum is one of its inputs, however small."""
    return some.exact if kind == MAXIMUM else some


def planes_of_task(problem: Pool, threads: int) -> int:
    """Planes that a thread takes at a time."""
    return max(1, min(TASK_BYTES // (math.prod(problem.size) * problem.itemsize), -(-problem.n * problem.c_in // threads)))


def in_strips(problem: Pool) -> bool:
    """Whether windows lie side by side without padding, in rows of outputs that fill at most half a vector."""
    lanes, (kh, kw), ow = machine().lanes(problem.itemsize), problem.kernel, problem.out_size[1]
    side_by_side = problem.kernel == problem.stride and not any(map(any, problem.padding)) and not problem.ceil_mode
    undilated = all(k == 1 or d == 1 for k, d in zip(problem.kernel, problem.dilation))
    return side_by_side and undilated and ow * 2 <= lanes and kh * kw <= lanes and lanes // ow * kh * problem.size[1] <= STRIP * lanes


def prepare_strips(problem: Pool, threads: int) -> Prepared:
    """The pooling of narrow planes as they lie in memory."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes, kind = machine().lanes(size), code(problem.kind)
    ow = problem.out_size[1]
    divisor = np.full(1, problem.divisor_override or problem.taps, problem.dtype)
    per_task = planes_of_task(problem, threads)
    geometry = Strips.packed(
        **windows_of(problem), kernel=pool_strips(kind, problem.kernel, problem.size[1], ow, lanes, size), kind=kind, per_task=per_task,
        divisor=divisor.ctypes.data,
    )  # fmt: skip
    launch, tasks = for_kind(strips, kind).ready(0, 0, geometry), -(-planes // per_task)

    def run(x: Array, out: Array, keep_alive: Any = divisor) -> None:
        launch(threads, tasks, handle(x), handle(out), geometry)

    return Prepared(without_operands(run), 0, f"{lanes // ow} rows of outputs at a time")


def in_lanes(problem: Pool) -> bool:
    """Whether planes are pooled one in each lane: where a row of outputs fills less than half a vector, and the planes of all lanes stay in
    the second-level cache."""
    lanes = machine().lanes(problem.itemsize)
    fits = math.prod(problem.size) * lanes * problem.itemsize <= machine().l2 // 4
    return problem.out_size[1] * 2 <= lanes <= problem.n * problem.c_in and fits


def prepare_lanes(problem: Pool, threads: int, down: Array, across: Array) -> Prepared:
    """The pooling of planes one in each lane."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes, kind = machine().lanes(size), code(problem.kind)
    area, produced = math.prod(problem.size), math.prod(problem.out_size)
    lane_offsets = np.zeros((2, 5, lanes), np.int64)
    for table, live in zip(lane_offsets, (lanes, planes % lanes)):
        table[0], table[3] = np.arange(lanes) * area, np.arange(lanes) * produced
        table[2, :live], table[4, :live] = area, produced
    half = whole((max(area, produced) + lanes) * lanes * size)  # lines are transposed in blocks of as many as there are lanes
    used = min(threads, -(-planes // lanes))
    scratch = Scratch(used * 2 * half)
    nothing = np.zeros(1, problem.dtype)
    geometry = LanePlanes.packed(
        **windows_of(problem), kernel=pool_planes(kind, lanes, size), kind=kind, per_task=lanes, load=load_lines(ALONG, lanes, size),
        store=store_lines(ALONG, False, lanes, size), row_counts=down.ctypes.data, counts=across.ctypes.data,
        lane_offsets=lane_offsets.ctypes.data,
        nothing=nothing.ctypes.data, scratch_bytes=2 * half,
    )  # fmt: skip
    launch, tasks = for_kind(planes_in_lanes, kind).ready(0, 0, 0, geometry), -(-planes // lanes)

    def run(x: Array, out: Array, keep_alive: Any = (down, across, lane_offsets, nothing)) -> None:
        buffer = scratch.take()
        launch(used, tasks, handle(x), handle(out), handle(buffer), geometry)
        scratch.give(buffer)

    return Prepared(without_operands(run), scratch.nbytes, f"{lanes} planes at a time")

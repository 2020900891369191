"""Pooling of planes narrower than half a vector: strips where windows lie side by side, else as many planes at a time as there are lanes.

A strip is what one row of outputs reads; `strips` takes several at once from where they lie. Overlapping or padded windows go
through `planes_in_lanes`: planes are turned so that each sits in a lane, pooled, and turned back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.methods.pooling.planes_in_lanes import PoolPlanes, pool_planes
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

JOB_BYTES = 1 << 18  # input bytes of one job: enough to hide taking it, few enough that threads end together
STRIP = 16  # vectors of input under a vector of outputs: as many shuffles, all of them unrolled


@region
def strips(job, thread, x, out, kernel, kind, kh, kw, w, ow, lanes, size, divisor, planes, per_job, h, oh):
    """Planes of windows side by side (see `strips`); a job's planes are one run of strips where no row is left over. Arguments
    as for `methods.pool_window.windows`, divisor the address of a number."""
    first, last = job * per_job, min((job + 1) * per_job, planes)
    run = last - first if oh * kh == h else 1
    for p in range(first, last, run):
        to, source = pointed(out) + p * oh * ow * size, pointed(x) + p * h * w * size
        call(
            kernel,
            PoolStrips(
                kind=kind, kh=kh, kw=kw, width=w, ow=ow, lanes=lanes, itemsize=size, dst=to, src=source, outputs=run * oh * ow,
                there=(planes - p) * h * w, divisor=divisor,
            ),
        )  # fmt: skip


@region
def stacks(
    job, thread, x, out, scratch, scratch_bytes, bring_kernel, kernel, put_kernel, sizes, row_counts, counts, places, nothing, planes
):  # fmt: skip
    """As many planes as there are lanes; places ([0]: all of them, [1]: those of the last time) say where each lane's plane begins and
    ends, in and out; nothing is the address of a bias of zero; other arguments as for `methods.pool_window.windows`."""
    kind, lanes, size, oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw = sizes
    block = pointed(scratch) + thread * scratch_bytes
    pooled = block + scratch_bytes // 2
    first = job * lanes
    table = places + int(first + lanes > planes) * 5 * lanes * 8
    call(
        bring_kernel,
        LoadLines(
            way=ALONG, lanes=lanes, itemsize=size, rows=block, numbers=h * w, x=pointed(x) + first * h * w * size, places=table, step=1,
            start=0, stride=1,
        ),
    )  # fmt: skip
    call(
        kernel,
        PoolPlanes(
            kind=kind, lanes=lanes, itemsize=size, dst=pooled, src=block, down=row_counts, across=counts,
            oh=oh, ow=ow, h=h, w=w, kh=kh, kw=kw, sh=sh, sw=sw, top=top, left=left, dh=dh, dw=dw,
        ),
    )  # fmt: skip
    to = pointed(out) + first * oh * ow * size
    call(
        put_kernel,
        StoreLines(
            way=ALONG, each=0, lanes=lanes, itemsize=size, rows=pooled, numbers=oh * ow, out=to, places=table + 3 * lanes * 8, step=1,
            bias=nothing, scale=0, shift=0, activation=0, slope=0,
        ),
    )  # fmt: skip


def for_kind(some: Region, kind: int) -> Region:
    """The region for a kind of pool: a maximum is one of its inputs, however small."""
    return some.exact if kind == MAXIMUM else some


def planes_of_job(problem: Pool, threads: int) -> int:
    """Planes that a thread takes at a time."""
    return max(1, min(JOB_BYTES // (math.prod(problem.size) * problem.itemsize), -(-problem.n * problem.c_in // threads)))


def geometry(problem: Pool) -> tuple[int, ...]:
    """What a micro-kernel is told of a plane and its windows: oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw."""
    (top, _), (left, _) = problem.padding
    return *problem.out_size, *problem.size, *problem.kernel, *problem.stride, top, left, *problem.dilation


def in_strips(problem: Pool) -> bool:
    """Whether windows lie side by side without padding, in rows of outputs that fill at most half a vector."""
    lanes, (kh, kw), ow = machine().lanes(problem.itemsize), problem.kernel, problem.out_size[1]
    side_by_side = problem.kernel == problem.stride and not any(map(any, problem.padding)) and not problem.ceil_mode
    dense = all(k == 1 or d == 1 for k, d in zip(problem.kernel, problem.dilation))
    return side_by_side and dense and ow * 2 <= lanes and kh * kw <= lanes and lanes // ow * kh * problem.size[1] <= STRIP * lanes


def prepare_strips(problem: Pool, threads: int) -> Prepared:
    """The pooling of narrow planes as they lie in memory."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes, kind = machine().lanes(size), code(problem.kind)
    (kh, kw), (h, w), (oh, ow) = problem.kernel, problem.size, problem.out_size
    divisor = np.full(1, problem.divisor_override or problem.taps, problem.dtype)
    per_job = planes_of_job(problem, threads)
    used = min(threads, -(-planes // per_job))
    kernel = pool_strips(kind, problem.kernel, w, ow, lanes, size)
    rest = kernel, kind, kh, kw, w, ow, lanes, size, divisor.ctypes.data, planes, per_job, h, oh
    launch, jobs = for_kind(strips, kind).ready(0, 0, *rest), -(-planes // per_job)

    def run(x: Array, out: Array, held: Any = divisor) -> None:
        launch(used, jobs, handle(x), handle(out), *rest)

    return Prepared(without_operands(run), 0, f"{lanes // ow} rows of outputs at a time")


def stacks_planes(problem: Pool) -> bool:
    """Whether planes are pooled one in each lane: where a row of outputs fills less than half a vector, and the planes of all lanes stay in
    the second-level cache."""
    lanes = machine().lanes(problem.itemsize)
    fits = math.prod(problem.size) * lanes * problem.itemsize <= machine().l2 // 4
    return problem.out_size[1] * 2 <= lanes <= problem.n * problem.c_in and fits


def prepare_stacks(problem: Pool, threads: int, down: Array, across: Array) -> Prepared:
    """The pooling of planes one in each lane."""
    size, planes = problem.itemsize, problem.n * problem.c_in
    lanes, kind = machine().lanes(size), code(problem.kind)
    area, produced = math.prod(problem.size), math.prod(problem.out_size)
    places = np.zeros((2, 5, lanes), np.int64)
    for table, live in zip(places, (lanes, planes % lanes)):
        table[0], table[3] = np.arange(lanes) * area, np.arange(lanes) * produced
        table[2, :live], table[4, :live] = area, produced
    half = whole((max(area, produced) + lanes) * lanes * size)  # lines are turned in blocks of as many as there are lanes
    used = min(threads, -(-planes // lanes))
    scratch = Scratch(used * 2 * half)
    sizes = (kind, lanes, size, *geometry(problem))
    kernels = load_lines(ALONG, lanes, size), pool_planes(kind, lanes, size), store_lines(ALONG, False, lanes, size)
    held = down, across, places, np.zeros(1, problem.dtype)
    rest = 2 * half, *kernels, sizes, *(array.ctypes.data for array in held), planes
    launch, jobs = for_kind(stacks, kind).ready(0, 0, 0, *rest), -(-planes // lanes)

    def run(x: Array, out: Array, held: Any = held) -> None:
        buffer = scratch.take()
        launch(used, jobs, handle(x), handle(out), handle(buffer), *rest)
        scratch.give(buffer)

    return Prepared(without_operands(run), scratch.nbytes, f"{lanes} planes at a time")
